//! Installations over the network: who may take which step, and when one is done.

mod returns;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hallmark_node::EkId;
use hallmark_policy::{Baseline, BaselineState, PolicySet, Prediction};
use hallmark_reason::Coded as _;
use hallmark_spiffe::Selector;
use hallmark_state::{
    Approvers, Change, Decision, Event, ImageAssignment, ImageOrder, InstallAct, InstallStage, Manifest, NodeSvid,
    Outcome, ProvisionError, Record, State, Tail, View, What,
    decide::{
        Accepted, ApprovalRules, Basis, Evidence, Proven, ProvisionAsk, ReportedStep, StepReport, accept, assign_image,
        remove_image, report_step, retry_image,
    },
};

use crate::{
    conflicts::changes_of_others,
    samples::{
        A, A2, B, NEW, NOW, attestation_in, name, new_evidence, node_id, put_name, selector, state, transaction,
    },
};

const CHUNKS: u32 = 1000;

fn order() -> ImageOrder {
    ImageOrder {
        image: "hallmark-edge".into(),
        version: "2026.11.1".into(),
        chunks: CHUNKS,
        manifest_url: "http://images.example/edge/manifest".into(),
        manifest_sha256: [5; 32],
        disk: String::new(),
        overwrite: false,
        baseline: "edge".into(),
    }
}

pub(crate) fn assignment(ek: EkId) -> ImageAssignment {
    ImageAssignment {
        ek,
        attempt: 1,
        order: order(),
        stage: InstallStage::Assigned,
        returns: 0,
        restarted_in: None,
        assigned_at: NOW,
        since: NOW,
    }
}

/// What others may have changed meanwhile.
pub(crate) fn changes_of_images() -> Vec<(&'static str, Change)> {
    let put = |ek| Change::PutImageAssignment(Arc::new(assignment(EkId::Spki(ek))));
    vec![
        ("image of a", put(A)),
        ("image of a2", put(A2)),
        ("image of b", put(B)),
        ("image of b taken back", Change::DeleteImageAssignment(EkId::Spki(B))),
    ]
}

fn baseline(name: &str, state: BaselineState) -> Baseline {
    let values = [("sha256:4".to_owned(), BTreeSet::from(["ab".repeat(32)]))].into();
    let predicted = Baseline::predicted(name, 1, NOW, Prediction::default(), values, Vec::new()).unwrap();
    Baseline { state, ..predicted }
}

fn apply(state: &mut State, changes: Vec<Change>) {
    let revision = state.revision() + 1;
    state.apply(&Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(changes, Vec::new())),
    });
}

/// The samples' state with two baselines: `edge`, and `old`, which is retired.
fn provisioned() -> State {
    let mut set = PolicySet::default();
    set.add_baseline(baseline("edge", BaselineState::Active));
    set.add_baseline(baseline("old", BaselineState::Retired));
    let mut state = state();
    let manifest = Manifest::new([("rules".to_owned(), [3; 32])]);
    apply(&mut state, vec![Change::put_rules(Arc::new(set), manifest)]);
    state
}

fn ask(machine: &EkId) -> ProvisionAsk<'_> {
    ProvisionAsk {
        machine,
        reason: "rack 7",
        dry_run: false,
    }
}

fn take<T>(state: &mut State, decided: (Decision, T)) -> (Vec<Event>, T) {
    apply(state, decided.0.changes);
    (decided.0.events, decided.1)
}

fn assign(state: &mut State, ek: EkId) -> u64 {
    let decided = assign_image(View::new(state), &ask(&ek), &order(), NOW).unwrap();
    take(state, decided).1.attempt
}

/// Reports a step; gives the acts that are recorded.
fn report(
    state: &mut State,
    ek: [u8; 32],
    attempt: u64,
    step: ReportedStep,
) -> Result<Vec<InstallAct>, ProvisionError> {
    let report = StepReport {
        attempt,
        manifest_sha256: vec![5; 32],
        step,
    };
    let (events, answer) = take(state, report_step(View::new(state), &ek, &report, NOW + 1)?);
    answer.map(|()| acts(&events))
}

fn acts(events: &[Event]) -> Vec<InstallAct> {
    let act = |event: &Event| match &event.what {
        What::InstallStep(step) => Some(step.act),
        _ => None,
    };
    events.iter().filter_map(act).collect()
}

fn stage(state: &State, ek: EkId) -> InstallStage {
    state.image_assignments()[&ek].stage.clone()
}

