//! Who this server is in Vault: logins, and tokens that are renewed or made anew before they end.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hallmark_reason::Report;
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    answer::{self, Granted, Step},
    config::VaultAuth,
    upstream::Api,
};
use crate::{
    endpoint::is_path,
    error::Fault,
    exchange::Identity,
    files::{self, SecretFile, beside},
};

/// How this server logs in.
#[derive(Debug, Clone)]
pub(super) enum LoginMethod {
    Token(SecretFile),
    AppRole {
        path: String,
        role_id: String,
        secret_id: Option<SecretFile>,
    },
    Cert {
        path: String,
        role: Option<String>,
    },
    Kubernetes {
        path: String,
        role: String,
        jwt: PathBuf,
    },
}

/// A token of Vault, with what is known of its life.
#[derive(Clone)]
pub(super) struct Session {
    token: SecretString,
    since: Instant,
    /// None for a token without end, or one whose end is not known.
    ends: Option<Instant>,
    is_renewable: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// What is to be done with a token before it is used.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    Renewal,
    Login,
}

impl Session {
    fn new(token: SecretString, seconds: u64, is_renewable: bool) -> Self {
        let since = Instant::now();
        let ends = (seconds > 0).then(|| since.checked_add(Duration::from_secs(seconds)));
        Self {
            token,
            since,
            ends: ends.flatten(),
            is_renewable,
        }
    }

    pub(super) const fn token(&self) -> &SecretString {
        &self.token
    }

    /// Past half of its life a token is renewed, or made anew.
    fn due(&self, now: Instant) -> Due {
        let Some(ends) = self.ends else { return Due::Nothing };
        let half = ends.saturating_duration_since(self.since) / 2;
        if now.saturating_duration_since(self.since) < half {
            Due::Nothing
        } else if self.is_renewable && now < ends {
            Due::Renewal
        } else {
            Due::Login
        }
    }
}

/// The present token, and how the next one is had.
#[derive(Debug)]
pub(super) struct Login {
    method: LoginMethod,
    present: Mutex<Option<Session>>,
}

impl Login {
    pub(super) fn new(auth: &VaultAuth, credentials: Option<&Path>) -> Result<(Self, Option<Identity>), Fault> {
        let path = |key, mount: &str| match is_path(mount) {
            true => Ok(format!("/v1/auth/{mount}/login")),
            false => Err(Fault::configuration(
                key,
                "not a path of letters, digits, `-`, `_`, `.`, `~` and `/`",
            )),
        };
        let mut identity = None;
        let method = match auth {
            VaultAuth::Token(it) => LoginMethod::Token(SecretFile::new("auth.token.token", &it.token, credentials)?),
            VaultAuth::AppRole(it) => LoginMethod::AppRole {
                path: path("auth.approle.mount", &it.mount)?,
                role_id: it.role_id.clone(),
                secret_id: (it.secret_id.as_ref())
                    .map(|it| SecretFile::new("auth.approle.secret_id", it, credentials))
                    .transpose()?,
            },
            VaultAuth::Cert(it) => {
                identity = Some(Identity {
                    certificate_key: "auth.cert.certificate",
                    certificate: it.certificate.clone(),
                    key: SecretFile::new("auth.cert.key", &it.key, credentials)?,
                });
                LoginMethod::Cert {
                    path: path("auth.cert.mount", &it.mount)?,
                    role: it.role.clone(),
                }
            }
            VaultAuth::Kubernetes(it) => LoginMethod::Kubernetes {
                path: path("auth.kubernetes.mount", &it.mount)?,
                role: it.role.clone(),
                jwt: it.jwt.clone(),
            },
        };
        let present = Mutex::new(None);
        Ok((Self { method, present }, identity))
    }

