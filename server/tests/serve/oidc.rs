//! OpenID Connect discovery: what is answered to whom, and the certificate that is shown.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hallmark_host::health::Address;
use hallmark_reason::Coded as _;
use hallmark_server::{clock::Clock, run::Running, tls::provider};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::lab::{Lab, isolated};

const HOST: &str = "oidc.example.org";
const CONFIGURATION: &str = "/.well-known/openid-configuration";

fn configure(lab: &mut Lab, listen: &str, issuer: &str) {
    lab.set("authority", "jwt_issuer", issuer);
    lab.settings.entry("oidc").or_insert(toml::Table::new().into());
    lab.set("oidc", "listen", listen);
}

fn tcp(running: &Running) -> SocketAddr {
    match running.oidc {
        Some(Address::Tcp(address)) => address,
        ref other => panic!("not served at an address: {other:?}"),
    }
}

/// Status, head and body of the answer to a request, which ends the connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut text));
    // A server that is sent more than it reads resets the connection behind its answer.
    drop(read.await.expect("the connection ends"));
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    Answer {
        status: status.unwrap_or_default(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

async fn ask(address: SocketAddr, request: &str) -> Answer {
    exchange(TcpStream::connect(address).await.unwrap(), request).await
}

fn of(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\n{headers}\r\n")
}

async fn fetch(address: SocketAddr, path: &str) -> Answer {
    ask(address, &of("GET", path, &format!("Host: {HOST}\r\n"))).await
}

#[test]
fn what_is_published_is_what_signs() {
    isolated("oidc::what_is_published_is_what_signs", async |mut lab| {
        configure(&mut lab, "127.0.0.1:0", "https://oidc.example.org:8443/spiffe");
        lab.set("authority", "jwt_key_ttl", "1h");
        let running = lab.start().await;
        let address = tcp(&running);
        let told = fetch(address, &format!("/spiffe{CONFIGURATION}")).await;
        assert_eq!(
            (told.status, told.header("content-type")),
            (200, Some("application/json"))
        );
        assert_eq!(told.header("cache-control"), Some("public, max-age=300"));
        assert_eq!(
            told.json(),
            serde_json::json!({
                "issuer": "https://oidc.example.org:8443/spiffe",
                "jwks_uri": "https://oidc.example.org:8443/spiffe/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            })
        );
        let keys = fetch(address, "/spiffe/keys").await;
        let key = &keys.json()["keys"][0];
        let bundle = running.server.authority.load().bundle.clone();
        let expected = [
            ("use", "sig"),
            ("alg", "ES256"),
            ("kty", "EC"),
            ("crv", "P-256"),
            ("kid", bundle.jwt_authorities[0].key_id()),
        ];
        for (member, value) in expected {
            assert_eq!(key[member], value, "{keys:?}");
        }
        assert_eq!(key.as_object().unwrap().len(), 7, "with x and y, and nothing else");
        // Who has the document is told so, and gets it again when it has changed.
        let etag = keys.header("etag").unwrap();
        for (known, status) in [
            (etag.to_owned(), 304),
            (format!("\"other\", W/{etag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (told.header("etag").unwrap().to_owned(), 200),
        ] {
            let headers = format!("Host: {HOST}\r\nIf-None-Match: {known}\r\n");
            let answer = ask(address, &of("GET", "/spiffe/keys", &headers)).await;
            assert_eq!(
                (answer.status, answer.body.is_empty()),
                (status, status == 304),
                "{known}"
            );
            assert_eq!(answer.header("etag"), Some(etag));
        }
        let head = ask(address, &of("HEAD", "/spiffe/keys", &format!("Host: {HOST}\r\n"))).await;
        let length = keys.body.len().to_string();
        assert_eq!(
            (head.status, head.body.as_str(), head.header("content-length")),
            (200, "", Some(length.as_str()))
        );
        for (path, body) in [("/live", "live\n"), ("/ready", "ready\n")] {
            let answer = ask(address, &of("GET", path, "Host: 127.0.0.1\r\n")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, body));
        }
        running.stop().await.unwrap();
    });
}

#[test]
fn only_its_hosts_paths_and_methods_are_served() {
    isolated("oidc::only_its_hosts_paths_and_methods_are_served", async |mut lab| {
        configure(&mut lab, "127.0.0.1:0", "https://oidc.example.org");
        lab.set("oidc", "domains", vec!["keys.internal"]);
        let running = lab.start().await;
        let address = tcp(&running);
        let host = |name: &str| format!("Host: {name}\r\n");
        let good = host(HOST);
        let long = format!("{good}X: {}\r\n", "a".repeat(9000));
        let many = format!("{good}{}", "X: a\r\n".repeat(70));
        for (method, path, headers, status) in [
            ("GET", "/keys", good.clone(), 200),
            ("GET", "/keys?a=b", good.clone(), 200),
            ("GET", "/keys", host("OIDC.Example.org:8443"), 200),
            ("GET", "/keys", host("keys.internal"), 200),
            ("GET", "https://oidc.example.org/keys", host("oidc.example.org"), 200),
            ("GET", "https://other.example.org/keys", host("oidc.example.org"), 421),
            ("GET", "/keys", host("other.example.org"), 421),
            ("GET", "/keys", host("127.0.0.1"), 421),
            ("GET", "/keys", host("oidc.example.org.evil.example"), 421),
            ("GET", "/keys", String::new(), 400),
            ("GET", "/keys", format!("{good}{good}"), 400),
            ("GET", "/keys", host("user@oidc.example.org"), 400),
            ("GET", "/keys", host("oidc.example.org:0"), 400),
            ("GET", "/", good.clone(), 404),
            ("GET", "/keys/", good.clone(), 404),
            ("GET", "//keys", good.clone(), 404),
            ("GET", "/metrics", good.clone(), 404),
            ("POST", "/keys", format!("{good}Content-Length: 0\r\n"), 405),
            ("OPTIONS", "*", good.clone(), 405),
            ("DELETE", CONFIGURATION, good.clone(), 405),
            ("GET", "/keys", long, 431),
            ("GET", "/keys", many, 431),
        ] {
            let answer = ask(address, &of(method, path, &headers)).await;
            let asked = format!("{method} {path} {}", headers.chars().take(80).collect::<String>());
            assert_eq!(answer.status, status, "{asked}: {answer:?}");
            let allowed = (status == 405).then_some("GET, HEAD");
            assert_eq!(answer.header("allow"), allowed, "{asked}");
        }
        // One that says nothing is cut off, and nobody waits for it.
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET /keys HTTP/1.1\r\n").await.unwrap();
        assert_eq!(fetch(address, "/keys").await.status, 200);
        let mut rest = Vec::new();
        timeout(Duration::from_secs(15), silent.read_to_end(&mut rest))
            .await
            .expect("it is cut off")
            .unwrap();
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
        running.stop().await.unwrap();
    });
}

#[test]
fn a_proxy_of_this_machine_is_served_over_a_unix_socket() {
    isolated(
        "oidc::a_proxy_of_this_machine_is_served_over_a_unix_socket",
        async |mut lab| {
            let path = lab.folder.join("oidc").join("oidc.sock");
            configure(
                &mut lab,
                &format!("unix:{}", path.display()),
                "https://oidc.example.org",
            );
            let running = lab.start().await;
            assert_eq!(running.oidc, Some(Address::Unix(path.clone())));
            let request = of("GET", "/keys", &format!("Host: {HOST}\r\n"));
            let answer = exchange(UnixStream::connect(&path).await.unwrap(), &request).await;
            assert_eq!(
                (answer.status, answer.json()["keys"].as_array().unwrap().len()),
                (200, 1)
            );
            // Another server does not push it aside.
            let taken = lab.try_start(Clock::system()).await.unwrap_err();
            assert!(
                ["HM-SRV-0001", "HM-SRV-0002"].contains(&taken.code().as_str()),
                "{taken}"
            );
            running.stop().await.unwrap();
            assert!(!path.exists());
        },
    );
}

/// A certificate of its own authority, for these names, until this year.
struct Issued {
    root: CertificateDer<'static>,
    chain: String,
    key: String,
}

fn issued(name: &str, until: i32) -> Issued {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Issued {
        root: certificate.der().clone(),
        chain: certificate.pem(),
        key: key.serialize_pem(),
    }
}

impl Issued {
    /// Writes both, or one, as an ACME client does: beside, then in the place of the old one.
    fn write(&self, folder: &Path, files: &[&str]) {
        use std::os::unix::fs::PermissionsExt as _;
        for file in files {
            let new = folder.join("new.pem");
            fs::write(&new, if *file == "key.pem" { &self.key } else { &self.chain }).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
            fs::rename(new, folder.join(file)).unwrap();
        }
    }

    /// Whether it is the one that the listener shows; if so, the keys are there as well.
    async fn is_shown(&self, address: SocketAddr) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        match connector.connect(ServerName::try_from(HOST).unwrap(), stream).await {
            Ok(stream) => {
                let answer = exchange(stream, &of("GET", "/keys", &format!("Host: {HOST}\r\n"))).await;
                assert_eq!(answer.status, 200);
                true
            }
            Err(_) => false,
        }
    }

    async fn until_shown(&self, address: SocketAddr) {
        for _ in 0..150 {
            if self.is_shown(address).await {
                return;
            }
            // Real time: the files are looked at every five seconds.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the certificate is not shown");
    }
}

fn failure(running: &Running) -> Option<String> {
    let certificate = running.server.oidc_certificate()?;
    certificate.failure().map(|it| it.code().as_str().to_owned())
}

#[test]
fn the_certificate_is_read_again_and_a_bad_one_changes_nothing() {
    isolated(
        "oidc::the_certificate_is_read_again_and_a_bad_one_changes_nothing",
        async |mut lab| {
            let folder = lab.folder.clone();
            configure(&mut lab, "127.0.0.1:0", "https://oidc.example.org");
            lab.set("oidc", "certificate", folder.join("chain.pem").display().to_string());
            let key = format!("file:{}", folder.join("key.pem").display());
            lab.set("oidc", "certificate_key", key);
            let first = issued(HOST, 2100);
            // One that does not fit is told at the start.
            issued("other.example.org", 2100).write(&folder, &["chain.pem", "key.pem"]);
            let refused = lab.try_start(Clock::system()).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "HM-CONF-0112", "{refused}");
            first.write(&folder, &["chain.pem"]);
            let refused = lab.try_start(Clock::system()).await.unwrap_err();
            assert_eq!(refused.code().as_str(), "HM-CONF-0112", "another one's key: {refused}");
            first.write(&folder, &["key.pem"]);
            let running = lab.start().await;
            let address = tcp(&running);
            assert!(first.is_shown(address).await);
            assert_eq!(failure(&running), None);
            // Without TLS nothing is answered.
            assert_eq!(fetch(address, "/keys").await.status, 0);

            let second = issued(HOST, 2100);
            second.write(&folder, &["chain.pem"]);
            let mut waited = 0;
            while failure(&running).is_none() && waited < 150 {
                // Real time: the files are looked at every five seconds.
                tokio::time::sleep(Duration::from_millis(100)).await;
                waited += 1;
            }
            assert_eq!(
                failure(&running).as_deref(),
                Some("HM-SRV-0352"),
                "the key is the old one's"
            );
            assert!(first.is_shown(address).await && !second.is_shown(address).await);
            second.write(&folder, &["key.pem"]);
            second.until_shown(address).await;
            assert_eq!(failure(&running), None);

            let ended = issued(HOST, 2001);
            ended.write(&folder, &["chain.pem", "key.pem"]);
            let mut waited = 0;
            while failure(&running).as_deref() != Some("HM-SRV-0353") && waited < 150 {
                // Real time: the files are looked at every five seconds.
                tokio::time::sleep(Duration::from_millis(100)).await;
                waited += 1;
            }
            assert_eq!(failure(&running).as_deref(), Some("HM-SRV-0353"));
            running.stop().await.unwrap();
        },
    );
}

#[test]
fn one_address_has_a_share_of_the_connections() {
    isolated("oidc::one_address_has_a_share_of_the_connections", async |mut lab| {
        let folder = lab.folder.clone();
        configure(&mut lab, "127.0.0.1:0", "https://oidc.example.org");
        lab.set("oidc", "certificate", folder.join("chain.pem").display().to_string());
        let key = format!("file:{}", folder.join("key.pem").display());
        lab.set("oidc", "certificate_key", key);
        let certificate = issued(HOST, 2100);
        certificate.write(&folder, &["chain.pem", "key.pem"]);
        let running = lab.start().await;
        let address = tcp(&running);
        let mut idle = Vec::new();
        for _ in 0..32 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(!certificate.is_shown(address).await, "32 are the share of one address");
        // Another address is served meanwhile.
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind(SocketAddr::new(IpAddr::from([127, 0, 0, 2]), 0)).unwrap();
        let mut other = other.connect(address).await.unwrap();
        let mut byte = [0];
        let ended = timeout(Duration::from_millis(500), other.read(&mut byte)).await;
        assert!(ended.is_err(), "it is waited for its handshake: {ended:?}");
        drop(idle);
        let mut waited = 0;
        while !certificate.is_shown(address).await {
            waited += 1;
            assert!(waited < 100, "the share is not given back");
            // Real time: the server sees that the connections are closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.stop().await.unwrap();
    });
}
