//! Good machines of every kind pass, and what they prove is what comes out.

use crate::scene::{EXPORTER, NONCE, SECRET, Scene, challenge, finish, now, selection};
use hallmark_node::{EkId, InventoryItem, TpmClass};
use hallmark_reason::Coded;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::testing::{ChallengeParts, SoftwareEk, SoftwareKey, SoftwareMachine};
use hallmark_verify::{EnrolledBy, ExpiredPolicy, KnownTpm, ek_sha256, verify_proof};
use zeroize::Zeroizing;

#[test]
fn an_ecc_machine_is_verified_and_its_facts_come_out() {
    let scene = Scene::new();
    let evidence = scene.run().unwrap();
    assert_eq!(evidence.enrolled_by(), EnrolledBy::Certificate);
    assert_eq!(evidence.class(), TpmClass::Discrete);
    let facts = evidence.certificate().unwrap();
    assert_eq!(facts.attributes.manufacturer, "id:49465800");
    assert_eq!(facts.attributes.model, "SLB9670");
    assert_eq!(facts.attributes.version, "id:00070055");
    assert_eq!(facts.issuer, "CN=Software Machine Test Intermediate");
    assert_eq!(facts.serial, "012345");
    assert_eq!(facts.not_after, 2_537_654_400);
    assert_eq!(evidence.svid_spki(), scene.machine.svid.spki());
    assert_eq!(evidence.svid_key_name().as_bytes(), scene.machine.svid.public.name());
    assert_eq!(evidence.ak_name().as_bytes(), scene.machine.ak.public.name());
    assert_eq!(evidence.ek_name().as_bytes(), scene.machine.ek.public.name());
    assert!(evidence.ak_activated());
    assert_eq!(evidence.pcrs().len(), 8);
    assert_eq!(
        evidence.pcrs().get(HashAlg::Sha256, 7),
        Some(scene.machine.pcrs[&(0x000b, 7)].as_slice())
    );
    assert_eq!(evidence.clock_info().reset_count, 7);
    assert!(evidence.clock_info().safe);
    assert_eq!(evidence.firmware_version(), 0x0001_0002_0003_0004);
    assert_eq!(evidence.nonce(), &NONCE);
    assert!(evidence.inventory().is_none());
    assert_eq!(
        *evidence.ek_sha256(),
        ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap()
    );
}

#[test]
fn an_rsa_endorsement_key_is_verified() {
    let mut scene = Scene::new();
    scene.machine = SoftwareMachine::with_ek(&scene.vendor, SoftwareEk::rsa());
    scene.run().unwrap();
}

#[test]
fn a_wrapped_and_padded_certificate_is_verified() {
    let mut scene = Scene::new();
    let certificate = scene.machine.ek_certificate.take().unwrap();
    let size = u16::try_from(certificate.len() + 2).unwrap().to_be_bytes();
    scene.machine.ek_certificate = Some(
        [
            &[0x10, 0x01, 0x00][..],
            &size,
            &[0x10, 0x02],
            &certificate,
            &[0xff; 100],
        ]
        .concat(),
    );
    scene.run().unwrap();
}

#[test]
fn a_known_ak_needs_no_credential_and_an_unknown_one_does() {
    let mut scene = Scene::new();
    let evidence = scene.run().unwrap();
    let record = KnownTpm {
        ek_sha256: *evidence.ek_sha256(),
        ak_name: Some(evidence.ak_name().clone()),
        enrolled: true,
        certificate: None,
    };

    scene.known = Some(record.clone());
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    assert!(verified_claim.ak_is_known());
    let challenge = verified_claim.challenge_with(NONCE, None, selection(), now()).unwrap();
    assert!(challenge.credential().is_none());
    let answer = scene.machine.prove(&ChallengeParts::from(&challenge), &EXPORTER);
    assert!(!finish(verified_claim, challenge, &answer).unwrap().ak_activated());

    // Another AK on the same TPM, and a record of an AK on another TPM.
    scene.machine.ak = SoftwareKey::ak();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let error = verified_claim
        .challenge_with(NONCE, None, selection(), now())
        .unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0304");
    scene.known = Some(KnownTpm {
        ek_sha256: [9; 32],
        ..record
    });
    assert_eq!(
        scene.verify_claim(&scene.machine.claim()).unwrap_err(),
        "HM-VERIFY-0144"
    );
}

