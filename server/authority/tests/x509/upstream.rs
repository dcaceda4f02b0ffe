//! What an authority above answers: taken where relying parties would take it, and refused with a code where not.

use std::process::Command;

use hallmark_authority::{
    MAX_ROOTS_IN_ANSWER, Serial, SubjectKey, UpstreamAnswerError, X509Authority, prepare_request, verify_roots,
    verify_upstream,
};
use hallmark_reason::Coded as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType, SubjectPublicKeyInfo, date_time_ymd,
};

use crate::software::{SoftwareKey, now, trust_domain};

const OURS: &str = "spiffe://example.org";

struct Ca {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, uri: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = uri
        .map(|uri| SanType::URI(uri.try_into().unwrap()))
        .into_iter()
        .collect();
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2028, 1, 1));
    params
}

impl Ca {
    fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    fn certify(&self, params: &CertificateParams, spki: &[u8]) -> Vec<u8> {
        let key = SubjectPublicKeyInfo::from_der(spki).unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }
}

fn own() -> CertificateParams {
    let mut own = params("ours", Some(OURS));
    own.not_after = date_time_ymd(2027, 1, 1);
    own
}

struct Site {
    key: SoftwareKey,
    root: Ca,
}

impl Site {
    fn new() -> Self {
        Self {
            key: SoftwareKey::p256(),
            root: Ca::root(params("root", None)),
        }
    }

