//! Signatures, verified by code that the adapter has no part in.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use hallmark_hsm::SignatureAlg;

pub(crate) fn verifies(algorithm: SignatureAlg, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match algorithm {
        SignatureAlg::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        SignatureAlg::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        SignatureAlg::EcdsaP521Sha512 => &ECDSA_P521_SHA512_ASN1,
        SignatureAlg::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureAlg::RsaPkcs1Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        SignatureAlg::RsaPkcs1Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        SignatureAlg::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
        SignatureAlg::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        SignatureAlg::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
        SignatureAlg::Ed25519 => &ED25519,
    };
    ParsedPublicKey::new(algorithm, spki)
        .unwrap()
        .verify_sig(message, signature)
        .is_ok()
}
