//! Attacks 64 and 65: a claim without the EK certificate that the server keeps, or with another one.

use std::sync::Arc;
use std::time::Duration;

use hallmark_evidence::EkCertificateChain;
use hallmark_node::{EkId, InventoryItem, TpmClass};
use hallmark_verify::testing::{CertificateDraft, RevocationDraft, VendorCa};
use hallmark_verify::{
    EkRoots, EnrolledBy, ExpiredPolicy, KnownTpm, Revocation, VerifiedEvidence, ek_sha256, revoked_certificate,
};

use crate::scene::{Scene, now};

const REVOKED: &str = "HM-VERIFY-0128";

/// A server that has verified the machine's certificate.
fn kept() -> Scene {
    let mut scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    scene.known = Some(KnownTpm {
        ek_sha256: *verified_claim.ek_sha256(),
        certificate: verified_claim.new_certificate().cloned(),
        ..KnownTpm::default()
    });
    scene
}

fn keep(scene: &mut Scene, change: impl FnOnce(&mut CertificateDraft)) {
    let certificate = scene.vendor.ek_certificate_with(&scene.machine.ek, change);
    let intermediates = vec![scene.vendor.intermediate_der().to_vec()];
    scene.known.as_mut().unwrap().certificate = Some(EkCertificateChain {
        certificate,
        intermediates,
    });
}

fn list_in_inventory(scene: &mut Scene) {
    let ek = ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap();
    scene.trust.inventory.add(InventoryItem::new(EkId::Spki(ek)).into());
}

fn revoke(scene: &mut Scene, serials: &[&[u8]]) {
    let draft = RevocationDraft {
        revoked: serials.iter().map(|serial| serial.to_vec()).collect(),
        ..RevocationDraft::of_intermediate()
    };
    let mut lists = Revocation::new(false, Duration::ZERO);
    lists.add("list", &draft.sign(&scene.vendor.intermediate_key)).unwrap();
    scene.trust.revocation = Arc::new(lists);
}

const ITS_SERIAL: &[u8] = &[0x01, 0x23, 0x45];

/// The ways not to show a certificate that counts.
fn hidden(scene: &Scene) -> Vec<Result<VerifiedEvidence, String>> {
    vec![
        scene.with_claim(|claim| claim.ek_certificate = None),
        scene.with_claim(|claim| {
            claim.ek_certificate = None;
            claim.ek_chain.clear();
        }),
        scene.with_claim(|claim| claim.ek_chain.clear()),
        scene.with_claim(|claim| claim.ek_certificate = Some(vec![0x30, 0x00])),
        scene.with_claim(|claim| claim.ek_certificate.as_mut().unwrap().push(1)),
    ]
}

#[test]
fn attack_65_the_kept_certificate_counts() {
    let mut scene = kept();
    for listed in [false, true] {
        if listed {
            list_in_inventory(&mut scene);
        }
        for evidence in hidden(&scene) {
            let evidence = evidence.unwrap();
            assert_eq!(evidence.enrolled_by(), EnrolledBy::Certificate);
            assert_eq!(evidence.class(), TpmClass::Discrete);
            assert!(evidence.certificate_was_kept());
            assert_eq!(evidence.certificate().unwrap().attributes.model, "SLB9670");
            // What is kept with the evidence is what it was judged by.
            let file = evidence.to_file(hallmark_evidence::Source::Import, String::new());
            let kept = scene.known.as_ref().unwrap().certificate.as_ref().unwrap();
            assert_eq!(file.ek_certificate.as_ref(), Some(&kept.certificate));
            assert_eq!(file.ek_chain, kept.intermediates);
        }
    }
    assert!(!scene.run().unwrap().certificate_was_kept(), "positive control");
    revoke(&mut scene, &[&[9]]);
    assert!(hidden(&scene).iter().all(Result::is_ok), "positive control");
    revoke(&mut scene, &[ITS_SERIAL]);
    for evidence in hidden(&scene) {
        assert_eq!(evidence.unwrap_err(), REVOKED);
    }
    // Nothing is known of the EK: the inventory vouches, and nobody can say what was revoked.
    scene.known = None;
    assert!(scene.with_claim(|claim| claim.ek_certificate = None).is_ok());
}

#[test]
fn attack_65_expiry_counts_as_if_the_certificate_were_shown() {
    for (policy, enrolled, expected) in [
        (ExpiredPolicy::Enforce, true, Some("HM-VERIFY-0120")),
        (ExpiredPolicy::AtEnrolment, false, Some("HM-VERIFY-0120")),
        (ExpiredPolicy::AtEnrolment, true, None),
        (ExpiredPolicy::Ignore, false, None),
    ] {
        let mut scene = kept();
        scene.trust.expired = policy;
        scene.known.as_mut().unwrap().enrolled = enrolled;
        keep(&mut scene, |draft| draft.not_after = 1_700_000_000);
        let bare = |scene: &Scene| scene.with_claim(|claim| claim.ek_certificate = None);
        assert_eq!(bare(&scene).err().as_deref(), expected, "{policy:?} {enrolled}");
        // Where the inventory vouches, what an expired certificate says stays true, and a revocation counts.
        list_in_inventory(&mut scene);
        let evidence = bare(&scene).unwrap();
        assert_eq!(evidence.class(), TpmClass::Discrete, "{policy:?}");
        let by = evidence.enrolled_by() == EnrolledBy::Inventory;
        assert_eq!(by, expected.is_some(), "{policy:?}");
        revoke(&mut scene, &[ITS_SERIAL]);
        assert_eq!(bare(&scene).unwrap_err(), REVOKED, "{policy:?}");
    }
}