const fn writing(done: u32) -> ReportedStep {
    ReportedStep::Writing { done, of: CHUNKS }
}

fn failed(reason: &str) -> ReportedStep {
    ReportedStep::Failed {
        code: "HM-IMAGE-0022".into(),
        reason: reason.to_owned(),
    }
}

/// What an accepted attestation of node a with these selectors decides, in the boot of the one before.
fn attested(state: &mut State, selectors: &[&str]) -> Vec<InstallAct> {
    attested_in(
        state,
        state.attestation(&node_id(A)).unwrap().quote_clock.reset_count,
        selectors,
    )
}

/// The same, after the machine has booted again.
fn booted(state: &mut State, selectors: &[&str]) -> Vec<InstallAct> {
    attested_in(
        state,
        state.attestation(&node_id(A)).unwrap().quote_clock.reset_count + 1,
        selectors,
    )
}

fn attested_in(state: &mut State, boot: u32, selectors: &[&str]) -> Vec<InstallAct> {
    let selectors: BTreeSet<Selector> = selectors.iter().map(|text| selector(text)).collect();
    let id = node_id(A);
    let basis = Basis {
        rules: state.rules().revision,
        trust: state.trust_revision(),
        inventory: Arc::clone(state.inventory()),
        ek_ids: vec![EkId::Spki(A)],
        ek_sha256: A,
        other_eks: state.listed_with(&A),
    };
    let clock = state.attestation(&id).unwrap().quote_clock.clock + 100;
    let evidence = Evidence {
        new: Arc::new(new_evidence(A, clock)),
        state: Arc::new(attestation_in(boot, clock)),
        before: state.attestation(&id).cloned(),
        certificate: None,
    };
    let accepted = Accepted {
        proven: Proven {
            id: &id,
            attestation_type: "tpm2",
            ak_name: &[],
            selectors: &selectors,
            facts: "{}",
            basis: &basis,
            stale_at: None,
            evidence: &evidence,
        },
        svid: NodeSvid {
            serial: 9,
            expires_at: NOW + 60,
        },
        authority: "key",
        events: vec![intent()],
    };
    let rules = ApprovalRules {
        approvers: Approvers::None,
        lifetime: Duration::from_secs(3600),
    };
    let decision = accept(View::new(state), &accepted, &rules, NOW + 2).unwrap();
    apply(state, decision.changes);
    // By the last numbers what came of the intents is put on record.
    assert_eq!(decision.events.last(), Some(&intent()));
    acts(&decision.events)
}

fn intent() -> Event {
    Event::svid_intent("spiffe://example.org/a".into(), 9, NOW + 60, "".into(), None)
}

#[test]
fn an_installation_goes_through_its_steps_and_the_server_decides_that_it_is_done() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let decided = assign_image(View::new(&state), &ask(&machine), &order(), NOW).unwrap();
    let (events, assigned) = take(&mut state, decided);
    assert_eq!(acts(&events), [InstallAct::Assigned]);
    assert_eq!(&*events[0].subject, node_id(A).as_str());
    let What::InstallStep(step) = &events[0].what else {
        panic!("{events:?}")
    };
    assert_eq!((step.reason.as_str(), step.manifest_sha256), ("rack 7", [5; 32]));
    let attempt = assigned.attempt;
    for (step, act) in [
        (writing(0), InstallAct::Writing),
        (ReportedStep::Written, InstallAct::Written),
        (ReportedStep::Restarting, InstallAct::Restarting),
    ] {
        // What the machine measured of this boot is not what its disk has: nothing of it is done.
        assert_eq!(attested(&mut state, &["boot:baseline:netboot"]), []);
        assert_eq!(report(&mut state, A, attempt, step.clone()), Ok(vec![act]));
        // Again: no news.
        assert_eq!(report(&mut state, A, attempt, step), Ok(Vec::new()));
    }
    assert_eq!(booted(&mut state, &["boot:baseline:netboot"]), []);
    assert_eq!(stage(&state, machine), InstallStage::Restarting);
    // The baseline came into force later.
    let done = attested(&mut state, &["boot:baseline:edge", "boot:secure-boot:enabled"]);
    assert_eq!(
        (done, stage(&state, machine)),
        (vec![InstallAct::Done], InstallStage::Done)
    );
    // Once.
    assert_eq!(attested(&mut state, &["boot:baseline:edge"]), []);
}

