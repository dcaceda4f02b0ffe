//! EST, as a fake answers it, with PKCS#7 that OpenSSL writes, and with every failure.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hallmark_reason::Coded as _;
use hallmark_upstream::{EstConfig, EstUpstream, Upstream as _};
use tempfile::TempDir;

use crate::{
    fake::{Fake, Reply, Seen},
    pki::{self, Ca, Request},
    refused, require_genuine, sign,
};

const PASSWORD: &str = "pa55 word\u{e9}";
const ENROL: &str = "POST /.well-known/est/machines/simpleenroll";
const CACERTS: &str = "GET /.well-known/est/machines/cacerts";
const PKCS7: &str = "application/pkcs7-mime; smime-type=certs-only";

struct Site {
    folder: TempDir,
    root: Ca,
    issuing: Ca,
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

    fn config(&self, url: &str, more: &str) -> EstConfig {
        let folder = self.folder.path();
        let text = format!(
            "url = {url:?}\nlabel = \"machines\"\nca = {:?}\nusername = \"hallmark\"\npassword = \"file:{}\"\n{more}\n",
            pki::file(folder, "ca.pem", &self.tls.pem),
            pki::file(folder, "password", &format!("{PASSWORD}\n")).display()
        );
        toml::from_str(&text).unwrap()
    }

    fn upstream(&self, url: &str, more: &str) -> EstUpstream {
        EstUpstream::new(&self.config(url, more), None).unwrap()
    }

    fn enrolled(&self, seen: &Seen) -> Reply {
        let csr = STANDARD.decode(&seen.body).unwrap();
        certs(self.folder.path(), &[&self.issuing.sign(&csr)])
    }
}

/// A certs-only message by OpenSSL, as an EST server sends it.
fn certs(folder: &Path, certificates: &[&[u8]]) -> Reply {
    let pem: String = certificates.iter().map(|der| pki::pem(der)).collect();
    let file = tempfile::Builder::new().tempfile_in(folder).unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let made = Command::new("openssl")
        .args(["crl2pkcs7", "-nocrl", "-outform", "DER", "-certfile"])
        .arg(file.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Reply::text(200, PKCS7, &in_lines(&made.stdout))
}

/// As RFC 8951 has it: lines of 64 characters.
fn in_lines(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]);
    lines.map(|line| format!("{line}\r\n")).collect()
}

/// An EST server that works, but for what `otherwise` answers in its place.
async fn est(site: &Arc<Site>, otherwise: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Fake {
    let of = Arc::clone(site);
    let answers = move |seen: &Seen| match otherwise(seen) {
        Some(reply) => reply,
        None => match seen.line.as_str() {
            ENROL | "POST /.well-known/est/machines/simplereenroll" => of.enrolled(seen),
            CACERTS => certs(of.folder.path(), &[&of.root.der, &of.issuing.der]),
            _ => Reply::text(404, "text/plain", "no such label"),
        },
    };
    Fake::start(&site.tls, answers).await
}

#[tokio::test]
async fn a_request_is_enrolled_and_its_chain_comes_from_cacerts() {
    let site = Site::new();
    let fake = est(&site, |_| None).await;
    let (upstream, request) = (site.upstream(&fake.url, ""), Request::new());
    let signed = sign(&upstream, &request).await.unwrap();
    require_genuine(&signed, &request);
    assert_eq!(
        (&signed.chain[1], &signed.roots[0]),
        (&site.issuing.der, &site.root.der)
    );
    let seen = fake.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.line.as_str()).collect::<Vec<_>>(),
        [ENROL, CACERTS]
    );
    assert_eq!(STANDARD.decode(&seen[0].body).unwrap(), request.csr);
    assert_eq!(seen[0].header("content-type"), "application/pkcs10");
    let basic = STANDARD.encode(format!("hallmark:{PASSWORD}"));
    assert_eq!(seen[0].header("authorization"), format!("Basic {basic}"));
    assert_eq!(seen[1].header("authorization"), "", "the chain is public");
    assert!(!seen[0].has_certificate);
    assert_eq!(upstream.roots().await.unwrap(), Some(vec![site.root.der.clone()]));
    let debugged = format!("{upstream:?}{:?}", site.config(&fake.url, ""));
    assert!(!debugged.contains(PASSWORD) && !debugged.contains(&basic), "{debugged}");
}

