//! Lists in an attestation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_evidence::{Log, LogKind};
use hallmark_reason::Coded as _;
use hallmark_tpm_wire::{HashAlg, PcrSelection, PcrValues};
use hallmark_verify::history::{AgentRunId, AgentRuns};
use hallmark_verify::ima::BootAggregate;
use hallmark_verify::testing::{ChallengeParts, SoftwareMachine, VendorCa};
use hallmark_verify::{
    HeldLogs, KnownNode, ProvenState, StateChallenge, StateProof, Trust, VerifiedEvidence, VerifyError, verify_claim,
    verify_logs, verify_proof, verify_state,
};
use zeroize::Zeroizing;

use crate::lists::{aggregate, register};
use crate::writer;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

const EXPORTER: [u8; 32] = [0x5a; 32];

fn selection() -> PcrSelection {
    PcrSelection::new([(HashAlg::Sha256, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10][..])]).unwrap()
}

/// A machine that measured `lines`; its first line is `aggregate` of its registers.
struct Scene {
    trust: Trust,
    machine: SoftwareMachine,
}

impl Scene {
    fn new() -> Self {
        let vendor = VendorCa::new();
        let trust = SoftwareMachine::trust(&vendor);
        Self {
            trust,
            machine: SoftwareMachine::new(&vendor),
        }
    }

    fn first_line(&self) -> Vec<u8> {
        let mut values = PcrValues::new();
        for pcr in 0..10 {
            values
                .insert(HashAlg::Sha256, pcr, self.machine.pcrs[&(0x000b, pcr)].clone())
                .unwrap();
        }
        aggregate(&values)
    }

    /// Sends `sent` from `offset` on, having measured `measured`.
    fn attest(
        &mut self,
        offset: u64,
        sent: &[Vec<u8>],
        measured: &[Vec<u8>],
        held: &HeldLogs,
    ) -> Result<VerifiedEvidence, VerifyError> {
        self.measured(offset, sent, measured);
        let sent = self.machine.logs.clone();
        self.attest_sending(sent, held)
    }

    /// The machine has `measured`, and announces `sent` from `offset` on.
    fn measured(&mut self, offset: u64, sent: &[Vec<u8>], measured: &[Vec<u8>]) {
        self.machine.pcrs.insert((0x000b, 10), register(measured));
        self.machine.logs = vec![Log::new(LogKind::Ima, offset, sent.concat()).unwrap()];
    }

    /// Sends these logs behind a proof that announces the machine's.
    fn attest_sending(&self, logs: Vec<Log>, held: &HeldLogs) -> Result<VerifiedEvidence, VerifyError> {
        let (exporter, selection) = (EXPORTER, selection());
        let verified_claim = verify_claim(self.machine.claim().decode().unwrap(), &self.trust, None, now())?;
        let secret = Some(Zeroizing::new([0x7c; 32]));
        let challenge = verified_claim.challenge_with([0x6b; 32], secret, selection, now())?;
        let proof = self.machine.prove(&ChallengeParts::from(&challenge), &exporter);
        let verified_proof = verify_proof(verified_claim, challenge, proof.decode().unwrap(), &exporter, now())?;
        verify_logs(verified_proof, logs, held)
    }

    /// Answers a continuous challenge, after `evidence`, with these logs behind a quote that announces the machine's.
    fn prove_again(
        &self,
        evidence: &VerifiedEvidence,
        logs: Vec<Log>,
        held: &HeldLogs,
    ) -> Result<ProvenState, VerifyError> {
        let (tpm, key, run) = (evidence.tpm(), evidence.key(), AgentRunId(1));
        let runs = AgentRuns::resume(evidence.state().quote_clock(now()));
        let challenge = StateChallenge::for_node(tpm, key, [0x6c; 32], selection(), now())?;
        let asked = ChallengeParts {
            nonce: *challenge.nonce(),
            credential: None,
            selection: vec![(0x000b, (0..11).collect())],
        };
        let answer = self.machine.prove(&asked, &EXPORTER).decode().unwrap();
        let proof = StateProof {
            quote: answer.quote,
            pcr_values: answer.pcr_values,
            logs: answer.logs,
        };
        let runs = &runs;
        let node = KnownNode { tpm, key, runs, run };
        verify_state(node, challenge, proof, &EXPORTER, now())?.with_logs(logs, held)
    }
}

fn program(number: u8) -> Vec<u8> {
    writer::file(&format!("/usr/bin/{number}"), &[number; 32])
}

