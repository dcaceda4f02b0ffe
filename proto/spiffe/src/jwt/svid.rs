//! A JWT-SVID that was validated.

use serde_json::{Map, Value};

use super::{JwtAuthority, JwtError, token::Token};
use crate::{Bundle, SpiffeId, TrustDomain};

/// How far the clock of the issuer may be from the validator's, in seconds (JWT-13).
pub const LEEWAY_SECONDS: i64 = 30;

/// What a token said that is to be believed: its signature, times and audience were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtSvid {
    spiffe_id: SpiffeId,
    audience: Vec<String>,
    expires_at: i64,
    claims: Map<String, Value>,
}

impl JwtSvid {
    /// Validates a token by the rules of the standard (JWT-SVID, section 4), as somebody whom it names as `audience`, at `now` in
    /// Unix seconds. `bundle_of` gives the bundle of the subject's trust domain, where there is one.
    ///
    /// # Errors
    /// When the token is too large or malformed, its algorithm or type is not one of the standard's, its subject is no workload's
    /// SPIFFE ID, its trust domain is unknown, no key of that domain has signed it with this algorithm, it is not for `audience`, has
    /// ended or has not begun.
    pub fn validate<'a>(
        token: &str,
        audience: &str,
        now: i64,
        bundle_of: impl FnOnce(&TrustDomain) -> Option<&'a Bundle>,
    ) -> Result<Self, JwtError> {
        let token = Token::parse(token)?;
        let spiffe_id = token.claims.subject()?;
        let trust_domain = spiffe_id.trust_domain();
        let bundle = bundle_of(trust_domain).ok_or_else(|| JwtError::NoBundle {
            trust_domain: trust_domain.clone(),
        })?;
        require_signed(&token, bundle)?;
        let named = token.claims.audience()?;
        if audience.is_empty() || !named.iter().any(|name| name == audience) {
            return Err(JwtError::Audience {
                expected: excerpt(audience),
                found: excerpt(&named.join(", ")),
            });
        }
        let expires_at = token.claims.expires_at()?;
        if now >= expires_at.saturating_add(LEEWAY_SECONDS) {
            return Err(JwtError::Expired { now, expires_at });
        }
        if let Some(not_before) = token.claims.seconds("nbf")?
            && now < not_before.saturating_sub(LEEWAY_SECONDS)
        {
            return Err(JwtError::NotYetValid { now, not_before });
        }
        Ok(Self {
            spiffe_id,
            audience: named,
            expires_at,
            claims: token.claims.0,
        })
    }

    /// Whose it is.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// For whom it is; at least one.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// When it ends, in Unix seconds.
    #[must_use]
    pub const fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// When it was issued, in Unix seconds, where it says so.
    #[must_use]
    pub fn issued_at(&self) -> Option<i64> {
        self.claims.get("iat").and_then(Value::as_i64)
    }

    /// All its claims.
    #[must_use]
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Refuses a token that no JWT key of its trust domain has signed. Which key it is, the token may say; with which algorithm
/// that key signs, the key says.
fn require_signed(token: &Token<'_>, bundle: &Bundle) -> Result<(), JwtError> {
    let is_named = |key: &&JwtAuthority| token.key_id.as_deref().is_none_or(|id| id == key.key_id());
    let mut named = bundle.jwt_authorities.iter().filter(is_named).peekable();
    if named.peek().is_none() {
        return Err(JwtError::UnknownKey {
            trust_domain: bundle.trust_domain.clone(),
            key_id: token.key_id.as_deref().map(excerpt),
        });
    }
    let mut fitting = named.filter(|key| key.signs_with(token.algorithm)).peekable();
    if fitting.peek().is_none() {
        return Err(JwtError::OtherAlgorithm { found: token.algorithm });
    }
    if fitting.any(|key| key.has_signed(token.algorithm, token.signed, &token.signature)) {
        Ok(())
    } else {
        Err(JwtError::Signature)
    }
}

/// What a message shows of a text from outside.
fn excerpt(text: &str) -> String {
    text.chars().take(128).filter(|char| !char.is_control()).collect()
}
