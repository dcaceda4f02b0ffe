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

/// A TPM has several endorsement keys; which one it shows is the caller's choice, and each opens its own credentials.
#[test]
fn the_endorsement_key_of_a_chosen_template() {
    let machine = Machine::new();
    for (name, certificate) in [
        ("ecc-p384-h3", machine.swtpm.ecc_ek_certificate().unwrap()),
        ("rsa-2048-l1", machine.swtpm.ek_certificate().unwrap()),
    ] {
        let chosen = templates::ek_template_named(name).unwrap();
        let mut tpm = machine.open().with_ek_templates(vec![chosen]);
        let endorsement = tpm.endorsement().unwrap();
        assert_eq!(endorsement.certificate, Some(certificate));
        assert_eq!(templates::ek_template_of(&endorsement.public), Some(chosen));
        let ak = tpm.attestation_key().unwrap();
        let made = credential::make(&endorsement.public, &ak.name(), &[9; 32]).unwrap();
        let credential = Credential {
            id_object: made.id_object,
            encrypted_secret: made.encrypted_secret,
        };
        assert_eq!(
            tpm.activate(&endorsement.public, &credential).unwrap().as_slice(),
            [9; 32]
        );
        tpm.release_endorsement().unwrap();
    }
    // Without a certificate for it, the key that the TPM can make.
    let chosen = templates::ek_template_named("ecc-p256-l2").unwrap();
    let mut tpm = machine.open().with_ek_templates(vec![chosen]);
    let endorsement = tpm.endorsement().unwrap();
    assert_eq!(endorsement.certificate, None);
    assert_eq!(templates::ek_template_of(&endorsement.public), Some(chosen));
}

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
