//! Bundles as JWK Sets: strict in what is published, lenient in what is read.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{Bundle, BundleError, jwk};
use crate::{TrustDomain, jwt::JwtAuthority, x509};

pub(super) const USE_X509: &str = "x509-svid";
pub(super) const USE_JWT: &str = "jwt-svid";

#[derive(Serialize)]
struct Published {
    keys: Vec<jwk::PublishedKey>,
    spiffe_sequence: u64,
    spiffe_refresh_hint: u64,
}

pub(super) fn publish(bundle: &Bundle) -> Result<String, BundleError> {
    let mut keys = Vec::with_capacity(bundle.x509_authorities.len());
    for (index, der) in bundle.x509_authorities.iter().enumerate() {
        x509::check_authority(der, &bundle.trust_domain).map_err(|source| BundleError::Authority { index, source })?;
        keys.push(jwk::of_certificate(der).ok_or(BundleError::Key { index })?);
    }
    keys.extend(jwt_keys(&bundle.jwt_authorities, jwk::of_jwt_authority)?);
    written(bundle, keys)
}

pub(super) fn publish_jwt(bundle: &Bundle) -> Result<String, BundleError> {
    written(bundle, jwt_keys(&bundle.jwt_authorities, jwk::of_jwt_authority)?)
}

/// A JWK Set without what SPIFFE adds to it (RFC 7517, section 5).
#[derive(Serialize)]
struct OidcKeys {
    keys: Vec<jwk::PublishedKey>,
}

pub(super) fn publish_oidc<'a>(keys: impl IntoIterator<Item = &'a JwtAuthority>) -> Result<String, BundleError> {
    let keys = jwt_keys(keys, jwk::of_oidc_key)?;
    serde_json::to_string(&OidcKeys { keys }).map_err(not_jwks)
}

fn jwt_keys<'a>(
    authorities: impl IntoIterator<Item = &'a JwtAuthority>,
    jwk: impl Fn(&JwtAuthority) -> Option<jwk::PublishedKey>,
) -> Result<Vec<jwk::PublishedKey>, BundleError> {
    let mut ids = BTreeSet::new();
    let one = |authority: &JwtAuthority| {
        let key_id = authority.key_id();
        if !ids.insert(key_id.to_owned()) {
            return Err(BundleError::KeyIdTwice {
                key_id: key_id.to_owned(),
            });
        }
        jwk(authority).ok_or_else(|| BundleError::JwtKey {
            key_id: key_id.to_owned(),
        })
    };
    authorities.into_iter().map(one).collect()
}

fn written(bundle: &Bundle, keys: Vec<jwk::PublishedKey>) -> Result<String, BundleError> {
    let document = Published {
        keys,
        spiffe_sequence: bundle.sequence,
        spiffe_refresh_hint: bundle.refresh_hint.as_secs(),
    };
    serde_json::to_string(&document).map_err(not_jwks)
}

#[derive(Deserialize)]
struct Consumed {
    keys: Vec<ConsumedKey>,
    #[serde(default)]
    spiffe_sequence: Option<u64>,
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
}

/// A key as others publish it. A foreign kind of key may give these names another shape, so each is read as
/// any JSON and understood only where the key is one of ours.
#[derive(Deserialize)]
struct ConsumedKey {
    #[serde(default)]
    kty: serde_json::Value,
    #[serde(default, rename = "use")]
    key_use: serde_json::Value,
    #[serde(default)]
    x5c: serde_json::Value,
    #[serde(default)]
    kid: serde_json::Value,
    #[serde(flatten)]
    members: serde_json::Map<String, serde_json::Value>,
}

pub(super) fn consume(trust_domain: &TrustDomain, document: &str) -> Result<Bundle, BundleError> {
    if document.len() > Bundle::MAX_DOCUMENT_LEN {
        return Err(BundleError::TooLarge { len: document.len() });
    }
    let document = document.strip_prefix('\u{feff}').unwrap_or(document);
    let set: Consumed = serde_json::from_str(document).map_err(not_jwks)?;
    if set.keys.len() > Bundle::MAX_KEYS {
        return Err(BundleError::TooManyKeys { count: set.keys.len() });
    }
    let mut bundle = Bundle::empty(trust_domain.clone());
    bundle.sequence = set.spiffe_sequence.unwrap_or(0);
    bundle.refresh_hint = Duration::from_secs(set.spiffe_refresh_hint.unwrap_or(0));
    for (index, key) in set.keys.iter().enumerate() {
        if let Some(authority) = jwt_authority(key, index)? {
            if bundle
                .jwt_authorities
                .iter()
                .any(|it| it.key_id() == authority.key_id())
            {
                let key_id = authority.key_id().to_owned();
                return Err(BundleError::KeyIdTwice { key_id });
            }
            bundle.jwt_authorities.push(authority);
            continue;
        }
        let Some(text) = certificate_text(key) else {
            continue;
        };
        let der = STANDARD.decode(text).map_err(|_| BundleError::Base64 { index })?;
        x509::check_authority(&der, trust_domain).map_err(|source| BundleError::Authority { index, source })?;
        bundle.x509_authorities.push(der);
    }
    Ok(bundle)
}

/// The key of a JWT authority; `None` for every key that is to be passed over.
fn jwt_authority(key: &ConsumedKey, index: usize) -> Result<Option<JwtAuthority>, BundleError> {
    let (Some(kty @ ("EC" | "RSA")), Some(USE_JWT), Some(key_id)) =
        (key.kty.as_str(), key.key_use.as_str(), key.kid.as_str())
    else {
        return Ok(None);
    };
    let spki = jwk::ConsumedMembers::of(&key.members).spki(kty);
    let spki = spki.ok_or(BundleError::Members { index })?;
    let authority = JwtAuthority::new(key_id.to_owned(), spki);
    authority.map(Some).map_err(|source| BundleError::Jwt { index, source })
}

/// The first `x5c` value of an X.509 key; `None` for every key that is to be passed over.
fn certificate_text(key: &ConsumedKey) -> Option<&str> {
    let known_type = matches!(key.kty.as_str(), Some("EC" | "RSA"));
    if !known_type || key.key_use.as_str() != Some(USE_X509) {
        return None;
    }
    key.x5c.as_array()?.first()?.as_str()
}

fn not_jwks(cause: serde_json::Error) -> BundleError {
    BundleError::NotJwks {
        what: cause.to_string(),
    }
}