    /// Reads the method's secret, to find out at the start what is wrong with it. Blocks.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match &self.method {
            LoginMethod::Token(file) => file.line().map(drop),
            LoginMethod::AppRole { secret_id, .. } => secret_id.as_ref().map_or(Ok(()), |file| file.line().map(drop)),
            LoginMethod::Kubernetes { jwt, .. } => read_jwt(jwt).map(drop),
            LoginMethod::Cert { .. } => Ok(()),
        }
    }

    /// A token for an order, and whether it was made for this order.
    pub(super) async fn session(&self, api: &Api) -> Result<(Session, bool), Fault> {
        let mut present = self.present.lock().await;
        let due = present
            .as_ref()
            .map_or(Due::Login, |session| session.due(Instant::now()));
        if let (Due::Renewal, Some(session)) = (&due, present.as_ref()) {
            match renew(api, session).await {
                Ok(renewed) => *present = Some(renewed),
                Err(fault) => {
                    let error = fault.of(api.name().to_owned());
                    tracing::info!("a token is not renewed, and made anew: {}", Report(&error));
                    *present = None;
                }
            }
        }
        if due != Due::Login
            && let Some(session) = present.as_ref()
        {
            return Ok((session.clone(), false));
        }
        *present = None;
        let session = self.log_in(api).await?;
        *present = Some(session.clone());
        Ok((session, true))
    }

    /// The token that Vault did not take is not used again.
    pub(super) async fn forget(&self, session: &Session) {
        let mut present = self.present.lock().await;
        let is_same = |other: &Session| other.token.expose_secret() == session.token.expose_secret();
        if present.as_ref().is_some_and(is_same) {
            *present = None;
        }
    }

    async fn log_in(&self, api: &Api) -> Result<Session, Fault> {
        match self.method.clone() {
            LoginMethod::Token(file) => {
                let token = beside(move || file.line()).await?;
                look_up(api, token).await
            }
            LoginMethod::AppRole {
                path,
                role_id,
                secret_id,
            } => {
                let secret_id = beside(move || secret_id.map(|file| file.line()).transpose()).await?;
                let mut body = json!({ "role_id": role_id });
                if let Some(secret_id) = &secret_id {
                    set(&mut body, "secret_id", secret_id.expose_secret());
                }
                let secrets: Vec<_> = secret_id.iter().collect();
                ask(api, &path, body, &secrets).await
            }
            LoginMethod::Cert { path, role } => {
                let body = role.map_or_else(|| json!({}), |role| json!({ "name": role }));
                ask(api, &path, body, &[]).await
            }
            LoginMethod::Kubernetes { path, role, jwt } => {
                let jwt = beside(move || read_jwt(&jwt)).await?;
                let mut body = json!({ "role": role });
                set(&mut body, "jwt", jwt.expose_secret());
                ask(api, &path, body, &[&jwt]).await
            }
        }
    }
}

fn read_jwt(path: &Path) -> Result<SecretString, Fault> {
    const KEY: &str = "auth.kubernetes.jwt";
    let bytes = Zeroizing::new(files::plain(KEY, path)?);
    files::line(&bytes).map_err(|why| Fault::configuration(KEY, format!("{}: {why}", path.display())))
}

fn set(body: &mut serde_json::Value, key: &str, value: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(key.to_owned(), value.into());
    }
}

async fn ask(api: &Api, path: &str, body: serde_json::Value, secrets: &[&SecretString]) -> Result<Session, Fault> {
    let answer = api.call(Method::POST, path, Some(&body), None).await?;
    if let Some(fault) = answer::fault(&answer, Step::Login, path, secrets) {
        return Err(fault);
    }
    let Granted {
        client_token,
        lease_duration,
        renewable,
    } = answer::granted(&answer)?;
    Ok(Session::new(client_token.0, lease_duration, renewable))
}

async fn renew(api: &Api, session: &Session) -> Result<Session, Fault> {
    let path = "/v1/auth/token/renew-self";
    let answer = api.call(Method::POST, path, Some(&json!({})), Some(session)).await?;
    if let Some(fault) = answer::fault(&answer, Step::Other, path, &[session.token()]) {
        return Err(fault);
    }
    let granted = answer::granted(&answer)?;
    Ok(Session::new(
        granted.client_token.0,
        granted.lease_duration,
        granted.renewable,
    ))
}

/// How long a token of a file lives. A token that may not look itself up is used as long as Vault takes it.
async fn look_up(api: &Api, token: SecretString) -> Result<Session, Fault> {
    let path = "/v1/auth/token/lookup-self";
    let session = Session::new(token, 0, false);
    let answer = api.call(Method::GET, path, None, Some(&session)).await?;
    match answer::fault(&answer, Step::Other, path, &[session.token()]) {
        None => {
            let life = answer::life(&answer)?;
            Ok(Session::new(session.token, life.ttl, life.renewable))
        }
        Some(Fault::Denied { .. }) => Ok(session),
        Some(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_past_half_of_its_life_and_made_anew_near_its_end() {
        let due = |seconds, renewable, after| {
            let session = Session::new(SecretString::from("x".to_owned()), seconds, renewable);
            session.due(session.since + Duration::from_secs(after))
        };
        assert_eq!(due(3600, true, 1799), Due::Nothing);
        assert_eq!(due(3600, true, 1800), Due::Renewal);
        assert_eq!(due(3600, false, 1800), Due::Login);
        assert_eq!(due(3600, true, 3599), Due::Renewal);
        assert_eq!(due(3600, true, 3600), Due::Login);
        assert_eq!(due(0, false, 1_000_000), Due::Nothing);
        assert_eq!((due(4, true, 1), due(4, true, 2)), (Due::Nothing, Due::Renewal));
    }

    #[test]
    fn a_session_is_not_shown() {
        let session = Session::new(SecretString::from("hvs.secret".to_owned()), 9, true);
        assert!(!format!("{session:?}").contains("hvs.secret"));
    }
}
