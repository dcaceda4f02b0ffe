//! Vault's API, as a fake answers it: by its documentation, and with every failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hallmark_reason::Report;
use hallmark_upstream::{Upstream as _, VaultConfig, VaultUpstream};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    fake::{Fake, Reply, Seen},
    pki::{self, Ca, Request},
    refused, require_genuine, sign,
};

const SECRET_ID: &str = "7b1e-secret-id";
const TOKEN: &str = "hvs.CAESIJ-secret-token";
const LOGIN: &str = "POST /v1/auth/approle/login";
const SIGN: &str = "POST /v1/pki/root/sign-intermediate";

/// An authority whose PKI is in the fake, and the files of the configuration.
struct Site {
    folder: TempDir,
    root: Ca,
    issuing: Ca,
    /// Of TLS.
    tls: Ca,
}

impl Site {
    fn new() -> Arc<Self> {
        let root = Ca::root("Enterprise root");
        Arc::new(Self {
            folder: TempDir::new().unwrap(),
            issuing: root.below("Enterprise issuing"),
            root,
            tls: Ca::root("TLS"),
        })
    }

    /// The configuration with AppRole.
    fn config(&self, url: &str, more: &str) -> VaultConfig {
        let ca = pki::file(self.folder.path(), "ca.pem", &self.tls.pem);
        let secret = pki::file(self.folder.path(), "secret-id", &format!("{SECRET_ID}\n"));
        let (ca, secret) = (ca.display(), secret.display());
        let text = format!(
            "url = \"{url}\"\nca = \"{ca}\"\n{more}\n[auth.approle]\nrole_id = \"role\"\nsecret_id = \"file:{secret}\"\n"
        );
        toml::from_str(&text).unwrap()
    }

    fn upstream(&self, url: &str, more: &str) -> VaultUpstream {
        VaultUpstream::new(&self.config(url, more), None).unwrap()
    }

    /// What a mount says that holds its chain.
    fn signed(&self, seen: &Seen) -> Reply {
        let (_, csr) = request_of(seen.json()["csr"].as_str().unwrap());
        let chain = [&self.issuing.pem, &self.root.pem];
        let certificate = pki::pem(&self.issuing.sign(&csr));
        let data =
            json!({ "certificate": certificate, "issuing_ca": self.issuing.pem, "ca_chain": chain, "expiration": 1 });
        Reply::json(
            200,
            &json!({ "request_id": "x", "data": data, "warnings": ["a warning"], "auth": null }),
        )
    }

    fn chain(&self) -> Reply {
        let both = format!("{}{}", self.issuing.pem, self.root.pem);
        Reply::json(200, &json!({ "data": { "ca_chain": both, "certificate": both } }))
    }
}

fn request_of(pem: &str) -> (hallmark_der::SectionKind, Vec<u8>) {
    hallmark_der::sections(pem.as_bytes()).unwrap().remove(0)
}

fn logged_in(seconds: u64) -> Reply {
    Reply::json(
        200,
        &json!({ "auth": { "client_token": TOKEN, "lease_duration": seconds, "renewable": false } }),
    )
}

/// A Vault that works, but for what `otherwise` answers in its place.
async fn vault(site: &Arc<Site>, otherwise: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    let of = Arc::clone(site);
    let answers = move |seen: &Seen| match otherwise(seen) {
        Some(reply) => reply,
        None => match seen.line.as_str() {
            LOGIN => logged_in(3600),
            SIGN => of.signed(seen),
            "GET /v1/pki/cert/ca_chain" => of.chain(),
            other => Reply::errors(404, &[&format!("no handler for route \"{other}\"")]),
        },
    };
    Fake::start(&site.tls, answers).await
}

