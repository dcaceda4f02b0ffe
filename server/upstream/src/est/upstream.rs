//! Signing by an EST server.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use hallmark_der::CertificationRequest;
use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::{certs_only, config::EstConfig};
use crate::{
    Asked, CaError, Signed, Upstream, UpstreamError,
    chain::{assemble, issued, roots},
    endpoint::{Endpoint, is_path},
    error::Fault,
    exchange::{Answer, Client, Identity, Order, shown},
    files::{self, SecretFile, beside},
};

/// The type of certs-only messages, without its parameter (RFC 7030, 4.1.3, 4.2.3).
const PKCS7: &str = "application/pkcs7-mime";
/// A pause of an EST server that names none, or none that can be read.
const PAUSE: Duration = Duration::from_secs(5);
/// The shortest pause.
const SHORTEST: Duration = Duration::from_secs(1);

/// An EST server as the authority above.
#[derive(Debug)]
pub struct EstUpstream {
    name: String,
    client: Client,
    /// `/.well-known/est`, with the label where one is named.
    base: String,
    operation: &'static str,
    basic: Option<Basic>,
    roots: Option<PathBuf>,
    limit: Duration,
    /// What the server has not decided yet. It knows a request again by its bytes (RFC 7030, 4.2.3), and the next one for the same key
    /// would have others.
    pending: Mutex<Option<Vec<u8>>>,
}

/// HTTP Basic.
#[derive(Debug)]
struct Basic {
    username: String,
    password: SecretFile,
}

impl EstUpstream {
    /// What `config` says; `credentials` is where systemd put the service's credentials. Every file that is named is read, so that what
    /// is wrong with one shows at the start. Blocks; asks the EST server nothing.
    ///
    /// # Errors
    /// A key that cannot be used, or a file that cannot be read.
    pub fn new(config: &EstConfig, credentials: Option<&Path>) -> Result<Self, CaError> {
        let endpoint = Endpoint::parse(&config.url, false);
        let endpoint = endpoint.map_err(|why| Fault::configuration("url", why).of("EST".into()))?;
        let base = match &config.label {
            None => "/.well-known/est".to_owned(),
            Some(label) => format!("/.well-known/est/{label}"),
        };
        let name = format!("EST at {}{}", endpoint.shown(), shown(&base));
        Self::build(config, credentials, endpoint, base, &name).map_err(|fault| fault.of(name))
    }

    fn build(
        config: &EstConfig,
        credentials: Option<&Path>,
        endpoint: Endpoint,
        base: String,
        name: &str,
    ) -> Result<Self, Fault> {
        if let Some(label) = &config.label
            && (!is_path(label) || label.contains('/'))
        {
            return Err(Fault::configuration(
                "label",
                "not one word of letters, digits, `-`, `_`, `.` and `~`",
            ));
        }
        let identity = match (&config.certificate, &config.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(Identity {
                certificate_key: "certificate",
                certificate: certificate.clone(),
                key: SecretFile::new("key", key, credentials)?,
            }),
            _ => {
                return Err(Fault::configuration(
                    "certificate",
                    "`certificate` and `key` go together",
                ));
            }
        };
        let basic = match (&config.username, &config.password) {
            (None, None) => None,
            (Some(username), Some(password)) => Some(Basic::new(username, password, credentials)?),
            _ => {
                return Err(Fault::configuration(
                    "username",
                    "`username` and `password` go together",
                ));
            }
        };
        if identity.is_none() && basic.is_none() {
            let detail = "who this server is: `username` and `password`, or `certificate` and `key`, or all of them";
            return Err(Fault::configuration("username", detail));
        }
        let client = Client {
            endpoint,
            authorities: Some(config.ca.clone()),
            identity,
        };
        client.check()?;
        if let Some(basic) = &basic {
            basic.password.line()?;
        }
        if let Some(file) = &config.roots {
            files::certificates("roots", file)?;
        }
        Ok(Self {
            name: name.to_owned(),
            client,
            base,
            operation: config.operation.segment(),
            basic,
            roots: config.roots.clone(),
            limit: config.timeout,
            pending: Mutex::new(None),
        })
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, UpstreamError> {
        let done = timeout(self.limit, work).await.unwrap_or_else(|_| {
            Err(Fault::TimedOut {
                seconds: self.limit.as_secs(),
            })
        });
        done.map_err(|fault| fault.of(self.name.clone()).into())
    }

    async fn signed(&self, asked: Asked) -> Result<Signed, Fault> {
        let deadline = Instant::now() + self.limit;
        let csr = self.pending_for(asked.csr)?;
        let answer = self.enrol(&csr, deadline).await?;
        let certificates = messages(&answer)?;
        let certificate = issued(&csr, &certificates)?;
        let anchors = self.anchors().await?;
        let mut pool = certificates;
        pool.extend(self.cacerts().await?);
        assemble(certificate, &pool, anchors.as_deref())
    }

    /// The request that is undecided, if it is for the same key; else this one.
    fn pending_for(&self, csr: Vec<u8>) -> Result<Vec<u8>, Fault> {
        let key = |csr: &[u8]| CertificationRequest::read(csr).map(|it| it.spki.to_vec());
        let own = key(&csr)
            .map_err(|fault| Fault::malformed(format!("this server's own signing request cannot be read: {fault}")))?;
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let same = pending.clone().filter(|pending| key(pending).is_ok_and(|it| it == own));
        Ok(same.unwrap_or(csr))
    }

    fn remember(&self, csr: Option<&[u8]>) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = csr.map(<[u8]>::to_vec);
    }

