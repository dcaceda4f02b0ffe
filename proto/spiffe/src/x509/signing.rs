//! What is to be known of an authority besides that it may be one: who it is, and from when to when.

use x509_parser::prelude::ParsedExtension;

use super::{ProfileError, certificate::Certificate};

/// The facts of a signing certificate by which its life is kept. They prove nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningFacts {
    /// Its Subject Key Identifier (RFC 5280, section 4.2.1.2), by which it is known as an authority.
    pub key_id: Vec<u8>,
    /// The start of its validity, in Unix seconds.
    pub not_before: i64,
    /// The end of its validity, in Unix seconds.
    pub not_after: i64,
    /// Its SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
}

impl SigningFacts {
    /// Reads them from a certificate (DER).
    ///
    /// # Errors
    /// When it does not decode, or has no Subject Key Identifier.
    pub fn read(der: &[u8]) -> Result<Self, ProfileError> {
        let Certificate { x509, .. } = Certificate::parse(der)?;
        let mut extensions = x509.extensions().iter();
        let key_id = extensions.find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            key_id: key_id.ok_or_else(|| ProfileError::Malformed {
                what: "it has no subject key identifier".to_owned(),
            })?,
            not_before: x509.validity().not_before.timestamp(),
            not_after: x509.validity().not_after.timestamp(),
            spki: x509.public_key().raw.to_vec(),
        })
    }
}
