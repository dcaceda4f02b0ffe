//! Machines that come back after their installation, and to which machines nothing is assigned.

use hallmark_state::{AssignWarning, InstallFinding, Node, NodeState};

use super::*;

#[test]
fn a_machine_that_never_starts_from_its_disk_fails_at_its_fourth_return() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let attempt = assign(&mut state, machine);
    for step in [writing(CHUNKS), ReportedStep::Written, ReportedStep::Restarting] {
        report(&mut state, A, attempt, step).unwrap();
    }
    for returns in 1..=3 {
        booted(&mut state, &["boot:baseline:netboot"]);
        let recorded = report(&mut state, A, attempt, ReportedStep::Returned);
        assert_eq!(recorded, Ok(vec![InstallAct::Restarting]));
        // The answer was lost: the same boot is no other return.
        assert_eq!(report(&mut state, A, attempt, ReportedStep::Returned), Ok(Vec::new()));
        assert_eq!(state.image_assignments()[&machine].returns, returns);
    }
    booted(&mut state, &["boot:baseline:netboot"]);
    let gone = report(&mut state, A, attempt, ReportedStep::Returned).unwrap_err();
    assert_eq!(
        (gone.code().as_str(), &gone),
        ("HM-REG-0103", &ProvisionError::NotFromDisk { returns: 4 })
    );
    let InstallStage::Failed { code, reason } = stage(&state, machine) else {
        panic!("{:?}", stage(&state, machine))
    };
    assert!(code == "HM-REG-0103" && reason.contains("4 times"), "{code} {reason}");
    // Tried again, it has its returns back.
    let decided = retry_image(View::new(&state), &ask(&machine), NOW).unwrap();
    assert_eq!(take(&mut state, decided).1.returns, 0);
}

/// A machine that was installed once is netbooted: it is done again when it attests from its disk, and not before.
#[test]
fn a_machine_that_is_done_and_comes_back_is_done_again_by_its_next_attestation() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let attempt = assign(&mut state, machine);
    for step in [writing(CHUNKS), ReportedStep::Written, ReportedStep::Restarting] {
        report(&mut state, A, attempt, step).unwrap();
    }
    booted(&mut state, &["boot:baseline:edge"]);
    // As often as it is wanted: what counts is that it came to its disk in between.
    for _ in 0..5 {
        assert_eq!(stage(&state, machine), InstallStage::Done);
        booted(&mut state, &["boot:baseline:netboot"]);
        assert_eq!(stage(&state, machine), InstallStage::Done);
        report(&mut state, A, attempt, ReportedStep::Returned).unwrap();
        assert_eq!(stage(&state, machine), InstallStage::Restarting);
        // The boot that reported it is not one from the disk.
        assert_eq!(attested(&mut state, &["boot:baseline:edge"]), []);
        assert_eq!(booted(&mut state, &["boot:baseline:edge"]), [InstallAct::Done]);
        assert_eq!(state.image_assignments()[&machine].returns, 0);
    }
    // Its disk was replaced.
    booted(&mut state, &["boot:baseline:netboot"]);
    let failed = report(&mut state, A, attempt, failed("the disk does not start"));
    assert_eq!(failed, Ok(vec![InstallAct::Failed]));
    assert!(retry_image(View::new(&state), &ask(&machine), NOW).is_ok());
}

/// An operator who has named the wrong baseline is told so, and nobody before that.
#[test]
fn what_keeps_a_machine_that_came_back_from_being_done_is_found() {
    let mut state = provisioned();
    let machine = EkId::Spki(A);
    let attempt = assign(&mut state, machine);
    let found = |state: &State| InstallFinding::of(state, &state.image_assignments()[&machine]);
    for step in [writing(CHUNKS), ReportedStep::Written, ReportedStep::Restarting] {
        assert_eq!(found(&state), None);
        report(&mut state, A, attempt, step).unwrap();
    }
    assert_eq!(found(&state), None, "it has not come back");
    booted(&mut state, &["boot:baseline:edge-2"]);
    let other = found(&state).unwrap();
    assert_eq!(other.told_code(), "HM-REG-0105");
    assert!(
        other.compared().unwrap().contains("edge-2") && other.to_string().contains("hallmark node explain spiffe://"),
        "{other}"
    );
    let untrusted = |state: &mut State, code: &str| {
        let node = Node {
            untrusted_reason: code.into(),
            ..Node::clone(state.node(&node_id(A)).unwrap())
        };
        apply(state, vec![Change::PutNode(Arc::new(node))]);
    };
    untrusted(&mut state, "HM-POLICY-0122");
    let refused = found(&state).unwrap();
    assert_eq!(refused.told_code(), "HM-POLICY-0122");
    assert!(refused.to_string().contains("refused"), "{refused}");
    untrusted(&mut state, "");
    booted(&mut state, &["boot:baseline:edge"]);
    assert_eq!((found(&state), stage(&state, machine)), (None, InstallStage::Done));
}

#[test]
fn a_machine_that_is_out_of_service_gets_no_assignment_and_one_that_nobody_knows_a_warning() {
    let with = |node_state: NodeState| {
        let mut state = provisioned();
        let node = Node {
            state: node_state,
            ..Node::clone(state.node(&node_id(A)).unwrap())
        };
        apply(&mut state, vec![Change::PutNode(Arc::new(node))]);
        state
    };
    // By whichever of its keys.
    for key in [A, A2] {
        let machine = EkId::Spki(key);
        for out in [NodeState::Banned, NodeState::Retired] {
            let refused = assign_image(View::new(&with(out)), &ask(&machine), &order(), NOW).unwrap_err();
            assert_eq!(refused.code().as_str(), "HM-REG-0104");
            assert!(refused.compared().unwrap().contains(out.as_str()), "{refused}");
        }
        for (standing, warned) in [
            (NodeState::Active, None),
            (NodeState::Suspended, Some("hallmark node resume spiffe://")),
            (NodeState::Pending, Some("hallmark node approve spiffe://")),
        ] {
            let state = with(standing);
            assert!(assign_image(View::new(&state), &ask(&machine), &order(), NOW).is_ok());
            let warning = AssignWarning::of(&state, &machine).map(|it| it.to_string());
            assert_eq!(warning.is_some(), warned.is_some(), "{warning:?}");
            assert!(warned.is_none_or(|words| warning.unwrap().contains(words)));
        }
    }
    let nobody = EkId::Spki([0x77; 32]);
    let warning = AssignWarning::of(&provisioned(), &nobody).unwrap().to_string();
    assert!(
        warning.contains("inventory") && warning.contains(&nobody.to_string()),
        "{warning}"
    );
}
