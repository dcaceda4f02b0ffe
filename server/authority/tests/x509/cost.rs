//! What preparing costs beside the cryptography that cannot be avoided. Printed; only a wide margin is asserted.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use hallmark_authority::{Serial, SubjectKey, prepare};
use hallmark_spiffe::SpiffeId;
use hallmark_state::mint;
use rcgen::{CertificateParams, KeyPair};

use crate::software::{SoftwareKey, now, trust_domain};

/// The least of several rounds: other work on the machine only adds.
fn microseconds(mut work: impl FnMut()) -> f64 {
    (0..20)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..100 {
                work();
            }
            started.elapsed().as_secs_f64() * 1e6 / 100.0
        })
        .fold(f64::INFINITY, f64::min)
}

#[test]
fn preparing_costs_little_beside_the_cryptography() {
    let ca = SoftwareKey::p256();
    let authority = ca.authority();
    let csr = CertificateParams::default()
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap();
    let key = SubjectKey::from_csr(csr.der()).unwrap();
    let id = SpiffeId::parse("spiffe://example.org/ns/payments/sa/db").unwrap();
    let grant = mint(
        &trust_domain(),
        id,
        vec!["db.example.org".into()],
        Duration::from_secs(3600),
        Duration::MAX,
    )
    .unwrap();
    let serial = Serial::from_random([9; 16]);
    let prepared = microseconds(|| {
        black_box(prepare(&grant, &key, &authority, serial, now()).unwrap());
    });
    let draft = prepare(&grant, &key, &authority, serial, now()).unwrap();
    let signature = ca.sign(draft.tbs());
    let sealed = microseconds(|| {
        black_box(draft.clone().seal(&signature).unwrap());
    });
    let public = ca.spki();
    let verified = microseconds(|| {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public).unwrap();
        key.verify_sig(draft.tbs(), &signature).unwrap();
    });
    let csr_taken = microseconds(|| {
        black_box(SubjectKey::from_csr(csr.der()).unwrap());
    });
    println!(
        "measured: prepare and lint {prepared:.1} us, seal {sealed:.1} us, CSR {csr_taken:.1} us, bare P-256 verification {verified:.1} us"
    );
    assert!(csr_taken < verified * 3.0, "{csr_taken} against {verified}");
}
