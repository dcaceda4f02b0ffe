//! A root in files: it signs for its own key alone, and what it signs is taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that cannot go on has failed, and makes keys with other programs"
)]

use std::{
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use hallmark_authority::{Serial, prepare_request, verify_upstream};
use hallmark_reason::Coded as _;
use hallmark_spiffe::TrustDomain;
use hallmark_upstream::{Asked, FileRootError, FileUpstream, Upstream as _};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};

/// A root of this kind of key: certificate and PKCS#8.
fn root(folder: &Path, key: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let (certificate, pem) = (folder.join("root.der"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-sha256", "-days", "30", "-subj", "/CN=lab"])
        .args(["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-newkey"])
        .args(key)
        .args(["-outform", "DER", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&pem)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = PrivatePkcs8KeyDer::from_pem_file(&pem).unwrap();
    (std::fs::read(certificate).unwrap(), key.secret_pkcs8_der().to_vec())
}

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

#[tokio::test]
async fn what_a_root_in_files_signs_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    for kind in [&["ec", "-pkeyopt", "ec_paramgen_curve:P-256"][..], &["rsa:2048"]] {
        let (certificate, key) = root(folder.path(), kind);
        let upstream = FileUpstream::new(&certificate, &key, &trust_domain()).unwrap();
        let ours = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let spki = ours.public_key().as_der().unwrap().as_ref().to_vec();
        let draft = prepare_request(&trust_domain(), &spki, Serial::from_random([3; 16])).unwrap();
        let signature = ours.sign(&SystemRandom::new(), draft.tbs()).unwrap();
        let csr = draft.seal(signature.as_ref()).unwrap();
        let year = Duration::from_secs(365 * 24 * 3600);
        let signed = upstream.sign(Asked { csr, lifetime: year }).await.unwrap();
        let now = SystemTime::now();
        let above = verify_upstream(&signed.chain, &signed.roots, &spki, &trust_domain(), now);
        assert_eq!(
            above.unwrap(),
            std::slice::from_ref(&certificate),
            "its end is the root's, not later"
        );
        assert_eq!(upstream.roots().await.unwrap(), Some(vec![certificate]));
        let no_request = Asked {
            csr: b"no request".to_vec(),
            lifetime: year,
        };
        assert_eq!(
            upstream.sign(no_request).await.unwrap_err().code().as_str(),
            "HM-CA-0002"
        );
        assert!(format!("{upstream:?}").contains("key: Key"), "no key in what is shown");
    }
}

#[test]
fn a_key_that_is_not_the_certificates_and_a_weak_root_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let p256 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (certificate, key) = root(folder.path(), &p256);
    let (_, other) = root(folder.path(), &p256);
    for bad in [&other[..], b"", b"no key"] {
        let refused = FileUpstream::new(&certificate, bad, &trust_domain()).unwrap_err();
        assert!(matches!(refused, FileRootError::Key { .. }), "{refused}");
        assert_eq!(refused.code().as_str(), "HM-CONF-0114");
    }
    let (weak, weak_key) = root(folder.path(), &["rsa:1024"]);
    let refused = FileUpstream::new(&weak, &weak_key, &trust_domain()).unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-CA-0033");
    FileUpstream::new(&certificate, &key, &trust_domain()).expect("the control");
}
