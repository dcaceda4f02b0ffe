//! Facts as node selectors, which registration entries may demand and policies may be for.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use hallmark_spiffe::Selector;

use crate::facts::MachineFacts;

/// Selectors of the TPM and its quote (type `tpm2`), and of the operator's inventory (type `inventory`). A value that
/// cannot be a selector (an empty or over-long name in a certificate) yields none. Nor does a certificate that does not
/// vouch for the TPM now, or a line that has expired: they say which rules are for the machine, and grant nothing. What is
/// not known has no selector, so that nobody gains one by keeping something back.
pub(crate) fn of_facts(facts: &MachineFacts) -> BTreeSet<Selector> {
    let tpm = &facts.tpm;
    let mut values = vec![
        format!("ek-hash:{}", tpm.ek_sha256),
        format!("firmware-version:{:016x}", tpm.firmware_version),
    ];
    if let Some(certificate) = tpm.certificate.as_ref().filter(|_| !tpm.is_enrolled_by_inventory()) {
        values.push(format!("class:{}", tpm.class));
        values.push(format!("manufacturer:{}", certificate.manufacturer));
        values.push(format!("model:{}", certificate.model));
        values.push(format!("firmware:{}", certificate.version));
    }
    values.extend(facts.pcrs.iter().map(|(pcr, digest)| format!("pcr:{pcr}:{digest}")));
    let has_expired = tpm.inventory.as_ref().is_some_and(|line| line.expired);
    let labels = facts
        .labels
        .iter()
        .filter(|_| !has_expired)
        .map(|(label, value)| format!("{label}:{value}"));
    let tpm2 = values.iter().filter_map(|value| Selector::new("tpm2", value).ok());
    let inventory = labels.filter_map(|value| Selector::new("inventory", &value).ok());
    tpm2.chain(inventory).collect()
}

/// What a verdict adds: baselines that match, policies that hold.
pub(crate) fn found(kind: &str, fact: &str, name: &str) -> Option<Selector> {
    let value = if fact.is_empty() {
        name.to_owned()
    } else {
        format!("{fact}:{name}")
    };
    Selector::new(kind, &value).ok()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    // Lists have hundreds of thousands of digests: formatting byte by byte would cost more than proving them.
    let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble });
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0x0f));
    }
    text
}
