//! The lint against certificates that another program made: one that is as it must be, and one for each way to be
//! wrong.

use std::time::{Duration, UNIX_EPOCH};

use hallmark_reason::Coded as _;
use hallmark_spiffe::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::*;

const NOW: i64 = 1_800_000_000;
const ID: &str = "spiffe://example.org/workload";
const DNS: &str = "db.example.org";

type Change = fn(&mut CertificateParams);

struct Lab {
    ca_params: CertificateParams,
    ca_key: KeyPair,
    authority: X509Authority,
    leaf_key: KeyPair,
    subject_key: SubjectKey,
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

impl Lab {
    fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let key_id = SubjectKey::from_spki(&ca_key.subject_public_key_info()).unwrap();
        let mut ca_params = CertificateParams::default();
        ca_params.distinguished_name = DistinguishedName::new();
        ca_params.distinguished_name.push(DnType::OrganizationName, "Hallmark");
        ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca_params.subject_alt_names = vec![uri("spiffe://example.org")];
        ca_params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.key_id().to_vec());
        ca_params.not_before = at(NOW - 100);
        ca_params.not_after = at(NOW + 100_000);
        let certificate = ca_params.self_signed(&ca_key).unwrap();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        Self {
            authority: X509Authority::from_certificate(certificate.der(), &trust_domain).unwrap(),
            subject_key: SubjectKey::from_spki(&leaf_key.subject_public_key_info()).unwrap(),
            ca_params,
            ca_key,
            leaf_key,
        }
    }

    /// What rcgen makes of the same intent as ours.
    fn good(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[7; 16]));
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Hallmark");
        params.subject_alt_names = vec![uri(ID), dns(DNS)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(self.subject_key.key_id().to_vec());
        params.not_before = at(NOW - 10);
        params.not_after = at(NOW + 3600);
        params
    }

    fn lint(&self, params: &CertificateParams, ca: &CertificateParams, key: &KeyPair) -> Result<(), AuthorityError> {
        let issuer = Issuer::from_params(ca, &self.ca_key);
        let certificate = params.signed_by(key, &issuer).unwrap();
        let expected = Expected {
            spiffe_id: &SpiffeId::parse(ID).unwrap(),
            dns_names: &[DNS.to_owned()],
            key: &self.subject_key,
            authority: &self.authority,
            serial: Serial::from_random([7; 16]),
            validity: Validity {
                not_before: NOW - 10,
                not_after: NOW + 3600,
            },
        };
        leaf(certificate.der(), &expected)
    }

    fn lint_changed(&self, change: Change) -> Result<(), AuthorityError> {
        let mut params = self.good();
        change(&mut params);
        self.lint(&params, &self.ca_params, &self.leaf_key)
    }
}

/// Key Usage written by hand: unused bits, then the bits.
fn key_usage(critical: bool, bits: [u8; 2]) -> CustomExtension {
    let content = [&[0x03, 0x02][..], &bits].concat();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 15], content);
    extension.set_criticality(critical);
    extension
}

