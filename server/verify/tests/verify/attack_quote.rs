//! Attacks 26 to 32, 34, 35: the quote, and the connection.

use hallmark_reason::Coded;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::testing::{ChallengeParts, SoftwareKey, SoftwareMachine, quote_body};
use hallmark_verify::{RefusalClass, verify_proof};
use zeroize::Zeroizing;

use crate::scene::{EXPORTER, NONCE, SECRET, Scene, challenge, finish, now, refused, selection};

/// The values of these registers, in this order.
fn values(machine: &SoftwareMachine, pcrs: &[u8]) -> Vec<Vec<u8>> {
    pcrs.iter().map(|pcr| machine.pcrs[&(0x000b, *pcr)].clone()).collect()
}

#[test]
fn attack_26_replay_and_nonce_of_another_session() {
    let scene = Scene::new();
    let mut old_quote = None;
    scene.with_proof(|proof| old_quote = Some(proof.quote.clone())).unwrap();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let fresh = verified_claim
        .challenge_with([0x44; 32], Some(Zeroizing::new(SECRET)), selection(), now())
        .unwrap();
    let mut answer = scene.machine.prove(&ChallengeParts::from(&fresh), &EXPORTER);
    answer.quote = old_quote.unwrap();
    assert_eq!(
        refused(finish(verified_claim, fresh, &answer), "old quote"),
        "HM-VERIFY-0509"
    );

    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let challenge = challenge(&verified_claim);
    let mut seen = ChallengeParts::from(&challenge);
    seen.nonce = [0x66; 32];
    let answer = scene.machine.prove(&seen, &EXPORTER);
    assert_eq!(
        refused(finish(verified_claim, challenge, &answer), "other nonce"),
        "HM-VERIFY-0409"
    );
}

#[test]
fn attack_27_resettable_pcrs_relabelled() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    // The attacker brings PCR 16 and 23 to the values that the others should have.
    for pcr in 0..8_u8 {
        let wanted = scene.machine.pcrs[&(0x000b, pcr)].clone();
        scene.machine.pcrs.insert((0x000b, 16), wanted.clone());
        let mut pcrs: Vec<u8> = (0..8).filter(|other| *other != pcr).collect();
        pcrs.push(16);
        let quoted = quote_body(&[(0x000b, pcrs.clone())], &values(&scene.machine, &pcrs));
        let result = scene.with_draft(|draft| draft.quote.attested = quoted);
        assert_eq!(refused(result, "16 in another's place"), "HM-VERIFY-0510", "PCR {pcr}");
    }
    // Nor does a server ask for them.
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    for pcr in [16_u8, 23] {
        let asked = PcrSelection::new([(HashAlg::Sha256, &[7, pcr][..])]).unwrap();
        let error = verified_claim
            .challenge_with(NONCE, Some(Zeroizing::new(SECRET)), asked, now())
            .unwrap_err();
        assert_eq!(error.code().as_str(), "HM-VERIFY-0303");
    }
}

#[test]
fn attack_28_needed_pcr_not_quoted_but_supplied() {
    let scene = Scene::new();
    scene.run().unwrap();
    let seven = (0..7).collect::<Vec<u8>>();
    let quoted = quote_body(&[(0x000b, seven.clone())], &values(&scene.machine, &seven));
    let result = scene.with_draft(|draft| draft.quote.attested = quoted);
    assert_eq!(refused(result, "PCR 7 not quoted"), "HM-VERIFY-0510");
    let result = scene.with_draft(|draft| draft.pcr_values.push((0x000b, 8, vec![1; 32])));
    assert_eq!(refused(result, "PCR 8 beside"), "HM-VERIFY-0511");
    let result = scene.with_draft(|draft| draft.pcr_values.push((0x000c, 7, vec![1; 48])));
    assert_eq!(refused(result, "other bank beside"), "HM-VERIFY-0511");
    let result = scene.with_draft(|draft| drop(draft.pcr_values.pop()));
    assert_eq!(refused(result, "PCR 7 not supplied"), "HM-VERIFY-0512");
    let result = scene.with_draft(|draft| draft.pcr_values.clear());
    assert_eq!(refused(result, "nothing supplied"), "HM-VERIFY-0512");
}