#[tokio::test]
async fn a_client_certificate_enrols_without_a_password_and_again() {
    let site = Site::new();
    let fake = est(&site, |seen| {
        (!seen.has_certificate).then(|| Reply::text(401, "text/plain", ""))
    })
    .await;
    let leaf = site.tls.leaf("hallmark-server");
    let folder = site.folder.path();
    let text = format!(
        "url = {:?}\nlabel = \"machines\"\noperation = \"simplereenroll\"\nca = {:?}\ncertificate = {:?}\nkey = \"file:{}\"\n",
        fake.url,
        pki::file(folder, "ca.pem", &site.tls.pem),
        pki::file(folder, "client.pem", &leaf.pem),
        pki::file(folder, "client.key", &leaf.key.serialize_pem()).display(),
    );
    let upstream = EstUpstream::new(&toml::from_str(&text).unwrap(), None).unwrap();
    let request = Request::new();
    require_genuine(&sign(&upstream, &request).await.unwrap(), &request);
    let seen = fake.seen();
    assert_eq!(seen[0].line, "POST /.well-known/est/machines/simplereenroll");
    assert_eq!(seen[0].header("authorization"), "");
    // The control: without the certificate the same server refuses.
    assert_eq!(
        refused(sign(&site.upstream(&fake.url, ""), &request).await).0,
        "HM-CA-0066"
    );
}

#[tokio::test]
async fn a_server_that_has_not_decided_is_asked_again_with_the_same_request() {
    let site = Site::new();
    let (undecided, pause) = (Arc::new(AtomicUsize::new(1)), Arc::new(Mutex::new("1")));
    let (left, told) = (Arc::clone(&undecided), Arc::clone(&pause));
    let fake = est(&site, move |seen| {
        let waits = seen.line == ENROL
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
                .is_ok();
        let retry_after = ("retry-after", told.lock().unwrap().to_string());
        waits.then(|| Reply::Whole(202, vec![retry_after], vec![]))
    })
    .await;
    let enrolments = || {
        let seen = fake.seen().into_iter().filter(|seen| seen.line == ENROL);
        seen.map(|seen| STANDARD.decode(&seen.body).unwrap())
            .collect::<Vec<_>>()
    };
    let (upstream, first) = (site.upstream(&fake.url, ""), Request::new());
    require_genuine(&sign(&upstream, &first).await.unwrap(), &first);
    assert_eq!(enrolments(), [first.csr.clone(), first.csr]);
    // Longer than the limit: a code now, and the same bytes when this server comes again for the same key.
    undecided.store(1, Ordering::SeqCst);
    *pause.lock().unwrap() = "3600";
    let second = Request::new();
    let (code, report) = refused(sign(&upstream, &second).await);
    assert_eq!(code, "HM-CA-0067", "{report}");
    assert!(report.contains("asked again in 3600 s"), "{report}");
    let again = second.again();
    assert_ne!(again.csr, second.csr);
    require_genuine(&sign(&upstream, &again).await.unwrap(), &again);
    assert_eq!(enrolments(), [second.csr.clone(), second.csr.clone()]);
    // The controls: what is decided is forgotten, and another key has its own request.
    let later = second.again();
    sign(&upstream, &later).await.unwrap();
    assert_eq!(enrolments(), [later.csr]);
    undecided.store(1, Ordering::SeqCst);
    assert_eq!(refused(sign(&upstream, &second).await).0, "HM-CA-0067");
    let third = Request::new();
    require_genuine(&sign(&upstream, &third).await.unwrap(), &third);
    assert_eq!(enrolments(), [second.csr, third.csr]);
}

