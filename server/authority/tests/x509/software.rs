//! Software keys, and authorities that sign with them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use hallmark_authority::{Serial, X509Authority, prepare_authority};
use hallmark_spiffe::TrustDomain;

pub(crate) const NOW: u64 = 1_795_000_000;

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) enum SoftwareKey {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SoftwareKey {
    /// One of each kind.
    pub(crate) fn kinds() -> Vec<(&'static str, Self)> {
        let rsa = |size| Self::Rsa(RsaKeyPair::generate(size).unwrap());
        vec![
            ("ec-p256", Self::p256()),
            (
                "ec-p384",
                Self::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap()),
            ),
            ("rsa-2048", rsa(KeySize::Rsa2048)),
            ("rsa-3072", rsa(KeySize::Rsa3072)),
            ("rsa-4096", rsa(KeySize::Rsa4096)),
        ]
    }

    pub(crate) fn p256() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Ec(key) => key.public_key().as_der().unwrap(),
            Self::Rsa(key) => key.public_key().as_der().unwrap(),
        };
        der.as_ref().to_vec()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A self-signed authority of this key, good for a year.
    pub(crate) fn authority(&self) -> X509Authority {
        let year = Duration::from_secs(365 * 86_400);
        let serial = Serial::from_random([9; 16]);
        let draft = prepare_authority(&trust_domain(), &self.spki(), year, serial, now()).unwrap();
        let signature = self.sign(draft.tbs());
        let certificate = draft.seal(&signature).unwrap();
        X509Authority::from_certificate(&certificate, &trust_domain()).unwrap()
    }
}