#[test]
fn attack_48_a_list_of_another_boot_is_refused_whatever_the_policy() {
    let mut scene = Scene::new();
    let list = [scene.first_line(), program(1)];
    let evidence = scene.attest(0, &list, &list, &HeldLogs::default()).unwrap();
    let files = evidence.ima().unwrap();
    assert_eq!(
        (files.line_count(), files.boot_aggregate()),
        (2, Some(BootAggregate::Matches))
    );
    // The register moves after the kernel has started, or was another one then.
    scene.machine.pcrs.insert((0x000b, 4), vec![4; 32]);
    let refused = scene.attest(0, &list, &list, &HeldLogs::default()).unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-VERIFY-0904");
    // That the line is missing contradicts nothing; rules decide.
    let without = [program(1)];
    let evidence = scene.attest(0, &without, &without, &HeldLogs::default()).unwrap();
    assert_eq!(evidence.ima().unwrap().boot_aggregate(), Some(BootAggregate::Absent));
}

#[test]
fn attack_48_only_the_new_part_comes_and_from_where_the_last_one_ended() {
    let mut scene = Scene::new();
    let list = [scene.first_line(), program(1), program(2)];
    let evidence = scene.attest(0, &list[..2], &list[..2], &HeldLogs::default()).unwrap();
    let files = evidence.ima().unwrap();
    let held = HeldLogs {
        ima: Some((files.proven_bytes(), files.replay().clone())),
        ..HeldLogs::default()
    };
    let end = files.proven_bytes();
    let evidence = scene.attest(end, &list[2..], &list, &held).unwrap();
    assert_eq!(evidence.ima().unwrap().line_count(), 3);
    let code = |result: Result<VerifiedEvidence, VerifyError>| result.unwrap_err().code().to_string();
    // Rewound or skipped by its word, and by its bytes.
    for offset in [end - 1, end + 1] {
        assert_eq!(code(scene.attest(offset, &list[2..], &list, &held)), "HM-VERIFY-0903");
    }
    assert_eq!(code(scene.attest(end, &list[1..], &list, &held)), "HM-VERIFY-0902");
    assert_eq!(code(scene.attest(end, &[], &list, &held)), "HM-VERIFY-0902");
    // Nothing is held: the part alone is none.
    assert_eq!(
        code(scene.attest(end, &list[2..], &list, &HeldLogs::default())),
        "HM-VERIFY-0903"
    );
}

/// The third part's logs, behind an attestation and behind a continuous challenge.
#[test]
fn logs_left_out_of_another_machine_or_of_another_time_are_refused() {
    let mut scene = Scene::new();
    let mut other = Scene::new();
    other.machine.pcrs.insert((0x000b, 4), vec![4; 32]);
    let (first, other) = (scene.first_line(), other.first_line());
    let list = [first.clone(), program(1), program(2)];
    let log = |lines: &[Vec<u8>]| Log::new(LogKind::Ima, 0, lines.concat()).unwrap();
    scene.measured(0, &list, &list);
    let whole = HeldLogs::default();
    let evidence = scene.attest_sending(vec![log(&list)], &whole).unwrap();
    scene.prove_again(&evidence, vec![log(&list)], &whole).unwrap();
    let of_another = [other, program(1), program(2)];
    let reordered = [first.clone(), program(2), program(1)];
    for (what, logs, code) in [
        ("none", vec![], "HM-VERIFY-0161"),
        ("twice", vec![log(&list), log(&list)], "HM-VERIFY-0161"),
        ("as it was before", vec![log(&list[..2])], "HM-VERIFY-0161"),
        ("another machine's", vec![log(&of_another)], "HM-VERIFY-0162"),
        ("reordered", vec![log(&reordered)], "HM-VERIFY-0162"),
    ] {
        let refused = scene.attest_sending(logs.clone(), &whole).unwrap_err();
        assert_eq!(refused.code().as_str(), code, "{what}");
        let refused = scene.prove_again(&evidence, logs, &whole).unwrap_err();
        assert_eq!(refused.code().as_str(), code, "{what}, continuous");
    }
    // Announced and bound, and still not what was measured.
    for (what, lines) in [("of another machine", of_another), ("reordered", reordered)] {
        scene.measured(0, &lines, &list);
        let refused = scene.attest_sending(vec![log(&lines)], &whole).unwrap_err();
        assert_eq!(refused.code().as_str(), "HM-VERIFY-0902", "{what}");
        let refused = scene.prove_again(&evidence, vec![log(&lines)], &whole).unwrap_err();
        assert_eq!(refused.code().as_str(), "HM-VERIFY-0902", "{what}, continuous");
    }
    // The new part alone, behind what is held.
    let files = evidence.ima().unwrap();
    let held = HeldLogs {
        ima: Some((files.proven_bytes(), files.replay().clone())),
        ..HeldLogs::default()
    };
    let new = [program(3)];
    scene.measured(files.proven_bytes(), &new, &[&list[..], &new].concat());
    let sent = scene.machine.logs.clone();
    let state = scene.prove_again(&evidence, sent.clone(), &held).unwrap();
    assert_eq!(state.ima().unwrap().line_count(), 4);
    let refused = scene.prove_again(&evidence, sent, &whole).unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-VERIFY-0903");
}
