//! The driver against a real swtpm, checked with the decoders of `hallmark_tpm_wire`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code beside the test functions"
)]

mod machine;

use hallmark_tpm::{Credential, Tpm as _, Unique};
use hallmark_tpm_wire::{Attest, AttestKind, HashAlg, PcrSelection, Signature, credential, pcr_digest, templates};
use machine::Machine;

const PCRS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
const QUALIFYING: [u8; 32] = [7; 32];

#[test]
fn every_operation_gives_what_the_wire_crate_accepts() {
    let machine = Machine::new();
    let mut tpm = machine.open();
    let endorsement = tpm.endorsement().unwrap();
    assert_eq!(
        endorsement.certificate.as_deref(),
        Some(machine.swtpm.ek_certificate().unwrap().as_slice())
    );
    assert!(templates::ek_template_of(&endorsement.public).is_some());

    let ak = tpm.attestation_key().unwrap();
    assert!(templates::AK.matches(&ak));
    let key = tpm.svid_key(&Unique([1; 32])).unwrap();
    assert!(templates::SVID_KEY.matches(&key.public));

    let made = credential::make(&endorsement.public, &ak.name(), b"a secret of 32 bytes, no more...").unwrap();
    let credential = Credential {
        id_object: made.id_object,
        encrypted_secret: made.encrypted_secret,
    };
    let secret = tpm.activate(&endorsement.public, &credential).unwrap();
    assert_eq!(secret.as_slice(), b"a secret of 32 bytes, no more...");

    let certify = tpm.certify(key.id, &QUALIFYING).unwrap();
    let attest = Attest::parse(&certify.attest).unwrap();
    assert_eq!(attest.extra_data, QUALIFYING);
    match attest.kind {
        AttestKind::Certify(info) => assert_eq!(info.name, key.public.name()),
        other => panic!("{other:?}"),
    }
    Signature::parse(&certify.signature)
        .unwrap()
        .verify(&ak, &certify.attest)
        .unwrap();

    let selection = PcrSelection::new([(HashAlg::Sha256, PCRS.as_slice())]).unwrap();
    let quote = tpm.quote(&selection, &QUALIFYING).unwrap();
    let values = tpm.read_pcrs(&selection).unwrap();
    match Attest::parse(&quote.attest).unwrap().kind {
        AttestKind::Quote(info) => {
            assert_eq!(info.selection.canonical(), selection.canonical());
            assert_eq!(
                info.pcr_digest,
                pcr_digest(&selection, &values, HashAlg::Sha256).unwrap()
            );
        }
        other => panic!("{other:?}"),
    }
    Signature::parse(&quote.signature)
        .unwrap()
        .verify(&ak, &quote.attest)
        .unwrap();

    let digest: [u8; 32] = HashAlg::Sha256.digest(b"message").try_into().unwrap();
    let signature = tpm.sign(key.id, &digest).unwrap();
    let spki = key.public.spki_der().unwrap();
    let point = &spki[spki.len() - 65..];
    let public = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, point);
    public.verify(b"message", &signature).unwrap();
    assert!(public.verify(b"massage", &signature).is_err());
}
