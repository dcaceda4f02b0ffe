//! What authorised the images that were booted: a certificate or a hash, by the bytes that the digests cover.
//!
//! Behind PCR 7's separator stands what authorised the boot loaders. Firmware that measures the separator late, or its option
//! ROMs early, has the authorities of drivers in front of it, next to the variables of the same names; and firmware was seen
//! that measures them into another register. So an authority counts wherever it stands: what it is shows in its data, since
//! the variable `db` is a signature list and what authorised an image is one signature.

use hallmark_der::{Reader, tag};
use std::collections::BTreeSet;

use hallmark_evidence::tcg::{
    EventKind, TcgEvent,
    efi::{EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, UefiVariable, signature_database},
};

use super::facts::{Authority, BootFacts, ShimSwitches};
use super::secure_boot::{is_separator, subject};
use crate::fingerprint::{hex, sha256};

/// What a variable says of authorities where variables are configuration too.
pub(super) enum Found {
    /// It is what authorised an image.
    Authority(Authority),
    /// It may be what authorised an image, and names nobody.
    Hidden,
    /// It is something else.
    Other,
}

/// Reads a proven variable that stands somewhere else than behind PCR 7's separator. The type that the log claims may make an
/// authority of it, and never keeps it from being one.
pub(super) fn find(event: &TcgEvent<'_>, variable: &UefiVariable<'_>) -> Found {
    let is_list = signature_database(variable.data).is_some();
    let of_database = variable.guid == EFI_IMAGE_SECURITY_DATABASE;
    let claimed = event.kind == EventKind::EFI_VARIABLE_AUTHORITY;
    match authority(event.number, variable) {
        Some(found) if !is_list && (of_database || claimed || !found.subject.is_empty()) => Found::Authority(found),
        None if !is_list && of_database && variable.name == "db" => Found::Hidden,
        None if claimed && !of_database && variable.guid != EFI_GLOBAL_VARIABLE => Found::Hidden,
        _ => Found::Other,
    }
}

/// Reads the authorities of a register that is none of theirs.
pub(super) fn read_elsewhere(events: &[&TcgEvent<'_>], facts: &mut BootFacts) {
    for event in events {
        let claimed = event.kind == EventKind::EFI_VARIABLE_AUTHORITY;
        match event.authenticated_variable().map(|variable| find(event, &variable)) {
            Some(Found::Authority(authority)) => facts.authorities.push(authority),
            Some(Found::Hidden) => {
                facts.hidden_authorities.insert(event.number);
            }
            None if claimed => {
                facts.hidden_authorities.insert(event.number);
            }
            Some(Found::Other) | None => continue,
        }
        facts.unexpected.insert(event.number);
    }
}

/// Behind the separator stands what allowed each image, once each (PFP, section 3.3.4.8), and what shim measures beside.
///
/// Any program may extend the register later: of several SBAT levels none is believed, nor one behind an event that hides
/// what it measured.
pub(super) fn read(events: &[&TcgEvent<'_>], facts: &mut BootFacts) {
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
        } else if let Some(authority) = authority(event.number, &variable) {
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
fn authority(event: u32, variable: &UefiVariable<'_>) -> Option<Authority> {
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
        event,
        variable: variable.name.clone(),
        sha256,
        subject,
    })
}

/// Whether this is one whole SEQUENCE in DER and nothing else, as every certificate is.
fn is_one_sequence(data: &[u8]) -> bool {
    let mut reader = Reader::new(data);
    reader.take(tag::SEQUENCE).is_ok() && reader.end().is_ok()
}
