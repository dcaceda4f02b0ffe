//! Attack 52: files that are not signed by an operator, or that are old.

use hallmark_policy::signed::{FileKind, OperatorKey, OperatorKeys, SignedFile, SignedFileError, require_newer};
use hallmark_reason::Coded as _;
use hallmark_spiffe::TrustDomain;

/// Made with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`; they sign nothing but these tests.
pub(crate) const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJuoCZrnrtSd6+dgE\nQUITG8uizr5FnPF6n3sYUkuSuVahRANCAAS9tHiAIphZs4U5zYTiH9gQaJ5Giwvw\nb+vMUsGU7iMGAXySR3FpBWO8ywW8gvSi9jDxeHHxe2HLupYXSd8ymcmA\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEvbR4gCKYWbOFOc2E4h/YEGieRosL\n8G/rzFLBlO4jBgF8kkdxaQVjvMsFvIL0ovYw8Xhx8Xthy7qWF0nfMpnJgA==\n-----END PUBLIC KEY-----\n";
pub(crate) const OTHER_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBQPjLJgBJycADNBx\n+Q9+YzkH2Hpp8Fe/dzGJvkzJE9+hRANCAARqWf8ccoACMlmnntfGETqmF8xMwQAv\nu41nWceXO4cWnuBnYtDH4iNVfaJhcfDzUgr0vbMTBxevl3WUIlCRMcZS\n-----END PRIVATE KEY-----\n";
const P384_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBh9rs5JSpIHpopa7M/\nDfmJWSmrV3yvo+JKhd8tg2bfTyi2p2x9aINC0Knj9fg781GhZANiAAS375V8Gc+a\nlYt6WbEkpKHmqh/TCwMHV6KaPOGcCU//RTU2T5Bxh/medqYYHb8B7Lo48rBKePnx\ntHpuh4ukrwTCN6SNUqJSIjBbXt478Y7rOpmMxVhWdPQmsE3e3i1BArA=\n-----END PRIVATE KEY-----\n";
const P384_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEt++VfBnPmpWLelmxJKSh5qof0wsDB1ei\nmjzhnAlP/0U1Nk+QcYf5nnamGB2/Aey6OPKwSnj58bR6boeLpK8EwjekjVKiUiIw\nW17eO/GO6zqZjMVYVnT0JrBN3t4tQQKw\n-----END PUBLIC KEY-----\n";

const POLICY: &[u8] = b"version = 1\nname = \"edge\"\nserial = 7\n";

pub(crate) fn keys() -> OperatorKeys {
    let mut keys = OperatorKeys::default();
    keys.add_pem(PUBLIC.as_bytes()).unwrap();
    keys
}

pub(crate) fn td(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

fn sealed() -> SignedFile {
    sealed_for("example.org")
}

fn sealed_for(trust_domain: &str) -> SignedFile {
    let key = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    SignedFile::seal(FileKind::Policy, &td(trust_domain), POLICY.to_vec(), &key).unwrap()
}

fn open(text: &str, keys: &OperatorKeys) -> Result<Vec<u8>, SignedFileError> {
    let opened = SignedFile::parse(text)?.open(FileKind::Policy, Some(&td("example.org")), keys)?;
    Ok(opened.payload)
}

fn code(text: &str, keys: &OperatorKeys) -> String {
    open(text, keys).map_or_else(|error| error.code().to_string(), |_| "opened".to_owned())
}

#[test]
fn what_an_operator_signed_is_opened() {
    let text = sealed().to_json();
    assert_eq!(open(&text, &keys()).unwrap(), POLICY);
    let opened = sealed().open(FileKind::Policy, None, &keys()).unwrap();
    assert_eq!(Some(opened.key), keys().ids().next());
    assert_eq!(OperatorKey::from_pem(KEY.as_bytes()).unwrap().id(), opened.key);
}

#[test]
fn a_signature_that_another_device_made_is_as_good() {
    let key = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    // The device's part, with the same key: it signs the message and knows nothing of files.
    let message = SignedFile::message(FileKind::Policy, &td("example.org"), POLICY);
    let device = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        &pkcs8(KEY),
    )
    .unwrap();
    let signature = device.sign(&aws_lc_rs::rand::SystemRandom::new(), &message).unwrap();
    let file = SignedFile::assemble(
        FileKind::Policy,
        td("example.org"),
        POLICY.to_vec(),
        key.id(),
        signature.as_ref().to_vec(),
    );
    let mut keys = OperatorKeys::default();
    assert_eq!(keys.add_spki(&key.spki()).unwrap(), key.id());
    assert_eq!(open(&file.to_json(), &keys).unwrap(), POLICY);
}

