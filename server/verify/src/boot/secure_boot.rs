//! PCR 7: what the firmware enforced.
//!
//! A root user can extend PCR 7 with anything once the firmware is done, and write any type into the log. So an event
//! counts only if its digests cover its data, what it is is read from that data, configuration counts only before the
//! first separator, and two events that say different things make the fact unknown.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_evidence::tcg::{
    Authentication, TcgEvent,
    efi::{
        EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, SignatureEntry, SignatureType, UefiVariable,
        signature_database,
    },
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::facts::{Authority, BootFacts, CertificateRef, ShimSwitches, SignatureDatabase};
use crate::fingerprint::{hex, sha256};

/// What separates the firmware's configuration from what it then verified (PFP, section 3.3.4.8).
const SEPARATORS: [[u8; 4]; 2] = [[0; 4], [0xff; 4]];

/// Reads the facts of PCR 7's events.
pub(super) fn read(events: &[&TcgEvent<'_>], facts: &mut BootFacts) {
    let separator = events.iter().position(|event| is_separator(event));
    let (before, after) = match separator {
        Some(at) => (
            events.get(..at).unwrap_or_default(),
            events.get(at + 1..).unwrap_or_default(),
        ),
        None => (events, &[][..]),
    };
    if separator.is_none() {
        facts
            .doubts
            .insert("PCR 7 has no separator: the firmware's configuration has no proven end".to_owned());
        return;
    }
    let mut hidden = false;
    let mut variables: BTreeMap<String, BTreeSet<&[u8]>> = BTreeMap::new();
    let mut actions = BTreeSet::new();
    for event in before {
        // What is covered only in part could be anything.
        if event.authentication() != Authentication::ByDigest {
            hidden = true;
            facts.doubts.insert(format!(
                "event {} in PCR 7 does not show what was measured",
                event.number
            ));
        } else if let Some(variable) = configuration(event.data) {
            variables.entry(variable.name).or_default().insert(variable.data);
        } else {
            actions.insert(action(event.data));
        }
    }
    if hidden {
        return;
    }
    let mut value = |name: &str| -> Option<&[u8]> {
        let values = variables.get(name)?;
        if values.len() > 1 {
            facts.doubts.insert(format!("PCR 7 has several values of {name}"));
            return None;
        }
        values.first().copied()
    };
    let pk = value("PK");
    let switch = |data: Option<&[u8]>| match data {
        Some([0]) => Some(false),
        Some([1]) => Some(true),
        _ => None,
    };
    let (secure_boot, setup) = (switch(value("SecureBoot")), switch(value("SetupMode")));
    let (deployed, audit) = (switch(value("DeployedMode")), switch(value("AuditMode")));
    let (kek, db, dbx) = (value("KEK"), value("db"), value("dbx"));
    facts.secure_boot = secure_boot;
    // Without a platform key the firmware is in setup mode (UEFI 2.10, section 32.3).
    facts.setup_mode = setup.or_else(|| pk.map(<[u8]>::is_empty));
    facts.deployed_mode = deployed;
    facts.audit_mode = audit;
    facts.pk = pk.and_then(database);
    facts.kek = kek.and_then(database);
    facts.db = db.and_then(database);
    facts.dbx = dbx.and_then(database);
    facts.dbx_hashes = dbx
        .and_then(signature_database)
        .map(|entries| hashes(&entries))
        .unwrap_or_default();
    facts.debug = Some(actions.contains("UEFI Debug Mode"));
    facts.dma_protection_disabled = actions.contains("DMA Protection Disabled");
    read_authorities(after, facts);
}

fn is_separator(event: &TcgEvent<'_>) -> bool {
    let of = |value: &[u8; 4]| event.digests.iter().all(|(bank, digest)| bank.digest(value) == *digest);
    !event.digests.is_empty() && SEPARATORS.iter().any(of)
}

/// A variable of the firmware's own; those of other vendors say nothing here.
fn configuration(data: &[u8]) -> Option<UefiVariable<'_>> {
    let variable = UefiVariable::parse(data)?;
    let known = match variable.name.as_str() {
        "db" | "dbx" | "dbt" | "dbr" => EFI_IMAGE_SECURITY_DATABASE,
        _ => EFI_GLOBAL_VARIABLE,
    };
    (variable.guid == known).then_some(variable)
}

fn action(data: &[u8]) -> String {
    String::from_utf8_lossy(data.strip_suffix(&[0]).unwrap_or(data)).into_owned()
}

