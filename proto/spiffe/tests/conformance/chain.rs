//! X509-SVID, section 5: path validation; and that trust domains are never mixed.

use std::time::Duration;

use hallmark_spiffe::{
    TrustDomain,
    x509::{Authorities, ChainError, MAX_CHAIN, ProfileError, verify_chain},
};
use rcgen::{BasicConstraints, GeneralSubtree, IsCa, KeyPair, NameConstraints, date_time_ymd};

use crate::pki::{self, Ca, extension, intermediate, leaf, now, root, td, uri};

fn verify(chain: &[&[u8]], roots: &[&Ca]) -> Result<String, ChainError> {
    let roots: Vec<&[u8]> = roots.iter().map(|root| root.der().as_ref()).collect();
    verify_chain(chain, &roots, &td(), now()).map(|id| id.to_string())
}

#[test]
fn x509_21_a_good_chain_gives_its_id_and_facts() {
    let root = root(|_| {});
    let between = intermediate(&root, |_| {});
    let web = Ok("spiffe://example.org/web".to_owned());
    assert_eq!(verify(&[&leaf(&root, |_| {})], &[&root]), web);
    assert_eq!(verify(&[&leaf(&between, |_| {}), between.der()], &[&root]), web);
    // The root itself may come along, and other roots may lie beside it.
    assert_eq!(
        verify(&[&leaf(&root, |_| {}), root.der()], &[&pki::root(|_| {}), &root]),
        web
    );
    let authorities = Authorities::new(&td(), &[root.der()]).unwrap();
    let der = leaf(&root, |params| params.serial_number = Some(vec![0, 0x81, 2].into()));
    let verified = authorities.verify(&[&der], now()).unwrap();
    assert_eq!(verified.serial, [0x81, 2]);
    assert_eq!(verified.not_after, date_time_ymd(2026, 12, 1).unix_timestamp());
    assert!(der.windows(verified.spki.len()).any(|window| window == verified.spki));
}

#[test]
fn x509_21_time_of_leaf_intermediate_and_root() {
    let good = root(|_| {});
    let old = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2026, 11, 2);
    let young = |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(2026, 11, 24);
    assert!(matches!(
        verify(&[&leaf(&good, old)], &[&good]),
        Err(ChainError::Expired { .. })
    ));
    assert!(matches!(
        verify(&[&leaf(&good, young)], &[&good]),
        Err(ChainError::NotYetValid { .. })
    ));
    let between = intermediate(&good, old);
    assert!(matches!(
        verify(&[&leaf(&between, |_| {}), between.der()], &[&good]),
        Err(ChainError::Expired { .. })
    ));
    let old_root = root(old);
    assert!(matches!(
        verify(&[&leaf(&old_root, |_| {})], &[&old_root]),
        Err(ChainError::Expired { .. })
    ));
    let young_root = root(young);
    assert!(matches!(
        verify(&[&leaf(&young_root, |_| {})], &[&young_root]),
        Err(ChainError::NotYetValid { .. })
    ));
    // An expired root beside a good one does no harm.
    assert!(verify(&[&leaf(&good, |_| {})], &[&old_root, &good]).is_ok());
    let before_1970 = std::time::SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let result = verify_chain(&[&leaf(&good, |_| {})], &[good.der()], &td(), before_1970);
    assert_eq!(result, Err(ChainError::Clock));
}

#[test]
fn x509_21_wrong_issuer_signature_and_missing_link() {
    let good = root(|_| {});
    let other = root(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "other"));
    assert_eq!(
        verify(&[&leaf(&other, |_| {})], &[&good]),
        Err(ChainError::UnknownIssuer)
    );
    // The same name and another key.
    assert_eq!(
        verify(&[&leaf(&root(|_| {}), |_| {})], &[&good]),
        Err(ChainError::Signature)
    );
    let between = intermediate(&good, |_| {});
    assert_eq!(
        verify(&[&leaf(&between, |_| {})], &[&good]),
        Err(ChainError::UnknownIssuer)
    );
    let mut tampered = leaf(&good, |_| {});
    let at = tampered.windows(4).position(|window| window == b"/web").unwrap();
    tampered[at + 1] = b'a';
    assert_eq!(verify(&[&tampered], &[&good]), Err(ChainError::Signature));
}

#[test]
fn x509_21_unknown_critical_extension() {
    let good = root(|_| {});
    let with = |critical| {
        move |params: &mut rcgen::CertificateParams| {
            params.custom_extensions = vec![extension(&[1, 3, 6, 1, 4, 1, 99999, 1], critical, &[5, 0])];
        }
    };
    assert!(matches!(
        verify(&[&leaf(&good, with(true))], &[&good]),
        Err(ChainError::Path { .. })
    ));
    assert!(verify(&[&leaf(&good, with(false))], &[&good]).is_ok());
}

