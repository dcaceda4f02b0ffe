//! Attacks 1, 2, 4 to 9, 12: who the machine is.

use hallmark_node::{EkId, InventoryItem};
use hallmark_reason::Coded;
use hallmark_tpm_wire::{ObjectAttributes, templates};
use hallmark_verify::testing::{ChallengeParts, SoftwareEk, SoftwareKey, SoftwareMachine};
use hallmark_verify::{ek_sha256, verify_proof};

use crate::scene::{EXPORTER, SECRET, Scene, challenge, finish, now, refused, unix};

/// The thief has the victim's public parts and an AK of his own; the victim's TPM opens nothing for it.
#[test]
fn attack_01_ak_in_another_tpm_with_a_victims_ek_certificate() {
    let scene = Scene::new();
    scene.run().unwrap();
    let mut thief = SoftwareMachine::new(&scene.vendor);
    let victim = scene.machine.claim();
    let mut claim = thief.claim();
    claim.ek_certificate = victim.ek_certificate;
    claim.ek_public = victim.ek_public;
    for (guess, code) in [(None, "HM-VERIFY-0309"), (Some(vec![0; 32]), "HM-VERIFY-0311")] {
        let verified_claim = scene.verify_claim(&claim).unwrap();
        let challenge = challenge(&verified_claim);
        let seen = ChallengeParts::from(&challenge);
        assert_eq!(
            thief
                .ek
                .activate(seen.credential.as_ref().unwrap(), &thief.ak.public.name()),
            None
        );
        thief.ek_certificate = None;
        let answer = thief.prove_with(&seen, &EXPORTER, |draft| draft.activated_secret = guess.clone());
        assert_eq!(refused(finish(verified_claim, challenge, &answer), "thief"), code);
    }
}

#[test]
fn attack_02_ek_certificate_of_a_with_ek_public_of_b() {
    let scene = Scene::new();
    scene.run().unwrap();
    let (other, other_rsa) = (SoftwareEk::ecc(), SoftwareEk::rsa());
    for ek in [other, other_rsa] {
        let result = scene.with_claim(|claim| claim.ek_public = ek.public.marshal());
        assert_eq!(refused(result, "other EK"), "HM-VERIFY-0141");
    }
    // Nor does an inventory line for either key make the lie good.
    let mut scene = scene;
    let other = SoftwareEk::ecc();
    let mut claim = scene.machine.claim();
    claim.ek_public = other.public.marshal();
    let listed = ek_sha256(&claim.decode().unwrap()).unwrap();
    scene.trust.inventory.add(InventoryItem::new(EkId::Spki(listed)).into());
    assert_eq!(scene.verify_claim(&claim).unwrap_err(), "HM-VERIFY-0141");
}

/// The attacker owns the machine: its TPM activates the credential for the AK that it holds, but not for the software key
/// that the attacker names.
#[test]
fn attack_04_software_ak_with_perfect_attributes() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    let in_tpm = std::mem::replace(&mut scene.machine.ak, SoftwareKey::ak());
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let challenge = challenge(&verified_claim);
    let seen = ChallengeParts::from(&challenge);
    let opened = scene
        .machine
        .ek
        .activate(seen.credential.as_ref().unwrap(), &in_tpm.public.name());
    assert_eq!(opened, None, "the TPM knows only the AK that it holds");
    let answer = scene
        .machine
        .prove_with(&seen, &EXPORTER, |draft| draft.activated_secret = opened);
    assert_eq!(
        refused(finish(verified_claim, challenge, &answer), "software AK"),
        "HM-VERIFY-0309"
    );
}

#[test]
fn attack_05_ak_not_restricted() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    scene.machine.ak.public.attributes &= !ObjectAttributes::RESTRICTED.bits();
    assert_eq!(refused(scene.run(), "not restricted"), "HM-VERIFY-0212");
}

#[test]
fn attack_06_ak_with_every_wrong_attribute() {
    let good = templates::AK_ATTRIBUTES;
    for attributes in [
        ObjectAttributes::FIXED_TPM,
        ObjectAttributes::FIXED_PARENT,
        ObjectAttributes::SENSITIVE_DATA_ORIGIN,
        ObjectAttributes::RESTRICTED,
        ObjectAttributes::SIGN,
    ] {
        let mut scene = Scene::new();
        scene.run().unwrap();
        scene.machine.ak.public.attributes = good.without(attributes).bits();
        assert_eq!(refused(scene.run(), &format!("without {attributes}")), "HM-VERIFY-0212");
    }
    for attributes in [
        ObjectAttributes::DECRYPT,
        ObjectAttributes::ENCRYPTED_DUPLICATION,
        ObjectAttributes::X509_SIGN,
    ] {
        let mut scene = Scene::new();
        scene.machine.ak.public.attributes = good.with(attributes).bits();
        assert_eq!(refused(scene.run(), &format!("with {attributes}")), "HM-VERIFY-0213");
    }
    for reserved in [0_u32, 3, 12, 20, 31] {
        let mut scene = Scene::new();
        scene.machine.ak.public.attributes |= 1 << reserved;
        assert_eq!(
            refused(scene.run(), &format!("reserved bit {reserved}")),
            "HM-TPMW-0006"
        );
    }
}

