//! One JWK of an X.509 authority (RFC 7517; RFC 7518, section 6).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Serialize;
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521},
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

/// Exactly the members that the standard lists, no more (TDB-11), and no `kid` (X509-26).
#[derive(Serialize)]
pub(super) struct PublishedKey {
    #[serde(rename = "use")]
    key_use: &'static str,
    #[serde(flatten)]
    key: KeyMembers,
    x5c: [String; 1],
}

#[derive(Serialize)]
#[serde(tag = "kty")]
enum KeyMembers {
    #[serde(rename = "EC")]
    Ec { crv: &'static str, x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

/// The JWK of a CA certificate, or `None` when its key has no such form.
pub(super) fn of_certificate(der: &[u8]) -> Option<PublishedKey> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let key = members(certificate.public_key())?;
    Some(PublishedKey {
        key_use: super::jwks::USE_X509,
        key,
        x5c: [STANDARD.encode(der)],
    })
}

fn members(spki: &SubjectPublicKeyInfo<'_>) -> Option<KeyMembers> {
    match spki.parsed().ok()? {
        PublicKey::RSA(key) => Some(KeyMembers::Rsa {
            n: unsigned(key.modulus),
            e: unsigned(key.exponent),
        }),
        PublicKey::EC(point) => {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let (crv, len) = [
                (OID_EC_P256, "P-256", 32),
                (OID_NIST_EC_P384, "P-384", 48),
                (OID_NIST_EC_P521, "P-521", 66),
            ]
            .into_iter()
            .find_map(|(oid, crv, len)| (oid == curve).then_some((crv, len)))?;
            // SEC 1, section 2.3.3: 04, then both coordinates at full length.
            let coordinates = point.data().strip_prefix(&[4])?;
            let (x, y) = coordinates.split_at_checked(len)?;
            (y.len() == len).then(|| KeyMembers::Ec {
                crv,
                x: URL_SAFE_NO_PAD.encode(x),
                y: URL_SAFE_NO_PAD.encode(y),
            })
        }
        _ => None,
    }
}

/// RFC 7518, section 2: Base64urlUInt has no leading zero octets.
fn unsigned(integer: &[u8]) -> String {
    let start = integer.iter().position(|byte| *byte != 0).unwrap_or(integer.len());
    URL_SAFE_NO_PAD.encode(integer.get(start..).unwrap_or_default())
}
