//! One EK certificate, read strictly: what it certifies, and that it is an EK certificate at all.
//!
//! Nothing here believes the certificate; that takes a path to a pinned root (`path.rs`).

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{BasicConstraints, KeyUsage, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{X509Name, X509Version};

use super::attributes::{self, TpmAttributes};
use super::{EkCertificateError, envelope, key};
use hallmark_der as der;

/// tcg-kp-EKCertificate (TCG EK Credential Profile 3.2.16).
const EK_CERTIFICATE_USAGE: &str = "2.23.133.8.1";

/// Extensions that a critical mark may stand on: basic constraints, key usage, extended key usage, subject alternative
/// name. All four are checked here.
const UNDERSTOOD: [&str; 4] = ["2.5.29.19", "2.5.29.15", "2.5.29.37", "2.5.29.17"];

/// An EK certificate that follows the profile. It proves nothing until its path is verified.
#[derive(Debug, Clone)]
pub(crate) struct EkCertificate {
    /// The certificate alone, DER, without wrapper and padding.
    pub(crate) der: Vec<u8>,
    /// The certified key as canonical SPKI, DER.
    pub(crate) spki: Vec<u8>,
    pub(crate) attributes: TpmAttributes,
    pub(crate) issuer: String,
    /// Serial number, lower-case hex.
    pub(crate) serial: String,
    /// Validity, Unix seconds.
    pub(crate) not_before: i64,
    /// Validity, Unix seconds.
    pub(crate) not_after: i64,
}

impl EkCertificate {
    /// Reads what NV memory held.
    ///
    /// # Errors
    /// [`EkCertificateError`] for the first rule of encoding or profile that is broken.
    pub(crate) fn read(nv: &[u8]) -> Result<Self, EkCertificateError> {
        let der = envelope::open(nv)?;
        der::check(der).map_err(EkCertificateError::NotDer)?;
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| EkCertificateError::NotX509(error.to_string()))?;
        if certificate.version() != X509Version::V3 {
            return Err(EkCertificateError::Version {
                actual: certificate.version().0.saturating_add(1),
            });
        }
        require_strong_signature(&certificate)?;
        require_known_extensions(&certificate)?;
        require_not_ca(&certificate)?;
        let key = key::read(certificate.public_key())?;
        require_key_usage(&certificate, key.required_usage())?;
        require_ek_usage(&certificate)?;
        Ok(Self {
            der: der.to_vec(),
            spki: key.into_canonical_spki(),
            attributes: tpm_attributes(&certificate)?,
            issuer: shown(certificate.issuer()),
            serial: certificate
                .raw_serial()
                .iter()
                .skip_while(|byte| **byte == 0)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Longest name that is shown, in characters.
const MAX_SHOWN: usize = 256;

/// A name for people and records. It comes from strangers, so nothing in it may move a terminal or begin a line.
fn shown(name: &X509Name<'_>) -> String {
    let plain = |c: char| {
        if hallmark_reason::is_misleading(c) {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    name.to_string().chars().map(plain).take(MAX_SHOWN).collect()
}

/// RSA PKCS#1 and ECDSA with SHA-256/384/512, and RSASSA-PSS (whose hash path validation checks).
const STRONG_SIGNATURES: [&str; 7] = [
    "1.2.840.113549.1.1.10",
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
];

fn require_strong_signature(certificate: &X509Certificate<'_>) -> Result<(), EkCertificateError> {
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    if STRONG_SIGNATURES.contains(&algorithm.as_str()) {
        Ok(())
    } else {
        Err(EkCertificateError::WeakSignature { algorithm })
    }
}

fn require_known_extensions(certificate: &X509Certificate<'_>) -> Result<(), EkCertificateError> {
    let mut seen = Vec::new();
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        if seen.contains(&oid) {
            return Err(EkCertificateError::DuplicateExtension { oid });
        }
        if UNDERSTOOD.contains(&oid.as_str()) {
            require_readable(extension, &oid)?;
        } else if extension.critical {
            return Err(EkCertificateError::UnknownCriticalExtension { oid });
        }
        seen.push(oid);
    }
    Ok(())
}

/// The extension's value must itself be DER, and must have been understood.
fn require_readable(extension: &X509Extension<'_>, oid: &str) -> Result<(), EkCertificateError> {
    der::check(extension.value).map_err(EkCertificateError::NotDer)?;
    match extension.parsed_extension() {
        ParsedExtension::ParseError { .. }
        | ParsedExtension::UnsupportedExtension { .. }
        | ParsedExtension::Unparsed => Err(EkCertificateError::NotX509(format!("extension {oid} cannot be read"))),
        _ => Ok(()),
    }
}

fn require_not_ca(certificate: &X509Certificate<'_>) -> Result<(), EkCertificateError> {
    let constraints = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => Some(constraints),
            _ => None,
        });
    match constraints {
        Some(BasicConstraints { ca: true, .. }) => Err(EkCertificateError::IsCa),
        _ => Ok(()),
    }
}

fn require_key_usage(certificate: &X509Certificate<'_>, required: RequiredUsage) -> Result<(), EkCertificateError> {
    let usage = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => Some(usage),
            _ => None,
        })
        .ok_or(EkCertificateError::KeyUsageMissing)?;
    let fits = match required {
        RequiredUsage::KeyEncipherment => usage.key_encipherment(),
        RequiredUsage::KeyAgreement => usage.key_agreement(),
    };
    // An endorsement key signs nothing: a certificate that says otherwise is not about one.
    if fits && !signs(usage) {
        Ok(())
    } else {
        Err(EkCertificateError::KeyUsage {
            required: required.name(),
            actual: usage.to_string(),
        })
    }
}

fn signs(usage: &KeyUsage) -> bool {
    usage.key_cert_sign() || usage.crl_sign() || usage.digital_signature()
}

/// The key usage bit that an endorsement key of a type must have (TCG EK Credential Profile 3.2.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequiredUsage {
    /// For RSA keys.
    KeyEncipherment,
    /// For ECC keys.
    KeyAgreement,
}

impl RequiredUsage {
    const fn name(self) -> &'static str {
        match self {
            Self::KeyEncipherment => "keyEncipherment and no signing",
            Self::KeyAgreement => "keyAgreement and no signing",
        }
    }
}

fn require_ek_usage(certificate: &X509Certificate<'_>) -> Result<(), EkCertificateError> {
    let usage = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
            _ => None,
        })
        .ok_or(EkCertificateError::ExtendedKeyUsageMissing)?;
    let others: Vec<String> = usage.other.iter().map(|oid| oid.to_id_string()).collect();
    if others.iter().any(|oid| oid == EK_CERTIFICATE_USAGE) {
        Ok(())
    } else {
        Err(EkCertificateError::ExtendedKeyUsage {
            actual: format!("[{}]", others.join(", ")),
        })
    }
}

fn tpm_attributes(certificate: &X509Certificate<'_>) -> Result<TpmAttributes, EkCertificateError> {
    let names = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(names),
            _ => None,
        })
        .ok_or(EkCertificateError::TpmAttributeMissing {
            attribute: "manufacturer, model and version",
        })?;
    attributes::read(names)
}
