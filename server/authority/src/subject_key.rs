//! Public keys that certificates are issued for.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    signature::{ParsedPublicKey, VerificationAlgorithm},
};

use hallmark_der::{NamedCurve, Reader, tag};

use crate::{AuthorityError, SignatureAlgorithm, csr};

const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 4096;
/// The longest public exponent, in bytes; the least is 65,537.
const MAX_RSA_EXPONENT_LEN: usize = 8;

/// The kinds of keys that are certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyType {
    /// NIST P-256.
    EcP256,
    /// NIST P-384.
    EcP384,
    /// RSA, 2048 to 4096 bits.
    Rsa {
        /// The modulus' length in bits.
        bits: usize,
    },
}

/// A public key that may be certified. It shows that the key is well formed and strong enough; only
/// [`from_csr`](Self::from_csr) shows that somebody holds its private half.
#[derive(Clone, PartialEq, Eq)]
pub struct SubjectKey {
    spki: Vec<u8>,
    key_type: KeyType,
    key_id: [u8; 20],
}

impl SubjectKey {
    /// The key of a PKCS#10 request (RFC 2986) whose signature verifies: with P-256 or P-384 by ECDSA, with RSA of
    /// 2048 to 4096 bits by PKCS#1 v1.5, over SHA-256 or more. Everything else in the request is ignored: subject
    /// and extensions are decided by the grant.
    ///
    /// # Errors
    /// When the request is larger than [`MAX_CSR_LEN`](crate::MAX_CSR_LEN), is not one DER request to its last
    /// byte, its signature does not verify, or its key is of another kind or too weak.
    pub fn from_csr(der: &[u8]) -> Result<Self, AuthorityError> {
        csr::verified_key(der)
    }

    /// A key from its DER SubjectPublicKeyInfo. That its holder has the private half must be known from elsewhere,
    /// as from a TPM's certification.
    ///
    /// # Errors
    /// When the key is of another kind, too weak, or not in its one canonical form.
    pub fn from_spki(spki: &[u8]) -> Result<Self, AuthorityError> {
        let key = Self::shaped(spki)?;
        key.parsed(SignatureAlgorithm::of(key.key_type).verification())?;
        Ok(key)
    }

    /// Checks the form alone; whether the point lies on its curve shows when the key is used.
    pub(crate) fn shaped(spki: &[u8]) -> Result<Self, AuthorityError> {
        let key_type = match hallmark_der::ec_point(spki) {
            Some((NamedCurve::P256, _)) => KeyType::EcP256,
            Some((NamedCurve::P384, _)) => KeyType::EcP384,
            Some((NamedCurve::P521, _)) => return Err(AuthorityError::KeyKind),
            None => {
                let (modulus, exponent) = hallmark_der::rsa_numbers(spki).map_err(|_| AuthorityError::KeyKind)?;
                check_rsa(modulus, exponent)?
            }
        };
        let key_id = key_id(spki)?;
        Ok(Self {
            spki: spki.to_vec(),
            key_type,
            key_id,
        })
    }

    pub(crate) fn parsed(
        &self,
        algorithm: &'static dyn VerificationAlgorithm,
    ) -> Result<ParsedPublicKey, AuthorityError> {
        ParsedPublicKey::new(algorithm, &self.spki).map_err(|_| AuthorityError::KeyInvalid)
    }

    /// The SubjectPublicKeyInfo, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Its kind.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The SHA-1 of the key's bits (RFC 5280, section 4.2.1.2, method 1): a name for the key, not a protection.
    #[must_use]
    pub const fn key_id(&self) -> &[u8; 20] {
        &self.key_id
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectKey({:?}, ", self.key_type)?;
        self.key_id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

fn key_id(spki: &[u8]) -> Result<[u8; 20], AuthorityError> {
    let bits = Reader::new(spki).inside(tag::SEQUENCE, |spki| {
        spki.take(tag::SEQUENCE)?;
        spki.bits()
    });
    let bits = bits.map_err(|_| AuthorityError::KeyKind)?;
    digest(&SHA1_FOR_LEGACY_USE_ONLY, bits)
        .as_ref()
        .try_into()
        .map_err(|_| AuthorityError::KeyKind)
}

fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<KeyType, AuthorityError> {
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
    let bits = (modulus.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0));
    let whole_bytes = bits % 8 == 0;
    if !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) || !whole_bytes {
        return Err(AuthorityError::RsaSize { bits });
    }
    let small = exponent.len() < 3 || (exponent.len() == 3 && exponent < [1, 0, 1].as_slice());
    let even = exponent.last().is_none_or(|byte| byte % 2 == 0);
    if small || even || exponent.len() > MAX_RSA_EXPONENT_LEN {
        return Err(AuthorityError::RsaExponent);
    }
    Ok(KeyType::Rsa { bits })
}
