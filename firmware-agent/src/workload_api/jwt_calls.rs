//! FetchJWTSVID and ValidateJWTSVID (Workload API, section 6.2).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use futures_util::future::try_join_all;
use hallmark_api::workload::{
    Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest, ValidateJwtsvidResponse,
};
use hallmark_spiffe::{SpiffeId, jwt::JwtSvid};
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;
use zeroize::Zeroize as _;

use super::{
    answers::{Answers, BEFORE_AN_SVID, framed, unique_hint},
    caller::Caller,
    cut::{CutAnswer, MOST_BYTES},
    patience::Patience,
    refusal::Refusal,
};
use crate::{
    agent::WantedToken,
    cache::{Cache, SecretBytes, Snapshot, WorkloadEntry},
};

/// The most audiences of a token, and the longest, in bytes: what the server issues for.
const MAX_AUDIENCES: usize = 32;
const MAX_AUDIENCE_LEN: usize = 1024;
/// How many tokens one call gets at a time.
const AT_ONCE: usize = 16;

/// The tokens of a caller: of all its identities, oldest entry first, or of the one that it asks for.
///
/// # Errors
/// The request is malformed; nothing matches the caller, or not the identity that it asks for; or a token is not to be had now.
pub(super) async fn fetch(
    request: JwtsvidRequest,
    caller: &Caller,
    answers: &Answers,
    cache: &Cache,
) -> Result<SecretBytes, Refusal> {
    let audience = check_audience(request.audience)?;
    let id = requested_id(&request.spiffe_id)?;
    let entries = entries(id.as_ref(), caller, answers, cache).await?;
    let mut hints = BTreeSet::new();
    let mut svids = Vec::new();
    let mut bytes = 0_usize;
    'all: for chunk in entries.chunks(AT_ONCE) {
        let tokens = chunk.iter().map(|entry| {
            let wanted = WantedToken {
                user: caller.user().id,
                entry: Arc::clone(entry),
                audience: Arc::clone(&audience),
            };
            answers.jwt_svid(wanted, cache)
        });
        for (entry, token) in chunk.iter().zip(try_join_all(tokens).await?) {
            let hint = unique_hint(entry, &mut hints);
            let id = entry.spiffe_id.to_string();
            bytes = bytes.saturating_add(BEFORE_AN_SVID * 4 + id.len() + token.text().len() + hint.len());
            if bytes > MOST_BYTES {
                break 'all;
            }
            svids.push(Jwtsvid {
                spiffe_id: id,
                svid: token.text().to_owned(),
                hint: hint.to_owned(),
            });
        }
    }
    let (all, left_out) = (entries.len(), entries.len().saturating_sub(svids.len()));
    if left_out > 0 {
        answers.cuts().note(CutAnswer { all, left_out });
    }
    let mut response = JwtsvidResponse { svids };
    let framed = framed(&response);
    response.svids.iter_mut().for_each(|svid| svid.svid.zeroize());
    Ok(framed)
}

/// Validates a token as somebody whom it names as its audience, with the keys of its trust domain. Its keys are public: whoever can
/// open the socket may ask.
///
/// # Errors
/// A field is missing, the token is not to be believed, or the agent has no keys yet.
pub(super) fn validate(
    request: ValidateJwtsvidRequest,
    caller: &Caller,
    snapshot: &Snapshot,
) -> Result<SecretBytes, Refusal> {
    caller.facts()?;
    if !snapshot.ready {
        return Err(Refusal::NotReady);
    }
    if request.audience.is_empty() {
        return Err(Refusal::Audience { why: "it is missing" });
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut token = request.svid;
    let validated = JwtSvid::validate(&token, &request.audience, now, |trust_domain| {
        (*trust_domain == snapshot.trust_domain).then_some(&*snapshot.jwt_bundle)
    });
    token.zeroize();
    let svid = validated.map_err(|error| Refusal::of_token(&error))?;
    let mut claims: BTreeMap<String, Value> = (svid.claims().iter())
        .map(|(name, value)| (name.clone(), message(value)))
        .collect();
    let audience = svid.audience().iter().map(|name| Json::String(name.clone()));
    claims.insert("aud".into(), message(&Json::Array(audience.collect())));
    Ok(framed(&ValidateJwtsvidResponse {
        spiffe_id: svid.spiffe_id().to_string(),
        claims: Some(Struct { fields: claims }),
    }))
}

fn check_audience(audience: Vec<String>) -> Result<Arc<[String]>, Refusal> {
    let why = match audience.len() {
        0 => Some("it is missing"),
        1..=MAX_AUDIENCES => audience.iter().find_map(|name| match name.len() {
            0 => Some("one of it is empty"),
            1..=MAX_AUDIENCE_LEN => (name.chars().any(char::is_control)).then_some("one of it has control characters"),
            _ => Some("one of it is longer than 1024 bytes"),
        }),
        _ => Some("it has more than 32 members"),
    };
    why.map_or_else(|| Ok(audience.into()), |why| Err(Refusal::Audience { why }))
}

/// The one identity that is asked for; `None` for all.
fn requested_id(text: &str) -> Result<Option<SpiffeId>, Refusal> {
    let parsed = (!text.is_empty()).then(|| SpiffeId::parse(text)).transpose();
    parsed.map_err(|error| Refusal::RequestedId { why: error.to_string() })
}

/// The caller's entries, oldest first; of one identity where that is asked for.
async fn entries(
    id: Option<&SpiffeId>,
    caller: &Caller,
    answers: &Answers,
    cache: &Cache,
) -> Result<Vec<Arc<WorkloadEntry>>, Refusal> {
    let mut patience = Patience::new(cache);
    loop {
        let snapshot = patience.snapshot();
        let found = caller.entries(answers, &snapshot).await.and_then(|mut entries| {
            entries.retain(|entry| id.is_none_or(|id| entry.spiffe_id == *id));
            match id {
                Some(id) if entries.is_empty() => Err(Refusal::NotOfCaller { id: id.to_string() }),
                _ => Ok(entries),
            }
        });
        match found {
            Ok(entries) => return Ok(entries),
            Err(refusal) => patience.after(refusal, answers).await?,
        }
    }
}

/// A JSON value as a message.
fn message(value: &Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        // A message has no other numbers: whole ones are exact up to 2^53.
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        Json::String(value) => Kind::StringValue(value.clone()),
        Json::Array(values) => Kind::ListValue(ListValue {
            values: values.iter().map(message).collect(),
        }),
        Json::Object(members) => Kind::StructValue(Struct {
            fields: members
                .iter()
                .map(|(name, value)| (name.clone(), message(value)))
                .collect(),
        }),
    };
    Value { kind: Some(kind) }
}
