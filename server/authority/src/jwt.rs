//! A JWT-SVID: prepared, signed elsewhere, put together, and validated as any reader would.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallmark_spiffe::{
    Bundle, SpiffeId, TrustDomain,
    jwt::{JwtAlgorithm, JwtAuthority, JwtSvid},
};
use hallmark_state::Grant;
use serde_json::{Map, Value, json};

use crate::AuthorityError;

/// The most audiences that a token is issued for.
pub const MAX_AUDIENCES: usize = 32;
/// The longest audience, in bytes.
pub const MAX_AUDIENCE_LEN: usize = 1024;
/// The most bytes of all audiences of a token: they go on record.
const MAX_AUDIENCES_LEN: usize = 4096;

/// A key that signs JWT-SVIDs of one trust domain, as its bundle has it. It holds no private key.
#[derive(Debug, Clone)]
pub struct JwtSigner {
    authority: JwtAuthority,
    algorithm: JwtAlgorithm,
    /// The key alone, to validate with what it signed.
    bundle: Bundle,
}

/// What a token says beside what was granted.
#[derive(Debug, Clone, Copy)]
pub struct JwtClaims<'a> {
    /// For whom it is; at least one.
    pub audience: &'a [String],
    /// Who issued it, where that is said (`iss`).
    pub issuer: Option<&'a str>,
    /// What tells it from others.
    pub id: u128,
    /// Whether it says so itself (`jti`).
    pub with_id: bool,
}

/// A JWT-SVID that lacks its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtDraft {
    signed: String,
    spiffe_id: SpiffeId,
    audience: String,
    issued_at: i64,
    expires_at: i64,
    is_cut_short: bool,
}

/// A JWT-SVID whose signature verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedJwt {
    /// The token, in compact form.
    pub token: String,
    /// Whose it is.
    pub spiffe_id: SpiffeId,
    /// Its `iat`, in Unix seconds.
    pub issued_at: i64,
    /// Its `exp`, in Unix seconds.
    pub expires_at: i64,
}

impl JwtSigner {
    /// The signer of `trust_domain` with this key, which signs until `authority.expires_at`.
    ///
    /// # Errors
    /// When the key is of a kind that tokens do not sign with.
    pub fn new(trust_domain: &TrustDomain, authority: JwtAuthority) -> Result<Self, AuthorityError> {
        let algorithm = authority.usual_algorithm();
        if !authority.signs_with(algorithm) {
            return Err(AuthorityError::KeyKind);
        }
        let bundle = Bundle {
            jwt_authorities: vec![authority.clone()],
            ..Bundle::empty(trust_domain.clone())
        };
        Ok(Self {
            authority,
            algorithm,
            bundle,
        })
    }

    /// The key.
    #[must_use]
    pub const fn authority(&self) -> &JwtAuthority {
        &self.authority
    }

    /// Prepares a token for what was granted, from `now` (Unix seconds) on; it ends no later than its key.
    ///
    /// # Errors
    /// When the grant is for another trust domain, there is no audience, too many or one that is empty or too long, or the key has
    /// ended.
    pub fn prepare(&self, grant: &Grant, claims: JwtClaims<'_>, now: i64) -> Result<JwtDraft, AuthorityError> {
        let trust_domain = &self.bundle.trust_domain;
        if !grant.spiffe_id().is_member_of(trust_domain) {
            return Err(AuthorityError::ForeignTrustDomain {
                expected: trust_domain.clone(),
                found: grant.spiffe_id().clone(),
            });
        }
        let first = check_audience(claims.audience)?;
        let ends = self.authority.expires_at;
        if now >= ends {
            return Err(AuthorityError::JwtKeyEnded { now, ended: ends });
        }
        let granted = i64::try_from(grant.ttl().as_secs()).ok();
        let granted = granted.and_then(|ttl| now.checked_add(ttl)).unwrap_or(i64::MAX);
        let expires_at = granted.min(ends);
        let header = json!({"alg": self.algorithm.as_str(), "kid": self.authority.key_id(), "typ": "JWT"});
        let mut body = Map::new();
        let mut say = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        say("sub", grant.spiffe_id().as_str().into());
        say("aud", claims.audience.into());
        say("exp", expires_at.into());
        say("iat", now.into());
        if let Some(issuer) = claims.issuer {
            say("iss", issuer.into());
        }
        if claims.with_id {
            say("jti", format!("{:032x}", claims.id).into());
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        Ok(JwtDraft {
            signed: format!("{}.{}", part(&header), part(&Value::Object(body))),
            spiffe_id: grant.spiffe_id().clone(),
            audience: first.clone(),
            issued_at: now,
            expires_at,
            is_cut_short: expires_at < granted,
        })
    }

    /// Puts the token together with the signature as the key store gives it, and validates it by this signer's key alone: a
    /// signature that does not verify never leaves.
    ///
    /// # Errors
    /// When the signature does not have the form of the key's algorithm, or the token does not say what was granted, signed by this key.
    pub fn seal(&self, draft: JwtDraft, signature: &[u8]) -> Result<IssuedJwt, AuthorityError> {
        let fields = self.jws_signature(signature).ok_or(AuthorityError::JwtSignatureForm {
            algorithm: self.algorithm,
            len: signature.len(),
        })?;
        let token = format!("{}.{}", draft.signed, URL_SAFE_NO_PAD.encode(fields));
        let read = JwtSvid::validate(&token, &draft.audience, draft.issued_at, |_| Some(&self.bundle))
            .map_err(AuthorityError::JwtNotValid)?;
        if *read.spiffe_id() != draft.spiffe_id || read.expires_at() != draft.expires_at {
            return Err(AuthorityError::Deviates { field: "claims" });
        }
        Ok(IssuedJwt {
            token,
            spiffe_id: draft.spiffe_id,
            issued_at: draft.issued_at,
            expires_at: draft.expires_at,
        })
    }

    /// A signature as JWS has it: r and s at full length for ECDSA (RFC 7518, section 3.4), as it is for RSA.
    fn jws_signature(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let field = match self.algorithm {
            JwtAlgorithm::Es256 => 32,
            JwtAlgorithm::Es384 => 48,
            JwtAlgorithm::Es512 => 66,
            _ => return Some(signature.to_vec()),
        };
        let (r, s) = hallmark_der::ecdsa_numbers(signature).ok()?;
        let mut fields = Vec::with_capacity(2 * field);
        for number in [r, s] {
            let zeros = field.checked_sub(number.len())?;
            fields.resize(fields.len() + zeros, 0);
            fields.extend_from_slice(number);
        }
        Some(fields)
    }
}

impl JwtDraft {
    /// The bytes to be signed (JWS Signing Input, RFC 7515, section 2).
    #[must_use]
    pub fn signing_input(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// Whose it will be.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// When it will end, in Unix seconds.
    #[must_use]
    pub const fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// Whether it ends before what was granted, as it would outlive its key.
    #[must_use]
    pub const fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }
}

/// The first audience, where they can all be used.
fn check_audience(audience: &[String]) -> Result<&String, AuthorityError> {
    let fits = |it: &&String| (1..=MAX_AUDIENCE_LEN).contains(&it.len()) && !it.chars().any(char::is_control);
    match audience.first() {
        Some(first)
            if audience.len() <= MAX_AUDIENCES
                && audience.iter().all(|it| fits(&it))
                && audience.iter().map(String::len).sum::<usize>() <= MAX_AUDIENCES_LEN =>
        {
            Ok(first)
        }
        _ => Err(AuthorityError::Audience { count: audience.len() }),
    }
}