#[test]
fn attack_29_selection_twice_many_empty_oversize() {
    let scene = Scene::new();
    scene.run().unwrap();
    let all: Vec<u8> = (0..8).collect();
    let good = values(&scene.machine, &all);
    let oversize = {
        let mut body = 17_u32.to_be_bytes().to_vec();
        body.extend([0x00, 0x0b, 3, 0xff, 0, 0].repeat(17));
        body.extend([0, 32]);
        body.extend([0; 32]);
        body
    };
    let wide = {
        let mut body = quote_body(&[(0x000b, all.clone())], &good);
        body[6] = 5;
        body.splice(10..10, [0, 0]);
        body
    };
    for (what, attested, code) in [
        (
            "bank twice",
            quote_body(&[(0x000b, all.clone()), (0x000b, all.clone())], &good),
            "HM-VERIFY-0501",
        ),
        (
            "bank in halves",
            quote_body(&[(0x000b, all[..4].to_vec()), (0x000b, all[4..].to_vec())], &good),
            "HM-VERIFY-0501",
        ),
        (
            "one bank more",
            quote_body(&[(0x000b, all.clone()), (0x000c, vec![0])], &good),
            "HM-VERIFY-0510",
        ),
        (
            "an empty bank more",
            quote_body(&[(0x000b, all.clone()), (0x000c, vec![])], &good),
            "HM-VERIFY-0510",
        ),
        ("no bank", quote_body(&[], &good), "HM-VERIFY-0510"),
        ("empty bank", quote_body(&[(0x000b, vec![])], &good), "HM-VERIFY-0510"),
        (
            "SHA-1 bank",
            quote_body(&[(0x0004, all.clone())], &good),
            "HM-VERIFY-0510",
        ),
        ("seventeen banks", oversize, "HM-VERIFY-0501"),
        ("bitmap of five bytes", wide, "HM-VERIFY-0501"),
    ] {
        assert_eq!(
            refused(scene.with_draft(|draft| draft.quote.attested = attested), what),
            code,
            "{what}"
        );
    }
}

#[test]
fn attack_30_sha1_and_unextended_banks() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let asked = PcrSelection::new([(HashAlg::Sha1, &[7][..])]).unwrap();
    let error = verified_claim
        .challenge_with(NONCE, Some(Zeroizing::new(SECRET)), asked, now())
        .unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0302");

    for pcr in 0..8 {
        scene.machine.pcrs.insert((0x000b, pcr), vec![0; 32]);
    }
    assert_eq!(refused(scene.run(), "zeros"), "HM-VERIFY-0514");
    let mut locality = vec![0; 32];
    locality[31] = 3;
    scene.machine.pcrs.insert((0x000b, 0), locality);
    assert_eq!(refused(scene.run(), "zeros, started from locality 3"), "HM-VERIFY-0514");
    scene.machine.pcrs.insert((0x000b, 7), vec![9; 32]);
    scene.run().unwrap();
}

/// A change of a TPMT_SIGNATURE of P-256: 2 bytes scheme, 2 bytes hash, r (2 bytes size, 32 bytes), s (2, 32).
type Damage = fn(&mut Vec<u8>);

/// The damage on the quote, then on the certification, whose codes are the same in another hundred.
fn refused_as(scene: &Scene, what: &str, damage: Damage, code: &str) {
    let result = scene.with_proof(|proof| damage(&mut proof.quote.signature));
    assert_eq!(refused(result, what), code, "quote: {what}");
    let result = scene.with_proof(|proof| damage(&mut proof.certify.signature));
    assert_eq!(refused(result, what), code.replace("-05", "-04"), "certify: {what}");
}

#[test]
fn attack_31_signature_scheme_and_hash() {
    let scene = Scene::new();
    scene.run().unwrap();
    let damages: [(&str, Damage, &str); 6] = [
        ("SHA-384 label", |signature| signature[3] = 0x0c, "HM-VERIFY-0505"),
        ("SHA-1 label", |signature| signature[3] = 0x04, "HM-VERIFY-0504"),
        ("ECDAA label", |signature| signature[1] = 0x1a, "HM-VERIFY-0504"),
        ("HMAC", |signature| signature[1] = 0x05, "HM-VERIFY-0504"),
        (
            "null signature",
            |signature| *signature = vec![0x00, 0x10],
            "HM-VERIFY-0504",
        ),
        ("byte behind", |signature| signature.push(0), "HM-VERIFY-0504"),
    ];
    for (what, damage, code) in damages {
        refused_as(&scene, what, damage, code);
    }
}

#[test]
fn attack_31_signature_numbers() {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let scene = Scene::new();
    scene.run().unwrap();
    let over_long: Damage = |signature| {
        signature[5] = 33;
        signature.insert(6, 0);
    };
    let short: Damage = |signature| {
        signature[39] = 31;
        signature.pop();
    };
    let damages: [(&str, Damage, &str); 7] = [
        ("r zero", |signature| signature[6..38].fill(0), "HM-VERIFY-0506"),
        ("s zero", |signature| signature[40..72].fill(0), "HM-VERIFY-0506"),
        (
            "r is n",
            |signature| signature[6..38].copy_from_slice(&hex::decode(ORDER).unwrap()),
            "HM-VERIFY-0506",
        ),
        ("s above n", |signature| signature[40..72].fill(0xff), "HM-VERIFY-0506"),
        ("r over-long", over_long, "HM-VERIFY-0506"),
        ("s shorter", short, "HM-VERIFY-0506"),
        ("one bit", |signature| signature[50] ^= 1, "HM-VERIFY-0507"),
    ];
    for (what, damage, code) in damages {
        refused_as(&scene, what, damage, code);
    }
}

