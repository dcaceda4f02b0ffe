//! The public keys of a trust domain (SPIFFE Trust Domain and Bundle, section 4).

mod error;
mod jwk;
mod jwks;
mod pem;

use std::time::Duration;

pub use error::BundleError;

use crate::{
    TrustDomain,
    jwt::JwtAuthority,
    x509::{Authorities, ChainError},
};

/// A trust domain and its authorities, kept together at all times (TDB-15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Whose authorities these are.
    pub trust_domain: TrustDomain,
    /// X.509 CA certificates, DER. None: the trust domain has no X509-SVIDs (X509-31).
    pub x509_authorities: Vec<Vec<u8>>,
    /// Keys that JWT-SVIDs are verified with, each with an id of its own. None: the trust domain has no JWT-SVIDs.
    pub jwt_authorities: Vec<JwtAuthority>,
    /// Grows with every change of content (TDB-04). 0 when the source gave none.
    pub sequence: u64,
    /// How often to look for a newer one; zero when the source gave none (TDB-16).
    pub refresh_hint: Duration,
}

impl Bundle {
    /// The longest bundle document that is read, in bytes.
    pub const MAX_DOCUMENT_LEN: usize = 4 * 1024 * 1024;
    /// The most keys that a bundle document may have.
    pub const MAX_KEYS: usize = 1024;

    /// A bundle without authorities.
    #[must_use]
    pub const fn empty(trust_domain: TrustDomain) -> Self {
        Self {
            trust_domain,
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
            sequence: 0,
            refresh_hint: Duration::ZERO,
        }
    }

    /// The bundle as a JWK Set with exactly the members that the standard lists (X509-25 to -28, JWT-18, JWT-19, TDB-01 to
    /// -13): the keys in the order of `x509_authorities`, then of `jwt_authorities`.
    ///
    /// # Errors
    /// When an authority is no CA certificate of this trust domain, its key has no JWK form, or two JWT keys have one id.
    pub fn to_jwks(&self) -> Result<String, BundleError> {
        jwks::publish(self)
    }

    /// The JWT keys alone as a JWK Set, as the Workload API hands it out (WLA-36).
    ///
    /// # Errors
    /// When two keys have one id.
    pub fn to_jwt_jwks(&self) -> Result<String, BundleError> {
        jwks::publish_jwt(self)
    }

    /// The JWT keys that are not tainted, as a JWK Set for verifiers that know OpenID Connect and not SPIFFE: each with `use` `sig` and
    /// the algorithm that it signs with (OpenID Connect Discovery 1.0, section 3, `jwks_uri`).
    ///
    /// # Errors
    /// When two keys have one id.
    pub fn to_oidc_jwks(&self) -> Result<String, BundleError> {
        jwks::publish_oidc(self.oidc_keys())
    }

    /// The keys that [`to_oidc_jwks`](Self::to_oidc_jwks) has.
    pub fn oidc_keys(&self) -> impl Iterator<Item = &JwtAuthority> {
        self.jwt_authorities.iter().filter(|key| !key.tainted)
    }

    /// Reads a JWK Set. Keys of an unknown or missing `use`, of an unknown `kty`, X.509 keys without a
    /// certificate and JWT keys without an id are passed over, and so are members that the standard does not list (TDB-02, TDB-09,
    /// X509-29, X509-30).
    ///
    /// # Errors
    /// When the document is too large, is no JWK Set, or holds a certificate that cannot be an authority of
    /// `trust_domain`.
    pub fn from_jwks(trust_domain: &TrustDomain, document: &str) -> Result<Self, BundleError> {
        jwks::consume(trust_domain, document)
    }

    /// The X.509 authorities as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.x509_authorities.iter().map(|der| pem::encode(der)).collect()
    }

    /// Reads X.509 authorities from a file of certificates, PEM or DER ([`hallmark_der::certificates`]); sequence and refresh
    /// hint are not part of these forms.
    ///
    /// # Errors
    /// When the file has no certificate, has anything besides certificates (a private key does not belong
    /// into a bundle), or a certificate cannot be an authority of `trust_domain`.
    pub fn from_certificates(trust_domain: &TrustDomain, file: &[u8]) -> Result<Self, BundleError> {
        pem::decode(trust_domain, file)
    }

    /// The X.509 authorities, ready to verify chains.
    ///
    /// # Errors
    /// When one of them cannot be an authority of this trust domain.
    pub fn authorities(&self) -> Result<Authorities, ChainError> {
        let roots: Vec<&[u8]> = self.x509_authorities.iter().map(Vec::as_slice).collect();
        Authorities::new(&self.trust_domain, &roots)
    }
}
