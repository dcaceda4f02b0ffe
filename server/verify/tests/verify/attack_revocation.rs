//! Attack 11: revoked EK certificates and intermediates; lists that are missing, stale, forged or rolled back.

use std::sync::Arc;
use std::time::Duration;

use hallmark_node::{EkId, InventoryItem};
use hallmark_reason::Coded;
use hallmark_verify::testing::{
    ExtensionDraft, RevocationDraft, SoftwareKey, SoftwareMachine, VendorCa, element, oids,
};
use hallmark_verify::{Revocation, is_revoked};

use crate::scene::{Scene, now};

/// The serial number of every certificate that the vendor makes.
const SERIAL: [u8; 3] = [0x01, 0x23, 0x45];
const REVOKED: &str = "HM-VERIFY-0128";
const UNKNOWN: &str = "HM-VERIFY-0129";
const NOT_BELIEVED: &str = "HM-VERIFY-0130";

fn revocation(required: bool, lists: &[Vec<u8>]) -> Arc<Revocation> {
    let mut revocation = Revocation::new(required, Duration::ZERO);
    for list in lists {
        revocation.add("list", list).unwrap();
    }
    Arc::new(revocation)
}

/// What a scene whose server has these lists makes of an honest machine: `None` is accepted.
fn verdict(scene: &mut Scene, required: bool, lists: &[Vec<u8>]) -> Option<String> {
    scene.trust.revocation = revocation(required, lists);
    scene.run().err()
}

fn of_intermediate(scene: &Scene, change: impl FnOnce(&mut RevocationDraft)) -> Vec<u8> {
    let mut draft = RevocationDraft::of_intermediate();
    change(&mut draft);
    draft.sign(&scene.vendor.intermediate_key)
}

fn of_root(scene: &Scene, change: impl FnOnce(&mut RevocationDraft)) -> Vec<u8> {
    let mut draft = RevocationDraft::of_root();
    change(&mut draft);
    draft.sign(&scene.vendor.root_key)
}

#[test]
fn attack_11_a_revoked_certificate_is_refused_and_others_are_not() {
    let mut scene = Scene::new();
    let good = [of_intermediate(&scene, |_| {}), of_root(&scene, |_| {})];
    let other = of_intermediate(&scene, |list| list.revoked.push(vec![0x01, 0x23, 0x46]));
    let ek = of_intermediate(&scene, |list| list.revoked.push(SERIAL.to_vec()));
    let issuer = of_root(&scene, |list| list.revoked.push(SERIAL.to_vec()));
    for required in [false, true] {
        assert_eq!(verdict(&mut scene, required, &good), None);
        assert_eq!(verdict(&mut scene, required, &[other.clone(), good[1].clone()]), None);
        let refused = verdict(&mut scene, required, &[ek.clone(), good[1].clone()]);
        assert_eq!(refused.as_deref(), Some(REVOKED));
        let refused = verdict(&mut scene, required, &[good[0].clone(), issuer.clone()]);
        assert_eq!(refused.as_deref(), Some(REVOKED), "the intermediate was revoked");
    }
}

#[test]
fn attack_11_what_no_fresh_list_covers_is_refused_where_lists_are_required() {
    let mut scene = Scene::new();
    let good = [of_intermediate(&scene, |_| {}), of_root(&scene, |_| {})];
    assert_eq!(verdict(&mut scene, false, &[]), None);
    for lists in [&[][..], &good[..1], &good[1..]] {
        assert_eq!(verdict(&mut scene, true, lists).as_deref(), Some(UNKNOWN));
    }
    // 2026-11-23 is now; this list ended nine days ago.
    let stale = |revoked: bool| {
        move |list: &mut RevocationDraft| {
            list.next_update = 1_794_614_400;
            if revoked {
                list.revoked.push(SERIAL.to_vec());
            }
        }
    };
    let old = [of_intermediate(&scene, stale(false)), good[1].clone()];
    assert_eq!(verdict(&mut scene, true, &old).as_deref(), Some(UNKNOWN));
    assert_eq!(verdict(&mut scene, false, &old), None);
    let future = of_intermediate(&scene, |list| list.this_update = 1_796_000_000);
    let refused = verdict(&mut scene, true, &[future, good[1].clone()]);
    assert_eq!(refused.as_deref(), Some(UNKNOWN), "made in times to come");
    scene.trust.revocation = revocation(true, &old);
    let mut lenient = Revocation::clone(&revocation(true, &old));
    assert_eq!(lenient.stale(now()).len(), 1);
    lenient.grace = Duration::from_secs(10 * 24 * 3600);
    scene.trust.revocation = Arc::new(lenient);
    assert_eq!(scene.run().err(), None, "within the grace");
    let revoked = [of_intermediate(&scene, stale(true)), good[1].clone()];
    for required in [false, true] {
        let refused = verdict(&mut scene, required, &revoked);
        assert_eq!(refused.as_deref(), Some(REVOKED), "revoked stays revoked");
    }
}