#[test]
fn the_baseline_alone_is_not_enough_before_the_machine_restarts() {
    let mut state = provisioned();
    let attempt = assign(&mut state, EkId::Spki(A));
    for step in [writing(0), ReportedStep::Written, ReportedStep::Restarting] {
        assert_eq!(attested(&mut state, &["boot:baseline:edge"]), []);
        report(&mut state, A, attempt, step).unwrap();
    }
    // The same boot still: nothing was started from the disk.
    assert_eq!(attested(&mut state, &["boot:baseline:edge"]), []);
    assert_eq!(booted(&mut state, &["boot:baseline:edge"]), [InstallAct::Done]);
}

/// After a restore an attempt's number may come again, for another image.
#[test]
fn a_report_about_another_image_is_refused() {
    let mut state = provisioned();
    let attempt = assign(&mut state, EkId::Spki(A));
    for manifest_sha256 in [vec![6; 32], vec![5; 31], Vec::new(), vec![5; 40]] {
        let report = StepReport {
            attempt,
            manifest_sha256,
            step: writing(0),
        };
        let refused = report_step(View::new(&state), &A, &report, NOW).unwrap_err();
        assert!(matches!(refused, ProvisionError::Report { .. }), "{refused:?}");
    }
    report(&mut state, A, attempt, writing(0)).unwrap();
}

#[test]
fn every_step_that_does_not_follow_is_refused_and_changes_nothing() {
    let steps = [
        ("writing", vec![writing(10)]),
        ("written", vec![writing(0), ReportedStep::Written]),
        (
            "restarting",
            vec![writing(0), ReportedStep::Written, ReportedStep::Restarting],
        ),
        ("failed", vec![failed("first")]),
        ("assigned", vec![]),
        (
            "done",
            vec![writing(0), ReportedStep::Written, ReportedStep::Restarting],
        ),
    ];
    let allowed = [
        ("assigned", "writing"),
        ("assigned", "failed"),
        ("writing", "writing"),
        ("writing", "written"),
        ("writing", "failed"),
        ("written", "writing"),
        ("written", "written"),
        ("written", "restarting"),
        ("written", "failed"),
        ("restarting", "restarting"),
        ("restarting", "returned"),
        ("restarting", "failed"),
        ("done", "returned"),
        ("done", "failed"),
        ("failed", "failed"),
    ];
    for (before, path) in steps {
        for (name, step) in [
            ("writing", writing(500)),
            ("written", ReportedStep::Written),
            ("restarting", ReportedStep::Restarting),
            ("returned", ReportedStep::Returned),
            ("failed", failed("again")),
        ] {
            let mut state = provisioned();
            let attempt = assign(&mut state, EkId::Spki(A));
            for step in &path {
                report(&mut state, A, attempt, step.clone()).unwrap();
            }
            if before == "done" {
                booted(&mut state, &["boot:baseline:edge"]);
            }
            let known = state.image_assignments().clone();
            assert_eq!(stage(&state, EkId::Spki(A)).as_str(), before);
            let found = report(&mut state, A, attempt, step);
            if allowed.contains(&(before, name)) {
                found.unwrap_or_else(|error| panic!("{name} after {before}: {error}"));
                continue;
            }
            let expected = ProvisionError::OutOfOrder {
                stage: stage(&state, EkId::Spki(A)).as_str(),
                step: name,
            };
            assert_eq!(found, Err(expected));
            assert_eq!(*state.image_assignments(), known);
        }
    }
}

#[test]
fn a_report_of_another_attempt_or_by_another_machine_is_refused() {
    let mut state = provisioned();
    let attempt = assign(&mut state, EkId::Spki(A));
    for other in [0, attempt - 1, attempt + 1, u64::MAX] {
        let expected = ProvisionError::OtherAttempt {
            assigned: attempt,
            reported: other,
        };
        assert_eq!(report(&mut state, A, other, writing(0)), Err(expected));
    }
    let not_assigned = ProvisionError::NotAssigned {
        machine: node_id(B).to_string(),
    };
    assert_eq!(report(&mut state, B, attempt, writing(0)), Err(not_assigned));
    // The control.
    assert_eq!(
        report(&mut state, A, attempt, writing(0)),
        Ok(vec![InstallAct::Writing])
    );
    // What is assigned anew, tried again or taken back meanwhile is another attempt, whatever was there before.
    let mut attempts = vec![attempt];
    let machine = EkId::Spki(A);
    attempts.push(assign(&mut state, machine));
    report(&mut state, A, attempts[1], failed("the disk does not take it")).unwrap();
    let decided = retry_image(View::new(&state), &ask(&machine), NOW).unwrap();
    let (events, retried) = take(&mut state, decided);
    assert_eq!((acts(&events), &retried.order), (vec![InstallAct::Retried], &order()));
    attempts.push(retried.attempt);
    let decided = remove_image(View::new(&state), &ask(&machine)).unwrap();
    assert_eq!(acts(&take(&mut state, decided).0), [InstallAct::Removed]);
    assert!(state.image_assignments().is_empty());
    assert!(matches!(
        report(&mut state, A, attempts[2], writing(0)),
        Err(ProvisionError::NotAssigned { .. })
    ));
    attempts.push(assign(&mut state, machine));
    assert!(attempts.is_sorted_by(|a, b| a < b), "{attempts:?}");
    for old in &attempts[..3] {
        assert!(matches!(
            report(&mut state, A, *old, writing(0)),
            Err(ProvisionError::OtherAttempt { .. })
        ));
    }
}

