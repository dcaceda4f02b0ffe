//! A running server, the certificates it serves, and clients of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hallmark_api::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use hallmark_api::workload::{X509svidRequest, X509svidResponse};
use hallmark_spiffe::{Bundle, Selector, SpiffeId, TrustDomain, jwt::JwtAuthority};
use hallmark_workload::{UnixAttestor, UnixConfig, Users};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use zeroize::Zeroizing;

use crate::agent::Demand;
use crate::cache::{Publisher, SecretBytes, Snapshot, WorkloadEntry, X509Material, channel};
use crate::workload_api::{Bounds, Listener, Usage, WorkloadApi};

pub(crate) type Client = SpiffeWorkloadApiClient<Channel>;

/// A self-signed authority of `example.org`.
pub(crate) struct Authority {
    pub(crate) der: Bytes,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec().into();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn issue(&self, id: &str, lifetime: Duration) -> X509Material {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let now = SystemTime::now();
        X509Material {
            chain: params.signed_by(&key, &self.issuer).unwrap().der().to_vec().into(),
            key: SecretBytes::new(Zeroizing::new(key.serialize_der())),
            not_before: now,
            not_after: now + lifetime,
        }
    }

    /// The certificate that a request asks for, for another id and time.
    pub(crate) fn sign(&self, csr: &[u8], id: &str, lifetime: Duration) -> Vec<u8> {
        let mut request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let now = OffsetDateTime::now_utc();
        request.params.is_ca = IsCa::ExplicitNoCa;
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        request.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        request.params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        (request.params.not_before, request.params.not_after) = (now, now + lifetime);
        let signed = request.params.signed_by(&request.public_key, &self.issuer);
        signed.unwrap().der().to_vec()
    }

    /// An entry for everybody with our uid, with its SVID.
    pub(crate) fn entry(&self, name: &str, created_at: i64) -> WorkloadEntry {
        let id = format!("spiffe://example.org/{name}");
        WorkloadEntry {
            is_used: Arc::default(),
            entry_id: name.into(),
            revision: 1,
            selectors: our_uid(),
            spiffe_id: SpiffeId::parse(&id).unwrap(),
            hint: "".into(),
            created_at,
            wanted: true,
            x509: Some(self.issue(&id, Duration::from_secs(3600))),
        }
    }
}

/// A key that signs JWT-SVIDs.
pub(crate) struct JwtKey {
    pub(crate) authority: JwtAuthority,
    pair: EcdsaKeyPair,
}

impl JwtKey {
    pub(crate) fn new(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let spki = pair.public_key().as_der().unwrap().as_ref().to_vec();
        Self {
            authority: JwtAuthority::new(id.into(), spki).unwrap(),
            pair,
        }
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.authority.key_id(), "typ": "JWT"});
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Claims of an identity of `example.org`, from now on.
pub(crate) fn claims(name: &str, audience: &[&str], life: Duration) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "sub": format!("spiffe://example.org/{name}"), "aud": audience, "iat": now,
        "exp": now + i64::try_from(life.as_secs()).unwrap(),
    })
}

pub(crate) fn our_uid() -> BTreeSet<Selector> {
    let uid = rustix::process::geteuid().as_raw();
    BTreeSet::from([Selector::parse(&format!("unix:uid:{uid}")).unwrap()])
}

pub(crate) fn snapshot(authority: &Authority, entries: Vec<WorkloadEntry>) -> Snapshot {
    Snapshot {
        ready: true,
        bundle: authority.der.clone(),
        entries: entries.into_iter().map(Arc::new).collect(),
        ..Snapshot::empty(TrustDomain::parse("example.org").unwrap())
    }
}

/// The same with these JWT keys in the bundle.
pub(crate) fn with_keys(snapshot: Snapshot, keys: &[&JwtAuthority]) -> Snapshot {
    let jwt_bundle = Bundle {
        jwt_authorities: keys.iter().map(|key| (*key).clone()).collect(),
        ..Bundle::empty(snapshot.trust_domain.clone())
    };
    Snapshot {
        jwt_bundle: Arc::new(jwt_bundle),
        ..snapshot
    }
}

/// A running server.
pub(crate) struct Lab {
    pub(crate) authority: Authority,
    pub(crate) publisher: Publisher,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) usage: Usage,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Lab {
    pub(crate) fn bounded(entries: impl FnOnce(&Authority) -> Vec<WorkloadEntry>, bounds: Bounds) -> Self {
        Self::with(entries, UnixConfig::default(), Users::of_this_machine(), bounds)
    }

    pub(crate) fn with(
        entries: impl FnOnce(&Authority) -> Vec<WorkloadEntry>,
        config: UnixConfig,
        users: Users,
        bounds: Bounds,
    ) -> Self {
        let authority = Authority::new();
        let (publisher, cache) = channel(snapshot(&authority, entries(&authority)));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workload.sock");
        let attestor = UnixAttestor::new(config);
        let listener = Listener::bind_for(&path, &attestor).unwrap();
        let api = WorkloadApi::new(cache, Demand::none(), attestor, users, bounds);
        let usage = api.usage();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let server = tokio::spawn(api.serve(listener, async {
            stopped.await.ok();
        }));
        Self {
            authority,
            publisher,
            folder,
            usage,
            stop: Some(stop),
            server: Some(server),
        }
    }

    pub(crate) fn start(entries: impl FnOnce(&Authority) -> Vec<WorkloadEntry>) -> Self {
        Self::bounded(entries, Bounds::default())
    }

    pub(crate) fn publish(&self, entries: Vec<WorkloadEntry>) {
        self.publisher.publish(snapshot(&self.authority, entries));
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("workload.sock")
    }

    pub(crate) async fn channel(&self) -> Channel {
        let uri = format!("unix://{}", self.socket().display());
        Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        SpiffeWorkloadApiClient::new(self.channel().await)
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.take();
        self.server.take().unwrap().await.unwrap();
    }
}

/// A request with the security metadata.
pub(crate) fn with_header<T>(message: T) -> Request<T> {
    with_values(message, &["true"])
}

pub(crate) fn with_values<T>(message: T, values: &[&str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in values {
        let value = MetadataValue::try_from(*value).unwrap();
        request.metadata_mut().append("workload.spiffe.io", value);
    }
    request
}

pub(crate) async fn svids(client: &mut Client) -> Result<Streaming<X509svidResponse>, Status> {
    Ok(client
        .fetch_x509svid(with_header(X509svidRequest {}))
        .await?
        .into_inner())
}

/// The next message, which must come at once.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    let message = tokio::time::timeout(Duration::from_secs(1), stream.message()).await;
    message
        .expect("a message or an end within a second")
        .map(|message| message.expect("no plain end"))
}

/// Asserts that nothing comes for a while.
pub(crate) async fn silence<T: std::fmt::Debug>(stream: &mut Streaming<T>) {
    let message = tokio::time::timeout(Duration::from_millis(150), stream.message()).await;
    assert!(message.is_err(), "nothing changed, but this came: {message:?}");
}

pub(crate) fn ids(response: &X509svidResponse) -> Vec<&str> {
    let strip = |id| str::strip_prefix(id, "spiffe://example.org/").unwrap();
    response
        .svids
        .iter()
        .map(|svid| strip(svid.spiffe_id.as_str()))
        .collect()
}
