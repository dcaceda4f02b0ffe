//! Facts as node selectors of type `tpm2`, which registration entries may demand.

use hallmark_spiffe::Selector;
use hallmark_verify::VerifiedEvidence;
use std::collections::BTreeSet;

const TYPE: &str = "tpm2";

/// Every selector that the evidence proves. A value that cannot be a selector (an empty or over-long name in a
/// certificate) yields none.
pub(crate) fn selectors(evidence: &VerifiedEvidence) -> BTreeSet<Selector> {
    let mut values = vec![
        format!("ek-hash:{}", hex(evidence.ek_sha256())),
        format!("class:{}", evidence.class()),
        format!("firmware-version:{:016x}", evidence.firmware_version()),
    ];
    if let Some(certificate) = evidence.certificate() {
        values.push(format!("manufacturer:{}", certificate.attributes.manufacturer));
        values.push(format!("model:{}", certificate.attributes.model));
        values.push(format!("firmware:{}", certificate.attributes.version));
    }
    values.extend(
        evidence
            .pcrs()
            .iter()
            .map(|(bank, pcr, digest)| format!("pcr:{bank}:{pcr}:{}", hex(digest))),
    );
    values
        .iter()
        .filter_map(|value| Selector::new(TYPE, value).ok())
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
