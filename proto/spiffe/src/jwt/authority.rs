//! A key of a trust domain that signs JWT-SVIDs.

use aws_lc_rs::signature::ParsedPublicKey;
use hallmark_der::NamedCurve;

use super::{
    JwtAlgorithm, JwtError,
    key::{KeyShape, require_usable},
};

/// A public key that JWT-SVIDs of one trust domain are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtAuthority {
    key_id: String,
    public_key: Vec<u8>,
    /// When the last token that it signed ends, in Unix seconds; 0 where that is not said.
    pub expires_at: i64,
    /// Whether what it signed is to be replaced: its private half may be known to others.
    pub tainted: bool,
}

impl JwtAuthority {
    /// The longest `kid`, in bytes.
    pub const MAX_KEY_ID_LEN: usize = 255;

    /// The key `public_key` (DER SubjectPublicKeyInfo), known as `key_id`.
    ///
    /// # Errors
    /// When the id is empty, too long or not printable ASCII, or the key is neither on P-256, P-384 or P-521 nor an RSA key of 2048 to
    /// 8192 bits.
    pub fn new(key_id: String, public_key: Vec<u8>) -> Result<Self, JwtError> {
        let printable = key_id.bytes().all(|byte| byte.is_ascii_graphic());
        if key_id.is_empty() || key_id.len() > Self::MAX_KEY_ID_LEN || !printable {
            return Err(JwtError::KeyId { len: key_id.len() });
        }
        require_usable(&public_key)?;
        Ok(Self {
            key_id,
            public_key,
            expires_at: 0,
            tainted: false,
        })
    }

    /// What tokens name it by (`kid`), unique within its bundle.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key, a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The algorithm that a server of ours signs with by this key: the curve's own, and RS256 with an RSA key. Other servers may use
    /// RSA keys with any of six.
    #[must_use]
    pub fn usual_algorithm(&self) -> JwtAlgorithm {
        match hallmark_der::ec_point(&self.public_key) {
            Some((NamedCurve::P256, _)) => JwtAlgorithm::Es256,
            Some((NamedCurve::P384, _)) => JwtAlgorithm::Es384,
            Some((NamedCurve::P521, _)) => JwtAlgorithm::Es512,
            None => JwtAlgorithm::Rs256,
        }
    }

    /// Whether it signs with this algorithm: the key decides, not the token.
    #[must_use]
    pub fn signs_with(&self, algorithm: JwtAlgorithm) -> bool {
        KeyShape::of(&self.public_key).is_some_and(|shape| algorithm.fits(shape))
    }

    /// Whether `signature`, as JWS has it (RFC 7518, section 3.4: r and s at full length), is one of this key over `message`.
    #[must_use]
    pub fn has_signed(&self, algorithm: JwtAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        self.signs_with(algorithm)
            && ParsedPublicKey::new(algorithm.verification(), &self.public_key)
                .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}
