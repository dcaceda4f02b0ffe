//! Whether a token that the server gave is the one that was asked for.

use std::time::{SystemTime, UNIX_EPOCH};

use hallmark_reason::Coded as _;
use hallmark_spiffe::{
    Bundle, TrustDomain,
    jwt::{JwtAuthority, JwtError, JwtSvid},
};
use zeroize::Zeroizing;

use super::{Token, WantedToken};
use crate::AgentError;

/// What a token of a key that is not in the bundle is refused with.
const UNKNOWN_KEY: &str = "it is signed by a key that is not in the bundle";

/// Takes a token that is for the entry's id and exactly the audience that was asked for, is valid now, and is signed by a key of the
/// bundle that is not tainted.
///
/// # Errors
/// [`AgentError::UnfitSvid`], with what does not fit.
pub(super) fn accept(text: Zeroizing<String>, wanted: &WantedToken, bundle: &Bundle) -> Result<Token, AgentError> {
    let received = SystemTime::now();
    let now = unix(received);
    let audience = wanted.audience.first().map(String::as_str).unwrap_or_default();
    let svid = validate(&text, audience, now, bundle).map_err(|error| invalid(&error))?;
    let unfit = |what, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| AgentError::UnfitSvid {
        what,
        compared: format!("expected {expected:?}, found {found:?}"),
    };
    let id = &wanted.entry.spiffe_id;
    if svid.spiffe_id() != id {
        return Err(unfit("its SPIFFE ID", &id.as_str(), &svid.spiffe_id().as_str()));
    }
    if *svid.audience() != *wanted.audience {
        return Err(unfit("its audience", &wanted.audience, &svid.audience()));
    }
    if svid.expires_at() <= now {
        return Err(unfit("its end", &format_args!("after {now}"), &svid.expires_at()));
    }
    let signed = |key: &&JwtAuthority| {
        let alone = Bundle {
            jwt_authorities: vec![(*key).clone()],
            ..Bundle::empty(bundle.trust_domain.clone())
        };
        validate(&text, audience, now, &alone).is_ok()
    };
    let signer = bundle.jwt_authorities.iter().find(signed);
    let signer = signer.filter(|key| !key.tainted).ok_or_else(|| AgentError::UnfitSvid {
        what: "its key is tainted",
        compared: format!("the key is {}", signer.map_or("unknown", JwtAuthority::key_id)),
    })?;
    Ok(Token::new(text, &wanted.entry, signer, received, svid.expires_at()))
}

fn validate(text: &str, audience: &str, now: i64, bundle: &Bundle) -> Result<JwtSvid, JwtError> {
    let of = |asked: &TrustDomain| (*asked == bundle.trust_domain).then_some(bundle);
    JwtSvid::validate(text, audience, now, of)
}

/// Whether the token's key may be one that the bundle has not told yet.
pub(super) fn is_of_unknown_key(error: &AgentError) -> bool {
    matches!(error, AgentError::UnfitSvid { what: UNKNOWN_KEY, .. })
}

fn invalid(error: &JwtError) -> AgentError {
    let what = match error {
        JwtError::UnknownKey { .. } => UNKNOWN_KEY,
        _ => "it does not validate",
    };
    let compared = error.compared().map(|compared| format!(": {compared}"));
    AgentError::UnfitSvid {
        what,
        compared: format!("{error} ({}){}", error.code(), compared.unwrap_or_default()),
    }
}

/// In seconds since the Unix epoch.
pub(super) fn unix(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