#[test]
fn attack_11_a_forged_list_neither_revokes_nor_clears() {
    let mut scene = Scene::new();
    let (stranger, root) = (SoftwareKey::ecc(0), of_root(&scene, |_| {}));
    for draft in [
        RevocationDraft::of_intermediate(),
        RevocationDraft {
            revoked: vec![SERIAL.to_vec()],
            ..RevocationDraft::of_intermediate()
        },
    ] {
        for required in [false, true] {
            let refused = verdict(&mut scene, required, &[draft.sign(&stranger), root.clone()]);
            assert_eq!(refused.as_deref(), Some(NOT_BELIEVED));
        }
    }
    // A CA that may not sign lists.
    let vendor = VendorCa::with(
        |_| {},
        |ca| *ca.extension(oids::KEY_USAGE) = ExtensionDraft::key_usage(0x04),
    );
    let mut scene = Scene {
        trust: SoftwareMachine::trust(&vendor),
        machine: SoftwareMachine::new(&vendor),
        vendor,
        known: None,
    };
    assert_eq!(verdict(&mut scene, false, &[]), None);
    let list = of_intermediate(&scene, |_| {});
    assert_eq!(verdict(&mut scene, false, &[list]).as_deref(), Some(NOT_BELIEVED));
}

#[test]
fn attack_11_a_forged_list_with_a_high_number_does_not_displace_the_vendors() {
    let mut scene = Scene::new();
    let stranger = SoftwareKey::ecc(0);
    let forge = |list: RevocationDraft| {
        let number = vec![0xff; 8];
        RevocationDraft { number, ..list }.sign(&stranger)
    };
    let numbered = |scene: &Scene, number: u8, revoked: bool| {
        of_intermediate(scene, |list| {
            list.number = vec![number];
            list.revoked.extend(revoked.then(|| SERIAL.to_vec()));
        })
    };
    let (clean, root) = (numbered(&scene, 1, false), of_root(&scene, |_| {}));
    let (forged, forged_root) = (
        forge(RevocationDraft::of_intermediate()),
        forge(RevocationDraft::of_root()),
    );
    for required in [false, true] {
        let held = revocation(required, &[clean.clone(), root.clone()]);
        // It comes alone, in the place of the genuine list; then the next genuine one, which revokes.
        let mut offered = Revocation::clone(&revocation(required, &[forged.clone(), root.clone()]));
        assert!(offered.keep_newer(&held).is_empty());
        scene.trust.revocation = Arc::new(offered.clone());
        assert_eq!(scene.run().err(), None, "the list before it counts");
        let next = numbered(&scene, 2, true);
        let mut genuine = Revocation::clone(&revocation(required, &[next, root.clone()]));
        assert_eq!(
            genuine.keep_newer(&offered).len(),
            1,
            "the forged one still claims to be newer"
        );
        scene.trust.revocation = Arc::new(genuine.clone());
        assert_eq!(scene.run().err().as_deref(), Some(REVOKED));
        // A forged list of another CA does not bring the older list of this one back.
        let newest = [
            numbered(&scene, 1, false),
            numbered(&scene, 2, true),
            root.clone(),
            forged_root.clone(),
        ];
        assert_eq!(verdict(&mut scene, required, &newest).as_deref(), Some(REVOKED));
    }
}

