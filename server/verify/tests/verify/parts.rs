//! The three parts of a proof: what is left out, of another machine or of another exchange is refused, each beside the
//! exchange that passes.

use hallmark_reason::Coded as _;
use hallmark_verify::testing::{ChallengeParts, ProofParts, SoftwareMachine};
use hallmark_verify::{HeldLogs, VerifiedEvidence, verify_claim, verify_logs, verify_proof};
use zeroize::Zeroizing;

use crate::scene::{EXPORTER, Scene, now, refused, selection};

/// One exchange of one machine: what the server asked, and what the machine answered.
struct Exchange {
    nonce: [u8; 32],
    secret: [u8; 32],
    answer: ProofParts,
}

impl Exchange {
    fn of(scene: &Scene, machine: &SoftwareMachine, number: u8) -> Self {
        let (nonce, secret) = ([number; 32], [number ^ 0xff; 32]);
        let claim = verify_claim(machine.claim().decode().unwrap(), &scene.trust, None, now()).unwrap();
        let challenge = claim.challenge_with(nonce, Some(Zeroizing::new(secret)), selection(), now());
        let asked = ChallengeParts::from(&challenge.unwrap());
        Self {
            nonce,
            secret,
            answer: machine.prove(&asked, &EXPORTER),
        }
    }

    /// What the server says to `answer` in this exchange with `machine`.
    fn verdict(
        &self,
        scene: &Scene,
        machine: &SoftwareMachine,
        answer: &ProofParts,
    ) -> Result<VerifiedEvidence, String> {
        let code = |error: hallmark_verify::VerifyError| error.code().to_string();
        let proof = answer.decode().map_err(|error| error.code().to_string())?;
        let claim = verify_claim(machine.claim().decode().unwrap(), &scene.trust, None, now()).map_err(code)?;
        let secret = Some(Zeroizing::new(self.secret));
        let challenge = claim.challenge_with(self.nonce, secret, selection(), now()).unwrap();
        verify_proof(claim, challenge, proof, &EXPORTER, now())
            .and_then(|proof| verify_logs(proof, answer.logs.clone(), &HeldLogs::default()))
            .map_err(code)
    }
}

/// Takes one part out of another answer.
type Taken = fn(&mut ProofParts, &ProofParts);

#[test]
fn each_part_must_be_of_this_machine_and_of_this_exchange() {
    let scene = Scene::new();
    let machine = &scene.machine;
    let mut other = SoftwareMachine::new(&scene.vendor);
    // Another machine, in another state.
    other.pcrs.insert((0x000b, 4), vec![0xbd; 32]);
    let this = Exchange::of(&scene, machine, 1);
    let earlier = Exchange::of(&scene, machine, 2);
    let others = Exchange::of(&scene, &other, 3);
    // Even where the server asks the same of both.
    let beside = Exchange::of(&scene, &other, 1);
    for (exchange, machine) in [
        (&this, machine),
        (&earlier, machine),
        (&others, &other),
        (&beside, &other),
    ] {
        exchange.verdict(&scene, machine, &exchange.answer).unwrap();
    }
    let parts: [(&str, Taken, [&str; 3]); 4] = [
        (
            "TPM: the opened secret",
            |answer, from| answer.activated_secret.clone_from(&from.activated_secret),
            ["HM-VERIFY-0311", "HM-VERIFY-0311", ""],
        ),
        (
            "key: the certification",
            |answer, from| answer.certify = from.certify.clone(),
            ["HM-VERIFY-0409", "HM-VERIFY-0407", "HM-VERIFY-0407"],
        ),
        (
            "state: the quote",
            |answer, from| answer.quote = from.quote.clone(),
            ["HM-VERIFY-0509", "HM-VERIFY-0507", "HM-VERIFY-0507"],
        ),
        (
            "state: the registers",
            |answer, from| answer.pcr_values.clone_from(&from.pcr_values),
            ["", "HM-VERIFY-0513", "HM-VERIFY-0513"],
        ),
    ];
    for (part, take, codes) in parts {
        for (from, code) in [&earlier, &others, &beside].into_iter().zip(codes) {
            let mut answer = this.answer.clone();
            take(&mut answer, &from.answer);
            let verdict = this.verdict(&scene, machine, &answer);
            if code.is_empty() {
                // A secret that the server asked of both, or registers that did not move, are the same.
                verdict.unwrap();
            } else {
                assert_eq!(refused(verdict, part), code, "{part}");
            }
        }
    }
    // And the other way round: the whole answer of another machine, in this exchange.
    let verdict = this.verdict(&scene, machine, &beside.answer);
    assert_eq!(refused(verdict, "the whole answer"), "HM-VERIFY-0407");
}

#[test]
fn no_part_may_be_left_out_and_none_stands_for_another() {
    let scene = Scene::new();
    scene.run().unwrap();
    type Change = fn(&mut ProofParts);
    let changes: [(&str, Change, &str); 7] = [
        ("no secret", |answer| answer.activated_secret = None, "HM-VERIFY-0309"),
        (
            "no certification",
            |answer| answer.certify.attest.clear(),
            "HM-EVID-0002",
        ),
        ("no quote", |answer| answer.quote.attest.clear(), "HM-EVID-0002"),
        ("no registers", |answer| answer.pcr_values.clear(), "HM-VERIFY-0512"),
        (
            "a quote for the certification",
            |answer| answer.certify = answer.quote.clone(),
            "HM-VERIFY-0403",
        ),
        (
            "a certification for the quote",
            |answer| answer.quote = answer.certify.clone(),
            "HM-VERIFY-0503",
        ),
        (
            "one for the other",
            |answer| std::mem::swap(&mut answer.quote, &mut answer.certify),
            "HM-VERIFY-0403",
        ),
    ];
    for (what, change, code) in changes {
        assert_eq!(refused(scene.with_proof(change), what), code, "{what}");
    }
}

#[test]
fn each_part_says_what_it_proved() {
    let scene = Scene::new();
    let evidence = scene.run().unwrap();
    let (tpm, key, state) = (evidence.tpm(), evidence.key(), evidence.state());
    assert!(tpm.ak_activated());
    assert_eq!(tpm.ak_name().as_bytes(), scene.machine.ak.public.name());
    assert_eq!(key.name().as_bytes(), scene.machine.svid.public.name());
    assert_eq!(key.spki(), scene.machine.svid.spki());
    assert_eq!(state.pcrs().len(), 8);
    assert_eq!(state.clock_info().reset_count, scene.machine.reset_count);
}
