//! The two documents, made anew when the bundle has changed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hallmark_spiffe::{Bundle, BundleError};
use http::HeaderValue;
use serde::Serialize;

use crate::{authority::ActiveAuthority, config::IssuerUrl};

/// Where the discovery document is, below the issuer (Discovery, section 4).
pub(super) const CONFIGURATION: &str = ".well-known/openid-configuration";
/// Where the keys are, below the issuer.
pub(super) const KEYS: &str = "keys";
/// The longest that verifiers keep a document.
const MAX_AGE: Duration = Duration::from_secs(300);

/// What verifiers are told (Discovery, section 3), and nothing that this server does not do: it authenticates no people.
#[derive(Serialize)]
struct Configuration<'a> {
    issuer: &'a str,
    jwks_uri: String,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: BTreeSet<&'static str>,
}

/// A document as it is sent.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) body: Bytes,
    pub(super) etag: HeaderValue,
}

impl Document {
    fn new(text: String) -> Self {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.as_ref()));
        Self {
            body: text.into(),
            // Base64 in quotes is always a header's value.
            etag: HeaderValue::from_str(&etag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
        }
    }
}

/// The documents of one bundle.
#[derive(Debug)]
pub(super) struct Published {
    sequence: u64,
    pub(super) configuration: Document,
    pub(super) keys: Document,
    pub(super) has_keys: bool,
}

impl Published {
    fn of(bundle: &Bundle, issuer: &IssuerUrl) -> Result<Self, BundleError> {
        let algorithms: BTreeSet<_> = bundle.oidc_keys().map(|key| key.usual_algorithm().as_str()).collect();
        let has_keys = !algorithms.is_empty();
        let configuration = Configuration {
            issuer: issuer.as_str(),
            jwks_uri: issuer.join(KEYS),
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
        };
        // Text and lists of text always have a JSON form.
        let configuration = serde_json::to_string(&configuration).unwrap_or_default();
        Ok(Self {
            sequence: bundle.sequence,
            configuration: Document::new(configuration),
            keys: Document::new(bundle.to_oidc_jwks()?),
            has_keys,
        })
    }
}

/// What is published of the bundle that is served.
#[derive(Debug)]
pub(super) struct Documents {
    issuer: IssuerUrl,
    authority: Arc<ArcSwap<ActiveAuthority>>,
    published: ArcSwapOption<Published>,
    /// `Cache-Control` of both.
    pub(super) caching: HeaderValue,
}

impl Documents {
    /// The documents of `issuer`. A key is published for a third of its life before it signs: verifiers look again at least twice
    /// in that time.
    pub(super) fn new(issuer: IssuerUrl, authority: Arc<ArcSwap<ActiveAuthority>>, key_lifetime: Duration) -> Self {
        let max_age = MAX_AGE.min(key_lifetime / 6).as_secs();
        let caching = HeaderValue::from_str(&format!("public, max-age={max_age}"));
        Self {
            issuer,
            authority,
            published: ArcSwapOption::empty(),
            caching: caching.unwrap_or_else(|_| HeaderValue::from_static("no-cache")),
        }
    }

    /// Those of now. Where the bundle has not changed, as they were made last.
    ///
    /// # Errors
    /// A key has no JWK form, or two have one id.
    pub(super) fn now(&self) -> Result<Arc<Published>, BundleError> {
        let authority = self.authority.load();
        if let Some(published) = self.published.load_full()
            && published.sequence == authority.bundle.sequence
        {
            return Ok(published);
        }
        let published = Arc::new(Published::of(&authority.bundle, &self.issuer)?);
        self.published.store(Some(Arc::clone(&published)));
        Ok(published)
    }
}