#[test]
fn progress_is_kept_by_the_hundredth_and_a_machine_that_lost_power_begins_again() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let attempt = assign(&mut state, machine);
    let mut changes = 0;
    for done in 0..=CHUNKS {
        let known = state.image_assignments().clone();
        report(&mut state, A, attempt, writing(done)).unwrap();
        changes += usize::from(*state.image_assignments() != known);
    }
    assert_eq!(changes, 101);
    assert_eq!(stage(&state, machine), InstallStage::Writing { done: CHUNKS });
    report(&mut state, A, attempt, ReportedStep::Written).unwrap();
    // A late report of the last chunk is no step back; one of the first chunk is a machine that begins again.
    assert_eq!(report(&mut state, A, attempt, writing(CHUNKS)), Ok(Vec::new()));
    assert_eq!(stage(&state, machine), InstallStage::Written);
    assert_eq!(
        report(&mut state, A, attempt, writing(3)),
        Ok(vec![InstallAct::Writing])
    );
    assert_eq!(stage(&state, machine), InstallStage::Writing { done: 3 });
}

#[test]
fn a_failure_is_recorded_with_its_code_and_reason_and_ends_the_attempt() {
    let mut state = provisioned();
    let attempt = assign(&mut state, EkId::Spki(A));
    let report_of = |step| StepReport {
        attempt,
        manifest_sha256: vec![5; 32],
        step,
    };
    let (decision, answer) = report_step(View::new(&state), &A, &report_of(failed("no disk")), NOW).unwrap();
    assert_eq!(answer, Ok(()));
    let event = &decision.events[0];
    assert_eq!((event.outcome, &*event.code), (Outcome::Failed, "HM-IMAGE-0022"));
    let shown = event.readable(NOW, node_id(A).as_str());
    assert!(shown.detail.contains(r#""reason":"no disk""#), "{}", shown.detail);
    for (what, step) in [
        ("code", ("HM-IMAGE-22", "no disk")),
        ("code", ("hm-image-0022", "no disk")),
        ("code", ("", "no disk")),
        ("code", ("HM-\u{1b}[2J-0022", "no disk")),
        ("reason", ("HM-IMAGE-0022", "no\ndisk")),
        ("reason", ("HM-IMAGE-0022", "no \u{202e}disk")),
        ("reason", ("HM-IMAGE-0022", &*"r".repeat(2001))),
    ] {
        let step = ReportedStep::Failed {
            code: step.0.to_owned(),
            reason: step.1.to_owned(),
        };
        let error = report_step(View::new(&state), &A, &report_of(step), NOW).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.code().as_str(), "HM-REG-0102");
    }
    for (done, of) in [(0, CHUNKS - 1), (0, 0), (CHUNKS + 1, CHUNKS)] {
        let step = ReportedStep::Writing { done, of };
        let error = report_step(View::new(&state), &A, &report_of(step), NOW).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-REG-0102", "{done} of {of}");
    }
}

#[test]
fn an_image_is_assigned_only_under_a_baseline_in_force() {
    let state = provisioned();
    let machine = EkId::Spki(NEW);
    for (name, found) in [("edg", "none"), ("old", "a retired one")] {
        let order = ImageOrder {
            baseline: name.to_owned(),
            ..order()
        };
        let error = assign_image(View::new(&state), &ask(&machine), &order, NOW).unwrap_err();
        let expected = ProvisionError::NoBaseline {
            baseline: name.to_owned(),
            found,
        };
        assert_eq!(error, expected);
    }
    assert!(assign_image(View::new(&state), &ask(&machine), &order(), NOW).is_ok());
    let dry = ProvisionAsk {
        dry_run: true,
        ..ask(&machine)
    };
    assert!(
        assign_image(View::new(&state), &dry, &order(), NOW)
            .unwrap()
            .0
            .is_empty()
    );
}

#[test]
fn what_has_not_begun_or_is_done_is_not_tried_again() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let refused = |state: &State| {
        retry_image(View::new(state), &ask(&machine), NOW)
            .map(drop)
            .unwrap_err()
    };
    assert!(matches!(refused(&state), ProvisionError::NotAssigned { .. }));
    let attempt = assign(&mut state, machine);
    assert_eq!(refused(&state), ProvisionError::NothingToRetry { stage: "assigned" });
    for step in [writing(0), ReportedStep::Written, ReportedStep::Restarting] {
        report(&mut state, A, attempt, step).unwrap();
        assert!(retry_image(View::new(&state), &ask(&machine), NOW).is_ok());
    }
    booted(&mut state, &["boot:baseline:edge"]);
    let done = refused(&state);
    assert_eq!(done, ProvisionError::NothingToRetry { stage: "done" });
    assert!(done.next_step().unwrap().contains("provision assign"));
}

