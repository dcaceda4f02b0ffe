//! The signed baseline of a machine image: it is in force once its signature was checked, and not before.

use std::path::{Path, PathBuf};

use hallmark_policy::signed::{self, FileKind, KeyId, OperatorKey, OperatorKeys, SignedFile};
use hallmark_spiffe::TrustDomain;
use rcgen::{
    CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize, SigningKey as _, date_time_ymd,
};
use tempfile::TempDir;

use crate::run::{Done, Server, run};

/// One register, as `images/build` writes it.
const BASELINE: &str = r#"{"version": 1, "name": "edge-1.0.0", "serial": 1, "state": "active", "created_at": 1767225600,
 "origin": {"predicted": {"uki_sha256": "00", "firmware_variables_sha256": null, "earlier_images_sha256": []}},
 "registers": {"sha256:4": ["aa00000000000000000000000000000000000000000000000000000000000000"]}, "boots": []}
"#;

/// A folder with the certificate of one signer and what it signed.
struct Signer {
    folder: TempDir,
    key: KeyPair,
}

impl Signer {
    fn new() -> Self {
        Self::of(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
    }

    fn of(key: KeyPair) -> Self {
        let signer = Self {
            folder: tempfile::tempdir().unwrap(),
            key,
        };
        signer.certificate("db.crt", 2020, 4000);
        signer
    }

    fn is(&self) -> signed::Signer {
        signed::Signer::Images(KeyId::of_spki(&self.key.subject_public_key_info()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate of the key that is valid from one year to another.
    fn certificate(&self, name: &str, from: i32, to: i32) -> PathBuf {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let certificate = params.self_signed(&self.key).unwrap();
        std::fs::write(self.path(name), certificate.pem()).unwrap();
        self.path(name)
    }

    /// A file, signed for a trust domain, as text.
    fn sealed(&self, kind: FileKind, trust_domain: &str) -> String {
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let payload = BASELINE.as_bytes().to_vec();
        let signature = self
            .key
            .sign(&SignedFile::message(kind, &trust_domain, &payload))
            .unwrap();
        let id = KeyId::of_spki(&self.key.subject_public_key_info());
        SignedFile::assemble(kind, trust_domain, payload, id, signature).to_json()
    }

    fn import(&self, socket: &Path, text: &str, options: &str) -> Done {
        let file = self.path("baseline.signed.json");
        std::fs::write(&file, text).unwrap();
        run(socket, &format!("baseline import {} {options}", file.display()))
    }
}

/// The one baseline that the server was sent: what it says, whose it is, and whether it may take the place of another signer's.
fn sent(server: &Server, keys: &OperatorKeys) -> (Vec<u8>, signed::Signer, bool) {
    let (kind, file, replaces) = server.fake().state().applied.remove(0);
    assert_eq!(kind, "baseline");
    let file = SignedFile::parse(&String::from_utf8(file).unwrap()).unwrap();
    let here = TrustDomain::parse("example.org").unwrap();
    let opened = file.open(FileKind::Baseline, Some(&here), keys).unwrap();
    (opened.payload, opened.signer, replaces)
}

fn signed_by(certificate: &Path) -> String {
    format!("--signer {} --yes", certificate.display())
}

#[test]
fn the_baseline_of_an_image_is_in_force_once_its_signature_was_checked() {
    let (server, signer) = (Server::start(), Signer::new());
    let text = signer.sealed(FileKind::Baseline, "example.org");
    let done = signer.import(&server.socket(), &text, &signed_by(&signer.path("db.crt")));
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{}", done.stdout);
    assert!(done.stdout.contains("in force"), "{}", done.stdout);
    let applied = sent(&server, &OperatorKeys::default());
    assert_eq!(applied, (BASELINE.as_bytes().to_vec(), signer.is(), false));
    // What would follow is shown, and nothing more.
    let options = format!("--signer {} --dry-run", signer.path("db.crt").display());
    assert_eq!(signer.import(&server.socket(), &text, &options).code, 7);
    assert!(server.fake().state().applied.is_empty());
}

/// Some text of `text` is another one.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in {text}");
    text.replace(from, to)
}

#[test]
fn attack_52_a_baseline_that_the_signer_of_images_did_not_sign_is_refused() {
    let (server, signer) = (Server::start(), Signer::new());
    let (stranger, db) = (Signer::new(), signer.path("db.crt"));
    let good = signer.sealed(FileKind::Baseline, "example.org");
    let foreign = stranger.sealed(FileKind::Baseline, "example.org");
    let id = |signer: &Signer| KeyId::of_spki(&signer.key.subject_public_key_info()).to_string();
    let expired = signer.certificate("expired.crt", 2020, 2021);
    let early = signer.certificate("early.crt", 3000, 4000);
    let both = signer.path("both.crt");
    let pem = |path: &Path| std::fs::read_to_string(path).unwrap();
    std::fs::write(&both, pem(&db) + &pem(&stranger.path("db.crt"))).unwrap();
    std::fs::write(signer.path("key.pub"), signer.key.public_key_pem()).unwrap();
    for (what, text, certificate, code) in [
        (
            "changed",
            changed(&good, "\"payload\": \"eyJ", "\"payload\": \"eyB"),
            &db,
            "HM-POLICY-0426",
        ),
        ("of another key", foreign.clone(), &db, "HM-POLICY-0425"),
        (
            "relabelled",
            changed(&foreign, &id(&stranger), &id(&signer)),
            &db,
            "HM-POLICY-0426",
        ),
        (
            "for others",
            signer.sealed(FileKind::Baseline, "other.example"),
            &db,
            "HM-POLICY-0432",
        ),
        (
            "of another kind",
            signer.sealed(FileKind::Policy, "example.org"),
            &db,
            "HM-POLICY-0424",
        ),
        ("not signed", BASELINE.to_owned(), &db, "HM-POLICY-0422"),
        ("expired", good.clone(), &expired, "HM-POLICY-0434"),
        ("not valid yet", good.clone(), &early, "HM-POLICY-0434"),
        ("two certificates", good.clone(), &both, "HM-POLICY-0433"),
        ("a key", good.clone(), &signer.path("key.pub"), "HM-POLICY-0433"),
    ] {
        let done = signer.import(&server.socket(), &text, &signed_by(certificate));
        assert!(
            done.code == 2 && done.stderr.contains(code),
            "{what}: {} {}",
            done.code,
            done.stderr
        );
        assert!(server.fake().state().applied.is_empty(), "{what} is in force");
    }
    // The control: a new certificate of the same key keeps what was signed before good.
    let renewed = signer.certificate("renewed.crt", 2021, 4000);
    let done = signer.import(&server.socket(), &good, &signed_by(&renewed));
    assert_eq!(
        (done.code, server.fake().state().applied.len()),
        (0, 1),
        "{}",
        done.stderr
    );
}

#[test]
fn what_a_refusal_compares_is_told() {
    let signer = Signer::new();
    let expired = signer.certificate("expired.crt", 2020, 2021);
    let text = signer.sealed(FileKind::Baseline, "example.org");
    let done = signer.import(Path::new("/nowhere"), &text, &signed_by(&expired));
    assert!(
        done.stderr.contains("valid from Jan  1") && done.stderr.contains("2021"),
        "{}",
        done.stderr
    );
    assert!(
        done.stderr.contains("next: ") && done.stderr.contains("same key"),
        "{}",
        done.stderr
    );
}

#[test]
fn with_a_file_to_write_no_server_is_asked() {
    let signer = Signer::new();
    let out = signer.path("baseline.json");
    let options = format!("--signer {} -o {}", signer.path("db.crt").display(), out.display());
    let text = signer.sealed(FileKind::Baseline, "example.org");
    let done = signer.import(Path::new("/nowhere"), &text, &options);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("signed for example.org"), "{}", done.stderr);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), BASELINE);
    // A file is written or put in force, not both.
    let done = signer.import(Path::new("/nowhere"), &text, &format!("{options} --yes"));
    assert_eq!(done.code, 2, "{}", done.stderr);
    // Only the signer of images goes without one.
    std::fs::write(signer.path("key.pub"), KeyPair::generate().unwrap().public_key_pem()).unwrap();
    let options = format!("--operator-key {}", signer.path("key.pub").display());
    assert_eq!(signer.import(Path::new("/nowhere"), &text, &options).code, 2);
}

