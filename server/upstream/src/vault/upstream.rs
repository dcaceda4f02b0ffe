//! Signing by a PKI mount.

use std::{path::Path, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    answer::{self, SignedAnswer, Step},
    config::VaultConfig,
    login::{Login, Session},
};
use crate::{
    Asked, CaError, Signed, Upstream, UpstreamError,
    chain::{assemble, issued, roots},
    endpoint::{Endpoint, is_path},
    error::Fault,
    exchange::{Answer, Client, Order, shown},
    files::{self, beside},
};

const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// Asked for by agents and proxies of Vault that guard against forged requests.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// A PKI mount of HashiCorp Vault or OpenBao as the authority above.
#[derive(Debug)]
pub struct VaultUpstream {
    api: Api,
    login: Login,
    /// `/v1/MOUNT`, with the issuer where one is named.
    sign_path: String,
    chain_path: String,
    max_path_length: Option<u8>,
    roots: Option<PathBuf>,
    limit: Duration,
}

/// Vault's HTTP API.
#[derive(Debug)]
pub(super) struct Api {
    name: String,
    client: Client,
    namespace: Option<HeaderValue>,
}

impl Api {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// One call. The session's token goes with it where there is one.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        session: Option<&Session>,
    ) -> Result<Answer, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &self.namespace {
            headers.insert(NAMESPACE, namespace.clone());
        }
        if let Some(session) = session {
            let mut token =
                HeaderValue::from_str(session.token().expose_secret()).map_err(|_| Fault::Configuration {
                    key: "auth.token.token",
                    detail: "the token has characters that no token has".into(),
                })?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let mut bytes = Zeroizing::new(Vec::new());
        if let Some(body) = body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *bytes = serde_json::to_vec(body).map_err(Fault::malformed)?;
        }
        let order = Order {
            method,
            path: path.to_owned(),
            headers,
            body: bytes,
        };
        self.client.send(order).await
    }
}

impl VaultUpstream {
    /// What `config` says; `credentials` is where systemd put the service's credentials. Every file that is named is read, so that what
    /// is wrong with one shows at the start. Blocks; asks Vault nothing.
    ///
    /// # Errors
    /// A key that cannot be used, or a file that cannot be read.
    pub fn new(config: &VaultConfig, credentials: Option<&Path>) -> Result<Self, CaError> {
        let endpoint = Endpoint::parse(&config.url, config.allow_plain_http_on_loopback);
        let endpoint = endpoint.map_err(|why| Fault::configuration("url", why).of("Vault".into()))?;
        let name = format!("Vault at {}, mount {}", endpoint.shown(), shown(&config.mount));
        Self::build(config, credentials, endpoint, &name).map_err(|fault| fault.of(name))
    }

