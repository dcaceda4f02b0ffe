use hallmark_tpm_wire::templates::{AK, EK_TEMPLATES, SVID_KEY, Unique as Field};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};

use super::*;

fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

fn bundle() -> Bundle {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    Bundle {
        x509_authorities: vec![authority.der().to_vec()],
        sequence: 7,
        ..Bundle::empty(trust_domain())
    }
}

/// A P-256 key's public area with a real point in it.
fn area(template: &hallmark_tpm_wire::templates::Template) -> PublicArea {
    let point = crate::csr::WorkloadKey::generate().unwrap().point;
    let mut bytes = template.marshal(Field::Empty);
    bytes.truncate(bytes.len() - 4);
    for coordinate in point[1..].chunks(32) {
        bytes.extend([0, 32]);
        bytes.extend(coordinate);
    }
    PublicArea::parse(&bytes).unwrap()
}

fn known() -> Known {
    Known {
        endorsement: Endorsement {
            certificate: Some(vec![0x30, 0]),
            public: area(&EK_TEMPLATES[1].template),
        },
        chain: vec![vec![0x30, 1, 0]],
        attestation_key: area(&AK),
    }
}

/// `KeyId`s are the driver's: one comes from a swtpm in the driver's own tests; here the identity's file form counts.
fn form(bundle: &Bundle, known: &Known, pcrs: &PcrValues) -> Form {
    Form {
        version: VERSION,
        trust_domain: bundle.trust_domain.to_string(),
        bundle: bundle.x509_authorities.iter().map(hex::encode).collect(),
        bundle_sequence: bundle.sequence,
        bundle_refresh_seconds: 0,
        ek_certificate: known.endorsement.certificate.as_ref().map(hex::encode),
        ek_public: hex::encode(known.endorsement.public.marshal()),
        ek_chain: known.chain.iter().map(hex::encode).collect(),
        ak_public: hex::encode(known.attestation_key.marshal()),
        pcrs: encode_pcrs(pcrs),
        svid_key_unique: hex::encode([5; 32]),
        svid_key_csr: hex::encode(area(&SVID_KEY).marshal()),
        svid_chain: vec![hex::encode([1, 2])],
    }
}

fn write(state: &StateFile, form: &Form) {
    let text = serde_json::to_vec(form).unwrap();
    write_atomically(&state.folder, &state.path(), &text).unwrap();
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFile::open(&folder.path().join("data")).unwrap();
    assert!(state.load(&trust_domain()).unwrap().is_none());
    let (bundle, known) = (bundle(), known());
    let mut pcrs = PcrValues::new();
    pcrs.insert(HashAlg::Sha256, 7, vec![9; 32]).unwrap();
    write(&state, &form(&bundle, &known, &pcrs));
    let read = state.load(&trust_domain()).unwrap().unwrap();
    assert_eq!(read.bundle, bundle);
    assert_eq!(read.known, known);
    assert_eq!(read.pcrs, Some(pcrs));
    assert_eq!(read.unique, Unique([5; 32]));
    assert_eq!(read.chain, [[1, 2]]);
    state.remove().unwrap();
    assert!(state.load(&trust_domain()).unwrap().is_none());
}

#[test]
fn a_damaged_file_is_set_aside_and_the_agent_starts_afresh() {
    let good = serde_json::to_string(&form(&bundle(), &known(), &PcrValues::new())).unwrap();
    let halves = [
        String::new(),
        good[..good.len() / 2].to_owned(),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("example.org", "other.org"),
        good.replace("\"ek_public\":\"", "\"ek_public\":\"ff"),
        good.replace("\"svid_key_unique\":\"05", "\"svid_key_unique\":\""),
        good.replace("\"bundle_sequence\"", "\"sequence\""),
    ];
    for damaged in halves {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::open(folder.path()).unwrap();
        fs::write(state.path(), &damaged).unwrap();
        assert!(state.load(&trust_domain()).unwrap().is_none(), "{damaged:.80}");
        let names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            names.len() == 1 && names[0].starts_with("state.json.damaged-"),
            "{names:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let state = StateFile::open(folder.path()).unwrap();
    fs::write(state.path(), good).unwrap();
    assert!(
        state.load(&trust_domain()).unwrap().is_some(),
        "the control is not damaged"
    );
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_others_may_write_to_is_no_place_for_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    let data = folder.path().join("data");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir(&data).unwrap();
    for name in [".write-test", "state.json.new", "state.json"] {
        std::os::unix::fs::symlink(&victim, data.join(name)).unwrap();
    }
    for mode in [0o777, 0o1777] {
        set(&data, mode);
        let refused = StateFile::open(&data);
        assert!(matches!(refused, Err(AgentError::StateExposed { .. })), "{refused:?}");
    }
    // What was planted there leads nowhere once the folder is closed again.
    set(&data, 0o700);
    let state = StateFile::open(&data).unwrap();
    assert!(state.load(&trust_domain()).unwrap().is_none());
    write(&state, &form(&bundle(), &known(), &PcrValues::new()));
    assert!(state.load(&trust_domain()).unwrap().is_some());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// Whoever writes the state chooses the trust bundle, and with it the server.
#[test]
fn a_state_that_others_could_have_written_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateFile::open(folder.path()).unwrap();
    let good = form(&bundle(), &known(), &PcrValues::new());
    write(&state, &good);
    assert!(state.load(&trust_domain()).unwrap().is_some());
    set(&state.path(), 0o666);
    assert!(state.load(&trust_domain()).unwrap().is_none());
    if rustix::process::geteuid().is_root() {
        write(&state, &good);
        std::os::unix::fs::chown(state.path(), Some(54321), None).unwrap();
        assert!(state.load(&trust_domain()).unwrap().is_none());
    }
    write(&state, &good);
    assert!(state.load(&trust_domain()).unwrap().is_some());
}

#[test]
fn a_folder_that_cannot_be_made_or_written_has_its_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("file");
    fs::write(&in_the_way, "").unwrap();
    let refused = StateFile::open(&in_the_way.join("data"));
    assert!(matches!(refused, Err(AgentError::State { .. })), "{refused:?}");
    let refused = StateFile::open(Path::new("/proc/data"));
    assert!(matches!(refused, Err(AgentError::State { .. })), "{refused:?}");
}