#[test]
fn where_only_operators_files_count_an_operator_signs_it_anew() {
    let (server, signer) = (Server::start(), Signer::new());
    let operator = KeyPair::generate().unwrap();
    std::fs::write(signer.path("operator.pem"), operator.serialize_pem()).unwrap();
    let text = signer.sealed(FileKind::Baseline, "example.org");
    let key = format!(" --key {}", signer.path("operator.pem").display());
    let done = signer.import(&server.socket(), &text, &(signed_by(&signer.path("db.crt")) + &key));
    assert_eq!(done.code, 0, "{}", done.stderr);
    let mut keys = OperatorKeys::default();
    keys.add_spki(
        &OperatorKey::from_pem(operator.serialize_pem().as_bytes())
            .unwrap()
            .spki(),
    )
    .unwrap();
    assert_eq!(sent(&server, &keys), (BASELINE.as_bytes().to_vec(), signer.is(), false));
}

#[test]
fn that_a_name_passes_to_another_signer_is_asked_for() {
    let (server, signer) = (Server::start(), Signer::new());
    let text = signer.sealed(FileKind::Baseline, "example.org");
    let options = signed_by(&signer.path("db.crt")) + " --replace-signer";
    assert_eq!(signer.import(&server.socket(), &text, &options).code, 0);
    let (payload, is, replaces) = sent(&server, &OperatorKeys::default());
    assert_eq!(
        (payload.as_slice(), is, replaces),
        (BASELINE.as_bytes(), signer.is(), true)
    );
}

