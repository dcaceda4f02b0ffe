//! PCR 7: what the firmware enforced.
//!
//! A root user can extend PCR 7 with anything once the firmware is done, and write any type into the log. So an event
//! counts only if its digests cover its data, what it is is read from that data, configuration counts only before the
//! first separator, and two events that say different things make the fact unknown. What says that a protection is off
//! counts wherever it stands: nobody gains by claiming it.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_evidence::tcg::{
    Authentication, TcgEvent,
    efi::{
        EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, SignatureEntry, SignatureType, UefiVariable,
        signature_database,
    },
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authorities::{self, Found};
use super::facts::{BootFacts, CertificateRef, SignatureDatabase};
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
    for event in before {
        // What is covered only in part could be anything.
        if event.authentication() != Authentication::ByDigest {
            hidden = true;
            facts.doubts.insert(format!(
                "event {} in PCR 7 does not show what was measured",
                event.number
            ));
        } else if let Some(variable) = UefiVariable::parse(event.data) {
            match authorities::find(event, &variable) {
                Found::Authority(authority) => {
                    facts.authorities.push(authority);
                    if variable.guid == EFI_IMAGE_SECURITY_DATABASE {
                        continue;
                    }
                }
                Found::Hidden => {
                    facts.hidden_authorities.insert(event.number);
                    facts.unexpected.insert(event.number);
                }
                Found::Other => {}
            }
            if is_configuration(&variable) {
                variables.entry(variable.name).or_default().insert(variable.data);
            }
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
    // What hides behind the separator could be these words.
    let hides = |event: &&TcgEvent<'_>| event.authenticated().is_none() && event.authenticated_variable().is_none();
    facts.debug = (!after.iter().any(hides)).then_some(false);
    read_switched_off(events, facts);
    authorities::read(after, facts);
}

/// Reads the firmware's sentences on what protects nothing: the PFP has them in PCR 7 (section 3.3.4.8), on either side of the
/// separator. The digest tells them whatever the log has for data, and a claim that no digest covers counts as well.
pub(super) fn read_switched_off(events: &[&TcgEvent<'_>], facts: &mut BootFacts) {
    if says(events, "UEFI Debug Mode") {
        facts.debug = Some(true);
    }
    facts.dma_protection_disabled |= says(events, "DMA Protection Disabled");
}

/// Whether one of the events is this sentence, in either encoding, with its NUL or without.
fn says(events: &[&TcgEvent<'_>], sentence: &str) -> bool {
    let narrow = sentence.as_bytes().to_vec();
    let wide: Vec<u8> = sentence.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let ended = [[narrow.as_slice(), &[0]].concat(), [wide.as_slice(), &[0, 0]].concat()];
    let forms = [narrow, wide].into_iter().chain(ended);
    forms.into_iter().any(|form| {
        let is_of = |event: &TcgEvent<'_>| event.digests.iter().all(|(bank, digest)| bank.digest(&form) == *digest);
        events
            .iter()
            .any(|event| event.data == form || (!event.digests.is_empty() && is_of(event)))
    })
}

pub(super) fn is_separator(event: &TcgEvent<'_>) -> bool {
    let of = |value: &[u8; 4]| event.digests.iter().all(|(bank, digest)| bank.digest(value) == *digest);
    !event.digests.is_empty() && SEPARATORS.iter().any(of)
}

/// A variable of the firmware's own; those of other vendors say nothing here.
fn is_configuration(variable: &UefiVariable<'_>) -> bool {
    let known = match variable.name.as_str() {
        "db" | "dbx" | "dbt" | "dbr" => EFI_IMAGE_SECURITY_DATABASE,
        _ => EFI_GLOBAL_VARIABLE,
    };
    variable.guid == known
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

pub(super) fn subject(der: &[u8]) -> String {
    X509Certificate::from_der(der).map_or_else(|_| String::new(), |(_, certificate)| certificate.subject().to_string())
}
