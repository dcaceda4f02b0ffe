//! A root whose key is in a file: for labs, where nobody loses anything when it is copied.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::{self, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use futures_util::future::BoxFuture;
use hallmark_authority::{RootCa, Serial, SignatureAlgorithm, UpstreamAnswerError};
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::TrustDomain;

use crate::{Asked, Signed, Upstream, UpstreamError};

/// Why a root in files cannot be used, or does not sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileRootError {
    /// The certificate, or what it signed, breaks a rule.
    #[error(transparent)]
    Certificate(#[from] UpstreamAnswerError),
    /// The key is none, or not the certificate's.
    #[error("the key of the root in files cannot be used: {what}")]
    Key {
        /// What is wrong; never the key.
        what: &'static str,
    },
}

impl FileRootError {
    /// A key that is not PKCS#8 in PEM.
    #[must_use]
    pub const fn unreadable_key() -> Self {
        Self::Key {
            what: "it is no PKCS#8 key in PEM",
        }
    }
}

impl Coded for FileRootError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Certificate(error) => error.code(),
            Self::Key { .. } => ReasonCode::new("HM-CONF-0114"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Certificate(error) => Some(error),
            Self::Key { .. } => None,
        }
    }

    fn compared(&self) -> Option<String> {
        self.inner()?.compared()
    }
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// A root whose key is in this process.
#[derive(Debug, Clone)]
pub struct FileUpstream {
    root: RootCa,
    key: Arc<Key>,
}

impl FileUpstream {
    /// The root with this certificate (DER) and key (PKCS#8, DER).
    ///
    /// # Errors
    /// When the certificate is none that relying parties of `trust_domain` may trust now, or the key is not its own.
    pub fn new(certificate: &[u8], pkcs8: &[u8], trust_domain: &TrustDomain) -> Result<Self, FileRootError> {
        let root = RootCa::new(certificate, trust_domain, SystemTime::now())?;
        let unusable = |_| FileRootError::Key {
            what: "it is no PKCS#8 key of the certificate's kind",
        };
        let key = match root.signature_algorithm() {
            SignatureAlgorithm::EcdsaP256Sha256 => {
                Key::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).map_err(unusable)?)
            }
            SignatureAlgorithm::EcdsaP384Sha384 => {
                Key::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8).map_err(unusable)?)
            }
            _ => Key::Rsa(RsaKeyPair::from_pkcs8(pkcs8).map_err(unusable)?),
        };
        let public = match &key {
            Key::Ec(key) => key.public_key().as_der(),
            Key::Rsa(key) => key.public_key().as_der(),
        };
        if !public.is_ok_and(|public| public.as_ref() == root.spki()) {
            let what = "it is not the certificate's";
            return Err(FileRootError::Key { what });
        }
        Ok(Self {
            root,
            key: Arc::new(key),
        })
    }

    fn certify(&self, csr: &[u8], lifetime: Duration) -> Result<Vec<u8>, FileRootError> {
        let random = |_| FileRootError::Key {
            what: "no random bytes, or it does not sign",
        };
        let mut number = [0; 16];
        rand::fill(&mut number).map_err(random)?;
        let draft = self
            .root
            .prepare(csr, lifetime, Serial::from_random(number), SystemTime::now())
            .map_err(UpstreamAnswerError::Certificate)?;
        let signature = match &*self.key {
            Key::Ec(key) => key
                .sign(&SystemRandom::new(), draft.tbs())
                .map_err(random)?
                .as_ref()
                .to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), draft.tbs(), &mut signature)
                    .map_err(random)?;
                signature
            }
        };
        Ok(draft.seal(&signature)?)
    }
}

impl Upstream for FileUpstream {
    fn name(&self) -> String {
        "file".to_owned()
    }

    fn sign(&self, asked: Asked) -> BoxFuture<'_, Result<Signed, UpstreamError>> {
        Box::pin(async move {
            let signed = self.certify(&asked.csr, asked.lifetime);
            let certificate = signed.map_err(|error| -> UpstreamError { Box::new(error) })?;
            Ok(Signed {
                chain: vec![certificate],
                roots: vec![self.root.certificate().to_vec()],
            })
        })
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, UpstreamError>> {
        let root = self.root.certificate().to_vec();
        Box::pin(async { Ok(Some(vec![root])) })
    }
}
