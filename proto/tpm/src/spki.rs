//! Canonical SubjectPublicKeyInfo of public areas.

use hallmark_der::NamedCurve;

use crate::{curve::Curve, public::EccPublic, public::RsaPublic};

pub(crate) fn rsa(key: &RsaPublic) -> Vec<u8> {
    hallmark_der::rsa_spki(&key.modulus, &key.exponent().to_be_bytes())
}

pub(crate) fn ecc(key: &EccPublic) -> Vec<u8> {
    let curve = match key.curve {
        Curve::P256 => NamedCurve::P256,
        Curve::P384 => NamedCurve::P384,
        Curve::P521 => NamedCurve::P521,
    };
    hallmark_der::ec_spki(curve, &key.uncompressed_point())
}
