//! Between claim and proof lies the time that the machine took: what let its EK in is judged again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_node::{EkId, InventoryItem};
use hallmark_reason::Coded as _;
use hallmark_verify::testing::{ChallengeParts, RevocationDraft, VendorCa};
use hallmark_verify::{
    EkTemplates, EnrolledBy, ExpiredPolicy, HeldLogs, Inventory, KnownTpm, Revocation, Trust, VerifiedEvidence,
    VerifiedProof, ek_sha256, verify_claim, verify_logs, verify_proof,
};

use crate::scene::{EXPORTER, Scene, challenge, now, unix};

/// A machine that has proven itself by what the scene trusts.
fn bound(scene: &Scene, with_certificate: bool) -> VerifiedProof {
    let mut claim = scene.machine.claim();
    if !with_certificate {
        claim.ek_certificate = None;
        claim.ek_chain.clear();
    }
    let verified_claim = scene.verify_claim(&claim).unwrap();
    let challenge = challenge(&verified_claim);
    let proof = scene
        .machine
        .prove_with(&ChallengeParts::from(&challenge), &EXPORTER, |_| {});
    verify_proof(verified_claim, challenge, proof.decode().unwrap(), &EXPORTER, now()).unwrap()
}

/// The code of a refusal as text, or the evidence.
fn again(scene: &Scene, certified: bool, trust: &Trust, later: SystemTime) -> Result<VerifiedEvidence, String> {
    let logs = Vec::new();
    bound(scene, certified)
        .enrolled_again(trust, later)
        .and_then(|verified_proof| verify_logs(verified_proof, logs, &HeldLogs::default()))
        .map_err(|error| error.code().to_string())
}

fn listed(scene: &Scene, expires: Option<SystemTime>) -> Inventory {
    let ek = ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap();
    let item = InventoryItem {
        expires: expires.map(unix),
        ..InventoryItem::new(EkId::Spki(ek))
    };
    [item].into_iter().collect()
}