    fn verify(&self, chain: &[Vec<u8>], roots: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, UpstreamAnswerError> {
        verify_upstream(chain, roots, &self.key.spki(), &trust_domain(), now())
    }

    /// The code with which an answer of the root, with these parameters for our certificate, is refused.
    fn refused(&self, params: &CertificateParams) -> String {
        let answer = self.root.certify(params, &self.key.spki());
        code(self.verify(&[answer], std::slice::from_ref(&self.root.der)))
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, UpstreamAnswerError>) -> String {
    outcome.unwrap_err().code().to_string()
}

#[test]
fn a_request_says_the_trust_domain_and_is_signed_by_its_key() {
    for (kind, key) in SoftwareKey::kinds() {
        let draft = prepare_request(&trust_domain(), &key.spki(), Serial::from_random([7; 16])).unwrap();
        let signature = key.sign(draft.tbs());
        let csr = draft.clone().seal(&signature).unwrap();
        assert_eq!(SubjectKey::from_csr(&csr).unwrap().spki(), key.spki(), "{kind}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &csr).unwrap();
        let out = Command::new("openssl")
            .args(["req", "-inform", "DER", "-noout", "-verify", "-text", "-in"])
            .arg(file.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{text}");
        for part in ["URI:spiffe://example.org", "CA:TRUE", "Certificate Sign, CRL Sign"] {
            assert!(text.contains(part), "{kind} {part}: {text}");
        }
        let other = SoftwareKey::p256().sign(draft.tbs());
        assert!(draft.seal(&other).is_err(), "another key's signature");
    }
}

#[test]
fn an_answer_below_a_root_or_an_intermediate_is_taken() {
    let site = Site::new();
    let direct = site.root.certify(&own(), &site.key.spki());
    let taken = site
        .verify(std::slice::from_ref(&direct), std::slice::from_ref(&site.root.der))
        .unwrap();
    assert_eq!(taken, std::slice::from_ref(&site.root.der));
    X509Authority::from_certificate(&direct, &trust_domain()).unwrap();
    let between = site.root.below(params("between", None));
    let deep = between.certify(&own(), &site.key.spki());
    // A root that has ended, and one that nothing hangs on, are beside it.
    let mut ended = params("ended", None);
    ended.not_after = date_time_ymd(2026, 2, 1);
    let roots = [
        Ca::root(ended).der,
        Ca::root(params("other", Some(OURS))).der,
        site.root.der.clone(),
    ];
    let taken = site.verify(&[deep, between.der.clone()], &roots).unwrap();
    assert_eq!(taken, [between.der, site.root.der.clone()]);
    assert_eq!(
        verify_roots(&roots, &trust_domain(), now()).unwrap(),
        roots[1..],
        "what has ended is left out"
    );
}

#[test]
fn attack_90_an_answer_for_another_key_or_of_no_ca_is_refused() {
    let site = Site::new();
    let root = site.root.der.clone();
    let foreign = site.root.certify(&own(), &SoftwareKey::p256().spki());
    assert_eq!(code(site.verify(&[foreign], std::slice::from_ref(&root))), "HM-CA-0028");
    // The root itself, as if it were ours.
    assert_eq!(
        code(site.verify(std::slice::from_ref(&root), std::slice::from_ref(&root))),
        "HM-CA-0028"
    );
    let mut leaf = own();
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    for uri in [
        None,
        Some("spiffe://example.com"),
        Some("spiffe://example.org/ca"),
        Some("https://example.org"),
    ] {
        let mut named = own();
        named.subject_alt_names = params("", uri).subject_alt_names;
        assert_eq!(site.refused(&named), "HM-CA-0027", "{uri:?}");
    }
    assert_eq!(site.refused(&leaf), "HM-CA-0027", "no CA");
    let mut signs_nothing = own();
    signs_nothing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(site.refused(&signs_nothing), "HM-CA-0027");
    site.verify(&[site.root.certify(&own(), &site.key.spki())], &[root])
        .expect("the control");
}

#[test]
fn attack_90_an_answer_that_leads_to_none_of_its_roots_is_refused() {
    let site = Site::new();
    let answer = site.root.certify(&own(), &site.key.spki());
    let other = Ca::root(params("root", None));
    assert_eq!(
        code(site.verify(std::slice::from_ref(&answer), std::slice::from_ref(&other.der))),
        "HM-CA-0029",
        "the same name alone"
    );
    // The certificate between is missing, another one's, or out of order.
    let between = site.root.below(params("between", None));
    let deep = between.certify(&own(), &site.key.spki());
    let root = [site.root.der.clone()];
    assert_eq!(code(site.verify(std::slice::from_ref(&deep), &root)), "HM-CA-0029");
    let twin = site.root.below(params("between", None));
    assert_eq!(code(site.verify(&[deep.clone(), twin.der], &root)), "HM-CA-0029");
    let beside = site.root.below(params("beside", None));
    let disordered = [deep.clone(), beside.der, between.der.clone()];
    assert_eq!(code(site.verify(&disordered, &root)), "HM-CA-0029");
    // A byte of the signature.
    let mut tampered = answer.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert_eq!(code(site.verify(&[tampered], &root)), "HM-CA-0029");
    // What is to be trusted is an intermediate.
    assert_eq!(
        code(site.verify(std::slice::from_ref(&deep), std::slice::from_ref(&between.der))),
        "HM-CA-0034"
    );
    site.verify(&[deep, between.der], &root).expect("the control");
}

#[test]
fn attack_90_times_lengths_and_sizes_of_an_answer_are_bounded() {
    let site = Site::new();
    let mut ended = own();
    (ended.not_before, ended.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 2, 1));
    assert_eq!(site.refused(&ended), "HM-CA-0031");
    let mut early = own();
    early.not_before = date_time_ymd(2026, 12, 31);
    assert_eq!(site.refused(&early), "HM-CA-0031");
    let mut long = own();
    long.not_after = date_time_ymd(2029, 1, 1);
    assert_eq!(site.refused(&long), "HM-CA-0032", "it outlives its root");
    let mut dead = params("root", None);
    dead.not_after = date_time_ymd(2026, 2, 1);
    let dead = Ca::root(dead);
    let under = dead.certify(&own(), &site.key.spki());
    assert_eq!(code(site.verify(&[under], &[dead.der])), "HM-CA-0031");

    let root = [site.root.der.clone()];
    let good = site.root.certify(&own(), &site.key.spki());
    assert_eq!(code(site.verify(&[], &root)), "HM-CA-0026");
    assert_eq!(code(site.verify(std::slice::from_ref(&good), &[])), "HM-CA-0026");
    assert_eq!(code(site.verify(&vec![good.clone(); 5], &root)), "HM-CA-0026");
    let many = vec![site.root.der.clone(); MAX_ROOTS_IN_ANSWER + 1];
    assert_eq!(code(site.verify(std::slice::from_ref(&good), &many)), "HM-CA-0026");
    let mut padded = good.clone();
    padded.resize(1024 * 1024, 0);
    assert_eq!(code(site.verify(std::slice::from_ref(&padded), &root)), "HM-CA-0026");
    assert_eq!(code(site.verify(std::slice::from_ref(&good), &[padded])), "HM-CA-0026");
    let mut trailing = good.clone();
    trailing.push(0);
    assert_eq!(code(site.verify(&[trailing], &root)), "HM-CA-0027");
    assert_eq!(
        code(site.verify(std::slice::from_ref(&good), &[b"no certificate".to_vec()])),
        "HM-CA-0027"
    );
    site.verify(&[good], &root).expect("the control");
}

#[test]
fn attack_90_constraints_under_which_svids_do_not_verify_are_refused() {
    let site = Site::new();
    let constrained = NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.org".into())],
        excluded_subtrees: Vec::new(),
    };
    let unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    let critical = |mut extension: CustomExtension| {
        extension.set_criticality(true);
        extension
    };
    let mut with = own();
    with.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(site.refused(&with), "HM-CA-0035", "extended key usage");
    let mut with = own();
    with.name_constraints = Some(constrained);
    assert_eq!(site.refused(&with), "HM-CA-0035", "name constraints");
    let mut with = own();
    with.custom_extensions = vec![critical(unknown.clone())];
    assert_eq!(site.refused(&with), "HM-CA-0035", "an unknown critical extension");
    let mut with = own();
    with.custom_extensions = vec![unknown];
    let answer = site.root.certify(&with, &site.key.spki());
    site.verify(&[answer], std::slice::from_ref(&site.root.der))
        .expect("the control: an unknown one that is not critical");

    // A root that allows none below itself, and one that allows one.
    for (most, allowed) in [(0, false), (1, true)] {
        let mut short = params("root", None);
        short.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
        let root = Ca::root(short);
        let answer = root.certify(&own(), &site.key.spki());
        let outcome = site.verify(&[answer], &[root.der]);
        assert_eq!(outcome.is_ok(), allowed, "{most}: {outcome:?}");
    }
}

#[test]
fn attack_90_weak_roots_and_those_of_other_trust_domains_are_refused() {
    let site = Site::new();
    let answer = site.root.certify(&own(), &site.key.spki());
    let folder = tempfile::tempdir().unwrap();
    let openssl = |key: &str, digest: &str| {
        let out = folder.path().join("root.der");
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-nodes", "-newkey", key, digest, "-days", "3650", "-subj", "/CN=weak",
            ])
            .args([
                "-addext",
                "keyUsage=critical,keyCertSign",
                "-outform",
                "DER",
                "-keyout",
                "/dev/null",
                "-out",
            ])
            .arg(&out)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::read(out).unwrap()
    };
    let beside = |root: Vec<u8>| code(site.verify(std::slice::from_ref(&answer), &[site.root.der.clone(), root]));
    assert_eq!(
        beside(openssl("rsa:1024", "-sha256")),
        "HM-CA-0033",
        "a key that can be factored"
    );
    assert_eq!(
        beside(openssl("rsa:2048", "-sha1")),
        "HM-CA-0033",
        "a digest that collides"
    );
    assert_eq!(
        beside(Ca::root(params("x", Some("spiffe://example.com"))).der),
        "HM-CA-0027"
    );
    let mut leaf = params("x", None);
    leaf.is_ca = IsCa::ExplicitNoCa;
    assert_eq!(beside(Ca::root(leaf).der), "HM-CA-0027");
    let fine = [site.root.der.clone(), Ca::root(params("x", Some(OURS))).der];
    site.verify(&[answer], &fine).expect("the control");
}
