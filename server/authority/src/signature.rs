//! Signature algorithms of authorities, and the form of their signatures.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};

use hallmark_der as der;

use crate::{AuthorityError, KeyType};

/// `ecdsa-with-SHA256` (RFC 5758, section 3.2), an AlgorithmIdentifier without parameters.
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// `ecdsa-with-SHA384`.
const ECDSA_SHA384: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// `sha256WithRSAEncryption` with NULL parameters (RFC 4055, section 5).
const RSA_SHA256: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00,
];

/// Stands in for the signature while a draft is linted.
pub(crate) const PLACEHOLDER: &[u8] = &[0];

/// What an authority signs certificates with; it follows from its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256 {
        /// The length of a signature, in bytes.
        len: usize,
    },
}

impl SignatureAlgorithm {
    pub(crate) const fn of(key: KeyType) -> Self {
        match key {
            KeyType::EcP256 => Self::EcdsaP256Sha256,
            KeyType::EcP384 => Self::EcdsaP384Sha384,
            KeyType::Rsa { bits } => Self::RsaPkcs1Sha256 { len: bits / 8 },
        }
    }

    /// The AlgorithmIdentifier, DER.
    pub(crate) const fn identifier(self) -> &'static [u8] {
        match self {
            Self::EcdsaP256Sha256 => ECDSA_SHA256,
            Self::EcdsaP384Sha384 => ECDSA_SHA384,
            Self::RsaPkcs1Sha256 { .. } => RSA_SHA256,
        }
    }

    pub(crate) fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
            Self::RsaPkcs1Sha256 { .. } => &RSA_PKCS1_2048_8192_SHA256,
        }
    }

    /// Checks that `signature` can be one of this algorithm. That it is a good one is not checked here.
    pub(crate) fn check_form(self, signature: &[u8]) -> Result<(), AuthorityError> {
        let fits = match self {
            Self::EcdsaP256Sha256 => is_ecdsa_signature(signature, 32),
            Self::EcdsaP384Sha384 => is_ecdsa_signature(signature, 48),
            Self::RsaPkcs1Sha256 { len } => signature.len() == len,
        };
        if fits {
            return Ok(());
        }
        Err(AuthorityError::SignatureForm {
            algorithm: self,
            len: signature.len(),
        })
    }
}

/// Whether these are two positive numbers of at most `field_len` bytes (RFC 3279, section 2.2.3).
fn is_ecdsa_signature(signature: &[u8], field_len: usize) -> bool {
    hallmark_der::ecdsa_numbers(signature).is_ok_and(|(r, s)| r.len() <= field_len && s.len() <= field_len)
}

/// A certificate of these parts (RFC 5280, section 4.1).
pub(crate) fn certificate(tbs: &[u8], algorithm: SignatureAlgorithm, signature: &[u8]) -> Vec<u8> {
    der::sequence(&[tbs, algorithm.identifier(), &der::bit_string(signature)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ecdsa(r: &[u8], s: &[u8]) -> Vec<u8> {
        hallmark_der::ecdsa_signature(r, s)
    }

    #[test]
    fn what_cannot_be_a_signature_is_refused() {
        let p256 = SignatureAlgorithm::EcdsaP256Sha256;
        assert!(p256.check_form(&ecdsa(&[0xff; 32], &[1; 31])).is_ok(), "the control");
        let mut trailing = ecdsa(&[1; 32], &[1; 32]);
        trailing.push(0);
        for (why, signature) in [
            ("empty", Vec::new()),
            ("bare r||s", vec![1; 64]),
            ("of the other curve", ecdsa(&[1; 48], &[1; 48])),
            ("r is zero", ecdsa(&[], &[1; 32])),
            ("trailing byte", trailing),
        ] {
            let refused = p256.check_form(&signature);
            assert!(matches!(refused, Err(AuthorityError::SignatureForm { .. })), "{why}");
        }
        let rsa = SignatureAlgorithm::RsaPkcs1Sha256 { len: 256 };
        assert!(rsa.check_form(&[1; 256]).is_ok());
        assert!(rsa.check_form(&[1; 255]).is_err());
    }
}
