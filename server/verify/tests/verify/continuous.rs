//! Continuous challenges: the third part alone, of a node whose first two are known.

use std::time::{Duration, SystemTime};

use hallmark_reason::Coded as _;
use hallmark_tpm_wire::{HashAlg, PcrSelection};
use hallmark_verify::history::{AgentRunId, AgentRuns};
use hallmark_verify::testing::{ChallengeParts, ProofDraft, ProofParts, SoftwareKey, SoftwareMachine};
use hallmark_verify::{
    HeldLogs, KnownNode, ProvenState, StateChallenge, StateProof, VerifiedEvidence, VerifyError, verify_state,
};

use crate::scene::{EXPORTER, Scene, now, selection};

const RUN: AgentRunId = AgentRunId(1);
const NONCE: [u8; 32] = [0x44; 32];

/// A minute after the attestation.
fn later() -> SystemTime {
    now() + Duration::from_secs(60)
}

/// A node that has attested, and its machine.
struct Attested {
    machine: SoftwareMachine,
    evidence: VerifiedEvidence,
    runs: AgentRuns,
}

impl Attested {
    fn new(scene: Scene) -> Self {
        let evidence = scene.run().unwrap();
        let mut runs = AgentRuns::default();
        runs.observe(RUN, evidence.state().quote_clock(now())).unwrap();
        let mut machine = scene.machine;
        machine.clock += 60_000;
        Self {
            machine,
            evidence,
            runs,
        }
    }

    fn node(&self) -> KnownNode<'_> {
        KnownNode {
            tpm: self.evidence.tpm(),
            key: self.evidence.key(),
            runs: &self.runs,
            run: RUN,
        }
    }

    fn challenge(&self) -> StateChallenge {
        let (tpm, key) = (self.evidence.tpm(), self.evidence.key());
        StateChallenge::for_node(tpm, key, NONCE, selection(), later()).unwrap()
    }

    fn verdict(&self, challenge: StateChallenge, answer: &ProofParts) -> Result<ProvenState, String> {
        self.verdict_at(challenge, answer, later())
    }

    fn verdict_at(
        &self,
        challenge: StateChallenge,
        answer: &ProofParts,
        at: SystemTime,
    ) -> Result<ProvenState, String> {
        verify_state(self.node(), challenge, state_of(answer), &EXPORTER, at)
            .and_then(|quoted| quoted.with_logs(answer.logs.clone(), &HeldLogs::default()))
            .map_err(|error: VerifyError| error.code().to_string())
    }

    /// What the server says to the machine's answer, changed.
    fn with(&self, change: impl FnOnce(&mut ProofDraft)) -> Result<ProvenState, String> {
        self.verdict(self.challenge(), &answer(&self.machine, change))
    }
}

fn state_of(answer: &ProofParts) -> StateProof {
    let proof = answer.decode().unwrap();
    StateProof {
        quote: proof.quote,
        pcr_values: proof.pcr_values,
        logs: proof.logs,
    }
}

fn asked(nonce: [u8; 32]) -> ChallengeParts {
    ChallengeParts {
        nonce,
        credential: None,
        selection: vec![(0x000b, (0..8).collect())],
    }
}

fn answer(machine: &SoftwareMachine, change: impl FnOnce(&mut ProofDraft)) -> ProofParts {
    machine.prove_with(&asked(NONCE), &EXPORTER, change)
}

fn code(result: Result<ProvenState, String>, what: &str) -> String {
    match result {
        Ok(_) => panic!("{what}: accepted"),
        Err(code) => code,
    }
}

#[test]
fn a_node_that_attested_proves_its_state_again_with_a_quote_alone() {
    let mut node = Attested::new(Scene::new());
    let state = node.with(|_| {}).unwrap();
    assert_eq!(state.pcrs().len(), 8);
    node.runs.observe(RUN, state.quote_clock(later())).unwrap();
    // What moved meanwhile is proven, for policies to judge.
    node.machine.pcrs.insert((0x000b, 7), vec![0xbd; 32]);
    let state = node.with(|_| {}).unwrap();
    assert_eq!(state.pcrs().get(HashAlg::Sha256, 7), Some(&[0xbd; 32][..]));
}

#[test]
fn a_quote_of_another_machine_exchange_key_or_connection_is_refused() {
    let node = Attested::new(Scene::new());
    node.with(|_| {}).unwrap();
    let scene = Scene::new();
    let stranger = answer(&scene.machine, |_| {});
    assert_eq!(
        code(node.verdict(node.challenge(), &stranger), "stranger"),
        "HM-VERIFY-0507"
    );
    // The stranger quotes under the node's own binding; the node sends it as its own.
    let bound = |machine: &SoftwareMachine| {
        answer(machine, |draft| {
            draft.quote.extra_data = binding(&node.machine);
        })
    };
    node.verdict(node.challenge(), &bound(&node.machine)).unwrap();
    let result = node.verdict(node.challenge(), &bound(&scene.machine));
    assert_eq!(code(result, "a clean machine answers"), "HM-VERIFY-0507");
    let earlier = node.machine.prove(&asked([0x45; 32]), &EXPORTER);
    assert_eq!(
        code(node.verdict(node.challenge(), &earlier), "replayed"),
        "HM-VERIFY-0509"
    );
    let elsewhere = node.machine.prove(&asked(NONCE), &[0x34; 32]);
    assert_eq!(
        code(node.verdict(node.challenge(), &elsewhere), "relayed"),
        "HM-VERIFY-0509"
    );
    let rotated = Attested {
        machine: SoftwareMachine {
            svid: SoftwareKey::svid(),
            ..node.machine
        },
        ..node
    };
    let result = rotated.with(|_| {});
    assert_eq!(code(result, "bound to another key"), "HM-VERIFY-0509");
}