#[test]
fn x509_10_22_bad_leaves_and_bad_intermediates() {
    let good = root(|_| {});
    assert_eq!(
        verify(&[good.der()], &[&good]),
        Err(ChainError::Leaf(ProfileError::LeafIsCa))
    );
    let not_ca = intermediate(&good, |params| params.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(
        verify(&[&leaf(&not_ca, |_| {}), not_ca.der()], &[&good]),
        Err(ChainError::Intermediate {
            index: 1,
            source: ProfileError::SigningNotCa
        })
    );
    // A workload's own certificate does not sign others, though its key could.
    let key = KeyPair::generate().unwrap();
    let first = pki::leaf_params().signed_by(&key, &good).unwrap();
    let params = pki::leaf_params();
    let second = pki::leaf_params()
        .signed_by(
            &KeyPair::generate().unwrap(),
            &rcgen::Issuer::from_params(&params, &key),
        )
        .unwrap();
    assert_eq!(
        verify(&[second.der(), first.der()], &[&good]),
        Err(ChainError::Intermediate {
            index: 1,
            source: ProfileError::SigningNotCa
        })
    );
}

#[test]
fn x509_13_path_length() {
    let narrow = root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let between = intermediate(&narrow, |_| {});
    assert!(verify(&[&leaf(&narrow, |_| {})], &[&narrow]).is_ok());
    assert_eq!(
        verify(&[&leaf(&between, |_| {}), between.der()], &[&narrow]),
        Err(ChainError::PathLen)
    );
    let wide = root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1)));
    let between = intermediate(&wide, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))
    });
    assert!(verify(&[&leaf(&between, |_| {}), between.der()], &[&wide]).is_ok());
    let below = intermediate(&between, |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "below");
    });
    let chain: [&[u8]; 3] = [&leaf(&below, |_| {}), below.der(), between.der()];
    assert_eq!(verify(&chain, &[&wide]), Err(ChainError::PathLen));
}

#[test]
fn x509_14_name_constraints_are_never_ignored() {
    let good = root(|_| {});
    let constrained = |constraints: NameConstraints| {
        let between = intermediate(&good, |params| params.name_constraints = Some(constraints));
        let dns = rcgen::SanType::DnsName("web.example.org".try_into().unwrap());
        let web = leaf(&between, |params| params.subject_alt_names.push(dns));
        verify(&[&web, between.der()], &[&good])
    };
    let subtree = |name: &str| vec![GeneralSubtree::DnsName(name.into())];
    let permitted = |name| NameConstraints {
        permitted_subtrees: subtree(name),
        excluded_subtrees: vec![],
    };
    assert!(constrained(permitted("example.org")).is_ok());
    assert!(matches!(
        constrained(permitted("elsewhere.org")),
        Err(ChainError::Path { .. })
    ));
    let excluded = NameConstraints {
        permitted_subtrees: vec![],
        excluded_subtrees: subtree("example.org"),
    };
    assert!(matches!(constrained(excluded), Err(ChainError::Path { .. })));
}

#[test]
fn x509_20_purposes_hold_for_the_whole_path() {
    let good = root(|_| {});
    let server_only = intermediate(&good, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let chain: [&[u8]; 2] = [&leaf(&server_only, |_| {}), server_only.der()];
    assert!(matches!(verify(&chain, &[&good]), Err(ChainError::Path { .. })));
}

#[test]
fn id_23_an_authority_speaks_for_its_own_trust_domain_alone() {
    let good = root(|_| {});
    // Signed by the right key, but for an id of another trust domain.
    let foreign = leaf(&good, |params| {
        params.subject_alt_names = vec![uri("spiffe://other.org/web")]
    });
    assert!(matches!(
        verify(&[&foreign], &[&good]),
        Err(ChainError::Leaf(ProfileError::ForeignTrustDomain { .. }))
    ));
    // Asked for in that other trust domain, the authority is refused.
    let other = TrustDomain::parse("other.org").unwrap();
    assert!(matches!(
        verify_chain(&[&foreign], &[good.der()], &other, now()),
        Err(ChainError::Authority {
            index: 0,
            source: ProfileError::ForeignTrustDomain { .. }
        })
    ));
    // An intermediate of another trust domain.
    let between = intermediate(&good, |params| {
        params.subject_alt_names = vec![uri("spiffe://other.org")]
    });
    assert!(matches!(
        verify(&[&leaf(&between, |_| {}), between.der()], &[&good]),
        Err(ChainError::Intermediate {
            index: 1,
            source: ProfileError::ForeignTrustDomain { .. }
        })
    ));
}

#[test]
fn tdb_10_without_authorities_nothing_is_believed() {
    let good = root(|_| {});
    assert_eq!(
        verify(&[&leaf(&good, |_| {})], &[]),
        Err(ChainError::NoAuthorities { trust_domain: td() })
    );
}

#[test]
fn chains_have_limits() {
    let good = root(|_| {});
    let web = leaf(&good, |_| {});
    assert_eq!(verify(&[], &[&good]), Err(ChainError::Empty));
    let mut chain: Vec<&[u8]> = vec![&web];
    chain.resize(MAX_CHAIN, good.der());
    assert!(verify(&chain, &[&good]).is_ok());
    chain.push(good.der());
    assert_eq!(
        verify(&chain, &[&good]),
        Err(ChainError::TooLong { len: MAX_CHAIN + 1 })
    );
}
