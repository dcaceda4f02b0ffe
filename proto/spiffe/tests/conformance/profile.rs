//! X509-SVID, sections 2 to 4: the shape of one certificate.

use hallmark_spiffe::{
    TrustDomain,
    x509::{ProfileError, check_authority, check_signing, leaf_id, lint_leaf, lint_signing},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};

use crate::pki::{self, ALT_NAME, DIGITAL_SIGNATURE, KEY_USAGE, extension, uri};

fn leaf(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    pki::leaf(&pki::root(|_| {}), change)
}

fn root(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    pki::root(change).der().to_vec()
}

#[test]
fn the_controls_pass() {
    assert_eq!(leaf_id(&leaf(|_| {})).unwrap().as_str(), "spiffe://example.org/web");
    assert_eq!(lint_leaf(&leaf(|_| {})).unwrap().as_str(), "spiffe://example.org/web");
    assert_eq!(
        check_signing(&root(|_| {})).unwrap().unwrap().as_str(),
        "spiffe://example.org"
    );
    lint_signing(&root(|_| {}), &pki::td()).unwrap();
    check_authority(&root(|_| {}), &pki::td()).unwrap();
}

#[test]
fn x509_01_a_leaf_has_a_uri() {
    let der = leaf(|params| params.subject_alt_names = vec![SanType::DnsName("web".try_into().unwrap())]);
    assert_eq!(leaf_id(&der), Err(ProfileError::NoUri));
    assert_eq!(
        leaf_id(&leaf(|params| params.subject_alt_names.clear())),
        Err(ProfileError::NoUri)
    );
}

#[test]
fn x509_02_never_two_uris() {
    for second in [
        "spiffe://example.org/other",
        "https://example.org/",
        "spiffe://example.org/web",
    ] {
        let der = leaf(|params| params.subject_alt_names.push(uri(second)));
        assert_eq!(leaf_id(&der), Err(ProfileError::ManyUris { count: 2 }), "{second}");
    }
    let der = root(|params| params.subject_alt_names.push(uri("spiffe://example.org")));
    assert_eq!(check_signing(&der), Err(ProfileError::ManyUris { count: 2 }));
}