/// What an answer's quote is bound to.
fn binding(machine: &SoftwareMachine) -> Vec<u8> {
    let mut binding = Vec::new();
    drop(answer(machine, |draft| binding.clone_from(&draft.quote.extra_data)));
    binding
}

#[test]
fn another_statement_selection_or_value_is_refused() {
    let node = Attested::new(Scene::new());
    node.with(|_| {}).unwrap();
    type Change = fn(&mut ProofDraft);
    let changes: [(&str, Change, &str); 6] = [
        (
            "a certification",
            |draft| draft.quote = draft.certify.clone(),
            "HM-VERIFY-0503",
        ),
        ("not by a TPM", |draft| draft.quote.magic ^= 1, "HM-VERIFY-0502"),
        (
            "a signer outside the hierarchy",
            |draft| draft.quote.qualified_signer[5] ^= 1,
            "HM-VERIFY-0508",
        ),
        ("no value", |draft| drop(draft.pcr_values.pop()), "HM-VERIFY-0512"),
        ("another value", |draft| draft.pcr_values[3].2[0] ^= 1, "HM-VERIFY-0513"),
        (
            "an unquoted value",
            |draft| draft.pcr_values.push((0x000b, 9, vec![7; 32])),
            "HM-VERIFY-0511",
        ),
    ];
    for (what, change, expected) in changes {
        assert_eq!(code(node.with(change), what), expected, "{what}");
    }
    let fewer = ChallengeParts {
        selection: vec![(0x000b, vec![0, 7])],
        ..asked(NONCE)
    };
    let answer = node.machine.prove(&fewer, &EXPORTER);
    assert_eq!(
        code(node.verdict(node.challenge(), &answer), "fewer registers"),
        "HM-VERIFY-0510"
    );
    let (tpm, key) = (node.evidence.tpm(), node.evidence.key());
    for (banks, expected) in [
        (vec![(HashAlg::Sha1, &[7_u8][..])], "HM-VERIFY-0302"),
        (vec![(HashAlg::Sha256, &[16][..])], "HM-VERIFY-0303"),
    ] {
        let selection = PcrSelection::new(banks).unwrap();
        let error = StateChallenge::for_node(tpm, key, NONCE, selection, later()).unwrap_err();
        assert_eq!(error.code().as_str(), expected);
    }
}

#[test]
fn a_challenge_counts_for_its_node_and_its_time() {
    let (node, other) = (Attested::new(Scene::new()), Attested::new(Scene::new()));
    let good = answer(&node.machine, |_| {});
    let at = |seconds| later() + Duration::from_secs(seconds);
    node.verdict_at(node.challenge(), &good, at(60)).unwrap();
    assert_eq!(
        code(node.verdict_at(node.challenge(), &good, at(61)), "late"),
        "HM-VERIFY-0307"
    );
    let before = later() - Duration::from_secs(1);
    assert_eq!(
        code(node.verdict_at(node.challenge(), &good, before), "back"),
        "HM-VERIFY-0308"
    );
    assert_eq!(
        code(node.verdict(other.challenge(), &good), "crossed"),
        "HM-VERIFY-0306"
    );
}

#[test]
fn a_machine_that_was_booted_or_whose_clock_breaks_its_history_is_refused() {
    let mut node = Attested::new(Scene::new());
    node.with(|_| {}).unwrap();
    type Change = fn(&mut ProofDraft);
    let changes: [(&str, Change, &str); 7] = [
        (
            "booted: its key is gone",
            |draft| draft.quote.reset_count += 1,
            "HM-VERIFY-0515",
        ),
        ("an older boot", |draft| draft.quote.reset_count -= 1, "HM-VERIFY-0515"),
        ("resumed", |draft| draft.quote.restart_count += 1, "HM-VERIFY-0515"),
        (
            "other firmware",
            |draft| draft.quote.firmware_version += 1,
            "HM-VERIFY-0515",
        ),
        (
            "the clock went back",
            |draft| draft.quote.clock -= 60_001,
            "HM-VERIFY-0803",
        ),
        (
            "the clock jumped",
            |draft| draft.quote.clock += 3_600_000,
            "HM-VERIFY-0804",
        ),
        (
            "the clock became unsafe",
            |draft| draft.quote.safe = 0,
            "HM-VERIFY-0805",
        ),
    ];
    for (what, change, expected) in changes {
        assert_eq!(code(node.with(change), what), expected, "{what}");
    }
    // A newer run of the agent ended this one: two machines have this TPM's state.
    let newer = node.evidence.state().quote_clock(now());
    node.runs.observe(AgentRunId(2), newer).unwrap();
    assert_eq!(code(node.with(|_| {}), "an ended run"), "HM-VERIFY-0807");
}