#[test]
fn attack_31_a_signature_of_another_kind_of_key() {
    let scene = Scene::new();
    scene.run().unwrap();
    for scheme in [0x0014, 0x0016] {
        let rsa = SoftwareKey::rsa(scene.machine.ak.public.attributes, scheme);
        let result = scene.with_proof(|proof| proof.quote.signature = rsa.sign(&proof.quote.attest));
        assert_eq!(refused(result, "RSA signature for an ECC key"), "HM-VERIFY-0505");
    }
}

#[test]
fn attack_32_short_and_reordered_values() {
    let scene = Scene::new();
    scene.run().unwrap();
    let result = scene.with_draft(|draft| draft.pcr_values[3].2.truncate(20));
    assert_eq!(refused(result, "20 bytes"), "HM-TPMW-0010");
    let result = scene.with_draft(|draft| {
        let (two, three) = (draft.pcr_values[2].2.clone(), draft.pcr_values[3].2.clone());
        draft.pcr_values[2].2 = three;
        draft.pcr_values[3].2 = two;
    });
    assert_eq!(refused(result, "exchanged"), "HM-VERIFY-0513");
    let result = scene.with_draft(|draft| draft.pcr_values[7].2[0] ^= 1);
    assert_eq!(refused(result, "altered"), "HM-VERIFY-0513");
    let result = scene.with_draft(|draft| draft.pcr_values.push(draft.pcr_values[0].clone()));
    assert_eq!(refused(result, "twice"), "HM-TPMW-0011");
    // The order in which values are sent does not matter: they are named.
    scene.with_draft(|draft| draft.pcr_values.reverse()).unwrap();
}

#[test]
fn attack_33_statements_of_two_boots() {
    let scene = Scene::new();
    scene.run().unwrap();
    for (what, result) in [
        ("reset", scene.with_draft(|draft| draft.quote.reset_count += 1)),
        ("restart", scene.with_draft(|draft| draft.quote.restart_count += 1)),
        ("firmware", scene.with_draft(|draft| draft.quote.firmware_version += 1)),
    ] {
        assert_eq!(refused(result, what), "HM-VERIFY-0515", "{what}");
    }
    let unsafe_clock = scene.with_draft(|draft| draft.quote.safe = 0).unwrap();
    assert!(!unsafe_clock.clock_info().safe);
}

/// A clean machine of the attacker's answers for a dirty one.
#[test]
fn attack_34_clean_machine_answers_for_a_dirty_one() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    let clean = SoftwareMachine::new(&scene.vendor);
    scene.machine.pcrs.insert((0x000b, 4), vec![0xbd; 32]);
    // The clean machine quotes under the dirty machine's binding; the dirty machine sends it as its own.
    let result = scene.attack(
        |_| {},
        |draft| draft.pcr_values = clean.prove(&seen(), &EXPORTER).pcr_values,
        |proof| {
            let binding_of_dirty = proof.certify.attest.clone();
            let own = clean.prove_with(&seen(), &EXPORTER, |draft| {
                // extraData stands behind magic, tag and the Qualified Name: bytes 44 to 76.
                draft.quote.extra_data = binding_of_dirty[44..76].to_vec();
            });
            proof.quote = own.quote;
        },
    );
    assert_eq!(refused(result, "clean quote"), "HM-VERIFY-0507");

    fn seen() -> ChallengeParts {
        ChallengeParts {
            nonce: NONCE,
            credential: None,
            selection: vec![(0x000b, (0..8).collect())],
        }
    }
}

/// The whole honest answer of a clean machine, sent on over a connection of the attacker's.
#[test]
fn attack_35_a_tls_proxy_makes_attestation_fail_with_a_clear_error() {
    let scene = Scene::new();
    scene.run().unwrap();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let challenge = challenge(&verified_claim);
    let on_agents_side = [0x77; 32];
    let proof = scene
        .machine
        .prove(&ChallengeParts::from(&challenge), &on_agents_side)
        .decode()
        .unwrap();
    let error = verify_proof(verified_claim, challenge, proof, &EXPORTER, now()).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-VERIFY-0409");
    assert_eq!(error.class(), RefusalClass::NotBound);
    assert!(error.class().text().contains("proxy"), "{}", error.class().text());
    assert!(error.likely_cause().unwrap().contains("proxy"));
}

/// A log that was sent beside the statements but is not in their binding.
#[test]
fn attack_23_a_log_that_is_not_bound() {
    let scene = Scene::new();
    scene.run().unwrap();
    let log = hallmark_evidence::Log::new(hallmark_evidence::LogKind::Tcg, 0, b"events".to_vec()).unwrap();
    let result = scene.with_proof(|proof| proof.logs.push(log));
    assert_eq!(refused(result, "log"), "HM-VERIFY-0409");
}
