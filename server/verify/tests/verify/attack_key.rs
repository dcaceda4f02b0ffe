//! Attacks 18 to 25: the certification of the SVID key, and the CSR.

use hallmark_tpm_wire::{ObjectAttributes, templates};
use hallmark_verify::testing::{ChallengeParts, ProofDraft, SoftwareKey, certify_body, quote_body};

use crate::scene::{EXPORTER, NONCE, Scene, challenge, finish, refused};

const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;

/// An SVID key that would still be there after a reboot could be used by whatever was booted then.
#[test]
fn attack_47_a_key_that_outlives_the_boot() {
    let scene = Scene::new();
    scene.run().unwrap();
    for hierarchy in [OWNER, 0x4000_000b, 0x4000_000c] {
        let key = &scene.machine.svid.public;
        let lasting = certify_body(&key.name(), &key.qualified_name(hierarchy));
        let result = scene.with_draft(|draft| draft.certify.attested = lasting);
        assert_eq!(refused(result, &format!("{hierarchy:x}")), "HM-VERIFY-0411");
    }
}

/// A key of the attacker's own, with the attributes of a good one: no TPM certifies it, so he signs the statement himself.
#[test]
fn attack_18_certification_of_a_software_key() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    let tpm_key = std::mem::replace(&mut scene.machine.svid, SoftwareKey::svid());
    // The TPM certifies the key that it holds.
    let honest = certify_body(&tpm_key.public.name(), &tpm_key.public.qualified_name(NULL));
    let result = scene.with_draft(|draft| draft.certify.attested = honest);
    assert_eq!(refused(result, "TPM's key certified"), "HM-VERIFY-0410");
    // The attacker signs with a key of his own.
    let forger = SoftwareKey::ak();
    let result = scene.with_proof(|proof| proof.certify.signature = forger.sign(&proof.certify.attest));
    assert_eq!(refused(result, "self-signed"), "HM-VERIFY-0407");
}

#[test]
fn attack_19_duplicable_or_imported_key() {
    let good = templates::SVID_KEY_ATTRIBUTES;
    for (attributes, code) in [
        (good.without(ObjectAttributes::FIXED_TPM), "HM-VERIFY-0222"),
        (good.without(ObjectAttributes::FIXED_PARENT), "HM-VERIFY-0222"),
        (good.without(ObjectAttributes::SENSITIVE_DATA_ORIGIN), "HM-VERIFY-0222"),
        (good.with(ObjectAttributes::ENCRYPTED_DUPLICATION), "HM-VERIFY-0223"),
    ] {
        let mut scene = Scene::new();
        scene.run().unwrap();
        scene.machine.svid.public.attributes = attributes.bits();
        assert_eq!(refused(scene.run(), &attributes.to_string()), code, "{attributes}");
    }
    // Attributes claimed better than they are: the certified Name does not fit the claim.
    let mut scene = Scene::new();
    scene.machine.svid.public.attributes = good.without(ObjectAttributes::FIXED_TPM).bits();
    let real = certify_body(&scene.machine.svid.public.name(), &scene.machine.svid.public.name());
    scene.machine.svid.public.attributes = good.bits();
    assert_eq!(
        refused(scene.with_draft(|draft| draft.certify.attested = real), "dressed up"),
        "HM-VERIFY-0410"
    );
}

#[test]
fn attack_20_restricted_or_decrypt_key() {
    let good = templates::SVID_KEY_ATTRIBUTES;
    for (attributes, code) in [
        (good.with(ObjectAttributes::RESTRICTED), "HM-VERIFY-0223"),
        (good.with(ObjectAttributes::DECRYPT), "HM-VERIFY-0223"),
        (good.with(ObjectAttributes::X509_SIGN), "HM-VERIFY-0223"),
        (good.without(ObjectAttributes::SIGN), "HM-VERIFY-0222"),
    ] {
        let mut scene = Scene::new();
        scene.run().unwrap();
        scene.machine.svid.public.attributes = attributes.bits();
        assert_eq!(refused(scene.run(), &attributes.to_string()), code, "{attributes}");
    }
    let mut scene = Scene::new();
    scene.machine.svid = SoftwareKey::rsa(good.bits(), 0x0014);
    assert_eq!(refused(scene.run(), "RSA"), "HM-VERIFY-0226");
}