#[tokio::test]
async fn every_failure_has_its_code() {
    let site = Site::new();
    let folder = site.folder.path();
    let signed_message = signed(&site);
    let digest = ("www-authenticate", "Digest realm=\"x\"".to_owned());
    let cases = vec![
        (
            Reply::Whole(401, vec![digest], vec![]),
            "HM-CA-0066",
            "it asks for Digest",
        ),
        (
            Reply::text(403, "text/plain", "not for you"),
            "HM-CA-0066",
            "not for you",
        ),
        (
            Reply::text(400, "text/plain", &format!("profile\u{1b}[2J {PASSWORD} refuses")),
            "HM-CA-0068",
            "profile\\u{1b}[2J [secret] refuses",
        ),
        (Reply::text(404, "text/plain", ""), "HM-CA-0069", "404"),
        (Reply::Whole(204, vec![], vec![]), "HM-CA-0069", "204"),
        (Reply::text(500, "text/plain", "database"), "HM-CA-0064", "database"),
        (Reply::text(200, "text/html", "<html>"), "HM-CA-0056", "text/html"),
        (Reply::text(200, PKCS7, "<html>"), "HM-CA-0056", "base64"),
        (Reply::text(200, PKCS7, "MAMCAQU="), "HM-CA-0056", "certs-only"),
        (
            Reply::text(200, PKCS7, &in_lines(&signed_message)),
            "HM-CA-0056",
            "certs-only",
        ),
        (Reply::text(200, PKCS7, &"A".repeat(10 << 20)), "HM-CA-0055", "at most"),
        (
            Reply::Whole(302, vec![("location", "https://example.org/".into())], vec![]),
            "HM-CA-0057",
            "example.org",
        ),
        (
            certs(folder, &[&site.issuing.sign(&Request::new().csr)]),
            "HM-CA-0065",
            "the key that was asked for",
        ),
        (Reply::Raw(vec![]), "HM-CA-0052", "reach"),
    ];
    for (reply, code, part) in cases {
        let given = reply.clone();
        let fake = est(&site, move |seen| (seen.line == ENROL).then(|| given.clone())).await;
        let (found, report) = refused(sign(&site.upstream(&fake.url, ""), &Request::new()).await);
        assert_eq!(found, code, "{report}");
        assert!(report.contains(part) && report.len() < 2000, "{report}");
    }
    for reply in [Reply::Drip, Reply::Silence] {
        let fake = est(&site, move |seen| (seen.line == CACERTS).then(|| reply.clone())).await;
        let upstream = site.upstream(&fake.url, "timeout = \"2s\"");
        assert_eq!(refused(sign(&upstream, &Request::new()).await).0, "HM-CA-0054");
    }
    let stranger = Arc::new(Ca::root("Enterprise root"));
    let other = Arc::clone(&stranger);
    let below = site.folder.path().to_owned();
    let fake = est(&site, move |seen| {
        (seen.line == CACERTS).then(|| certs(&below, &[&other.der]))
    })
    .await;
    assert_eq!(
        refused(sign(&site.upstream(&fake.url, ""), &Request::new()).await).0,
        "HM-CA-0065"
    );
    // The control.
    let fake = est(&site, |_| None).await;
    let request = Request::new();
    require_genuine(&sign(&site.upstream(&fake.url, ""), &request).await.unwrap(), &request);
    let pinned = format!("roots = {:?}", pki::file(folder, "other.pem", &stranger.pem));
    assert_eq!(
        refused(sign(&site.upstream(&fake.url, &pinned), &request).await).0,
        "HM-CA-0065"
    );
}

/// A message that OpenSSL signed.
fn signed(site: &Site) -> Vec<u8> {
    let folder = site.folder.path();
    let leaf = site.tls.leaf("signer");
    let certificate = pki::file(folder, "signer.pem", &leaf.pem);
    let key = pki::file(folder, "signer.key", &leaf.key.serialize_pem());
    let made = Command::new("openssl")
        .args(["cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-in"])
        .arg(&certificate)
        .arg("-signer")
        .arg(&certificate)
        .arg("-inkey")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_shows_at_the_start() {
    let site = Site::new();
    let good = site.config("https://127.0.0.1:1", "");
    EstUpstream::new(&good, None).unwrap();
    let with = |change: &dyn Fn(&mut EstConfig)| {
        let mut config = good.clone();
        change(&mut config);
        EstUpstream::new(&config, None).unwrap_err()
    };
    for (error, key) in [
        (with(&|it| it.url = "http://127.0.0.1:1".into()), "`url`"),
        (with(&|it| it.label = Some("a/b".into())), "`label`"),
        (with(&|it| it.username = Some("a:b".into())), "`username`"),
        (with(&|it| it.username = None), "`username`"),
        (with(&|it| (it.username, it.password) = (None, None)), "`username`"),
        (with(&|it| it.certificate = Some("/x".into())), "`certificate`"),
        (with(&|it| it.ca = "/nonexistent".into()), "`ca`"),
    ] {
        assert_eq!(error.code().as_str(), "HM-CA-0050", "{error}");
        assert!(error.to_string().contains(key), "{error}");
    }
    let missing = with(&|it| it.password = Some(hallmark_settings::SecretReference::Credential("est".into())));
    assert_eq!(missing.code().as_str(), "HM-CA-0051");
}
