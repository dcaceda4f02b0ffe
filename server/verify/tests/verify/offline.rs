//! Kept evidence: what a live answer is refused for, a file is refused for, with the same code.

use hallmark_evidence::{AkPublic, EvidenceFile, Signed, Source};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use hallmark_verify::offline::{OfflineReport, judge_file, proven_state};
use hallmark_verify::testing::{ChallengeParts, ProofDraft, ProofParts, SoftwareKey, SoftwareMachine, quote_body};

use crate::scene::{EXPORTER, NONCE, Scene, now, refused};

fn asked() -> ChallengeParts {
    ChallengeParts {
        nonce: NONCE,
        credential: None,
        selection: vec![(0x000b, (0..8).collect())],
    }
}

fn attested() -> Source {
    Source::Attestation {
        node: "spiffe://example.org/spire/agent/tpm2/00".to_owned(),
        judged_at: "2026-11-23T00:00:00Z".to_owned(),
        verdict: "accepted".to_owned(),
    }
}

/// The answer as a file that says it is bound to what an honest one is bound to.
fn file(machine: &SoftwareMachine, answer: &ProofParts, source: Source) -> EvidenceFile {
    let honest = machine.prove(&asked(), &EXPORTER);
    let mut values = PcrValues::new();
    for (bank, pcr, value) in &answer.pcr_values {
        let bank = HashAlg::from_id(*bank).unwrap();
        values.insert(bank, *pcr, value.clone()).unwrap();
    }
    EvidenceFile {
        source,
        made_at: "2026-11-23T00:00:00Z".to_owned(),
        ak: AkPublic::Area(machine.ak.public.marshal()),
        ek_certificate: None,
        ek_chain: Vec::new(),
        quote: Signed {
            attest: answer.quote.attest.clone(),
            signature: answer.quote.signature.clone(),
        },
        // extraData stands behind magic, tag and the Qualified Name.
        qualification: honest.certify.attest[44..76].to_vec(),
        pcr_values: values,
        logs: Vec::new(),
        judged: None,
    }
}

fn codes(report: &OfflineReport) -> Vec<&str> {
    let codes = report.checks.iter().filter_map(|check| check.code.as_deref());
    codes.collect()
}

/// What changes before the AK signs, and its signature after.
type Change = fn(&mut ProofDraft);
type Damage = fn(&mut Vec<u8>);
type Row = (&'static str, Change, Damage, &'static str);

const NO_CHANGE: Change = |_| {};
const NO_DAMAGE: Damage = |_| {};

const ROWS: [Row; 13] = [
    (
        "malformed",
        |draft| draft.quote.attested.push(0),
        NO_DAMAGE,
        "HM-VERIFY-0501",
    ),
    (
        "not by a TPM",
        |draft| draft.quote.magic ^= 1,
        NO_DAMAGE,
        "HM-VERIFY-0502",
    ),
    (
        "a certification",
        |draft| draft.quote = draft.certify.clone(),
        NO_DAMAGE,
        "HM-VERIFY-0503",
    ),
    (
        "no signature",
        NO_CHANGE,
        |signature| *signature = vec![0x00, 0x10],
        "HM-VERIFY-0504",
    ),
    (
        "another scheme",
        NO_CHANGE,
        |signature| signature[3] = 0x0c,
        "HM-VERIFY-0505",
    ),
    (
        "r is zero",
        NO_CHANGE,
        |signature| signature[6..38].fill(0),
        "HM-VERIFY-0506",
    ),
    ("one bit", NO_CHANGE, |signature| signature[50] ^= 1, "HM-VERIFY-0507"),
    (
        "a signer outside the endorsement hierarchy",
        |draft| draft.quote.qualified_signer[5] ^= 1,
        NO_DAMAGE,
        "HM-VERIFY-0508",
    ),
    (
        "not bound",
        |draft| draft.quote.extra_data[0] ^= 1,
        NO_DAMAGE,
        "HM-VERIFY-0509",
    ),
    (
        "no binding",
        |draft| draft.quote.extra_data.clear(),
        NO_DAMAGE,
        "HM-VERIFY-0509",
    ),
    (
        "no value",
        |draft| drop(draft.pcr_values.pop()),
        NO_DAMAGE,
        "HM-VERIFY-0512",
    ),
    (
        "another value",
        |draft| draft.pcr_values[3].2[0] ^= 1,
        NO_DAMAGE,
        "HM-VERIFY-0513",
    ),
    (
        "a bank that the firmware did not extend",
        |draft| {
            for (_, _, value) in &mut draft.pcr_values {
                value.fill(0);
            }
            let values: Vec<_> = draft.pcr_values.iter().map(|(_, _, value)| value.clone()).collect();
            draft.quote.attested = quote_body(&[(0x000b, (0..8).collect())], &values);
        },
        NO_DAMAGE,
        "HM-VERIFY-0514",
    ),
];

