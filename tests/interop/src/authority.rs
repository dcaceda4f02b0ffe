//! A throw-away X.509 authority.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use bytes::Bytes;
use hallmark_agent::cache::{SecretBytes, X509Material};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use zeroize::Zeroizing;

/// A self-signed authority of one trust domain, with its key in memory.
pub struct Authority {
    certificate: Bytes,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority of `trust_domain`.
    ///
    /// # Errors
    /// When the name fits no certificate.
    pub fn new(trust_domain: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.der().to_vec().into();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> Bytes {
        self.certificate.clone()
    }

    /// An X.509-SVID with a new key, for an hour.
    ///
    /// # Errors
    /// When the id fits no certificate.
    pub fn issue(&self, id: &str) -> Result<X509Material> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        // With the authority's own name, a certificate would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "a workload");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
        let key = KeyPair::generate()?;
        let now = SystemTime::now();
        Ok(X509Material {
            chain: params.signed_by(&key, &self.issuer)?.der().to_vec().into(),
            key: SecretBytes::new(Zeroizing::new(key.serialize_der())),
            not_before: now,
            not_after: now + Duration::from_secs(3600),
        })
    }
}