fn pkcs8(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[test]
fn attack_52_what_no_operator_signed_is_refused() {
    let good = sealed().to_json();
    assert_eq!(code(&good, &keys()), "opened");
    assert_eq!(code(&good, &OperatorKeys::default()), "HM-POLICY-0425");
    let other = OperatorKey::from_pem(OTHER_KEY.as_bytes()).unwrap();
    let foreign = SignedFile::seal(FileKind::Policy, &td("example.org"), POLICY.to_vec(), &other).unwrap();
    assert_eq!(code(&foreign.to_json(), &keys()), "HM-POLICY-0425");
    // It claims to be the operator's.
    let (ours, theirs) = (keys().ids().next().unwrap().to_string(), other.id().to_string());
    assert_eq!(
        code(&foreign.to_json().replace(&theirs, &ours), &keys()),
        "HM-POLICY-0426"
    );
}

#[test]
fn attack_52_a_change_of_any_field_is_seen() {
    let good: serde_json::Value = serde_json::from_str(&sealed().to_json()).unwrap();
    let changed = |field: &str, value: serde_json::Value| {
        let mut file = good.clone();
        file[field] = value;
        code(&file.to_string(), &keys())
    };
    assert_eq!(changed("payload", "AAAA".into()), "HM-POLICY-0426");
    assert_eq!(changed("payload", "".into()), "HM-POLICY-0426");
    assert_eq!(changed("payload", "not base64".into()), "HM-POLICY-0422");
    assert_eq!(changed("signature", "".into()), "HM-POLICY-0426");
    assert_eq!(changed("signature", "AAAA".into()), "HM-POLICY-0426");
    assert_eq!(changed("key_id", "ab".into()), "HM-POLICY-0422");
    assert_eq!(changed("kind", "baseline".into()), "HM-POLICY-0424");
    assert_eq!(changed("kind", "evidence".into()), "HM-POLICY-0422");
    assert_eq!(changed("hallmark_signed_file", 3.into()), "HM-POLICY-0423");
    assert_eq!(changed("hallmark_signed_file", 1.into()), "HM-POLICY-0431");
    assert_eq!(changed("trust_domain", "other.example".into()), "HM-POLICY-0426");
    assert_eq!(changed("trust_domain", "Example.org".into()), "HM-POLICY-0422");
    assert_eq!(changed("trust_domain", serde_json::Value::Null), "HM-POLICY-0422");
    assert_eq!(changed("more", 1.into()), "HM-POLICY-0422");
    assert_eq!(changed("kind", "policy".into()), "opened");
    assert_eq!(code("{}", &keys()), "HM-POLICY-0422");
    assert_eq!(code(&"x".repeat(SignedFile::MAX_BYTES + 1), &keys()), "HM-POLICY-0421");
}

#[test]
fn attack_75_a_file_counts_in_its_own_trust_domain_alone() {
    let foreign = sealed_for("other.example");
    let error = foreign
        .clone()
        .open(FileKind::Policy, Some(&td("example.org")), &keys())
        .unwrap_err();
    assert_eq!(error.code().as_str(), "HM-POLICY-0432");
    assert_eq!(
        error.compared().unwrap(),
        "signed for other.example, this is example.org"
    );
    // What it says for whom it is, it says under its signature.
    let relabelled = foreign.to_json().replace("other.example", "example.org");
    assert_eq!(code(&relabelled, &keys()), "HM-POLICY-0426");
    // Neither name nor kind can be moved into the other.
    let message = |kind, name| SignedFile::message(kind, &td(name), POLICY);
    assert_ne!(
        message(FileKind::Policy, "example.org"),
        message(FileKind::Policy, "example.or")
    );
    // The controls: at home, and where nobody knows the trust domain.
    let opened = foreign
        .clone()
        .open(FileKind::Policy, Some(&td("other.example")), &keys())
        .unwrap();
    assert_eq!(
        (opened.payload.as_slice(), opened.trust_domain.as_str()),
        (POLICY, "other.example")
    );
    assert!(foreign.open(FileKind::Policy, None, &keys()).is_ok());
    assert_eq!(code(&sealed().to_json(), &keys()), "opened");
}

/// In the form that `hallmark policy sign` wrote before files named a trust domain: no signature helps it.
#[test]
fn attack_75_a_file_from_before_is_refused_with_what_to_do() {
    let payload = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(POLICY)
    };
    let (key, signature) = (keys().ids().next().unwrap(), "MEUCIQDA");
    let text = format!(
        r#"{{"hallmark_signed_file": 1, "kind": "policy", "payload": "{payload}", "key_id": "{key}", "signature": "{signature}"}}"#
    );
    let error = SignedFile::parse(&text).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-POLICY-0431");
    assert!(error.next_step().unwrap().contains("--trust-domain"));
}