/// Parameters of the wire form: symmetric, scheme and its hash, curve and kdf.
#[test]
fn attack_07_weak_ak() {
    for (what, parameters, code) in [
        ("P-192", vec![0x0010, 0x0018, 0x000b, 0x0001, 0x0010], "HM-TPMW-0005"),
        ("BN curve", vec![0x0010, 0x0018, 0x000b, 0x0010, 0x0010], "HM-TPMW-0005"),
        (
            "SM2 curve",
            vec![0x0010, 0x0018, 0x000b, 0x0020, 0x0010],
            "HM-TPMW-0005",
        ),
        (
            "SM2 scheme",
            vec![0x0010, 0x001b, 0x000b, 0x0003, 0x0010],
            "HM-TPMW-0004",
        ),
        (
            "ECDAA",
            vec![0x0010, 0x001a, 0x000b, 0x0001, 0x0003, 0x0010],
            "HM-TPMW-0004",
        ),
        (
            "SHA-1 scheme",
            vec![0x0010, 0x0018, 0x0004, 0x0003, 0x0010],
            "HM-TPMW-0005",
        ),
        (
            "SHA3 scheme",
            vec![0x0010, 0x0018, 0x0027, 0x0003, 0x0010],
            "HM-TPMW-0004",
        ),
        ("no scheme", vec![0x0010, 0x0010, 0x0003, 0x0010], "HM-VERIFY-0214"),
        (
            "ECDH scheme",
            vec![0x0010, 0x0019, 0x000b, 0x0003, 0x0010],
            "HM-VERIFY-0214",
        ),
        (
            "with a cipher",
            vec![0x0006, 128, 0x0043, 0x0018, 0x000b, 0x0003, 0x0010],
            "HM-VERIFY-0215",
        ),
    ] {
        let mut scene = Scene::new();
        scene.run().unwrap();
        scene.machine.ak.public.parameters = parameters.iter().flat_map(|word: &u16| word.to_be_bytes()).collect();
        assert_eq!(refused(scene.run(), what), code, "{what}");
    }
    let mut scene = Scene::new();
    scene.machine.ak = SoftwareKey::rsa(scene.machine.ak.public.attributes, 0x0014);
    scene.machine.ak.public.parameters = [0x0010_u16, 0x0014, 0x000b, 1024, 0, 0].map(u16::to_be_bytes).concat();
    assert_eq!(refused(scene.run(), "RSA-1024"), "HM-TPMW-0005");
    let mut scene = Scene::new();
    scene.machine.ak.public.name_alg = 0x0004;
    assert_eq!(refused(scene.run(), "SHA-1 nameAlg"), "HM-TPMW-0005");
}

/// A TPM can make any number of attestation keys: one of another template would be another name of the same machine.
#[test]
fn attack_67_an_attestation_key_of_another_template() {
    type Change = fn(&mut SoftwareKey);
    let changes: [(&str, Change); 5] = [
        ("RSASSA", |ak| *ak = SoftwareKey::rsa(ak.public.attributes, 0x0014)),
        ("RSAPSS", |ak| *ak = SoftwareKey::rsa(ak.public.attributes, 0x0016)),
        ("another nameAlg", |ak| ak.public.name_alg = 0x000c),
        ("a policy", |ak| ak.public.auth_policy = vec![7; 32]),
        ("under dictionary attack protection", |ak| {
            ak.public.attributes &= !ObjectAttributes::NO_DA.bits();
        }),
    ];
    for (what, change) in changes {
        let mut scene = Scene::new();
        scene.run().unwrap();
        change(&mut scene.machine.ak);
        assert_eq!(refused(scene.run(), what), "HM-VERIFY-0216", "{what}");
    }
}

/// The credential is bound to the Name that the claim stored: another AK in the same TPM does not open it.
#[test]
fn attack_08_credential_for_another_name() {
    let mut scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let challenge = challenge(&verified_claim);
    let credential = challenge.credential().unwrap();
    let (named, other) = (scene.machine.ak.public.name(), SoftwareKey::ak().public.name());
    assert_eq!(scene.machine.ek.activate(credential, &named), Some(SECRET.to_vec()));
    assert_eq!(scene.machine.ek.activate(credential, &other), None);
    // The opened secret does not carry another AK's statements.
    let seen = ChallengeParts::from(&challenge);
    scene.machine.ak = SoftwareKey::ak();
    let answer = scene
        .machine
        .prove_with(&seen, &EXPORTER, |draft| draft.activated_secret = Some(SECRET.to_vec()));
    assert_eq!(
        refused(finish(verified_claim, challenge, &answer), "other AK"),
        "HM-VERIFY-0407"
    );
}

