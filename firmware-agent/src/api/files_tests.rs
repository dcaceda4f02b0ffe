use std::os::unix::fs::MetadataExt as _;

use hallmark_api::workload::{X509svid, X509svidResponse};
use hallmark_reason::Coded as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::sign::CertifiedKey;

use super::*;

/// An answer with fresh identities of these names.
pub(in crate::api) fn response(names: &[&str]) -> X509svidResponse {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let bundle = params.self_signed(&key).unwrap().der().to_vec();
    let issuer = Issuer::new(params, key);
    let svid = |name: &&str| {
        let id = format!("spiffe://example.org/{name}");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        X509svid {
            x509_svid: params.signed_by(&key, &issuer).unwrap().der().to_vec().into(),
            x509_svid_key: key.serialize_der().into(),
            bundle: bundle.clone().into(),
            spiffe_id: id,
            hint: String::new(),
        }
    };
    X509svidResponse {
        svids: names.iter().map(svid).collect(),
        ..X509svidResponse::default()
    }
}

fn context(names: &[&str]) -> X509Context {
    X509Context::read(response(names)).unwrap()
}

/// Whether key and certificate of a folder fit.
fn fits(folder: &Path) -> bool {
    let chain = CertificateDer::pem_file_iter(folder.join("svid.pem")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    CertifiedKey::new(chain, any_supported_type(&key).unwrap())
        .keys_match()
        .is_ok()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn identities_are_files_with_the_right_modes() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/svids");
    let folder = SvidFolder::open(&path).unwrap();
    assert!(folder.write(&context(&["web", "api"])).unwrap());
    assert_eq!(
        names(&path),
        [
            "bundle.1.pem",
            "bundle.pem",
            "current",
            "key.1.pem",
            "key.pem",
            "state-1",
            "svid.1.pem",
            "svid.pem"
        ]
    );
    for name in names(&path).iter().filter(|name| name.ends_with(".pem")) {
        let found = fs::metadata(path.join(name)).unwrap();
        let wanted = if name.starts_with("key") { 0o600 } else { 0o644 };
        assert_eq!(found.mode() & 0o7777, wanted, "{name}");
    }
    assert!(fits(&path));
    let text = fs::read_to_string(path.join("svid.pem")).unwrap();
    assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n") && text.ends_with("-----END CERTIFICATE-----\n"));
}

#[test]
fn what_did_not_change_is_not_written_and_the_state_before_stays() {
    let place = tempfile::tempdir().unwrap();
    let folder = SvidFolder::open(place.path()).unwrap();
    let first = context(&["web", "api"]);
    assert!(folder.write(&first).unwrap());
    assert!(!folder.write(&first).unwrap());
    drop(folder);
    let folder = SvidFolder::open(place.path()).unwrap();
    assert!(!folder.write(&first).unwrap(), "nor after a restart");
    for _ in 0..3 {
        assert!(folder.write(&context(&["web"])).unwrap());
    }
    assert_eq!(
        names(place.path()),
        ["bundle.pem", "current", "key.pem", "state-3", "state-4", "svid.pem"]
    );
    assert!(fits(&place.path().join("state-3")) && fits(&place.path().join("current")));
    // Whoever takes a link away gets it back.
    fs::remove_file(place.path().join("key.pem")).unwrap();
    let last = context(&["web"]);
    folder.write(&last).unwrap();
    fs::remove_file(place.path().join("key.pem")).unwrap();
    assert!(folder.write(&last).unwrap() && fits(place.path()));
}

#[test]
fn no_reader_of_one_folder_finds_a_key_that_does_not_fit() {
    let place = tempfile::tempdir().unwrap();
    let folder = SvidFolder::open(place.path()).unwrap();
    let states: Vec<_> = (0..200).map(|_| context(&["web"])).collect();
    folder.write(&states[0]).unwrap();
    let writing = std::sync::atomic::AtomicBool::new(true);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while writing.load(std::sync::atomic::Ordering::SeqCst) {
                let state = fs::read_link(place.path().join(CURRENT)).unwrap();
                let state = place.path().join(state);
                // A reader that is slower than two changes finds nothing, and never what does not fit.
                if let (Ok(chain), Ok(key)) = (fs::read(state.join("svid.pem")), fs::read(state.join("key.pem"))) {
                    let chain = CertificateDer::from_pem_slice(&chain).unwrap();
                    let key = any_supported_type(&PrivateKeyDer::from_pem_slice(&key).unwrap()).unwrap();
                    assert!(CertifiedKey::new(vec![chain], key).keys_match().is_ok());
                    seen.insert(state);
                }
            }
            seen.len()
        });
        for state in &states {
            folder.write(state).unwrap();
            // Real time: the reader gets a moment with each state.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        writing.store(false, std::sync::atomic::Ordering::SeqCst);
        reader.join().unwrap()
    });
    assert!(seen > 10, "the reader saw {seen} states");
}