#[test]
fn a_machine_is_found_by_whichever_of_its_keys_it_was_named() {
    // By the Name of an EK that nobody has seen: it counts once the TPM has proven it.
    let mut state = provisioned();
    let by_name = EkId::of_name(&name(0x77)).unwrap();
    let attempt = assign(&mut state, by_name);
    assert!(matches!(
        report(&mut state, A, attempt, writing(0)),
        Err(ProvisionError::NotAssigned { .. })
    ));
    apply(&mut state, vec![put_name(0x77, A)]);
    assert_eq!(
        report(&mut state, A, attempt, writing(0)),
        Ok(vec![InstallAct::Writing])
    );
    // By the EK that operators list with its own. The newer one counts, and takes the place of the other.
    let again = assign(&mut state, EkId::Spki(A2));
    assert_eq!(state.image_assignments().keys().collect::<Vec<_>>(), [&EkId::Spki(A2)]);
    assert!(report(&mut state, A, attempt, writing(0)).is_err());
    assert_eq!(report(&mut state, A, again, writing(0)), Ok(vec![InstallAct::Writing]));
    // Keys that were found to be one machine's later: the newest assignment counts, and all go together.
    let older = assign(&mut state, EkId::Spki(NEW));
    apply(
        &mut state,
        vec![Change::PutMachineEks(
            [EkId::Spki(A), EkId::Spki(A2), EkId::Spki(NEW)].into(),
        )],
    );
    assert!(matches!(
        report(&mut state, A, again, writing(20)),
        Err(ProvisionError::OtherAttempt { .. })
    ));
    assert_eq!(report(&mut state, A, older, writing(20)), Ok(vec![InstallAct::Writing]));
    let decided = remove_image(View::new(&state), &ask(&EkId::Spki(A))).unwrap();
    take(&mut state, decided);
    assert!(state.image_assignments().is_empty());
}

#[test]
fn a_decision_is_made_again_after_changes_of_the_machine_s_image_and_keys_alone() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let attempt = assign(&mut state, machine);
    let expect = |decision: &Decision, again: &[&str]| {
        let mut found = BTreeSet::new();
        for (name, change) in changes_of_others() {
            let mut tail = Tail::new(state.revision());
            tail.push(state.revision() + 1, &transaction(vec![change], Vec::new()));
            if tail.conflict(&decision.expect).is_some() {
                found.insert(name);
            }
        }
        assert_eq!(found, again.iter().copied().collect());
    };
    let of_machine = ["image of a", "image of a2", "machines", "name of a"];
    let report = StepReport {
        attempt,
        manifest_sha256: vec![5; 32],
        step: writing(0),
    };
    let (reported, _) = report_step(View::new(&state), &A, &report, NOW).unwrap();
    expect(&reported, &of_machine);
    let (removed, _) = remove_image(View::new(&state), &ask(&machine)).unwrap();
    expect(&removed, &of_machine);
    let (assigned, _) = assign_image(View::new(&state), &ask(&machine), &order(), NOW).unwrap();
    // A machine that is put out meanwhile gets none.
    let of_nodes = [
        "a attested",
        "a banned",
        "a evicted",
        "a judged",
        "a's facts",
        "a's quote without time",
        "a2 attested",
    ];
    expect(&assigned, &[&of_machine[..], &of_nodes, &["rules", "trust"]].concat());
}
