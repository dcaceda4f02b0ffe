//! Certificates of real vendors, read from where the environment variable HALLMARK_FOREIGN_VECTORS says. They are not
//! part of this repository; where they are absent, the tests say so and check nothing.

use std::path::PathBuf;

use hallmark_reason::Coded;
use hallmark_verify::EkRoots;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::scene::{Scene, challenge};

/// The files of a folder, by name; `None` where there are none, said aloud.
fn files(folder: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let Some(base) = std::env::var_os("HALLMARK_FOREIGN_VECTORS") else {
        eprintln!("SKIPPED: HALLMARK_FOREIGN_VECTORS is not set, no vendor certificate was read");
        return None;
    };
    let mut files: Vec<_> = std::fs::read_dir(PathBuf::from(base).join(folder))
        .expect("HALLMARK_FOREIGN_VECTORS names the folder that holds ek-roots and ek-certs")
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    Some(files)
}

#[test]
fn vendor_roots_are_taken_or_named() {
    let Some(files) = files("ek-roots") else {
        return;
    };
    let mut roots = EkRoots::default();
    let mut refused = Vec::new();
    for (name, file) in &files {
        match roots.add(name, file) {
            Ok(_) => {}
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(name.as_str()), "{text}");
                eprintln!("{}: {text}", error.code());
                refused.push(name.clone());
            }
        }
    }
    eprintln!("{} files, {} roots, refused: {refused:?}", files.len(), roots.len());
    assert!(roots.len() > files.len() / 2, "most vendor certificates are good");
}

/// Google's two virtual-TPM certificates: one follows the EK profile and leads to Google's root; the other, of a private
/// CA, has neither extended key usage nor TPM attributes.
#[test]
fn vendor_ek_certificates_are_judged() {
    let (Some(certificates), Some(authorities)) = (files("ek-certs"), files("ek-roots")) else {
        return;
    };
    let mut scene = Scene::new();
    let der = |name: &str| {
        let files = certificates.iter().chain(&authorities);
        let (_, file) = files.into_iter().find(|(other, _)| other == name).expect(name);
        if file.first() == Some(&0x30) {
            file.clone()
        } else {
            CertificateDer::from_pem_slice(file).unwrap().to_vec()
        }
    };
    scene
        .trust
        .roots
        .add("tpm_ek_root_1.cer", &der("tpm_ek_root_1.cer"))
        .unwrap();
    scene
        .trust
        .roots
        .add("gcp_ek_ak_ca_root.crt", &der("gcp_ek_ak_ca_root.crt"))
        .unwrap();

    let profile = der("uca_tpm_ecc_enc_cert.pem");
    let mut claim = scene.machine.claim();
    // The certified P-256 point stands behind its BIT STRING header: 03 42 00 04.
    let at = profile
        .windows(4)
        .position(|window| window == [0x03, 0x42, 0x00, 0x04])
        .unwrap()
        + 4;
    scene.machine.ek.public.unique = [&[0, 32], &profile[at..at + 32], &[0, 32], &profile[at + 32..at + 64]].concat();
    claim.ek_public = scene.machine.ek.public.marshal();
    claim.ek_certificate = Some(profile);
    claim.ek_chain = vec![der("tpm_ek_intermediate_2.crt"), der("tpm_ek_intermediate_3.crt")];
    let verified_claim = scene.verify_claim(&claim).unwrap();
    let challenge = challenge(&verified_claim);
    assert!(
        challenge.credential().is_some(),
        "a credential can be made for Google's EK"
    );

    claim.ek_chain.pop();
    assert_eq!(scene.verify_claim(&claim).unwrap_err(), "HM-VERIFY-0121");
    claim.ek_certificate = Some(der("pca_tpm_rsa_enc_cert.pem"));
    assert_eq!(scene.verify_claim(&claim).unwrap_err(), "HM-VERIFY-0110");
}