#[test]
fn x509_03_other_alternative_names_do_no_harm() {
    let der = leaf(|params| {
        params
            .subject_alt_names
            .insert(0, SanType::DnsName("web.example.org".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        params
            .subject_alt_names
            .push(SanType::Rfc822Name("a@example.org".try_into().unwrap()));
    });
    assert!(leaf_id(&der).is_ok());
}

#[test]
fn x509_04_12_22_a_ca_is_no_leaf() {
    assert_eq!(leaf_id(&root(|_| {})), Err(ProfileError::LeafIsCa));
    let der = leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(leaf_id(&der), Err(ProfileError::LeafIsCa));
}

#[test]
fn x509_05_24_a_leaf_id_has_a_path() {
    let der = leaf(|params| params.subject_alt_names = vec![uri("spiffe://example.org")]);
    assert!(matches!(leaf_id(&der), Err(ProfileError::LeafWithoutPath { .. })));
}

#[test]
fn x509_06_without_subject_the_names_are_critical() {
    let nameless = |params: &mut CertificateParams| params.distinguished_name = DistinguishedName::new();
    assert!(leaf_id(&leaf(nameless)).is_ok());
    let content = [&[0x30, 26, 0x86, 24][..], b"spiffe://example.org/web"].concat();
    let with = |critical| {
        let content = content.clone();
        move |params: &mut CertificateParams| {
            nameless(params);
            params.subject_alt_names.clear();
            params.custom_extensions = vec![extension(ALT_NAME, critical, &content)];
        }
    };
    assert_eq!(leaf_id(&leaf(with(false))), Err(ProfileError::AltNamesNotCritical));
    assert!(leaf_id(&leaf(with(true))).is_ok());
}

#[test]
fn x509_07_19_what_an_issuer_adds() {
    let without_eku = leaf(|params| params.extended_key_usages.clear());
    assert!(leaf_id(&without_eku).is_ok());
    assert_eq!(
        lint_leaf(&without_eku),
        Err(ProfileError::Omitted {
            extension: "Extended Key Usage"
        })
    );
    let without_constraints = leaf(|params| params.is_ca = IsCa::NoCa);
    assert!(leaf_id(&without_constraints).is_ok());
    assert_eq!(
        lint_leaf(&without_constraints),
        Err(ProfileError::Omitted {
            extension: "Basic Constraints"
        })
    );
    let without_aki = leaf(|params| params.use_authority_key_identifier_extension = false);
    assert_eq!(
        lint_leaf(&without_aki),
        Err(ProfileError::Omitted {
            extension: "Authority Key Identifier"
        })
    );
    let without_id = root(|params| params.subject_alt_names.clear());
    assert_eq!(check_signing(&without_id), Ok(None));
    assert_eq!(lint_signing(&without_id, &pki::td()), Err(ProfileError::NoUri));
}

#[test]
fn x509_08_a_signing_id_has_no_path() {
    let der = root(|params| params.subject_alt_names = vec![uri("spiffe://example.org/ca")]);
    assert!(matches!(check_signing(&der), Err(ProfileError::SigningWithPath { .. })));
    assert!(matches!(
        check_authority(&der, &pki::td()),
        Err(ProfileError::SigningWithPath { .. })
    ));
}

#[test]
fn x509_09_a_signing_id_is_of_the_trust_domain() {
    let other = TrustDomain::parse("other.org").unwrap();
    assert!(matches!(
        lint_signing(&root(|_| {}), &other),
        Err(ProfileError::ForeignTrustDomain { .. })
    ));
    assert!(matches!(
        check_authority(&root(|_| {}), &other),
        Err(ProfileError::ForeignTrustDomain { .. })
    ));
}

#[test]
fn x509_10_a_signing_key_is_not_for_leaf_use() {
    let der = root(|params| params.key_usages.push(KeyUsagePurpose::DigitalSignature));
    assert!(check_signing(&der).is_ok());
    assert_eq!(lint_signing(&der, &pki::td()), Err(ProfileError::SigningForLeafUse));
}

#[test]
fn x509_11_signing_needs_ca() {
    assert_eq!(check_signing(&leaf(|_| {})), Err(ProfileError::SigningNotCa));
    assert_eq!(
        check_authority(&leaf(|_| {}), &pki::td()),
        Err(ProfileError::SigningNotCa)
    );
}

#[test]
fn x509_15_key_usage_is_present_and_critical() {
    let missing = leaf(|params| params.key_usages.clear());
    assert_eq!(leaf_id(&missing), Err(ProfileError::KeyUsageMissing));
    let lax = |critical| {
        leaf(move |params| {
            params.key_usages.clear();
            params.custom_extensions = vec![extension(KEY_USAGE, critical, DIGITAL_SIGNATURE)];
        })
    };
    assert_eq!(leaf_id(&lax(false)), Err(ProfileError::KeyUsageNotCritical));
    assert!(leaf_id(&lax(true)).is_ok());
    let missing = root(|params| params.key_usages.clear());
    assert_eq!(check_signing(&missing), Err(ProfileError::KeyUsageMissing));
    // RFC 5280 asks nothing of a trust anchor; roots kept outside SPIFFE often lack it.
    assert_eq!(check_authority(&missing, &pki::td()), Ok(()));
}

#[test]
fn x509_16_signing_needs_key_cert_sign() {
    let der = root(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(check_signing(&der), Err(ProfileError::SigningWithoutCertSign));
    assert_eq!(
        check_authority(&der, &pki::td()),
        Err(ProfileError::SigningWithoutCertSign)
    );
}

#[test]
fn x509_17_18_22_what_a_leaf_key_is_for() {
    let der = leaf(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]);
    assert_eq!(leaf_id(&der), Err(ProfileError::LeafWithoutDigitalSignature));
    for forbidden in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let der = leaf(|params| params.key_usages.push(forbidden));
        assert_eq!(leaf_id(&der), Err(ProfileError::LeafSigns));
    }
    let der = leaf(|params| {
        params
            .key_usages
            .extend([KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyAgreement]);
    });
    assert!(leaf_id(&der).is_ok());
}

#[test]
fn x509_20_purposes_name_both_sides() {
    for (purpose, server, client) in [
        (ExtendedKeyUsagePurpose::ServerAuth, true, false),
        (ExtendedKeyUsagePurpose::ClientAuth, false, true),
        (ExtendedKeyUsagePurpose::CodeSigning, false, false),
    ] {
        let der = leaf(|params| params.extended_key_usages = vec![purpose]);
        assert_eq!(leaf_id(&der), Err(ProfileError::ExtendedKeyUsage { server, client }));
    }
    let der = leaf(|params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning));
    assert!(leaf_id(&der).is_ok());
}

#[test]
fn x509_23_the_uri_is_a_spiffe_id() {
    for bad in [
        "https://example.org/web",
        "spiffe://example.org/web/",
        "spiffe://Example.org/web",
    ] {
        let der = leaf(|params| params.subject_alt_names = vec![uri(bad)]);
        assert!(matches!(leaf_id(&der), Err(ProfileError::Id(_))), "{bad}");
    }
}

#[test]
fn id_13_a_leaf_may_carry_the_longest_id() {
    let longest = format!("spiffe://example.org/{}", "a".repeat(2048 - 21));
    let der = leaf(|params| params.subject_alt_names = vec![uri(&longest)]);
    assert_eq!(leaf_id(&der).unwrap().as_str(), longest);
    let der = leaf(|params| params.subject_alt_names = vec![uri(&format!("{longest}a"))]);
    assert!(matches!(leaf_id(&der), Err(ProfileError::Id(_))));
}