#[test]
fn a_file_and_a_live_answer_are_refused_with_the_same_code() {
    let scene = Scene::new();
    for (what, change, damage, code) in ROWS {
        let live =
            |change: Change, damage: Damage| scene.attack(|_| {}, change, |proof| damage(&mut proof.quote.signature));
        let offline = |change: Change, damage: Damage| {
            let mut answer = scene.machine.prove_with(&asked(), &EXPORTER, change);
            damage(&mut answer.quote.signature);
            let file = file(&scene.machine, &answer, attested());
            proven_state(&file, Some(&scene.trust), now())
        };
        live(NO_CHANGE, NO_DAMAGE).unwrap();
        let (report, state) = offline(NO_CHANGE, NO_DAMAGE);
        assert!(report.is_verified() && state.is_some(), "{:?}", report.checks);
        assert_eq!(refused(live(change, damage), what), code, "{what}");
        let (report, state) = offline(change, damage);
        assert!(!report.is_verified() && state.is_none(), "{what}");
        assert_eq!(codes(&report)[0], code, "{what}: {:?}", report.checks);
    }
}

/// Evidence that another verifier asked for: its keys and selections are its own, its banks must prove something.
#[test]
fn what_another_verifier_asked_for_is_judged_by_what_it_proves() {
    let scene = Scene::new();
    let honest = scene.machine.prove(&asked(), &EXPORTER);
    let judge = |machine: &SoftwareMachine, answer: &ProofParts, source| {
        let report = judge_file(&file(machine, answer, source), None, now());
        codes(&report).join(" ")
    };
    assert_eq!(judge(&scene.machine, &honest, Source::Import), "");
    // Another tool's key: a child of the EK, or of the owner's hierarchy.
    let child = scene
        .machine
        .prove_with(&asked(), &EXPORTER, |draft| draft.quote.qualified_signer[5] ^= 1);
    assert_eq!(judge(&scene.machine, &child, Source::Import), "");
    assert_eq!(judge(&scene.machine, &child, attested()), "HM-VERIFY-0508");
    let mut rsa = Scene::new().machine;
    rsa.ak = SoftwareKey::rsa(rsa.ak.public.attributes, 0x0014);
    let answer = rsa.prove(&asked(), &EXPORTER);
    assert_eq!(judge(&rsa, &answer, Source::Import), "");
    assert_eq!(judge(&rsa, &answer, attested()), "HM-VERIFY-0216");
    // Nothing is quoted, or in a bank whose hash can be forged.
    for (selection, code) in [
        (vec![], "HM-VERIFY-0301"),
        (vec![(0x000b, vec![])], "HM-VERIFY-0301"),
        (vec![(0x0004, vec![7])], "HM-VERIFY-0302"),
    ] {
        let asked = ChallengeParts { selection, ..asked() };
        let mut answer = scene.machine.prove(&asked, &EXPORTER);
        answer.pcr_values.clear();
        assert_eq!(judge(&scene.machine, &answer, Source::Import), code);
    }
}

/// A register that any program may reset proves nothing of the boot: no rule sees it, as none does of a live answer.
#[test]
fn registers_that_programs_may_reset_reach_no_rule() {
    let mut scene = Scene::new();
    scene.machine.pcrs.insert((0x000b, 16), vec![0x16; 32]);
    let asked = ChallengeParts {
        selection: vec![(0x000b, vec![0, 7, 16, 23])],
        ..asked()
    };
    let answer = scene.machine.prove(&asked, &EXPORTER);
    let (report, state) = proven_state(&file(&scene.machine, &answer, Source::Import), None, now());
    assert!(report.is_verified(), "{:?}", report.checks);
    assert_eq!(report.pcrs.len(), 4, "people see all of them");
    let state = state.unwrap();
    let seen: Vec<u8> = state.pcrs().iter().map(|(_, pcr, _)| pcr).collect();
    assert_eq!(seen, [0, 7]);
}

#[test]
fn a_quote_of_another_machine_or_of_another_time_is_refused() {
    let (scene, other) = (Scene::new(), Scene::new());
    let honest = scene.machine.prove(&asked(), &EXPORTER);
    let good = file(&scene.machine, &honest, attested());
    assert!(judge_file(&good, None, now()).is_verified());
    let stranger = other.machine.prove(&asked(), &EXPORTER);
    let earlier = scene.machine.prove(
        &ChallengeParts {
            nonce: [0x12; 32],
            ..asked()
        },
        &EXPORTER,
    );
    for (what, answer, code) in [
        ("stranger", &stranger, "HM-VERIFY-0507"),
        ("earlier", &earlier, "HM-VERIFY-0509"),
    ] {
        let report = judge_file(&file(&scene.machine, answer, attested()), None, now());
        assert_eq!(codes(&report)[0], code, "{what}");
    }
    // The stranger's key beside its quote: bound to another key of another exchange.
    let report = judge_file(
        &EvidenceFile {
            ak: AkPublic::Area(other.machine.ak.public.marshal()),
            ..file(&scene.machine, &stranger, attested())
        },
        None,
        now(),
    );
    assert_eq!(codes(&report), ["HM-VERIFY-0509"]);
}