#[test]
fn each_broken_rule_of_the_profile_is_found() {
    let lab = Lab::new();
    lab.lint_changed(|_| ()).expect("the control");
    let cases: &[(&str, &str, Change)] = &[
        ("X509-01: no URI", "HM-ID-0034", |p| {
            p.subject_alt_names = vec![dns(DNS)]
        }),
        ("X509-02: two URIs", "HM-ID-0035", |p| {
            p.subject_alt_names.push(uri("spiffe://example.org/other"))
        }),
        ("X509-02: a second URI of another scheme", "HM-ID-0035", |p| {
            p.subject_alt_names.push(uri("https://a/b"))
        }),
        ("X509-23: https", "HM-ID-0036", |p| {
            p.subject_alt_names = vec![uri("https://example.org/workload")]
        }),
        ("X509-05: no path", "HM-ID-0037", |p| {
            p.subject_alt_names = vec![uri("spiffe://example.org")]
        }),
        ("X509-12: a CA", "HM-ID-0038", |p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)
        }),
        ("X509-12: Basic Constraints left out", "HM-ID-0050", |p| {
            p.is_ca = IsCa::NoCa
        }),
        ("X509-15: no Key Usage", "HM-ID-0039", |p| p.key_usages.clear()),
        ("X509-15: Key Usage not critical", "HM-ID-0040", |p| {
            p.key_usages.clear();
            p.custom_extensions.push(key_usage(false, [7, 0x80]));
        }),
        ("X509-17: no digitalSignature", "HM-ID-0041", |p| {
            p.key_usages = vec![KeyUsagePurpose::KeyAgreement]
        }),
        ("X509-18: keyCertSign", "HM-ID-0042", |p| {
            p.key_usages.push(KeyUsagePurpose::KeyCertSign)
        }),
        ("X509-18: cRLSign", "HM-ID-0042", |p| {
            p.key_usages.push(KeyUsagePurpose::CrlSign)
        }),
        ("X509-19: no EKU", "HM-ID-0050", |p| p.extended_key_usages.clear()),
        ("X509-20: serverAuth alone", "HM-ID-0043", |p| {
            p.extended_key_usages.pop();
        }),
        ("X509-20: clientAuth alone", "HM-ID-0043", |p| {
            p.extended_key_usages.remove(0);
        }),
        ("X509-06: no subject, names not critical", "HM-ID-0044", |p| {
            p.distinguished_name = DistinguishedName::new();
            p.subject_alt_names.clear();
            let names = [&[0x30, 0x1f, 0x86, 0x1d][..], ID.as_bytes()].concat();
            p.custom_extensions
                .push(CustomExtension::from_oid_content(&[2, 5, 29, 17], names));
        }),
        ("an extension twice", "HM-ID-0033", |p| {
            p.custom_extensions.push(key_usage(true, [7, 0x80]))
        }),
        ("no authority key identifier", "HM-ID-0050", |p| {
            p.use_authority_key_identifier_extension = false
        }),
        ("serial number zero", "HM-ID-0051", |p| {
            p.serial_number = Some(SerialNumber::from_slice(&[0]))
        }),
        ("serial number of 21 bytes", "HM-ID-0051", |p| {
            p.serial_number = Some(SerialNumber::from_slice(&[7; 21]))
        }),
    ];
    for (why, code, change) in cases {
        let found = lab.lint_changed(*change);
        let Err(AuthorityError::Profile(cause)) = &found else {
            panic!("{why}: {found:?}");
        };
        assert_eq!(cause.code().as_str(), *code, "{why}");
    }
}

#[test]
fn each_field_that_was_not_granted_is_found() {
    let lab = Lab::new();
    lab.lint_changed(|_| ()).expect("the control");
    const NAMES: &str = "subject alternative names";
    let cases: &[(&str, Change)] = &[
        ("SPIFFE ID", |p| {
            p.subject_alt_names[0] = uri("spiffe://example.org/workload2")
        }),
        ("SPIFFE ID", |p| {
            p.subject_alt_names[0] = uri("spiffe://example.com/workload")
        }),
        ("serial number", |p| {
            p.serial_number = Some(SerialNumber::from_slice(&[8; 16]))
        }),
        ("validity", |p| p.not_before = at(NOW - 11)),
        ("validity", |p| p.not_after = at(NOW + 3601)),
        ("subject key identifier", |p| {
            p.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20])
        }),
        (NAMES, |p| p.subject_alt_names.truncate(1)),
        (NAMES, |p| p.subject_alt_names[1] = dns("other.example.org")),
        (NAMES, |p| p.subject_alt_names.push(dns("other.example.org"))),
        (NAMES, |p| {
            p.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()))
        }),
    ];
    for (field, change) in cases {
        assert_eq!(lab.lint_changed(*change), Err(AuthorityError::Deviates { field }));
    }
    let deviates = |field| Err(AuthorityError::Deviates { field });
    let other_key = KeyPair::generate().unwrap();
    let found = lab.lint(&lab.good(), &lab.ca_params, &other_key);
    assert_eq!(found, deviates("public key"));
    let mut other_ca = lab.ca_params.clone();
    other_ca.distinguished_name.push(DnType::CommonName, "another");
    let found = lab.lint(&lab.good(), &other_ca, &lab.leaf_key);
    assert_eq!(found, deviates("issuer"));
    let mut other_ca = lab.ca_params.clone();
    other_ca.key_identifier_method = KeyIdMethod::PreSpecified(vec![2; 20]);
    let found = lab.lint(&lab.good(), &other_ca, &lab.leaf_key);
    assert_eq!(found, deviates("authority key identifier"));
}

