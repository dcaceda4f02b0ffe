//! Which of the pinned roots a kept EK certificate can lead to.

use hallmark_evidence::EvidenceFile;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::ek::envelope;
use crate::fingerprint::{hex, sha256};
use crate::trust::EkRoots;

/// The roots of the names that the file's certificates call their issuers, DER: what judging them again takes.
#[must_use]
pub fn anchors_of(file: &EvidenceFile, roots: &EkRoots) -> Vec<Vec<u8>> {
    let certificates = file.ek_certificate.iter().chain(&file.ek_chain);
    let issuers: Vec<String> = certificates
        .filter_map(|nv| {
            let (_, certificate) = X509Certificate::from_der(envelope::open(nv).ok()?).ok()?;
            Some(certificate.issuer().to_string())
        })
        .collect();
    roots
        .certificates()
        .filter(|(subject, _)| issuers.iter().any(|issuer| issuer == subject))
        .map(|(_, der)| der.to_vec())
        .collect()
}

/// SHA-256 of a kept EK certificate without its wrapper and padding, lower-case hex; none if it is no certificate.
#[must_use]
pub fn certificate_sha256(nv: &[u8]) -> Option<String> {
    envelope::open(nv).ok().map(|der| hex(&sha256(der)))
}