    fn build(config: &VaultConfig, credentials: Option<&Path>, endpoint: Endpoint, name: &str) -> Result<Self, Fault> {
        let path = |key, text: &str| match is_path(text) {
            true => Ok(text.to_owned()),
            false => Err(Fault::configuration(
                key,
                "not a path of letters, digits, `-`, `_`, `.`, `~` and `/`",
            )),
        };
        let mount = path("mount", &config.mount)?;
        let (sign_path, chain_path) = match &config.issuer {
            None => (
                format!("/v1/{mount}/root/sign-intermediate"),
                format!("/v1/{mount}/cert/ca_chain"),
            ),
            Some(issuer) => {
                let below = format!("/v1/{mount}/issuer/{}", path("issuer", issuer)?);
                (format!("{below}/sign-intermediate"), format!("{below}/json"))
            }
        };
        let namespace = config
            .namespace
            .as_deref()
            .map(|text| path("namespace", text.trim_end_matches('/')));
        let namespace = namespace.transpose()?.map(HeaderValue::try_from).transpose();
        let (login, identity) = Login::new(&config.auth, credentials)?;
        if identity.is_some() && !endpoint.is_tls {
            return Err(Fault::configuration(
                "auth.cert",
                "a TLS client certificate needs https",
            ));
        }
        let client = Client {
            endpoint,
            authorities: config.ca.clone(),
            identity,
        };
        client.check()?;
        login.check()?;
        if let Some(file) = &config.roots {
            files::certificates("roots", file)?;
        }
        Ok(Self {
            api: Api {
                name: name.to_owned(),
                client,
                namespace: namespace.map_err(|error| Fault::configuration("namespace", error))?,
            },
            login,
            sign_path,
            chain_path,
            max_path_length: config.max_path_length,
            roots: config.roots.clone(),
            limit: config.timeout,
        })
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, UpstreamError> {
        let done = timeout(self.limit, work).await.unwrap_or_else(|_| {
            Err(Fault::TimedOut {
                seconds: self.limit.as_secs(),
            })
        });
        done.map_err(|fault| fault.of(self.api.name.clone()).into())
    }

    /// Signs; a token that Vault no longer takes is made anew once.
    async fn signed(&self, asked: Asked) -> Result<Signed, Fault> {
        let body = self.request(&asked);
        let (session, is_new) = self.login.session(&self.api).await?;
        let answer = match self.order(&body, &session).await {
            Err(Fault::Denied { .. }) if !is_new => {
                self.login.forget(&session).await;
                let (session, _) = self.login.session(&self.api).await?;
                self.order(&body, &session).await?
            }
            other => other?,
        };
        if !answer.warnings.is_empty() {
            tracing::info!("{} warns: {}", self.api.name, answer.warnings);
        }
        let Some(certificate) = answer.certificate else {
            return Err(Fault::malformed("it has no certificate"));
        };
        let anchors = self.anchors().await?;
        let csr = asked.csr;
        let certificate = issued(&csr, &[certificate])?;
        assemble(certificate, &answer.pool, anchors.as_deref())
    }

    async fn order(&self, body: &Value, session: &Session) -> Result<SignedAnswer, Fault> {
        let answer = self
            .api
            .call(Method::POST, &self.sign_path, Some(body), Some(session))
            .await?;
        match answer::fault(&answer, Step::Other, &self.sign_path, &[session.token()]) {
            Some(fault) => Err(fault),
            None => answer::certificates(&answer),
        }
    }

    /// Subject and names are the request's: the trust domain's URI name among them. Vault sets everything else.
    fn request(&self, asked: &Asked) -> Value {
        let mut body = json!({
            "csr": pem_request(&asked.csr),
            "format": "pem",
            "ttl": format!("{}s", asked.lifetime.as_secs().max(1)),
            "use_csr_values": true,
        });
        if let (Some(length), Some(fields)) = (self.max_path_length, body.as_object_mut()) {
            fields.insert("max_path_length".into(), length.into());
        }
        body
    }

    async fn anchors(&self) -> Result<Option<Vec<Vec<u8>>>, Fault> {
        match self.roots.clone() {
            None => Ok(None),
            Some(file) => beside(move || files::certificates("roots", &file)).await.map(Some),
        }
    }

    async fn present_roots(&self) -> Result<Vec<Vec<u8>>, Fault> {
        if let Some(anchors) = self.anchors().await? {
            return Ok(anchors);
        }
        // Chains are public in Vault: no token is spent or shown for one.
        let answer = self.api.call(Method::GET, &self.chain_path, None, None).await?;
        if let Some(fault) = answer::fault(&answer, Step::Other, &self.chain_path, &[]) {
            return Err(fault);
        }
        let chain = answer::certificates(&answer)?;
        let pool: Vec<_> = chain.certificate.into_iter().chain(chain.pool).collect();
        roots(&pool)
    }
}

/// A request in PEM (RFC 7468, 7).
fn pem_request(csr: &[u8]) -> String {
    let mut text = "-----BEGIN CERTIFICATE REQUEST-----\n".to_owned();
    for (at, character) in (0_usize..).zip(STANDARD.encode(csr).chars()) {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END CERTIFICATE REQUEST-----\n");
    text
}

impl Upstream for VaultUpstream {
    fn name(&self) -> String {
        self.api.name.clone()
    }

    fn sign(&self, asked: Asked) -> BoxFuture<'_, Result<Signed, UpstreamError>> {
        Box::pin(self.within(self.signed(asked)))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, UpstreamError>> {
        Box::pin(self.within(async {
            let roots = self.present_roots().await?;
            // A token lives on only if it is renewed in time, and this is asked for more often than a signature.
            if let Err(fault) = self.login.session(&self.api).await {
                let error = fault.of(self.api.name.clone());
                tracing::warn!("the next signature would fail: {}", hallmark_reason::Report(&error));
            }
            Ok(Some(roots))
        }))
    }
}