#[test]
fn what_a_crash_left_is_cleared_away() {
    let place = tempfile::tempdir().unwrap();
    let folder = SvidFolder::open(place.path()).unwrap();
    folder.write(&context(&["web"])).unwrap();
    // A state that was begun, and links that were not put in place.
    fs::create_dir(place.path().join("state-7")).unwrap();
    symlink("state-7", place.path().join(".current.new")).unwrap();
    symlink("state-7", place.path().join(".key.pem.new")).unwrap();
    folder.write(&context(&["web"])).unwrap();
    assert!(fits(place.path()));
    assert_eq!(fs::read_link(place.path().join(CURRENT)).unwrap(), Path::new("state-8"));
    assert!(!place.path().join("state-7").exists() && place.path().join("state-1").exists());
}

#[test]
fn nothing_of_others_is_written_over() {
    let place = tempfile::tempdir().unwrap();
    let folder = SvidFolder::open(place.path()).unwrap();
    for name in ["key.pem", CURRENT] {
        fs::write(place.path().join(name), "precious").unwrap();
        let error = folder.write(&context(&["web"])).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-WL-0037", "{name}");
        assert_eq!(fs::read(place.path().join(name)).unwrap(), b"precious");
        fs::remove_file(place.path().join(name)).unwrap();
    }
    assert!(folder.write(&context(&["web"])).is_ok());
}

#[test]
fn a_folder_has_one_writer_and_is_nobody_elses() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("svids");
    let first = SvidFolder::open(&path).unwrap();
    assert_eq!(SvidFolder::open(&path).unwrap_err().code().as_str(), "HM-WL-0038");
    drop(first);
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    assert_eq!(SvidFolder::open(&path).unwrap_err().code().as_str(), "HM-WL-0036");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    assert!(SvidFolder::open(&path).is_ok());
    let open = place.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    let error = SvidFolder::open(&open.join("svids")).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-WL-0036");
    assert!(!open.join("svids").exists(), "nothing is made where others lead");
    fs::write(place.path().join("file"), "").unwrap();
    let error = SvidFolder::open(&place.path().join("file/svids")).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-WL-0035");
}

#[test]
fn what_is_no_identity_is_refused() {
    let good = || response(&["web", "api"]);
    assert!(X509Context::read(good()).is_ok(), "the control");
    let (mut none, mut swapped, mut renamed, mut cut, mut alone) = (good(), good(), good(), good(), good());
    none.svids.clear();
    swapped.svids[0].x509_svid_key = swapped.svids[1].x509_svid_key.clone();
    renamed.svids[0].spiffe_id = "spiffe://example.org/other".into();
    cut.svids[0].x509_svid.truncate(100);
    alone.svids[1].bundle.clear();
    for bad in [none, swapped, renamed, cut, alone] {
        assert_eq!(X509Context::read(bad).unwrap_err().code().as_str(), "HM-WL-0034");
    }
}