#[test]
fn an_expired_certificate_counts_as_the_policy_says() {
    let passed = 1_700_000_000;
    for (policy, known, expected) in [
        (ExpiredPolicy::Enforce, false, Some("HM-VERIFY-0120")),
        (ExpiredPolicy::Enforce, true, Some("HM-VERIFY-0120")),
        (ExpiredPolicy::AtEnrolment, false, Some("HM-VERIFY-0120")),
        (ExpiredPolicy::AtEnrolment, true, None),
        (ExpiredPolicy::Ignore, false, None),
    ] {
        let mut scene = Scene::new();
        scene.machine.ek_certificate = Some(
            scene
                .vendor
                .ek_certificate_with(&scene.machine.ek, |draft| draft.not_after = passed),
        );
        scene.trust.expired = policy;
        let ek = ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap();
        scene.known = known.then_some(KnownTpm {
            ek_sha256: ek,
            enrolled: true,
            ..KnownTpm::default()
        });
        assert_eq!(scene.run().err().as_deref(), expected, "{policy:?}, known: {known}");
    }
}

#[test]
fn the_inventory_enrols_with_and_without_a_certificate() {
    let mut scene = Scene::new();
    let ek = ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap();
    let item = InventoryItem {
        owner: "ops".into(),
        ..InventoryItem::new(EkId::Spki(ek))
    };
    scene.trust.inventory.add(item.clone().into());

    let both = scene.run().unwrap();
    assert_eq!(both.enrolled_by(), EnrolledBy::Certificate);
    let line = both.inventory().unwrap();
    assert_eq!((&*line.item, line.id, line.expired), (&item, EkId::Spki(ek), false));

    let certificate = scene.machine.ek_certificate.take();
    let bare = scene.run().unwrap();
    assert_eq!(
        (bare.enrolled_by(), bare.class()),
        (EnrolledBy::Inventory, TpmClass::Unknown)
    );
    assert!(bare.certificate().is_none());

    // A certificate that leads nowhere is not believed, and nothing of it is used.
    scene.trust.roots = hallmark_verify::EkRoots::default();
    scene.machine.ek_certificate = certificate;
    let unbelieved = scene.run().unwrap();
    assert_eq!(
        (unbelieved.enrolled_by(), unbelieved.class()),
        (EnrolledBy::Inventory, TpmClass::Unknown)
    );
    assert!(unbelieved.certificate().is_none());
    assert_eq!(
        unbelieved.certificate_refused().unwrap().code().as_str(),
        "HM-VERIFY-0121"
    );
}

#[test]
fn other_banks_and_registers_are_quoted_as_asked() {
    let mut scene = Scene::new();
    for pcr in 0..24 {
        scene.machine.pcrs.insert((0x000c, pcr), HashAlg::Sha384.digest(&[pcr]));
    }
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let asked = PcrSelection::new([(HashAlg::Sha384, &[4, 17][..]), (HashAlg::Sha256, &[7, 11])]).unwrap();
    let challenge = verified_claim
        .challenge_with(NONCE, Some(Zeroizing::new(SECRET)), asked, now())
        .unwrap();
    let answer = scene.machine.prove(&ChallengeParts::from(&challenge), &EXPORTER);
    let evidence = finish(verified_claim, challenge, &answer).unwrap();
    assert_eq!(evidence.pcrs().len(), 4);
}

#[test]
fn a_debug_print_shows_no_secret() {
    let scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let shown = format!("{:?}", challenge(&verified_claim));
    assert!(!shown.contains("34, 34") && !shown.contains("2222"), "{shown}");
}

#[test]
fn a_challenge_is_good_for_sixty_seconds() {
    let scene = Scene::new();
    let at = |seconds| now() + std::time::Duration::from_secs(seconds);
    for (seconds, accepted) in [(0, true), (60, true), (61, false), (3600, false)] {
        let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
        let challenge = challenge(&verified_claim);
        let proof = scene
            .machine
            .prove(&ChallengeParts::from(&challenge), &EXPORTER)
            .decode()
            .unwrap();
        let result = verify_proof(verified_claim, challenge, proof, &EXPORTER, at(seconds));
        assert_eq!(result.is_ok(), accepted, "{seconds} s");
        if let Err(error) = result {
            assert_eq!(error.code().as_str(), "HM-VERIFY-0307");
        }
    }
}