    /// Asks until the server has decided, as long as the time limit lets it.
    async fn enrol(&self, csr: &[u8], deadline: Instant) -> Result<Answer, Fault> {
        loop {
            let (answer, secret) = self.post(csr).await?;
            if answer.status.as_u16() != 202 {
                self.remember(None);
                return match self.fault(&answer, secret.as_ref()) {
                    Some(fault) => Err(fault),
                    None => Ok(answer),
                };
            }
            self.remember(Some(csr));
            let pause = pause(&answer.header(header::RETRY_AFTER), SystemTime::now());
            if pause >= deadline.saturating_duration_since(Instant::now()) {
                let detail = format!(
                    "asked again in {} s, after the limit of {} s",
                    pause.as_secs(),
                    self.limit.as_secs()
                );
                return Err(Fault::EstPending { detail });
            }
            sleep(pause).await;
        }
    }

    /// One request, and what its `Authorization` holds.
    async fn post(&self, csr: &[u8]) -> Result<(Answer, Option<SecretString>), Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/pkcs10"));
        // Superfluous by RFC 8951, and asked for by servers that came before it.
        headers.insert("content-transfer-encoding", HeaderValue::from_static("base64"));
        headers.insert(header::ACCEPT, HeaderValue::from_static(PKCS7));
        let secret = match &self.basic {
            None => None,
            Some(basic) => {
                let (value, secret) = basic.header().await?;
                headers.insert(header::AUTHORIZATION, value);
                Some(secret)
            }
        };
        let order = Order {
            method: Method::POST,
            path: format!("{}/{}", self.base, self.operation),
            headers,
            body: Zeroizing::new(STANDARD.encode(csr).into_bytes()),
        };
        Ok((self.client.send(order).await?, secret))
    }

    async fn cacerts(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let order = Order {
            method: Method::GET,
            path: format!("{}/cacerts", self.base),
            headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(PKCS7))]),
            body: Zeroizing::default(),
        };
        let answer = self.client.send(order).await?;
        match self.fault(&answer, None) {
            Some(fault) => Err(fault),
            None => messages(&answer),
        }
    }

    async fn anchors(&self) -> Result<Option<Vec<Vec<u8>>>, Fault> {
        match self.roots.clone() {
            None => Ok(None),
            Some(file) => beside(move || files::certificates("roots", &file)).await.map(Some),
        }
    }

    /// What is wrong when the status is not 200 (RFC 7030, 4.1.3, 4.2.3).
    fn fault(&self, answer: &Answer, secret: Option<&SecretString>) -> Option<Fault> {
        let status = answer.status.as_u16();
        if status == 200 {
            return None;
        }
        let detail = format!("{status}: {}", said(answer, secret));
        Some(match status {
            401 | 403 => {
                let asked = answer.header(header::WWW_AUTHENTICATE);
                let scheme = asked.split_whitespace().next().unwrap_or_default();
                let asked = if scheme.is_empty() {
                    String::new()
                } else {
                    format!("; it asks for {scheme}")
                };
                Fault::EstUnauthorised {
                    detail: format!("{detail}{asked}"),
                }
            }
            204 | 404 | 405 => Fault::EstNotFound {
                detail: format!("{status} below {}", self.base),
            },
            400..=499 => Fault::EstRefused { detail },
            _ => Fault::Failing { detail },
        })
    }
}

