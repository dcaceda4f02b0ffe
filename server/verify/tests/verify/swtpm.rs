//! A real (software) TPM's EK certificate and keys, as its tools wrote them.

use hallmark_tpm_wire::PublicArea;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::scene::{Scene, challenge};

const EK_CERTIFICATE: &[u8] = include_bytes!("../vectors/swtpm/ek-cert.der");
const EK: &[u8] = include_bytes!("../vectors/swtpm/ek.tpm2b_public");
const AK: &[u8] = include_bytes!("../vectors/swtpm/ak.tpmt_public");
const ISSUER: &[u8] = include_bytes!("../vectors/swtpm/issuer.pem");
const ROOT: &[u8] = include_bytes!("../vectors/swtpm/root.pem");

#[test]
fn a_swtpms_ek_certificate_leads_to_its_root_and_is_a_simulators() {
    let mut scene = Scene::new();
    scene.trust.roots.add("root.pem", ROOT).unwrap();
    let mut claim = scene.machine.claim();
    claim.ek_certificate = Some(EK_CERTIFICATE.to_vec());
    claim.ek_chain = vec![CertificateDer::from_pem_slice(ISSUER).unwrap().to_vec()];
    claim.ek_public = PublicArea::parse_sized(EK).unwrap().marshal();
    // What tpm2_createak makes is another key than the agent's.
    let agents = std::mem::replace(&mut claim.ak_public, PublicArea::parse(AK).unwrap().marshal());
    assert_eq!(scene.verify_claim(&claim).unwrap_err(), "HM-VERIFY-0216");
    claim.ak_public = agents;
    let verified_claim = scene.verify_claim(&claim).unwrap();
    assert!(challenge(&verified_claim).credential().is_some());

    claim.ek_chain.clear();
    assert_eq!(scene.verify_claim(&claim).unwrap_err(), "HM-VERIFY-0121");
    // The intermediate itself pinned: no chain needed.
    scene.trust.roots.add("issuer.pem", ISSUER).unwrap();
    scene.verify_claim(&claim).unwrap();
}

/// Pinning a root that the certificate does not lead to does not help.
#[test]
fn attack_10_a_swtpm_of_an_unpinned_ca_is_refused() {
    let scene = Scene::new();
    let mut claim = scene.machine.claim();
    claim.ek_certificate = Some(EK_CERTIFICATE.to_vec());
    claim.ek_chain = [ISSUER, ROOT]
        .map(|pem| CertificateDer::from_pem_slice(pem).unwrap().to_vec())
        .to_vec();
    claim.ek_public = PublicArea::parse_sized(EK).unwrap().marshal();
    assert_eq!(scene.verify_claim(&claim).unwrap_err(), "HM-VERIFY-0121");
}
