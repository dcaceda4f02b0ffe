//! What comes between a look and the record of the decision that it led to.

use std::sync::Arc;

use hallmark_node::EkId;
use hallmark_state::{
    Action, Appraised, Change, Gap, Manifest, Role, State, Tail, View,
    decide::{Reappraisal, RoleGap, RoleHolder, doubt_times, reappraise_page, role_stands},
};

use crate::{
    conflicts::{changed, changes_of_others},
    samples::{A, NEW, NOW, id, node_id, state, transaction},
};

#[test]
fn a_reappraisal_from_before_a_link_does_not_count() {
    let mut state = state();
    let apply = |state: &mut State, changes| {
        let revision = state.revision() + 1;
        state.apply(&hallmark_state::Record {
            revision,
            first_event: 1,
            transaction: Arc::new(transaction(changes, Vec::new())),
        });
    };
    apply(
        &mut state,
        vec![Change::put_rules(
            Arc::default(),
            Manifest::new([("rules".to_owned(), [9; 32])]),
        )],
    );
    let rules = state.rules().revision;
    // Judged by these rules, before an import lists another EK with it.
    let before = state.listed_with(&A);
    let evidence = state.attestation(&node_id(A)).map(|it| it.revision);
    let seen_at = state.attestation(&node_id(A)).map_or(0, |it| it.quote_clock.seen_at);
    let page = [Reappraisal {
        node: node_id(A),
        evidence,
        seen_at,
        other_eks: before,
        result: None,
        stale_at: None,
        facts: None,
    }];
    apply(
        &mut state,
        vec![
            Change::PutMachineEks([EkId::Spki(A), EkId::Spki(NEW)].into()),
            Change::PutAppraised {
                node: node_id(A),
                appraised: Appraised::default(),
            },
        ],
    );
    assert!(
        !state.node(&node_id(A)).unwrap().is_appraised_by(rules, NOW),
        "behind after the import"
    );
    let (decision, _) = reappraise_page(View::new(&state), &page, rules, "x");
    apply(&mut state, decision.changes);
    assert!(
        !state.node(&node_id(A)).unwrap().is_appraised_by(rules, NOW),
        "still behind: it was judged without the link"
    );
    // The control: judged with it.
    let [mut judged] = page;
    judged.other_eks = state.listed_with(&A);
    let (decision, _) = reappraise_page(View::new(&state), &[judged], rules, "x");
    apply(&mut state, decision.changes);
    assert!(state.node(&node_id(A)).unwrap().is_appraised_by(rules, NOW));
}

#[test]
fn a_role_ends_with_new_rules_until_they_have_judged_its_machine() {
    let mut state = state();
    let apply = |state: &mut State, change| {
        let revision = state.revision() + 1;
        state.apply(&hallmark_state::Record {
            revision,
            first_event: 1,
            transaction: Arc::new(transaction(vec![change], Vec::new())),
        });
    };
    let appraised = |rules, stale_at| Change::PutAppraised {
        node: node_id(A),
        appraised: Appraised { rules, stale_at },
    };
    let configured = [id("/web"), node_id(A)].into();
    // A workload's role, and an agent's own.
    for id in [id("/web"), node_id(A)] {
        let holder = RoleHolder {
            id,
            agent: node_id(A),
            issued_at: NOW,
        };
        let stands = |state: &State| role_stands(&View::new(state), &holder, Role::Admin, &configured, NOW);
        let before = state.rules().revision;
        apply(&mut state, appraised(before, None));
        assert_eq!(stands(&state), Ok(()), "the control");
        apply(
            &mut state,
            Change::put_rules(Arc::default(), Manifest::new([("rules".to_owned(), [9; 32])])),
        );
        assert!(matches!(stands(&state), Err(RoleGap::NotJudged(_))), "not judged yet");
        let rules = state.rules().revision;
        apply(&mut state, appraised(rules, Some(NOW)));
        assert!(
            matches!(stands(&state), Err(RoleGap::NotJudged(_))),
            "the verdict is stale"
        );
        apply(&mut state, appraised(rules, Some(NOW + 1)));
        assert_eq!(stands(&state), Ok(()), "judged");
    }
}

