//! Public keys of JWT authorities.

use aws_lc_rs::signature::ParsedPublicKey;
use hallmark_der::NamedCurve;

use super::{JwtAlgorithm, JwtError};

/// The longest SubjectPublicKeyInfo that is read, in bytes: one of RSA-8192 has about 1,100.
const MAX_SPKI_LEN: usize = 2048;

/// The sizes of RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The kinds of keys that sign JWT-SVIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyShape {
    /// On a curve of NIST.
    Ec(NamedCurve),
    /// RSA.
    Rsa,
}

impl KeyShape {
    /// The kind of the key `spki` (DER SubjectPublicKeyInfo); `None` for one of another kind, or not in its canonical form.
    pub(super) fn of(spki: &[u8]) -> Option<Self> {
        if spki.len() > MAX_SPKI_LEN {
            return None;
        }
        if let Some((curve, _)) = hallmark_der::ec_point(spki) {
            return Some(Self::Ec(curve));
        }
        hallmark_der::rsa_numbers(spki).is_ok().then_some(Self::Rsa)
    }

    /// Any algorithm that a key of this kind can sign with.
    const fn any_algorithm(self) -> JwtAlgorithm {
        match self {
            Self::Ec(NamedCurve::P256) => JwtAlgorithm::Es256,
            Self::Ec(NamedCurve::P384) => JwtAlgorithm::Es384,
            Self::Ec(NamedCurve::P521) => JwtAlgorithm::Es512,
            Self::Rsa => JwtAlgorithm::Rs256,
        }
    }
}

/// Refuses what is no key: another kind, a point off its curve, a modulus of other than 2048 to 8192 bits. The library reads keys of RSA
/// whatever their size, and looks at it only when it verifies.
pub(super) fn require_usable(spki: &[u8]) -> Result<(), JwtError> {
    let shape = KeyShape::of(spki).ok_or(JwtError::Key)?;
    if let Ok((modulus, _)) = hallmark_der::rsa_numbers(spki)
        && !RSA_BITS.contains(&bits(modulus))
    {
        return Err(JwtError::Key);
    }
    ParsedPublicKey::new(shape.any_algorithm().verification(), spki).map_err(|_| JwtError::Key)?;
    Ok(())
}

/// How many bits a number has, big-endian without leading zeros.
fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(usize::try_from(zeros).unwrap_or(0))
}
