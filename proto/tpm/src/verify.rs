//! Verification of TPM signatures, pinned to the key.

use aws_lc_rs::signature::{self as aws, ParsedPublicKey, RsaParameters, RsaPssSaltLength, VerificationAlgorithm};

use crate::{
    alg::HashAlg,
    curve::Curve,
    error::WireError,
    public::{EccPublic, PublicArea, PublicKind, RsaPublic},
    signature::Signature,
    spki,
};

static SSA_SHA256: [RsaParameters; 1] = [aws::RSA_PKCS1_2048_8192_SHA256];
static SSA_SHA384: [RsaParameters; 1] = [aws::RSA_PKCS1_2048_8192_SHA384];
static SSA_SHA512: [RsaParameters; 1] = [aws::RSA_PKCS1_2048_8192_SHA512];
static PSS_SHA256: [RsaParameters; 2] = both_salts(aws::RSA_PSS_2048_8192_SHA256, aws::RSA_PSS_2048_8192_SHA256);
static PSS_SHA384: [RsaParameters; 2] = both_salts(aws::RSA_PSS_2048_8192_SHA384, aws::RSA_PSS_2048_8192_SHA384);
static PSS_SHA512: [RsaParameters; 2] = both_salts(aws::RSA_PSS_2048_8192_SHA512, aws::RSA_PSS_2048_8192_SHA512);

/// A salt as long as the digest, and one as long as fits: a TPM outside its FIPS mode fills the whole width (part 1,
/// annex B.7 "RSASSA_PSS").
const fn both_salts(short: RsaParameters, long: RsaParameters) -> [RsaParameters; 2] {
    [short, long.with_pss_salt_length(RsaPssSaltLength::Max)]
}

impl Signature {
    /// Verifies the signature over `message` (the marshalled `TPMS_ATTEST`) with `key`.
    ///
    /// The scheme and the hash must be those that the key is bound to; a key that is bound to no scheme is refused.
    /// The numbers of an ECDSA signature must be as wide as the curve, not zero and below the order. What this does not
    /// prove: that the key is in a TPM, or that the message is fresh.
    ///
    /// # Errors
    /// The key and the signature do not fit each other, the key is not a valid one, or the signature is wrong: it was
    /// made by another key or over another message.
    pub fn verify(&self, key: &PublicArea, message: &[u8]) -> Result<(), WireError> {
        match (self, key.kind()) {
            (Self::Ecdsa { r, s, .. }, PublicKind::Ecc(ecc)) => {
                self.check_scheme(key)?;
                self.verify_ecdsa(ecc, r, s, message)
            }
            (Self::RsaSsa { signature, .. } | Self::RsaPss { signature, .. }, PublicKind::Rsa(rsa)) => {
                self.check_scheme(key)?;
                self.verify_rsa(rsa, signature, message)
            }
            (_, PublicKind::KeyedHash { .. }) => Err(WireError::NotAKeyPair("keyed-hash")),
            (_, PublicKind::SymCipher { .. }) => Err(WireError::NotAKeyPair("symmetric cipher")),
            _ => Err(self.mismatch(key)),
        }
    }

    fn check_scheme(&self, key: &PublicArea) -> Result<(), WireError> {
        if key.scheme() == Some(self.scheme()) {
            Ok(())
        } else {
            Err(self.mismatch(key))
        }
    }

    fn mismatch(&self, key: &PublicArea) -> WireError {
        let bound = key.scheme().map(|scheme| scheme.to_string()).unwrap_or_default();
        let kind = match key.kind() {
            PublicKind::Rsa(_) => "RSA",
            PublicKind::Ecc(_) => "ECC",
            PublicKind::KeyedHash { .. } | PublicKind::SymCipher { .. } => "symmetric",
        };
        WireError::SchemeMismatch {
            key: format!("{kind} {bound}"),
            signature: self.scheme().to_string(),
        }
    }

    fn verify_ecdsa(&self, key: &EccPublic, r: &[u8], s: &[u8], message: &[u8]) -> Result<(), WireError> {
        for number in [r, s] {
            if number.len() != key.curve.coordinate_len() {
                return Err(WireError::SignatureValue("an ECDSA number is not as wide as the curve"));
            }
            if number.iter().all(|&byte| byte == 0) {
                return Err(WireError::SignatureValue("an ECDSA number is zero"));
            }
            // Equal widths, so the order of bytes is the order of numbers.
            if number >= key.curve.order() {
                return Err(WireError::SignatureValue(
                    "an ECDSA number is not below the curve's order",
                ));
            }
        }
        let algorithm = ecdsa_algorithm(key.curve, self.hash())?;
        let public = ParsedPublicKey::new(algorithm, key.uncompressed_point())
            .map_err(|_| WireError::InvalidKey(key.curve.as_str()))?;
        public
            .verify_sig(message, &hallmark_der::ecdsa_signature(r, s))
            .map_err(|_| WireError::SignatureInvalid)
    }

    fn verify_rsa(&self, key: &RsaPublic, signature: &[u8], message: &[u8]) -> Result<(), WireError> {
        if signature.len() != key.modulus.len() {
            return Err(WireError::SignatureValue(
                "an RSA signature is not as wide as the modulus",
            ));
        }
        let spki = spki::rsa(key);
        for algorithm in self.rsa_algorithms()? {
            let public = ParsedPublicKey::new(algorithm, &spki).map_err(|_| WireError::InvalidKey("RSA"))?;
            if public.verify_sig(message, signature).is_ok() {
                return Ok(());
            }
        }
        Err(WireError::SignatureInvalid)
    }

    /// The algorithms to try.
    fn rsa_algorithms(&self) -> Result<&'static [RsaParameters], WireError> {
        match (matches!(self, Self::RsaPss { .. }), self.hash()) {
            (false, HashAlg::Sha256) => Ok(&SSA_SHA256),
            (false, HashAlg::Sha384) => Ok(&SSA_SHA384),
            (false, HashAlg::Sha512) => Ok(&SSA_SHA512),
            (true, HashAlg::Sha256) => Ok(&PSS_SHA256),
            (true, HashAlg::Sha384) => Ok(&PSS_SHA384),
            (true, HashAlg::Sha512) => Ok(&PSS_SHA512),
            (_, HashAlg::Sha1) => Err(WireError::Weak {
                field: "signature hash",
                found: "SHA-1",
            }),
        }
    }
}

fn ecdsa_algorithm(curve: Curve, hash: HashAlg) -> Result<&'static dyn VerificationAlgorithm, WireError> {
    Ok(match (curve, hash) {
        (Curve::P256, HashAlg::Sha256) => &aws::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, HashAlg::Sha384) => &aws::ECDSA_P256_SHA384_ASN1,
        (Curve::P256, HashAlg::Sha512) => &aws::ECDSA_P256_SHA512_ASN1,
        (Curve::P384, HashAlg::Sha256) => &aws::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, HashAlg::Sha384) => &aws::ECDSA_P384_SHA384_ASN1,
        (Curve::P384, HashAlg::Sha512) => &aws::ECDSA_P384_SHA512_ASN1,
        (Curve::P521, HashAlg::Sha256) => &aws::ECDSA_P521_SHA256_ASN1,
        (Curve::P521, HashAlg::Sha384) => &aws::ECDSA_P521_SHA384_ASN1,
        (Curve::P521, HashAlg::Sha512) => &aws::ECDSA_P521_SHA512_ASN1,
        (_, HashAlg::Sha1) => {
            return Err(WireError::Weak {
                field: "signature hash",
                found: "SHA-1",
            });
        }
    })
}