#[test]
fn a_verdict_with_an_end_is_made_again_once_the_time_of_its_quote_is_in_doubt() {
    let apply = |state: &mut State, changes| {
        let revision = state.revision() + 1;
        let record = hallmark_state::Record {
            revision,
            first_event: 1,
            transaction: Arc::new(transaction(changes, Vec::new())),
        };
        state.follow(&record).unwrap();
    };
    // Before the first rules everything is judged by them.
    let ruled = || {
        let mut state = state();
        let manifest = Manifest::new([("rules".to_owned(), [9; 32])]);
        apply(&mut state, vec![Change::put_rules(Arc::default(), manifest)]);
        state
    };
    let mut state = ruled();
    let (rules, held) = (state.rules().revision, state.attestation(&node_id(A)).unwrap().clone());
    let appraised = |stale_at| Change::PutAppraised {
        node: node_id(A),
        appraised: Appraised { rules, stale_at },
    };
    let judged = Reappraisal {
        node: node_id(A),
        evidence: Some(held.revision),
        seen_at: held.quote_clock.seen_at,
        other_eks: state.listed_with(&A),
        result: None,
        stale_at: Some(NOW + 900),
        facts: None,
    };
    let is_judged = |state: &State| state.node(&node_id(A)).unwrap().is_appraised_by(rules, NOW);
    let seen_at = held.quote_clock.seen_at;
    // The control: what has no end stays as it is, and what is of the past is not in doubt.
    for (stale_at, time, counts) in [(None, seen_at - 1, 2), (Some(NOW + 900), seen_at, 0)] {
        let mut state = ruled();
        apply(&mut state, vec![appraised(stale_at)]);
        let (decision, count) = doubt_times(View::new(&state), time);
        apply(&mut state, decision.changes);
        assert_eq!((count, is_judged(&state)), (counts, true), "{stale_at:?}");
    }
    apply(&mut state, vec![appraised(Some(NOW + 900))]);
    let (decision, count) = doubt_times(View::new(&state), seen_at - 1);
    assert_eq!(count, 2, "those of two nodes");
    apply(&mut state, decision.changes);
    assert!(!is_judged(&state), "the verdict was by that time");
    // Who judged before it came into doubt says nothing any more; who judges without it does.
    let (decision, _) = reappraise_page(View::new(&state), std::slice::from_ref(&judged), rules, "x");
    assert!(decision.changes.is_empty());
    let without = Reappraisal { seen_at: 0, ..judged };
    let (decision, _) = reappraise_page(View::new(&state), &[without], rules, "x");
    apply(&mut state, decision.changes);
    assert!(is_judged(&state));
}

#[test]
fn a_record_that_is_not_the_next_one_is_not_taken_in() {
    let mut state = state();
    let next = state.revision() + 1;
    let record = |revision| hallmark_state::Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(vec![Change::PutBundleSequence(revision)], Vec::new())),
    };
    for found in [next - 1, next + 1] {
        let gap = Gap { expected: next, found };
        assert_eq!(state.follow(&record(found)), Err(gap));
        assert_eq!(
            (state.revision(), state.bundle_sequence()),
            (next - 1, self::state().bundle_sequence())
        );
    }
    assert_eq!(state.follow(&record(next)), Ok(()));
    assert_eq!((state.revision(), state.bundle_sequence()), (next, next));
}

#[test]
fn a_request_that_comes_beside_a_ban_makes_it_be_made_again() {
    let state = state();
    let decision = changed(View::new(&state), A, Action::Ban, None);
    let mut tail = Tail::new(state.revision());
    let of = changes_of_others()
        .into_iter()
        .find(|(n, _)| *n == "requests about a")
        .unwrap()
        .1;
    tail.push(state.revision() + 1, &transaction(vec![of], Vec::new()));
    assert!(tail.conflict(&decision.expect).is_some());
}