#[test]
fn attack_52_a_file_of_one_kind_does_not_pass_as_another() {
    let key = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    let baseline = SignedFile::seal(FileKind::Baseline, &td("example.org"), POLICY.to_vec(), &key).unwrap();
    assert_eq!(
        baseline
            .clone()
            .open(FileKind::Baseline, None, &keys())
            .unwrap()
            .payload,
        POLICY
    );
    let error = baseline.clone().open(FileKind::Policy, None, &keys()).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-POLICY-0424");
    let relabelled = baseline.to_json().replace("\"baseline\"", "\"policy\"");
    assert_eq!(code(&relabelled, &keys()), "HM-POLICY-0426");
}

#[test]
fn attack_52_an_older_file_is_refused() {
    let newer = |applied, offered| require_newer(FileKind::Policy, "edge", applied, offered);
    assert!(newer(None, 0).is_ok() && newer(Some(7), 8).is_ok());
    for offered in [0, 6, 7] {
        let error = newer(Some(7), offered).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-POLICY-0427");
        assert_eq!(
            error.compared().unwrap(),
            format!("in force is serial 7, this one is {offered}")
        );
    }
}

#[test]
fn keys_of_other_kinds_are_refused() {
    for pem in [
        P384_KEY,
        PUBLIC,
        "",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let error = OperatorKey::from_pem(pem.as_bytes()).expect_err(pem);
        assert_eq!(error.code().as_str(), "HM-POLICY-0428");
    }
    for pem in [
        P384_PUBLIC,
        KEY,
        "",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        let error = OperatorKeys::default().add_pem(pem.as_bytes()).expect_err(pem);
        assert_eq!(error.code().as_str(), "HM-POLICY-0429");
    }
    let mut keys = OperatorKeys::default();
    for both in [
        format!("{PUBLIC}{P384_PUBLIC}"),
        format!("{}{P384_PUBLIC}", PUBLIC.trim_end()),
    ] {
        assert!(keys.add_pem(both.as_bytes()).is_err(), "joined in any way");
    }
    assert!(keys.is_empty(), "a file is taken whole or not at all");
    let twice = format!("owner: A\n{}{PUBLIC}", PUBLIC.trim_end());
    assert_eq!(keys.add_pem(twice.as_bytes()).unwrap(), 2);
    assert_eq!(keys.ids().count(), 1);
}

#[test]
fn a_private_key_is_never_shown() {
    let key = OperatorKey::from_pem(KEY.as_bytes()).unwrap();
    let shown = format!("{key:?}");
    assert_eq!(shown, format!("OperatorKey {{ id: {}, .. }}", key.id()));
}
