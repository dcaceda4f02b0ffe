//! Certificates as tests need them: right in every part, until a test changes one.

use std::time::{Duration, SystemTime};

use hallmark_spiffe::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

pub(crate) type Ca = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn td() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

/// 2026-11-23T00:00:00Z.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, text);
    name
}

pub(crate) fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri("spiffe://example.org")];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params
}

pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Test workload");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri("spiffe://example.org/web")];
    params.not_before = date_time_ymd(2026, 11, 1);
    params.not_after = date_time_ymd(2026, 12, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) fn root(change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = ca_params();
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn intermediate(above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = ca_params();
    params.distinguished_name = name("Test intermediate");
    change(&mut params);
    CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), above).unwrap()
}

pub(crate) fn leaf(above: &Ca, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = leaf_params();
    change(&mut params);
    params
        .signed_by(&KeyPair::generate().unwrap(), above)
        .unwrap()
        .der()
        .to_vec()
}

pub(crate) fn extension(oid: &[u64], critical: bool, content: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(critical);
    extension
}

pub(crate) const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
pub(crate) const ALT_NAME: &[u64] = &[2, 5, 29, 17];
/// BIT STRING with digitalSignature alone.
pub(crate) const DIGITAL_SIGNATURE: &[u8] = &[3, 2, 7, 0x80];
