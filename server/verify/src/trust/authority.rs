//! A CA certificate of a TPM vendor, as root or as intermediate: what it must be before path validation looks at it.
//!
//! webpki leaves out what matters little for web servers: key usage of CAs, and the constraints of the trust anchor
//! itself. Both are read here.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use hallmark_tpm_wire::is_roca;

use hallmark_der as der;

/// Facts of a CA certificate that path building needs beside the certificate itself.
pub(crate) struct CaFacts {
    /// How many CAs may stand between this one and the EK certificate; `None` is any number.
    pub(crate) path_len: Option<u32>,
    /// Begin and end of its validity, Unix seconds.
    pub(crate) validity: [i64; 2],
    /// The subject's name, DER.
    pub(crate) subject: Vec<u8>,
    /// The subject's name, for people.
    pub(crate) subject_text: String,
}

/// Reads a CA certificate, DER and nothing behind it.
///
/// # Errors
/// The first rule that it breaks, in words.
pub(crate) fn read(certificate: &[u8]) -> Result<CaFacts, String> {
    der::check(certificate).map_err(|fault| format!("not DER: {fault}"))?;
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| format!("not X.509: {error}"))?;
    if certificate.version() != X509Version::V3 {
        return Err("not X.509 version 3".to_owned());
    }
    require_strong_key(&certificate)?;
    Ok(CaFacts {
        path_len: ca_path_len(&certificate)?,
        validity: [
            certificate.validity().not_before.timestamp(),
            certificate.validity().not_after.timestamp(),
        ],
        subject: certificate.subject().as_raw().to_vec(),
        subject_text: certificate.subject().to_string(),
    })
}

fn require_strong_key(certificate: &X509Certificate<'_>) -> Result<(), String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if is_roca(key.modulus) => {
            Err("RSA key of a faulty library (ROCA, CVE-2017-15361)".to_owned())
        }
        Ok(PublicKey::RSA(key)) if key.key_size() >= 2048 => Ok(()),
        Ok(PublicKey::RSA(key)) => Err(format!("RSA key of {} bits, at least 2048 are needed", key.key_size())),
        Ok(PublicKey::EC(_)) => Ok(()),
        _ => Err("neither an RSA nor an ECC key".to_owned()),
    }
}

/// The path length constraint, once it is sure that this is a CA which may sign certificates.
fn ca_path_len(certificate: &X509Certificate<'_>) -> Result<Option<u32>, String> {
    let mut constraints = None;
    let mut seen = Vec::new();
    for extension in certificate.extensions() {
        if seen.contains(&&extension.oid) {
            return Err(format!("extension {} stands there twice", extension.oid));
        }
        seen.push(&extension.oid);
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(found) => constraints = Some(found),
            ParsedExtension::KeyUsage(usage) if !usage.key_cert_sign() => {
                return Err("its key usage does not allow signing certificates".to_owned());
            }
            ParsedExtension::ParseError { .. } => {
                return Err(format!("extension {} cannot be read", extension.oid));
            }
            _ => {}
        }
    }
    match constraints {
        Some(constraints) if constraints.ca => Ok(constraints.path_len_constraint),
        _ => Err("not a CA certificate".to_owned()),
    }
}