#[test]
fn attack_11_the_inventory_does_not_make_up_for_a_revocation() {
    let mut scene = Scene::new();
    let ek = *scene.run().unwrap().ek_sha256();
    scene.trust.inventory.add(InventoryItem::new(EkId::Spki(ek)).into());
    let revoked = of_intermediate(&scene, |list| list.revoked.push(SERIAL.to_vec()));
    assert_eq!(verdict(&mut scene, false, &[]), None);
    assert_eq!(verdict(&mut scene, false, &[revoked]).as_deref(), Some(REVOKED));
}

#[test]
fn attack_11_an_older_list_does_not_take_a_newer_ones_place() {
    let mut scene = Scene::new();
    let newer = of_intermediate(&scene, |list| {
        list.number = vec![2];
        list.revoked.push(SERIAL.to_vec());
    });
    let older = of_intermediate(&scene, |_| {});
    let next = of_intermediate(&scene, |list| list.number = vec![3]);
    let mut judged = |revocation: Revocation| {
        scene.trust.revocation = Arc::new(revocation);
        scene.run().err()
    };
    for lists in [[&newer, &older], [&older, &newer]] {
        let lists = revocation(false, &lists.map(Vec::clone));
        assert_eq!(lists.len(), 1);
        assert_eq!(judged(Revocation::clone(&lists)).as_deref(), Some(REVOKED));
    }
    let held = revocation(false, &[newer]);
    let mut read = Revocation::clone(&revocation(false, std::slice::from_ref(&older)));
    assert_eq!(read.keep_newer(&held), ["CN=Software Machine Test Intermediate"]);
    assert_eq!(judged(read).as_deref(), Some(REVOKED));
    // Positive control: the next list lifts it.
    let mut read = Revocation::clone(&revocation(false, &[next]));
    assert!(read.keep_newer(&held).is_empty());
    assert_eq!(judged(read), None);
}

#[test]
fn attack_11_lists_that_are_none_are_told() {
    let scene = Scene::new();
    let good = of_intermediate(&scene, |_| {});
    let scope = |list: &mut RevocationDraft| {
        list.extensions.push(ExtensionDraft {
            oid: "2.5.29.28",
            critical: true,
            // indirectCRL
            value: element(0x30, &element(0x84, &[0xff])),
        });
    };
    let delta = |list: &mut RevocationDraft| {
        list.extensions.push(ExtensionDraft {
            oid: "2.5.29.27",
            critical: true,
            value: element(0x02, &[1]),
        });
    };
    let unknown = |list: &mut RevocationDraft| {
        list.extensions.push(ExtensionDraft {
            oid: "1.2.3.4",
            critical: true,
            value: element(0x05, &[]),
        });
    };
    for (what, file) in [
        ("empty", Vec::new()),
        ("text", b"404 not found".to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("bytes behind", [&good[..], &[0]].concat()),
        ("a certificate", scene.vendor.root_der().to_vec()),
        ("too large", vec![0x30; 16 * 1024 * 1024 + 1]),
        ("indirect", of_intermediate(&scene, scope)),
        ("delta", of_intermediate(&scene, delta)),
        ("an unknown critical extension", of_intermediate(&scene, unknown)),
    ] {
        let mut revocation = Revocation::default();
        let error = revocation.add("list", &file).expect_err(what);
        assert_eq!(error.code().to_string(), "HM-VERIFY-0156", "{what}");
        assert!(revocation.is_empty(), "{what}");
    }
    Revocation::default().add("list", &good).unwrap();
}

#[test]
fn attack_11_what_was_kept_is_looked_at_again() {
    let mut scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let kept = verified_claim.new_certificate().unwrap();
    assert!(!is_revoked(kept, &scene.trust, now()));
    scene.trust.revocation = revocation(true, &[]);
    assert!(!is_revoked(kept, &scene.trust, now()), "unknown is not revoked");
    let list = of_intermediate(&scene, |list| list.revoked.push(SERIAL.to_vec()));
    scene.trust.revocation = revocation(true, &[list]);
    assert!(is_revoked(kept, &scene.trust, now()));
}
