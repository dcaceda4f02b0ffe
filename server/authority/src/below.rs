//! The certificate of another server's authority, by a CA that is not this server's own: a root kept elsewhere.

use std::time::{Duration, SystemTime};

use hallmark_spiffe::{TrustDomain, x509};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    AuthorityError, Serial, SignatureAlgorithm, SubjectKey, UpstreamAnswerError,
    authority::subject_key_id,
    draft::to_be_signed,
    extensions, name, signature,
    upstream::{verify_roots, verify_upstream},
    validity::{self, Validity},
};

/// How many authorities may stand below one that a root signs: servers below this one.
const PATH_LEN: u8 = 3;

/// A root that signs authorities. It holds no private key.
#[derive(Debug, Clone)]
pub struct RootCa {
    certificate: Vec<u8>,
    trust_domain: TrustDomain,
    subject: Vec<u8>,
    key: SubjectKey,
    key_id_extension: Vec<u8>,
    validity: Validity,
}

/// The certificate of an authority below a root, that lacks its signature.
#[derive(Debug, Clone)]
pub struct AuthorityBelowDraft {
    tbs: Vec<u8>,
    root: RootCa,
    spki: Vec<u8>,
    now: SystemTime,
}

impl RootCa {
    /// Reads a root (DER), which has to be one that relying parties of `trust_domain` may trust at `now`.
    ///
    /// # Errors
    /// As [`verify_roots`].
    pub fn new(der: &[u8], trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, UpstreamAnswerError> {
        verify_roots(&[der.to_vec()], trust_domain, now)?;
        let malformed =
            |what: &str| UpstreamAnswerError::Certificate(AuthorityError::AuthorityMalformed { what: what.to_owned() });
        let (_, certificate) = X509Certificate::from_der(der).map_err(|cause| malformed(&cause.to_string()))?;
        let key_id = subject_key_id(&certificate).ok_or_else(|| malformed("it has no subject key identifier"))?;
        Ok(Self {
            certificate: der.to_vec(),
            trust_domain: trust_domain.clone(),
            subject: certificate.subject().as_raw().to_vec(),
            key: SubjectKey::from_spki(certificate.public_key().raw).map_err(UpstreamAnswerError::Certificate)?,
            key_id_extension: extensions::authority_key_id(key_id),
            validity: Validity {
                not_before: certificate.validity().not_before.timestamp(),
                not_after: certificate.validity().not_after.timestamp(),
            },
        })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its public key, a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.key.spki()
    }

    /// What it signs with.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::of(self.key.key_type())
    }

    /// Prepares the certificate of an authority of the trust domain for the key of `csr` (PKCS#10, DER), of which the key alone counts:
    /// good for `lifetime` from `now`, and not beyond this root's end.
    ///
    /// # Errors
    /// When the request does not verify, the lifetime is out of range, or the lint finds a fault.
    pub fn prepare(
        &self,
        csr: &[u8],
        lifetime: Duration,
        serial: Serial,
        now: SystemTime,
    ) -> Result<AuthorityBelowDraft, AuthorityError> {
        let key = SubjectKey::from_csr(csr)?;
        if key.spki() == self.key.spki() {
            return Err(AuthorityError::SubjectIsAuthority);
        }
        let validity = Validity::starting(validity::unix(now)?, lifetime)?.within(self.validity);
        let algorithm = self.signature_algorithm();
        let tbs = to_be_signed(&[
            &serial.to_der(),
            algorithm.identifier(),
            &self.subject,
            &validity.to_der()?,
            &name::authority(serial),
            key.spki(),
            &extensions::intermediate(&self.trust_domain.id(), PATH_LEN, key.key_id(), &self.key_id_extension),
        ]);
        let linted = signature::certificate(&tbs, algorithm, signature::PLACEHOLDER);
        x509::lint_signing(&linted, &self.trust_domain).map_err(AuthorityError::Profile)?;
        Ok(AuthorityBelowDraft {
            tbs,
            root: self.clone(),
            spki: key.spki().to_vec(),
            now,
        })
    }
}

impl AuthorityBelowDraft {
    /// The bytes to be signed (TBSCertificate, RFC 5280, section 4.1).
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Puts the certificate (DER) together, and verifies it as the server does that asked for it.
    ///
    /// # Errors
    /// When the signature is not one of the root's key.
    pub fn seal(self, signature: &[u8]) -> Result<Vec<u8>, UpstreamAnswerError> {
        let algorithm = self.root.signature_algorithm();
        algorithm
            .check_form(signature)
            .map_err(UpstreamAnswerError::Certificate)?;
        let certificate = signature::certificate(&self.tbs, algorithm, signature);
        let chain = [certificate];
        let roots = [self.root.certificate];
        verify_upstream(&chain, &roots, &self.spki, &self.root.trust_domain, self.now)?;
        let [certificate] = chain;
        Ok(certificate)
    }
}