#[test]
fn attack_09_secret_replayed_crossed_or_wrong() {
    let scene = Scene::new();
    scene.run().unwrap();
    for (what, secret, code) in [
        ("old secret", Some(vec![0x23; 32]), "HM-VERIFY-0311"),
        ("shorter", Some(SECRET[..31].to_vec()), "HM-VERIFY-0311"),
        ("longer", Some([&SECRET[..], &[0]].concat()), "HM-VERIFY-0311"),
        ("none", None, "HM-VERIFY-0309"),
        ("empty", Some(Vec::new()), "HM-VERIFY-0309"),
    ] {
        assert_eq!(
            refused(scene.with_draft(|draft| draft.activated_secret = secret), what),
            code,
            "{what}"
        );
    }

    // Two sessions at once: an answer counts only for the claim that was challenged.
    let other = SoftwareMachine::new(&scene.vendor);
    let one = scene.verify_claim(&scene.machine.claim()).unwrap();
    let two = scene.verify_claim(&other.claim()).unwrap();
    let (challenge_one, challenge_two) = (challenge(&one), challenge(&two));
    let answer = scene.machine.prove(&ChallengeParts::from(&challenge_one), &EXPORTER);
    assert_eq!(
        refused(finish(two, challenge_one, &answer), "crossed"),
        "HM-VERIFY-0306"
    );
    assert_eq!(
        refused(finish(one, challenge_two, &answer), "crossed"),
        "HM-VERIFY-0306"
    );
}

#[test]
fn attack_09_the_clock_going_back_does_not_prolong_a_challenge() {
    let scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let challenge = challenge(&verified_claim);
    let proof = scene
        .machine
        .prove(&ChallengeParts::from(&challenge), &EXPORTER)
        .decode()
        .unwrap();
    let earlier = now() - std::time::Duration::from_secs(1);
    let error = verify_proof(verified_claim, challenge, proof, &EXPORTER, earlier).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0308");
}

#[test]
fn attack_12_the_inventory_matches_exactly() {
    let mut scene = Scene::new();
    scene.machine.ek_certificate = None;
    let ek = ek_sha256(&scene.machine.claim().decode().unwrap()).unwrap();
    let name: [u8; 32] = scene.machine.ek.public.name()[2..].try_into().unwrap();
    let mut other = ek;
    other[31] ^= 1;
    for (what, ek, expires, code) in [
        ("the EK's SPKI", EkId::Spki(ek), None, None),
        ("the EK's Name", EkId::Name(name), None, None),
        ("SPKI hash as Name", EkId::Name(ek), None, Some("HM-VERIFY-0142")),
        ("Name as SPKI hash", EkId::Spki(name), None, Some("HM-VERIFY-0142")),
        ("one bit off", EkId::Spki(other), None, Some("HM-VERIFY-0142")),
        ("not expired", EkId::Spki(ek), Some(unix(now()) + 1), None),
        (
            "expired line",
            EkId::Spki(ek),
            Some(unix(now())),
            Some("HM-VERIFY-0143"),
        ),
    ] {
        let item = InventoryItem {
            owner: "ops".into(),
            expires,
            ..InventoryItem::new(ek)
        };
        scene.trust.inventory = [item].into_iter().collect();
        assert_eq!(scene.run().err().as_deref(), code, "{what}");
    }
}

#[test]
fn attack_12_an_ek_with_another_template_is_refused() {
    let good = templates::EK_LOW_ATTRIBUTES;
    for (attributes, code) in [
        (good.without(ObjectAttributes::RESTRICTED), "HM-VERIFY-0202"),
        (good.without(ObjectAttributes::DECRYPT), "HM-VERIFY-0202"),
        (good.without(ObjectAttributes::FIXED_TPM), "HM-VERIFY-0202"),
        (good.without(ObjectAttributes::FIXED_PARENT), "HM-VERIFY-0202"),
        (good.without(ObjectAttributes::SENSITIVE_DATA_ORIGIN), "HM-VERIFY-0202"),
        (good.with(ObjectAttributes::SIGN), "HM-VERIFY-0203"),
    ] {
        let mut scene = Scene::new();
        scene.run().unwrap();
        scene.machine.ek.public.attributes = attributes.bits();
        assert_eq!(refused(scene.run(), &attributes.to_string()), code);
    }
    for (what, parameters, code) in [
        ("no cipher", vec![0x0010_u16, 0x0010, 0x0003, 0x0010], "HM-VERIFY-0205"),
        (
            "a scheme",
            vec![0x0006, 128, 0x0043, 0x0019, 0x000b, 0x0003, 0x0010],
            "HM-VERIFY-0204",
        ),
    ] {
        let mut scene = Scene::new();
        scene.machine.ek.public.parameters = parameters.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(refused(scene.run(), what), code, "{what}");
    }
}