impl Basic {
    fn new(
        username: &str,
        password: &hallmark_settings::SecretReference,
        credentials: Option<&Path>,
    ) -> Result<Self, Fault> {
        // RFC 7617, 2: a colon would end the name.
        if username.is_empty() || username.contains(':') || username.chars().any(char::is_control) {
            return Err(Fault::configuration(
                "username",
                "it is empty, or has a colon or a control character",
            ));
        }
        Ok(Self {
            username: username.to_owned(),
            password: SecretFile::new("password", password, credentials)?,
        })
    }

    /// The header, and the password in it.
    async fn header(&self) -> Result<(HeaderValue, SecretString), Fault> {
        let file = self.password.clone();
        let password = beside(move || file.line()).await?;
        let pair = Zeroizing::new(format!("{}:{}", self.username, password.expose_secret()));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&text).map_err(|_| self.password.fault("it cannot stand in a header"))?;
        value.set_sensitive(true);
        Ok((value, password))
    }
}

/// The certificates of an answer.
fn messages(answer: &Answer) -> Result<Vec<Vec<u8>>, Fault> {
    match answer.media_type().as_str() {
        PKCS7 => certs_only(&answer.body),
        other => Err(Fault::malformed(format!("its type is {other:?}, expected {PKCS7}"))),
    }
}

/// What the server said, if it is text.
fn said(answer: &Answer, secret: Option<&SecretString>) -> String {
    let text = match answer.media_type().as_str() {
        "text/plain" => String::from_utf8_lossy(&answer.body).into_owned(),
        _ => String::new(),
    };
    let text = match secret {
        Some(secret) => text.replace(secret.expose_secret(), "[secret]"),
        None => text,
    };
    let text = shown(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    if text.is_empty() {
        "it says nothing more in plain text".into()
    } else {
        text
    }
}

/// When the server wants to be asked again: seconds, or a date (RFC 9110, 10.2.3).
fn pause(retry_after: &str, now: SystemTime) -> Duration {
    let seconds = retry_after.trim().parse::<u64>().map(Duration::from_secs).ok();
    let until = |at: time::OffsetDateTime| Some(SystemTime::from(at).duration_since(now).unwrap_or_default());
    let date = || {
        let text = retry_after.trim().replace("GMT", "+0000");
        until(time::OffsetDateTime::parse(&text, &time::format_description::well_known::Rfc2822).ok()?)
    };
    seconds.or_else(date).unwrap_or(PAUSE).max(SHORTEST)
}

impl Upstream for EstUpstream {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn sign(&self, asked: Asked) -> BoxFuture<'_, Result<Signed, UpstreamError>> {
        Box::pin(self.within(self.signed(asked)))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, UpstreamError>> {
        Box::pin(self.within(async {
            if let Some(anchors) = self.anchors().await? {
                return Ok(Some(anchors));
            }
            roots(&self.cacerts().await?).map(Some)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_seconds_or_a_date_and_never_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_767);
        for (text, seconds) in [
            ("120", 120),
            ("0", 1),
            ("", 5),
            ("soon", 5),
            ("-1", 5),
            ("99999999999999999999999", 5),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 10),
            ("Sun, 06 Nov 1994 08:49:17 GMT", 1),
        ] {
            assert_eq!(pause(text, now), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(pause("18446744073709551615", now), Duration::from_secs(u64::MAX));
    }
}