#[tokio::test]
async fn a_mount_signs_and_names_its_chain() {
    let site = Site::new();
    let fake = vault(&site, |_| None).await;
    let upstream = site.upstream(&fake.url, "namespace = \"team/a/\"\nmax_path_length = 1");
    let request = Request::new();
    let signed = sign(&upstream, &request).await.unwrap();
    require_genuine(&signed, &request);
    assert_eq!(
        (&signed.chain[1], &signed.roots[0]),
        (&site.issuing.der, &site.root.der)
    );
    assert_eq!(signed.chain.len(), 2);
    let seen = fake.seen();
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, [LOGIN, SIGN]);
    assert_eq!(seen[0].json(), json!({ "role_id": "role", "secret_id": SECRET_ID }));
    assert_eq!(
        (seen[0].header("x-vault-token"), seen[1].header("x-vault-token")),
        ("", TOKEN)
    );
    for one in &seen {
        assert_eq!(one.header("x-vault-namespace"), "team/a");
        assert_eq!(one.header("x-vault-request"), "true");
    }
    let mut body = seen[1].json();
    assert_eq!(request_of(body["csr"].as_str().unwrap()).1, request.csr);
    body.as_object_mut().unwrap().remove("csr");
    assert_eq!(
        body,
        json!({ "format": "pem", "ttl": "3600s", "use_csr_values": true, "max_path_length": 1 })
    );
    assert_eq!(upstream.roots().await.unwrap(), Some(vec![site.root.der.clone()]));
    assert_eq!(fake.seen()[0].header("x-vault-token"), "", "a chain is public");
}

#[tokio::test]
async fn a_token_that_vault_no_longer_takes_is_made_anew_once() {
    let site = Site::new();
    let denials = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&denials);
    let fake = vault(&site, move |seen| {
        let is_denied = seen.line == SIGN
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok();
        is_denied.then(|| Reply::errors(403, &["permission denied"]))
    })
    .await;
    let upstream = site.upstream(&fake.url, "");
    let lines = || fake.seen().into_iter().map(|seen| seen.line).collect::<Vec<_>>();
    sign(&upstream, &Request::new()).await.unwrap();
    assert_eq!(lines(), [LOGIN, SIGN]);
    // The control: a token that lives is used again.
    sign(&upstream, &Request::new()).await.unwrap();
    assert_eq!(lines(), [SIGN]);
    denials.store(1, Ordering::SeqCst);
    let request = Request::new();
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
    assert_eq!(lines(), [SIGN, LOGIN, SIGN]);
    denials.store(2, Ordering::SeqCst);
    let (code, report) = refused(sign(&upstream, &Request::new()).await);
    assert_eq!(code, "HM-CA-0059");
    assert!(
        report.contains("403 at /v1/pki/root/sign-intermediate: permission denied"),
        "{report}"
    );
    assert_eq!(lines(), [SIGN, LOGIN, SIGN]);
    // A token that was made for this order is not made again for it.
    let fresh = site.upstream(&fake.url, "");
    denials.store(1, Ordering::SeqCst);
    assert_eq!(refused(sign(&fresh, &Request::new()).await).0, "HM-CA-0059");
    assert_eq!(lines(), [LOGIN, SIGN]);
}

/// An answer, the code that it leads to, and a part of the report.
type Case = (Reply, &'static str, &'static str);

fn statuses() -> Vec<Case> {
    let common_name = "1 error occurred:\n\t* common name not allowed by this role\u{1b}[2J\n\n";
    let no_leader = "local node not active but active cluster node not found";
    vec![
        (
            Reply::errors(503, &["Vault is sealed"]),
            "HM-CA-0060",
            "Vault is sealed",
        ),
        (Reply::text(503, "text/html", "<h1>busy</h1>"), "HM-CA-0064", "503"),
        (
            Reply::errors(429, &["rate limit quota exceeded"]),
            "HM-CA-0061",
            "rate limit",
        ),
        (Reply::errors(473, &[]), "HM-CA-0061", "473"),
        (Reply::errors(500, &[no_leader]), "HM-CA-0061", "not active"),
        (
            Reply::errors(404, &["no handler for route"]),
            "HM-CA-0062",
            "no handler",
        ),
        (
            Reply::errors(405, &["unsupported operation"]),
            "HM-CA-0062",
            "unsupported",
        ),
        (
            Reply::errors(400, &[common_name]),
            "HM-CA-0063",
            "400 at /v1/pki/root/sign-intermediate: 1 error occurred: * common name not allowed by this role\\u{1b}[2J",
        ),
        (Reply::errors(500, &["internal"]), "HM-CA-0064", "internal"),
        (Reply::text(200, "text/html", "<html>"), "HM-CA-0056", "text/html"),
    ]
}