/// The same of a certificate that is shown: it expired, or no list covers it, and it says what it says.
#[test]
fn attack_64_a_lapsed_certificate_still_says_what_the_tpm_is() {
    let mut scene = Scene::new();
    list_in_inventory(&mut scene);
    scene.trust.revocation = Arc::new(Revocation::new(true, Duration::ZERO));
    let evidence = scene.run().unwrap();
    assert_eq!(evidence.enrolled_by(), EnrolledBy::Inventory);
    assert_eq!(evidence.class(), TpmClass::Discrete);
    assert_eq!(
        evidence.certificate_refused().map(ToString::to_string).is_some(),
        evidence.certificate().is_some()
    );
    scene.trust.roots = EkRoots::default();
    assert_eq!(
        scene.run().unwrap().class(),
        TpmClass::Unknown,
        "of a stranger's nothing counts"
    );
}

#[test]
fn the_newer_of_two_certificates_counts() {
    let kept_at = |scene: &mut Scene, not_before| {
        keep(scene, |draft| {
            draft.not_before = not_before;
            draft.serial = vec![0x66];
        });
    };
    let of = |evidence: Result<VerifiedEvidence, String>| {
        evidence.map(|it| (it.certificate().unwrap().serial.clone(), it.certificate_was_kept()))
    };
    let mut scene = kept();
    // The machine's is of 2020.
    for (not_before, expected) in [(1_500_000_000, ("012345", false)), (1_700_000_000, ("66", true))] {
        kept_at(&mut scene, not_before);
        assert_eq!(of(scene.run()), Ok((expected.0.to_owned(), expected.1)));
        let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
        assert_eq!(
            verified_claim.new_certificate().is_some(),
            !expected.1,
            "what is kept from now on"
        );
    }
    // Of the kept one nothing counts any more: it leads to no root.
    kept_at(&mut scene, 1_700_000_000);
    scene
        .known
        .as_mut()
        .unwrap()
        .certificate
        .as_mut()
        .unwrap()
        .intermediates = Vec::new();
    assert_eq!(of(scene.run()), Ok(("012345".to_owned(), false)));

    // A revoked one is made up for by a newer one alone.
    for (not_before, refused) in [(1_500_000_000, false), (1_577_836_800, true), (1_700_000_000, true)] {
        kept_at(&mut scene, not_before);
        revoke(&mut scene, &[&[0x66]]);
        assert_eq!(scene.run().is_err(), refused, "{not_before}");
    }
    revoke(&mut scene, &[ITS_SERIAL]);
    kept_at(&mut scene, 1_700_000_000);
    assert_eq!(of(scene.run()), Err(REVOKED.to_owned()), "what is shown is revoked");
}

#[test]
fn a_record_of_another_key_is_a_fault_of_the_server() {
    let mut scene = kept();
    let other = Scene::new();
    let foreign = scene.vendor.ek_certificate(&other.machine.ek);
    scene.known.as_mut().unwrap().certificate.as_mut().unwrap().certificate = foreign;
    let bare = scene.with_claim(|claim| claim.ek_certificate = None);
    assert_eq!(bare.unwrap_err(), "HM-VERIFY-0144");
}

#[test]
fn attack_65_a_revoked_certificate_that_was_shown_is_remembered_if_it_is_genuine() {
    let scene = kept();
    let chain = |vendor: &VendorCa, change: fn(&mut CertificateDraft)| EkCertificateChain {
        certificate: vendor.ek_certificate_with(&scene.machine.ek, change),
        intermediates: vec![vendor.intermediate_der().to_vec()],
    };
    let remembered = |shown: &EkCertificateChain, known| revoked_certificate(shown, known, &scene.trust, now());
    let genuine = chain(&scene.vendor, |_| {});
    assert_eq!(remembered(&genuine, None), Some(genuine.clone()));
    let older = chain(&scene.vendor, |draft| draft.not_before = 1_500_000_000);
    assert_eq!(remembered(&older, None), Some(older.clone()));
    assert_eq!(remembered(&older, scene.known.as_ref()), None, "a newer one is kept");
    let forged = chain(&VendorCa::new(), |_| {});
    assert_eq!(remembered(&forged, None), None);
    let cut = EkCertificateChain {
        intermediates: Vec::new(),
        ..genuine
    };
    assert_eq!(remembered(&cut, None), None);
}