fn database(data: &[u8]) -> Option<SignatureDatabase> {
    let entries = signature_database(data)?;
    let mut database = SignatureDatabase {
        sha256: hex(&sha256(data)),
        ..SignatureDatabase::default()
    };
    for entry in entries {
        match entry.kind {
            SignatureType::X509 => database.certificates.push(certificate(entry.data)),
            _ => database.hashes = database.hashes.saturating_add(1),
        }
    }
    Some(database)
}

fn hashes(entries: &[SignatureEntry<'_>]) -> BTreeSet<String> {
    let hashes = entries.iter().filter(|entry| entry.kind == SignatureType::Sha256);
    hashes.map(|entry| hex(entry.data)).collect()
}

fn certificate(der: &[u8]) -> CertificateRef {
    CertificateRef {
        sha256: hex(&sha256(der)),
        subject: subject(der),
    }
}

fn subject(der: &[u8]) -> String {
    X509Certificate::from_der(der).map_or_else(|_| String::new(), |(_, certificate)| certificate.subject().to_string())
}

/// Behind the separator stands what allowed each image, once each (PFP, section 3.3.4.8), and what shim measures beside.
///
/// Any program may extend the register later: of several SBAT levels none is believed, nor one behind an event that hides
/// what it measured.
fn read_authorities(events: &[&TcgEvent<'_>], facts: &mut BootFacts) {
    let (mut levels, mut hidden) = (BTreeSet::new(), false);
    for event in events {
        let Some(variable) = event.authenticated_variable() else {
            if !is_separator(event) {
                hidden = true;
                facts.unexpected.insert(event.number);
            }
            continue;
        };
        if let Some(switch) = shim_switch(&mut facts.shim, &variable.name) {
            // Measured twice, it was on once.
            *switch = Some(*switch == Some(true) || variable.data != [0]);
        } else if variable.name == "SbatLevel" {
            let text = String::from_utf8_lossy(variable.data.strip_suffix(&[0]).unwrap_or(variable.data));
            if !hidden {
                levels.insert(text.trim_end().replace('\n', ";"));
            }
        } else if let Some(authority) = authority(&variable) {
            facts.authorities.push(authority);
        } else {
            facts.unexpected.insert(event.number);
        }
    }
    if levels.len() > 1 {
        facts.doubts.insert("PCR 7 has several SBAT levels".to_owned());
    } else {
        facts.sbat_level = levels.pop_first();
    }
}

/// What shim measures of its own state, in the place of an authority.
fn shim_switch<'f>(shim: &'f mut ShimSwitches, variable: &str) -> Option<&'f mut Option<bool>> {
    match variable {
        "MokSBState" => Some(&mut shim.validation_disabled),
        "MokDBState" => Some(&mut shim.db_ignored),
        "MokListTrusted" => Some(&mut shim.mok_list_trusted),
        _ => None,
    }
}

/// What vouched for an image: a certificate or the SHA-256 of the image. It stands behind its owner's GUID
/// (`EFI_SIGNATURE_DATA`); shim measures its own certificate, and older shims every one, without it. What can be read
/// both ways or neither names nobody.
fn authority(variable: &UefiVariable<'_>) -> Option<Authority> {
    const HASH: usize = 32;
    let owned = variable.data.get(16..).unwrap_or_default();
    let vouches = |data: &[u8]| data.len() == HASH || is_one_sequence(data);
    let vouching = match (vouches(variable.data), vouches(owned)) {
        (true, false) => variable.data,
        (false, true) => owned,
        _ => return None,
    };
    let (sha256, subject) = match vouching.len() {
        HASH => (hex(vouching), String::new()),
        _ => (hex(&sha256(vouching)), subject(vouching)),
    };
    Some(Authority {
        variable: variable.name.clone(),
        sha256,
        subject,
    })
}

/// Whether this is one whole SEQUENCE in DER and nothing else, as every certificate is.
fn is_one_sequence(data: &[u8]) -> bool {
    let Some((0x30, rest)) = data.split_first().map(|(tag, rest)| (*tag, rest)) else {
        return false;
    };
    let Some((first, rest)) = rest.split_first() else {
        return false;
    };
    let length = match *first {
        short @ 0..=0x7f => Some((usize::from(short), rest)),
        0x81 => rest.split_first().map(|(one, rest)| (usize::from(*one), rest)),
        0x82 => rest
            .split_first_chunk()
            .map(|(two, rest)| (usize::from(u16::from_be_bytes(*two)), rest)),
        _ => None,
    };
    length.is_some_and(|(length, contents)| length == contents.len())
}