fn bodies() -> Vec<Case> {
    let json = |text: &str| Reply::text(200, "application/json", text);
    let without_length = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec();
    let long_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    let gzip = vec![("content-encoding", "gzip".to_owned())];
    vec![
        (json("{"), "HM-CA-0056", "not JSON"),
        (json(r#"{"data":{"certificate":""}}"#), "HM-CA-0056", "no certificate"),
        (json(r#"{"data":{"certificate":"garbage"}}"#), "HM-CA-0056", "PEM"),
        (json(&" ".repeat(10 << 20)), "HM-CA-0055", "at most"),
        (
            Reply::Raw([without_length, vec![b' '; 10 << 20]].concat()),
            "HM-CA-0055",
            "at most",
        ),
        (Reply::Raw(long_head), "HM-CA-0052", "reach"),
        (Reply::Raw(b"SSH-2.0-x\r\n".to_vec()), "HM-CA-0052", "reach"),
        (Reply::Raw(vec![]), "HM-CA-0052", "reach"),
        (Reply::Whole(200, gzip, vec![0x1f, 0x8b]), "HM-CA-0056", "gzip"),
    ]
}

fn redirects(location: String) -> Vec<Case> {
    let to = |status, place: String| Reply::Whole(status, vec![("location", place)], vec![]);
    vec![
        (to(307, location), "HM-CA-0057", "307"),
        (to(301, "/v1/elsewhere".into()), "HM-CA-0057", "/v1/elsewhere"),
    ]
}

#[tokio::test]
async fn every_failure_has_its_code() {
    let site = Site::new();
    let elsewhere = vault(&site, |_| None).await;
    let location = format!("{}/v1/pki/root/sign-intermediate", elsewhere.url);
    let cases = statuses().into_iter().chain(bodies()).chain(redirects(location));
    for (reply, code, part) in cases {
        let given = reply.clone();
        let fake = vault(&site, move |seen| (seen.line == SIGN).then(|| given.clone())).await;
        let (found, report) = refused(sign(&site.upstream(&fake.url, ""), &Request::new()).await);
        assert_eq!(found, code, "{report}");
        assert!(report.contains(part), "{report}");
        assert!(report.len() < 2000 && !report.contains('\u{1b}'), "{report}");
    }
    assert!(elsewhere.seen().is_empty(), "no redirect is followed");
    // The controls: the same order without a failure, and logins that fail.
    let request = Request::new();
    require_genuine(
        &sign(&site.upstream(&elsewhere.url, ""), &request).await.unwrap(),
        &request,
    );
    for (status, code) in [
        (400, "HM-CA-0058"),
        (403, "HM-CA-0058"),
        (404, "HM-CA-0062"),
        (503, "HM-CA-0060"),
    ] {
        let fake = vault(&site, move |seen| {
            (seen.line == LOGIN).then(|| Reply::errors(status, &["Vault is sealed"]))
        })
        .await;
        assert_eq!(
            refused(sign(&site.upstream(&fake.url, ""), &Request::new()).await).0,
            code,
            "{status}"
        );
        assert_eq!(fake.seen().len(), 1, "nothing is signed without a login");
    }
    let no_token = json!({ "auth": { "client_token": "", "lease_duration": 1 } });
    let fake = vault(&site, move |seen| {
        (seen.line == LOGIN).then(|| Reply::json(200, &no_token))
    })
    .await;
    assert_eq!(
        refused(sign(&site.upstream(&fake.url, ""), &Request::new()).await).0,
        "HM-CA-0056"
    );
}

#[tokio::test]
async fn a_slow_answer_ends_at_the_limit() {
    let site = Site::new();
    for reply in [Reply::Drip, Reply::Silence] {
        let fake = vault(&site, move |seen| (seen.line == SIGN).then(|| reply.clone())).await;
        let begun = Instant::now();
        let (code, report) = refused(sign(&site.upstream(&fake.url, "timeout = \"1s\""), &Request::new()).await);
        assert_eq!(code, "HM-CA-0054", "{report}");
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn certificates_that_lead_nowhere_are_refused() {
    let site = Site::new();
    let stranger = Arc::new(Ca::root("Enterprise root"));
    // Each answer differs in one thing from a good one.
    let change = |of: &'static str| {
        let (site, stranger) = (Arc::clone(&site), Arc::clone(&stranger));
        move |seen: &Seen| {
            let Reply::Whole(status, headers, body) = site.signed(seen) else {
                panic!()
            };
            let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let data = &mut body["data"];
            match of {
                "nothing" => {}
                "another key" => data["certificate"] = pki::pem(&site.issuing.sign(&Request::new().csr)).into(),
                "another issuer" => {
                    let csr = request_of(seen.json()["csr"].as_str().unwrap()).1;
                    data["certificate"] = pki::pem(&stranger.below("Enterprise issuing").sign(&csr)).into();
                }
                "another root of the same name" => data["ca_chain"] = json!([site.issuing.pem, stranger.pem]),
                "no root" => data["ca_chain"] = json!([site.issuing.pem]),
                other => panic!("{other}"),
            }
            Reply::Whole(status, headers, body.to_string().into_bytes())
        }
    };
    for what in [
        "another key",
        "another issuer",
        "another root of the same name",
        "no root",
    ] {
        let changed = change(what);
        let fake = vault(&site, move |seen| (seen.line == SIGN).then(|| changed(seen))).await;
        let (code, report) = refused(sign(&site.upstream(&fake.url, ""), &Request::new()).await);
        assert_eq!(code, "HM-CA-0065", "{what}: {report}");
    }
    let changed = change("nothing");
    let fake = vault(&site, move |seen| (seen.line == SIGN).then(|| changed(seen))).await;
    let request = Request::new();
    require_genuine(&sign(&site.upstream(&fake.url, ""), &request).await.unwrap(), &request);
    // Roots that the configuration names: Vault cannot bring another in force, nor needs to hold its own.
    let of = |name: &str, ca: &Ca| format!("roots = {:?}", pki::file(site.folder.path(), name, &ca.pem));
    let (ours, other) = (of("ours.pem", &site.root), of("other.pem", &stranger));
    assert_eq!(
        refused(sign(&site.upstream(&fake.url, &other), &request).await).0,
        "HM-CA-0065"
    );
    let changed = change("no root");
    let fake = vault(&site, move |seen| (seen.line == SIGN).then(|| changed(seen))).await;
    let upstream = site.upstream(&fake.url, &ours);
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
    assert_eq!(upstream.roots().await.unwrap(), Some(vec![site.root.der.clone()]));
}

#[tokio::test]
async fn servers_that_are_not_trusted_or_not_there_are_told_apart() {
    let site = Site::new();
    let fake = vault(&site, |_| None).await;
    let mut config = site.config(&fake.url, "");
    config.ca = Some(pki::file(site.folder.path(), "other-ca.pem", &Ca::root("TLS").pem));
    let upstream = VaultUpstream::new(&config, None).unwrap();
    assert_eq!(refused(sign(&upstream, &Request::new()).await).0, "HM-CA-0053");
    assert!(fake.seen().is_empty(), "no secret is shown to a stranger");
    let named = site.upstream(&fake.url.replace("127.0.0.1", "localhost"), "");
    assert_eq!(
        refused(sign(&named, &Request::new()).await).0,
        "HM-CA-0053",
        "another name"
    );
    sign(&site.upstream(&fake.url, ""), &Request::new()).await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let away = site.upstream(&format!("https://{free}"), "");
    assert_eq!(refused(sign(&away, &Request::new()).await).0, "HM-CA-0052");
    assert_eq!(refused(away.roots().await).0, "HM-CA-0052");
}

#[tokio::test]
async fn secrets_are_in_no_text() {
    let site = Site::new();
    let echo = |seen: &Seen| {
        let said = format!(
            "bad {} {} ",
            seen.header("x-vault-token"),
            String::from_utf8_lossy(&seen.body)
        );
        Reply::errors(400, &[&said.repeat(2)])
    };
    for line in [LOGIN, SIGN] {
        let fake = vault(&site, move |seen| (seen.line == line).then(|| echo(seen))).await;
        let upstream = site.upstream(&fake.url, "");
        let (code, report) = refused(sign(&upstream, &Request::new()).await);
        assert!(
            report.contains("bad ") && report.contains("[secret]"),
            "the control: {report}"
        );
        let all = format!(
            "{code} {report} {upstream:?} {:?} {}",
            site.config(&fake.url, ""),
            upstream.name()
        );
        for secret in [TOKEN, SECRET_ID] {
            assert!(!all.contains(secret), "{all}");
        }
        let sent: String = fake
            .seen()
            .iter()
            .map(|seen| format!("{seen:?}{}", String::from_utf8_lossy(&seen.body)))
            .collect();
        assert!(sent.contains(SECRET_ID), "the control: it was sent");
    }
    let fake = vault(&site, |_| None).await;
    let with_password = fake.url.replace("https://", "https://name:pa55word@");
    let error = VaultUpstream::new(&site.config(&with_password, ""), None).unwrap_err();
    let report = Report(&error).to_string();
    assert!(
        report.starts_with("HM-CA-0050: Vault: `url` cannot be used") && !report.contains("pa55word"),
        "{report}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_shows_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    let code = |config: &VaultConfig| {
        let error = VaultUpstream::new(config, None).unwrap_err();
        (
            hallmark_reason::Coded::code(&error).as_str(),
            Report(&error).to_string(),
        )
    };
    let good = site.config("https://127.0.0.1:1", "");
    VaultUpstream::new(&good, None).unwrap();
    let with = |change: &dyn Fn(&mut VaultConfig)| {
        let mut config = good.clone();
        change(&mut config);
        code(&config)
    };
    for (changed, part) in [
        (with(&|it| it.url = "http://127.0.0.1:1".into()), "`url`"),
        (with(&|it| it.mount = "../sys".into()), "`mount`"),
        (with(&|it| it.issuer = Some("a?b".into())), "`issuer`"),
        (with(&|it| it.namespace = Some("a\r\nx: y".into())), "`namespace`"),
        (with(&|it| it.ca = None), "`ca`"),
        (with(&|it| it.ca = Some("/nonexistent".into())), "/nonexistent"),
        (
            with(&|it| it.roots = it.ca.clone().map(|ca| ca.with_file_name("secret-id"))),
            "`roots`",
        ),
    ] {
        assert_eq!(changed.0, "HM-CA-0050", "{}", changed.1);
        assert!(changed.1.contains(part), "{}", changed.1);
    }
    let secret = site.folder.path().join("secret-id");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(code(&good).0, "HM-CA-0051");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    VaultUpstream::new(&good, None).unwrap();
    std::fs::write(&secret, "\n").unwrap();
    assert_eq!(code(&good).0, "HM-CA-0051");
    let read = |text: &str| {
        toml::from_str::<VaultConfig>(text)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    read("url = \"https://a\"\n[auth.token]\ntoken = \"file:/t\"").unwrap();
    for bad in [
        "url = \"https://a\"",
        "url = \"https://a\"\nurls = []\n[auth.token]\ntoken = \"file:/t\"",
        "url = \"https://a\"\n[auth.token]\ntoken = \"file:/t\"\n[auth.approle]\nrole_id = \"r\"",
        "url = \"https://a\"\n[auth.ldap]\nname = \"x\"",
        "url = \"https://a\"\n[auth.token]\ntoken = \"hvs.secret\"",
        "url = \"https://a\"\ntimeout = \"0s\"\n[auth.token]\ntoken = \"file:/t\"",
    ] {
        let told = read(bad).unwrap_err();
        assert!(!told.contains("must be at least") && !told.is_empty(), "{told}");
    }
}

#[tokio::test]
async fn a_client_certificate_logs_in() {
    let site = Site::new();
    let fake = vault(&site, |seen| {
        (seen.line == "POST /v1/auth/cert/login").then(|| logged_in(0))
    })
    .await;
    let leaf = site.tls.leaf("hallmark-server");
    let folder = site.folder.path();
    let text = format!(
        "url = {:?}\nca = {:?}\n[auth.cert]\nrole = \"hallmark\"\ncertificate = {:?}\nkey = \"file:{}\"\n",
        fake.url,
        pki::file(folder, "ca.pem", &site.tls.pem),
        pki::file(folder, "client.pem", &leaf.pem),
        pki::file(folder, "client.key", &leaf.key.serialize_pem()).display(),
    );
    let config: VaultConfig = toml::from_str(&text).unwrap();
    let request = Request::new();
    require_genuine(
        &sign(&VaultUpstream::new(&config, None).unwrap(), &request)
            .await
            .unwrap(),
        &request,
    );
    let seen = fake.seen();
    assert!(seen.iter().all(|seen| seen.has_certificate), "{seen:?}");
    assert_eq!(seen[0].json(), json!({ "name": "hallmark" }));
    let plain = text
        .replace("https://", "http://")
        .replacen("ca =", "allow_plain_http_on_loopback = true\nca =", 1);
    let config: VaultConfig = toml::from_str(&plain).unwrap();
    let error = VaultUpstream::new(&config, None).unwrap_err();
    assert_eq!(hallmark_reason::Coded::code(&error).as_str(), "HM-CA-0050");
}
