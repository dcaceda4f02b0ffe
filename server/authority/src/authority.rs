//! An X.509 authority as its certificate shows it.

use hallmark_spiffe::{TrustDomain, x509};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use crate::{AuthorityError, SignatureAlgorithm, SubjectKey, extensions, validity::Validity};

/// An authority that issues SVIDs of one trust domain. It holds everything that does not vary from SVID to SVID,
/// and no private key.
#[derive(Debug, Clone)]
pub struct X509Authority {
    certificate: Vec<u8>,
    trust_domain: TrustDomain,
    subject: Vec<u8>,
    key: SubjectKey,
    key_id: Vec<u8>,
    key_id_extension: Vec<u8>,
    /// How many authorities may stand below it; `None` for any number.
    path_len: Option<u32>,
    validity: Validity,
}

impl X509Authority {
    /// Reads an authority's certificate (DER). It has to keep the profile of signing certificates and belong to
    /// `trust_domain`; when it is self-signed, its signature is verified.
    ///
    /// # Errors
    /// When it cannot be decoded, breaks the profile, belongs to another trust domain, has a key of a kind that is
    /// not used here, or its own signature does not verify.
    pub fn from_certificate(der: &[u8], trust_domain: &TrustDomain) -> Result<Self, AuthorityError> {
        x509::lint_signing(der, trust_domain).map_err(AuthorityError::AuthorityProfile)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|cause| malformed(cause.to_string()))?;
        let key = SubjectKey::from_spki(certificate.public_key().raw)?;
        let subject = certificate.subject().as_raw();
        if subject == certificate.issuer().as_raw() {
            check_self_signed(&key, &certificate)?;
        }
        let key_id =
            subject_key_id(&certificate).ok_or_else(|| malformed("it has no subject key identifier".to_owned()))?;
        Ok(Self {
            certificate: der.to_vec(),
            trust_domain: trust_domain.clone(),
            subject: subject.to_vec(),
            key_id: key_id.to_vec(),
            key_id_extension: extensions::authority_key_id(key_id),
            path_len: path_len(&certificate),
            validity: Validity {
                not_before: certificate.validity().not_before.timestamp(),
                not_after: certificate.validity().not_after.timestamp(),
            },
            key,
        })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its trust domain.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its public key, a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.key.spki()
    }

    /// Its Subject Key Identifier, by which it is known as an authority.
    #[must_use]
    pub fn subject_key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// What it signs with.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::of(self.key.key_type())
    }

    /// Whether `signature` is one of this authority over `message`. What was sealed into a certificate is not verified
    /// on the way; this is for whoever wants to know that the key does what it should.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = self.key.parsed(self.signature_algorithm().verification());
        key.is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }

    /// The start of its validity, in seconds since the Unix epoch.
    #[must_use]
    pub const fn not_before(&self) -> i64 {
        self.validity.not_before
    }

    /// The end of its validity, in seconds since the Unix epoch.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.validity.not_after
    }

    /// How many authorities may stand below it; `None` for any number.
    #[must_use]
    pub const fn path_len(&self) -> Option<u32> {
        self.path_len
    }

    pub(crate) const fn validity(&self) -> Validity {
        self.validity
    }

    /// Its name, DER, byte for byte as its certificate has it.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The extension that names it in what it issues, DER.
    pub(crate) fn key_id_extension(&self) -> &[u8] {
        &self.key_id_extension
    }
}

fn check_self_signed(key: &SubjectKey, certificate: &X509Certificate<'_>) -> Result<(), AuthorityError> {
    let algorithm = SignatureAlgorithm::of(key.key_type());
    key.parsed(algorithm.verification())?
        .verify_sig(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
        .map_err(|_| AuthorityError::AuthoritySignature)
}

pub(crate) fn path_len(certificate: &X509Certificate<'_>) -> Option<u32> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => constraints.path_len_constraint,
            _ => None,
        })
}

pub(crate) fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
}

fn malformed(what: String) -> AuthorityError {
    AuthorityError::AuthorityMalformed { what }
}
