//! Canonical DER of public keys (RFC 5280, section 4.1.2.7; RFC 3279; RFC 5480).

use crate::{curve::Curve, public::EccPublic, public::RsaPublic};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// `AlgorithmIdentifier` rsaEncryption (1.2.840.113549.1.1.1) with NULL parameters.
const RSA_ENCRYPTION: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// `AlgorithmIdentifier` id-ecPublicKey (1.2.840.10045.2.1) on secp256r1.
const EC_P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// `AlgorithmIdentifier` id-ecPublicKey on secp384r1.
const EC_P384: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];
/// `AlgorithmIdentifier` id-ecPublicKey on secp521r1.
const EC_P521: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23,
];

pub(crate) fn rsa(key: &RsaPublic) -> Vec<u8> {
    let modulus = unsigned_integer(&key.modulus);
    let exponent = unsigned_integer(&key.exponent().to_be_bytes());
    let public_key = element(SEQUENCE, &[&modulus, &exponent]);
    element(SEQUENCE, &[RSA_ENCRYPTION, &element(BIT_STRING, &[&[0], &public_key])])
}

pub(crate) fn ecc(key: &EccPublic) -> Vec<u8> {
    let algorithm = match key.curve {
        Curve::P256 => EC_P256,
        Curve::P384 => EC_P384,
        Curve::P521 => EC_P521,
    };
    element(
        SEQUENCE,
        &[algorithm, &element(BIT_STRING, &[&[0], &key.uncompressed_point()])],
    )
}

/// `Ecdsa-Sig-Value` (RFC 3279, section 2.2.3).
pub(crate) fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&unsigned_integer(r), &unsigned_integer(s)])
}

/// A DER INTEGER of an unsigned big-endian number: the fewest bytes, with a zero byte before a set highest bit.
fn unsigned_integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|&byte| byte != 0);
    let digits = start.and_then(|start| number.get(start..)).unwrap_or(&[0]);
    match digits.first() {
        Some(first) if first & 0x80 != 0 => element(INTEGER, &[&[0], digits]),
        _ => element(INTEGER, &[digits]),
    }
}

/// One DER element. The contents here are at most a few hundred bytes, so that a length takes at most two bytes.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let [.., high, low] = contents.len().to_be_bytes();
    let mut out = vec![tag];
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        (_, _) => out.extend([0x82, high, low]),
    }
    out.extend(contents);
    out
}