fn with_inventory(scene: &Scene, inventory: Inventory) -> Trust {
    Trust {
        inventory,
        ..scene.trust.clone()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_line_that_went_or_expired_lets_nobody_in() {
    let mut scene = Scene::new();
    let empty = scene.trust.clone();
    scene.trust = with_inventory(&scene, listed(&scene, Some(now() + MINUTE)));
    let code = |trust: &Trust, later| again(&scene, false, trust, later).map(|it| it.enrolled_by());
    assert_eq!(code(&scene.trust, now()), Ok(EnrolledBy::Inventory), "the control");
    assert_eq!(code(&scene.trust, now() + MINUTE), Err("HM-VERIFY-0143".into()));
    assert_eq!(code(&empty, now()), Err("HM-VERIFY-0142".into()));
    // A certificate still lets it in; the line is known to have expired, for rules that ask.
    let later = again(&scene, true, &scene.trust, now() + MINUTE).unwrap();
    assert_eq!(later.enrolled_by(), EnrolledBy::Certificate);
    assert!(later.inventory().unwrap().expired);
    assert!(
        !again(&scene, true, &scene.trust, now())
            .unwrap()
            .inventory()
            .unwrap()
            .expired
    );
    assert!(again(&scene, true, &empty, now()).unwrap().inventory().is_none());
}

#[test]
fn a_certificate_that_expired_counts_as_the_configuration_says() {
    let mut scene = Scene::new();
    let end = now() + MINUTE;
    let seconds = end.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let certificate = scene.vendor.ek_certificate_with(&scene.machine.ek, |draft| {
        draft.not_after = i64::try_from(seconds).unwrap()
    });
    scene.machine.ek_certificate = Some(certificate);
    let later = end + MINUTE;
    for (expired, enrolled, code) in [
        (ExpiredPolicy::Enforce, true, Err("HM-VERIFY-0120".to_owned())),
        (ExpiredPolicy::AtEnrolment, false, Err("HM-VERIFY-0120".to_owned())),
        (ExpiredPolicy::AtEnrolment, true, Ok(EnrolledBy::Certificate)),
        (ExpiredPolicy::Ignore, false, Ok(EnrolledBy::Certificate)),
    ] {
        scene.trust.expired = expired;
        scene.known = Some(KnownTpm {
            ek_sha256: ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap(),
            enrolled,
            ..KnownTpm::default()
        });
        let by = |trust: &Trust, at| again(&scene, true, trust, at).map(|it| it.enrolled_by());
        assert_eq!(by(&scene.trust, now()), Ok(EnrolledBy::Certificate), "the control");
        assert_eq!(by(&scene.trust, later), code, "{expired:?} {enrolled}");
        // The operator vouches for the key itself.
        let listed = with_inventory(&scene, listed(&scene, None));
        let by = by(&listed, later).unwrap();
        assert_eq!(by == EnrolledBy::Inventory, code.is_err());
    }
}

#[test]
fn other_roots_and_other_templates_count_at_once() {
    let scene = Scene::new();
    let other = hallmark_verify::testing::SoftwareMachine::trust(&VendorCa::new());
    again(&scene, true, &scene.trust, now()).unwrap();
    let code = again(&scene, true, &other, now()).unwrap_err();
    assert_eq!(code, "HM-VERIFY-0122");
    let none = Trust {
        ek_templates: EkTemplates::new(Vec::new()),
        ..scene.trust.clone()
    };
    assert_eq!(again(&scene, true, &none, now()).unwrap_err(), "HM-VERIFY-0145");
}

/// Lists of root and intermediate that end at `end`; the intermediate's revokes these.
fn lists(scene: &Scene, end: i64, revoked: Vec<Vec<u8>>) -> Arc<Revocation> {
    let of_root = RevocationDraft {
        next_update: end,
        ..RevocationDraft::of_root()
    };
    let of_intermediate = RevocationDraft {
        next_update: end,
        revoked,
        ..RevocationDraft::of_intermediate()
    };
    let mut lists = Revocation::new(true, Duration::ZERO);
    lists.add("root", &of_root.sign(&scene.vendor.root_key)).unwrap();
    let of_intermediate = of_intermediate.sign(&scene.vendor.intermediate_key);
    lists.add("intermediate", &of_intermediate).unwrap();
    Arc::new(lists)
}

/// The verdict that was made stands to the second as long as one that is made anew.
#[test]
fn a_certificate_counts_as_long_as_when_it_is_first_shown() {
    let end = now() + MINUTE;
    let seconds = unix(end);
    type End = (&'static str, fn(&mut Scene, i64));
    let ends: [End; 3] = [
        ("the EK certificate", |scene, end| {
            let certificate = |draft: &mut hallmark_verify::testing::CertificateDraft| draft.not_after = end;
            scene.machine.ek_certificate = Some(scene.vendor.ek_certificate_with(&scene.machine.ek, certificate));
        }),
        ("the intermediate", |scene, end| {
            let vendor = VendorCa::with(|_| {}, |draft| draft.not_after = end);
            scene.machine = hallmark_verify::testing::SoftwareMachine::new(&vendor);
            scene.trust = hallmark_verify::testing::SoftwareMachine::trust(&vendor);
            scene.vendor = vendor;
        }),
        ("the lists", |scene, end| {
            scene.trust.revocation = lists(scene, end, Vec::new())
        }),
    ];
    for (what, end_at) in ends {
        let mut scene = Scene::new();
        end_at(&mut scene, seconds);
        let seen: Vec<bool> = (0..5)
            .map(|step| {
                let at = end - Duration::from_secs(2) + Duration::from_secs(step);
                let claim = scene.machine.claim().decode().unwrap();
                let anew = verify_claim(claim, &scene.trust, None, at).map(drop);
                let anew = anew.map_err(|error| error.code().to_string());
                let later = again(&scene, true, &scene.trust, at).map(drop);
                assert_eq!(later, anew, "{what}, {step}");
                later.is_ok()
            })
            .collect();
        assert_eq!((seen.first(), seen.last()), (Some(&true), Some(&false)), "{what}");
    }
}

#[test]
fn attack_11_a_list_that_came_meanwhile_revokes() {
    let scene = Scene::new();
    let with = |revoked| Trust {
        revocation: lists(&scene, unix(now() + MINUTE), revoked),
        ..scene.trust.clone()
    };
    again(&scene, true, &with(Vec::new()), now()).unwrap();
    let code = again(&scene, true, &with(vec![vec![0x01, 0x23, 0x45]]), now()).unwrap_err();
    assert_eq!(code, "HM-VERIFY-0128");
}