#[test]
fn attack_21_another_key_or_another_statement() {
    let scene = Scene::new();
    scene.run().unwrap();
    let ak = (
        scene.machine.ak.public.name(),
        scene.machine.ak.public.qualified_name(0x4000_000b),
    );
    let banks = [(0x000b, (0..8).collect())];
    let values: Vec<_> = (0..8).map(|pcr| scene.machine.pcrs[&(0x000b, pcr)].clone()).collect();
    let quote = quote_body(&banks, &values);
    type Change<'a> = Box<dyn Fn(&mut ProofDraft) + 'a>;
    let attacks: [(&str, Change<'_>, &str); 6] = [
        (
            "certifies the AK",
            Box::new(|draft| draft.certify.attested = certify_body(&ak.0, &ak.1)),
            "HM-VERIFY-0410",
        ),
        (
            "a quote in its place",
            Box::new(|draft| {
                draft.certify.tag = 0x8018;
                draft.certify.attested = quote.clone();
            }),
            "HM-VERIFY-0403",
        ),
        (
            "creation",
            Box::new(|draft| draft.certify.tag = 0x801a),
            "HM-VERIFY-0403",
        ),
        ("time", Box::new(|draft| draft.certify.tag = 0x8019), "HM-VERIFY-0403"),
        (
            "NV digest",
            Box::new(|draft| draft.certify.tag = 0x801c),
            "HM-VERIFY-0403",
        ),
        (
            "statements exchanged",
            Box::new(|draft| std::mem::swap(&mut draft.certify, &mut draft.quote)),
            "HM-VERIFY-0403",
        ),
    ];
    for (what, change, code) in attacks {
        assert_eq!(refused(scene.with_draft(|draft| change(draft)), what), code, "{what}");
    }
}

#[test]
fn attack_22_wrong_magic_or_made_outside() {
    let scene = Scene::new();
    scene.run().unwrap();
    for magic in [0, 0xff54_4346, 0x4743_54ff] {
        let result = scene.with_draft(|draft| draft.certify.magic = magic);
        assert_eq!(refused(result, "certify"), "HM-VERIFY-0402");
        let result = scene.with_draft(|draft| draft.quote.magic = magic);
        assert_eq!(refused(result, "quote"), "HM-VERIFY-0502");
    }
    for (what, cut) in [("last byte", 1), ("half", 60)] {
        let result = scene.with_proof(|proof| {
            proof.certify.attest.truncate(proof.certify.attest.len() - cut);
            proof.certify.signature = scene.machine.ak.sign(&proof.certify.attest);
        });
        assert_eq!(refused(result, what), "HM-VERIFY-0401", "{what}");
    }
    let result = scene.with_proof(|proof| {
        proof.certify.attest.push(0);
        proof.certify.signature = scene.machine.ak.sign(&proof.certify.attest);
    });
    assert_eq!(refused(result, "one byte more"), "HM-VERIFY-0401");
}

#[test]
fn attack_23_qualifying_data_empty_old_or_for_another_key() {
    let scene = Scene::new();
    scene.run().unwrap();
    let other_key = {
        let mut other = Scene::new();
        other.machine.ak = SoftwareKey::ak();
        let seen = ChallengeParts {
            nonce: NONCE,
            credential: None,
            selection: vec![(0x000b, vec![7])],
        };
        let mut taken = Vec::new();
        let _ = other
            .machine
            .prove_with(&seen, &EXPORTER, |draft| taken = draft.certify.extra_data.clone());
        taken
    };
    let truth = std::cell::RefCell::new(Vec::new());
    for (what, data) in [
        ("empty", Vec::new()),
        ("the nonce alone", NONCE.to_vec()),
        ("for another key", other_key),
        ("zeros", vec![0; 32]),
    ] {
        let result = scene.with_draft(|draft| {
            truth.replace(std::mem::replace(&mut draft.certify.extra_data, data.clone()));
        });
        assert_eq!(refused(result, what), "HM-VERIFY-0409", "certify: {what}");
        let result = scene.with_draft(|draft| draft.quote.extra_data = data);
        assert_eq!(refused(result, what), "HM-VERIFY-0509", "quote: {what}");
    }
    let truth = truth.into_inner();
    for (what, data) in [
        ("cut off", truth[..31].to_vec()),
        ("prolonged", [&truth[..], &[0]].concat()),
    ] {
        let result = scene.with_draft(|draft| draft.certify.extra_data = data);
        assert_eq!(refused(result, what), "HM-VERIFY-0409", "{what}");
    }
}

#[test]
fn attack_24_csr_of_another_key_or_badly_signed() {
    let scene = Scene::new();
    scene.run().unwrap();
    let other = SoftwareKey::svid();
    let svid_spki = scene.machine.svid.spki();
    let mut flipped = scene.machine.claim().csr;
    *flipped.last_mut().unwrap() ^= 1;
    let mut grown = scene.machine.claim().csr;
    grown.push(0);
    for (what, csr, code) in [
        ("another key's own", other.csr_for(&other.spki()), "HM-VERIFY-0234"),
        (
            "the key, signed by another",
            other.csr_for(&svid_spki),
            "HM-VERIFY-0236",
        ),
        (
            "another key, signed by this",
            scene.machine.svid.csr_for(&other.spki()),
            "HM-VERIFY-0234",
        ),
        ("signature damaged", flipped, "HM-VERIFY-0236"),
        ("trailing byte", grown, "HM-VERIFY-0232"),
        ("missing", Vec::new(), "HM-EVID-0002"),
        ("something else", scene.vendor.root_der().to_vec(), "HM-VERIFY-0233"),
    ] {
        assert_eq!(refused(scene.with_claim(|claim| claim.csr = csr), what), code, "{what}");
    }
    // A compressed point is the same key in other bytes.
    let mut compressed = svid_spki.clone();
    compressed.truncate(26 + 33);
    compressed[1] -= 32;
    compressed[24] -= 32;
    compressed[26] = 0x02 | (svid_spki[90] & 1);
    let csr = scene.machine.svid.csr_for(&compressed);
    assert_eq!(
        refused(scene.with_claim(|claim| claim.csr = csr), "compressed point"),
        "HM-VERIFY-0234"
    );
}

#[test]
fn attack_25_sha1_name_alg_and_names_of_other_lengths() {
    let mut scene = Scene::new();
    scene.run().unwrap();
    let name = scene.machine.svid.public.name();
    let qualified = scene.machine.svid.public.qualified_name(NULL);
    let sha1 = [&[0x00, 0x04][..], &name[2..22]].concat();
    for (what, certified, code) in [
        ("SHA-1 Name", sha1.clone(), "HM-VERIFY-0401"),
        ("cut off", name[..33].to_vec(), "HM-VERIFY-0401"),
        ("prolonged", [&name[..], &[0]].concat(), "HM-VERIFY-0401"),
        ("a handle", vec![0x80, 0, 0, 0], "HM-VERIFY-0401"),
        ("empty", Vec::new(), "HM-VERIFY-0401"),
        (
            "SHA-384 label",
            [&[0x00, 0x0c][..], &name[2..]].concat(),
            "HM-VERIFY-0401",
        ),
    ] {
        let result = scene.with_draft(|draft| draft.certify.attested = certify_body(&certified, &qualified));
        assert_eq!(refused(result, what), code, "{what}");
    }
    // Bytes moved from one field into the next.
    let result = scene.with_draft(|draft| {
        draft.certify.attested = certify_body(&name[..30], &[&name[30..], &qualified].concat());
    });
    assert_eq!(refused(result, "moved"), "HM-VERIFY-0401");
    scene.machine.svid.public.name_alg = 0x0004;
    assert_eq!(refused(scene.run(), "SHA-1 nameAlg"), "HM-TPMW-0005");
}

/// The AK's place in the endorsement hierarchy is part of what is proven.
#[test]
fn attack_18_an_ak_outside_the_endorsement_hierarchy() {
    let scene = Scene::new();
    scene.run().unwrap();
    for hierarchy in [OWNER, NULL, 0x4000_000c] {
        let signer = scene.machine.ak.public.qualified_name(hierarchy);
        let result = scene.with_draft(|draft| draft.certify.qualified_signer = signer.clone());
        assert_eq!(refused(result, "certify"), "HM-VERIFY-0408");
        let result = scene.with_draft(|draft| draft.quote.qualified_signer = signer);
        assert_eq!(refused(result, "quote"), "HM-VERIFY-0508");
    }
}

#[test]
fn attack_09_one_answer_counts_once() {
    let scene = Scene::new();
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let first = challenge(&verified_claim);
    let answer = scene.machine.prove(&ChallengeParts::from(&first), &EXPORTER);
    finish(verified_claim, first, &answer).unwrap();
    // A new challenge has a new nonce and a new secret; the old answer holds neither.
    let verified_claim = scene.verify_claim(&scene.machine.claim()).unwrap();
    let secret = zeroize::Zeroizing::new([0x55; 32]);
    let second = verified_claim
        .challenge_with([0x44; 32], Some(secret), crate::scene::selection(), crate::scene::now())
        .unwrap();
    assert_eq!(
        refused(finish(verified_claim, second, &answer), "second time"),
        "HM-VERIFY-0311"
    );
}
