//! JWT-SVIDs: fetched for an audience, and validated.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use hallmark_api::workload::{JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest, ValidateJwtsvidResponse};
use hallmark_host::{answer::Form, printable};
use hallmark_settings::parse_duration;
use hallmark_spiffe::jwt::MAX_TOKEN_LEN;
use prost_types::value::Kind;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    ApiError, patient,
    socket::{SocketArg, request},
    view,
};

/// What `api fetch jwt` takes.
#[derive(Args)]
pub(crate) struct FetchJwtArg {
    #[command(flatten)]
    socket: SocketArg,
    /// Who is to accept the token. May be given several times; each of them could then use the token at the others.
    #[arg(long, value_name = "AUDIENCE", required = true)]
    audience: Vec<String>,
    /// The identity to fetch a token of. Otherwise all of this process's.
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// How long an agent that is starting, or has nothing at hand yet, is waited for, for example 30s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    form: Form,
}

/// What `api validate jwt` takes.
#[derive(Args)]
pub(crate) struct ValidateJwtArg {
    #[command(flatten)]
    socket: SocketArg,
    /// As whom the token is validated: it must be for this audience.
    #[arg(long, value_name = "AUDIENCE")]
    audience: String,
    #[command(flatten)]
    token: TokenArg,
    /// How long an agent that is starting is waited for, for example 30s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    form: Form,
}

/// Where the token is.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct TokenArg {
    /// The token. Other users of this machine can read a command's arguments: prefer --svid-file.
    #[arg(long, value_name = "TOKEN")]
    svid: Option<String>,
    /// A file with the token; - for stdin.
    #[arg(long, value_name = "FILE")]
    svid_file: Option<PathBuf>,
}

/// A token as it is shown. It is what was asked for, so it is shown.
struct Shown {
    spiffe_id: String,
    hint: String,
    token: Zeroizing<String>,
    expires: SystemTime,
}

impl FetchJwtArg {
    /// Fetches the tokens and shows them.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(super) async fn run(self) -> Result<(), ApiError> {
        let socket = self.socket.find()?;
        let asked = JwtsvidRequest {
            audience: self.audience.clone(),
            spiffe_id: self.spiffe_id.unwrap_or_default(),
        };
        let response = patient(&socket, self.timeout, async || {
            let answer = socket.client().await?.fetch_jwtsvid(request(asked.clone())).await;
            answer.map_err(|status| socket.refused(&status))
        })
        .await?;
        let tokens = read(response.into_inner())?;
        let now = SystemTime::now();
        let text = || {
            let blocks: Vec<String> = tokens.iter().map(|token| lines(token, &self.audience, now)).collect();
            blocks.join("\n\n")
        };
        let value = || {
            let one = |token: &Shown| {
                json!({
                    "spiffe_id": token.spiffe_id,
                    "hint": token.hint,
                    "audience": self.audience,
                    "expires_at": view::time(token.expires),
                    "token": token.token.as_str(),
                })
            };
            json!({ "svids": tokens.iter().map(one).collect::<Vec<_>>() })
        };
        view::print(&Zeroizing::new(self.form.output.of(text, value)))
    }
}

impl ValidateJwtArg {
    /// Has the token validated and shows what it says.
    ///
    /// # Errors
    /// [`ApiError`]: [`ApiError::Rejected`] for a token that is not to be believed.
    pub(super) async fn run(self) -> Result<(), ApiError> {
        let socket = self.socket.find()?;
        let token = self.token.read()?;
        let asked = ValidateJwtsvidRequest {
            audience: self.audience,
            svid: token.as_str().to_owned(),
        };
        let response = patient(&socket, self.timeout, async || {
            let answer = socket.client().await?.validate_jwtsvid(request(asked.clone())).await;
            answer.map_err(|status| socket.refused(&status))
        })
        .await?;
        let ValidateJwtsvidResponse { spiffe_id, claims } = response.into_inner();
        let claims: Map<String, Value> = (claims.unwrap_or_default().fields.into_iter())
            .map(|(name, claim)| (name, json_of(claim)))
            .collect();
        let text = || {
            let named = claims.iter().map(|(name, claim)| format!("{name:<12} {claim}"));
            let lines: Vec<String> = std::iter::once(format!("SPIFFE ID    {spiffe_id}"))
                .chain(named)
                .collect();
            lines.join("\n")
        };
        let value = || json!({ "valid": true, "spiffe_id": spiffe_id, "claims": claims });
        view::print(&self.form.output.of(text, value))
    }
}

impl TokenArg {
    fn read(self) -> Result<Zeroizing<String>, ApiError> {
        let text = match (self.svid, self.svid_file) {
            (Some(token), _) => Zeroizing::new(token),
            (None, Some(path)) if path == Path::new("-") => content(io::stdin().lock(), Path::new("/dev/stdin"))?,
            (None, Some(path)) => content(File::open(&path).map_err(|error| unread(&path, &error))?, &path)?,
            (None, None) => Zeroizing::default(),
        };
        Ok(Zeroizing::new(text.trim().to_owned()))
    }
}

/// What a file has, as far as a token could be; a longer one is no token, and the agent says so.
fn content(file: impl Read, path: &Path) -> Result<Zeroizing<String>, ApiError> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN_LEN));
    let most = u64::try_from(MAX_TOKEN_LEN).unwrap_or(u64::MAX).saturating_add(2);
    let read = file.take(most).read_to_string(&mut text);
    read.map_err(|error| unread(path, &error))?;
    Ok(text)
}

fn unread(path: &Path, error: &io::Error) -> ApiError {
    ApiError::Filesystem {
        action: "read",
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

fn read(response: JwtsvidResponse) -> Result<Vec<Shown>, ApiError> {
    let unusable = |what: &str| ApiError::Unusable { what: what.into() };
    if response.svids.is_empty() {
        return Err(unusable("it has no token"));
    }
    let shown = response.svids.into_iter().map(|svid| {
        let token = Zeroizing::new(svid.svid);
        Ok(Shown {
            expires: expires(&token).ok_or_else(|| unusable("a token that does not say when it ends"))?,
            spiffe_id: svid.spiffe_id,
            hint: svid.hint,
            token,
        })
    });
    shown.collect()
}

/// When a token ends, as it says. The agent has validated it.
fn expires(token: &str) -> Option<SystemTime> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&claims).ok()?;
    let seconds = claims.get("exp")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn lines(token: &Shown, audience: &[String], now: SystemTime) -> String {
    let left = token.expires.duration_since(now).unwrap_or_default().as_secs();
    let mut lines = vec![format!("SPIFFE ID    {}", printable(&token.spiffe_id))];
    if !token.hint.is_empty() {
        lines.push(format!("hint         {}", printable(&token.hint)));
    }
    lines.push(format!("audience     {}", printable(&audience.join(", "))));
    lines.push(format!("expires      {} (in {left} s)", view::time(token.expires)));
    lines.push(format!("token        {}", token.token.as_str()));
    lines.join("\n")
}

/// A claim as JSON; whole numbers, times among them, as such.
fn json_of(claim: prost_types::Value) -> Value {
    match claim.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) => number(value),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_of).collect(),
        Some(Kind::StructValue(object)) => {
            let members = object.fields.into_iter().map(|(name, value)| (name, json_of(value)));
            Value::Object(members.collect())
        }
    }
}

fn number(value: f64) -> Value {
    let whole = (value.fract() == 0.0)
        .then(|| format!("{value:.0}").parse::<i64>().ok())
        .flatten();
    whole.map_or_else(|| value.into(), Value::from)
}