#[test]
fn an_authority_that_breaks_the_profile_is_not_taken() {
    let lab = Lab::new();
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let take = |change: Change| {
        let mut params = lab.ca_params.clone();
        change(&mut params);
        let certificate = params.self_signed(&lab.ca_key).unwrap();
        X509Authority::from_certificate(certificate.der(), &trust_domain)
    };
    take(|_| ()).expect("the control");
    let cases: &[(&str, &str, Change)] = &[
        ("X509-07: no id", "HM-ID-0034", |p| p.subject_alt_names.clear()),
        ("X509-08: a path", "HM-ID-0047", |p| p.subject_alt_names = vec![uri(ID)]),
        ("X509-09: another trust domain", "HM-ID-0049", |p| {
            p.subject_alt_names = vec![uri("spiffe://example.com")]
        }),
        ("X509-10: digitalSignature as well", "HM-ID-0048", |p| {
            p.key_usages.push(KeyUsagePurpose::DigitalSignature);
        }),
        ("X509-11: no CA", "HM-ID-0045", |p| p.is_ca = IsCa::ExplicitNoCa),
        ("X509-15: no Key Usage", "HM-ID-0039", |p| p.key_usages.clear()),
        ("X509-16: no keyCertSign", "HM-ID-0046", |p| {
            p.key_usages.remove(0);
        }),
    ];
    for (why, code, change) in cases {
        let found = take(*change);
        let Err(AuthorityError::AuthorityProfile(cause)) = &found else {
            panic!("{why}: {found:?}");
        };
        assert_eq!(cause.code().as_str(), *code, "{why}");
    }
    let mut tampered = lab.authority.certificate().to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let refused = X509Authority::from_certificate(&tampered, &trust_domain);
    assert_eq!(refused.err(), Some(AuthorityError::AuthoritySignature));
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    assert_eq!(crate::validity::unix(now), Ok(NOW));
}

#[test]
fn an_intermediate_says_what_was_granted_and_no_more() {
    let lab = Lab::new();
    let expected = ExpectedAuthority {
        path_len: 0,
        key: &lab.subject_key,
        authority: &lab.authority,
        serial: Serial::from_random([7; 16]),
        validity: Validity {
            not_before: NOW - 10,
            not_after: NOW + 3600,
        },
    };
    let lint = |change: Change| {
        let mut params = lab.good();
        params.subject_alt_names = vec![uri("spiffe://example.org")];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.extended_key_usages.clear();
        change(&mut params);
        let issuer = Issuer::from_params(&lab.ca_params, &lab.ca_key);
        let certificate = params.signed_by(&lab.leaf_key, &issuer).unwrap();
        intermediate(certificate.der(), &expected)
    };
    lint(|_| ()).expect("the control");
    let deviating: &[(&str, Change)] = &[
        ("path length", |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ("path length", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))),
        ("key usage", |p| {
            p.key_usages.pop();
        }),
        ("extended key usage", |p| {
            p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
        ("name constraints", |p| {
            p.name_constraints = Some(rcgen::NameConstraints {
                permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".into())],
                excluded_subtrees: Vec::new(),
            });
        }),
        ("subject alternative names", |p| p.subject_alt_names.push(dns(DNS))),
        ("serial number", |p| {
            p.serial_number = Some(SerialNumber::from_slice(&[8; 16]));
        }),
        ("validity", |p| p.not_after = at(NOW + 3601)),
        ("subject key identifier", |p| {
            p.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20]);
        }),
        ("authority key identifier", |p| {
            p.use_authority_key_identifier_extension = false
        }),
    ];
    for (field, change) in deviating {
        assert_eq!(lint(*change), Err(AuthorityError::Deviates { field }));
    }
    let broken: &[(&str, Change)] = &[
        ("HM-ID-0045", |p| p.is_ca = IsCa::ExplicitNoCa),
        ("HM-ID-0047", |p| p.subject_alt_names = vec![uri(ID)]),
        ("HM-ID-0049", |p| {
            p.subject_alt_names = vec![uri("spiffe://example.com")]
        }),
        ("HM-ID-0034", |p| p.subject_alt_names.clear()),
        ("HM-ID-0035", |p| {
            p.subject_alt_names.push(uri("spiffe://example.org/a"))
        }),
        ("HM-ID-0048", |p| p.key_usages.push(KeyUsagePurpose::DigitalSignature)),
    ];
    for (code, change) in broken {
        let found = lint(*change);
        let Err(AuthorityError::Profile(cause)) = &found else {
            panic!("{code}: {found:?}");
        };
        assert_eq!(cause.code().as_str(), *code);
    }
}
