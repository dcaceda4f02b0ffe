//! JWKs of authorities (RFC 7517; RFC 7518, section 6).

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hallmark_der::NamedCurve;
use serde::Serialize;
use serde_json::{Map, Value};
use x509_parser::{
    oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521},
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use crate::jwt::JwtAuthority;

/// Exactly the members that the standard lists, no more (TDB-11): an X.509 key has no `kid` (X509-26), a JWT key has one
/// (JWT-19). A key that OpenID Connect has says its algorithm as well.
#[derive(Serialize)]
pub(super) struct PublishedKey {
    #[serde(rename = "use")]
    key_use: &'static str,
    #[serde(flatten)]
    key: KeyMembers,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'static str>,
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
        x5c: Some([STANDARD.encode(der)]),
        kid: None,
        alg: None,
    })
}

/// The JWK of a JWT authority, or `None` when its key has no such form.
pub(super) fn of_jwt_authority(authority: &JwtAuthority) -> Option<PublishedKey> {
    let (_, spki) = SubjectPublicKeyInfo::from_der(authority.public_key()).ok()?;
    Some(PublishedKey {
        key_use: super::jwks::USE_JWT,
        key: members(&spki)?,
        x5c: None,
        kid: Some(authority.key_id().to_owned()),
        alg: None,
    })
}

/// The same as verifiers of OpenID Connect read it: a key that signs (RFC 7517, sections 4.2 and 4.4).
pub(super) fn of_oidc_key(authority: &JwtAuthority) -> Option<PublishedKey> {
    Some(PublishedKey {
        key_use: "sig",
        alg: Some(authority.usual_algorithm().as_str()),
        ..of_jwt_authority(authority)?
    })
}

/// The members of a JWK that say which key it is, as others publish them.
pub(super) struct ConsumedMembers<'a> {
    crv: Option<&'a str>,
    x: Option<&'a str>,
    y: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
}

impl<'a> ConsumedMembers<'a> {
    /// As a document has them.
    pub(super) fn of(members: &'a Map<String, Value>) -> Self {
        let text = |name| members.get(name).and_then(Value::as_str);
        Self {
            crv: text("crv"),
            x: text("x"),
            y: text("y"),
            n: text("n"),
            e: text("e"),
        }
    }

    /// The key as a SubjectPublicKeyInfo; `None` where a member is missing or malformed, or the curve is unknown.
    pub(super) fn spki(&self, kty: &str) -> Option<Vec<u8>> {
        let decode = |member: Option<&str>| URL_SAFE_NO_PAD.decode(member?).ok();
        if kty == "RSA" {
            return Some(hallmark_der::rsa_spki(&decode(self.n)?, &decode(self.e)?));
        }
        let (curve, _) = CURVES.into_iter().find(|(_, name)| Some(*name) == self.crv)?;
        let (x, y) = (decode(self.x)?, decode(self.y)?);
        let full = |coordinate: &[u8]| coordinate.len() == curve.field_len();
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        (full(&x) && full(&y)).then(|| hallmark_der::ec_spki(curve, &point))
    }
}

const CURVES: [(NamedCurve, &str); 3] = [
    (NamedCurve::P256, "P-256"),
    (NamedCurve::P384, "P-384"),
    (NamedCurve::P521, "P-521"),
];

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