#[test]
fn keys_of_images_are_rsa_p256_or_p384() {
    for (algorithm, is_taken) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, true),
        (&rcgen::PKCS_ECDSA_P384_SHA384, true),
        (&rcgen::PKCS_ED25519, false),
    ] {
        let signer = Signer::of(KeyPair::generate_for(algorithm).unwrap());
        let done = run(
            Path::new("/nowhere"),
            &format!(
                "baseline import {} --signer {} -o {}",
                signer.path("none").display(),
                signer.path("db.crt").display(),
                signer.path("out").display()
            ),
        );
        // Whose key is not taken is refused for that, whatever the file is.
        assert_eq!(done.stderr.contains("HM-POLICY-0433"), !is_taken, "{}", done.stderr);
    }
}

/// Whoever asks for another trust domain's file gets none of it into this one's server.
#[test]
fn a_baseline_of_another_trust_domain_is_refused_whatever_is_asked_for() {
    let (server, signer) = (Server::start(), Signer::new());
    let options = |trust_domain: &str| {
        let signer = signed_by(&signer.path("db.crt"));
        format!("{signer} --trust-domain {trust_domain}")
    };
    let other = signer.sealed(FileKind::Baseline, "other.example");
    for trust_domain in ["other.example", "example.org"] {
        let done = signer.import(&server.socket(), &other, &options(trust_domain));
        assert!(
            done.stderr.contains("HM-POLICY-0432"),
            "{trust_domain}: {}",
            done.stderr
        );
    }
    assert!(server.fake().state().applied.is_empty());
    // The control.
    let own = signer.sealed(FileKind::Baseline, "example.org");
    assert_eq!(signer.import(&server.socket(), &own, &options("example.org")).code, 0);
    assert_eq!(server.fake().state().applied.len(), 1);
}
