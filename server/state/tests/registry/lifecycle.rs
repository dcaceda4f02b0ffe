//! The life of a node: every state, every action.

use std::time::Duration;

use hallmark_reason::Coded as _;
use hallmark_state::{Action, Approval, Approvals, NodeState, step};

/// One row per state, one column per action, in the order of [`Action::ALL`]: where it leads, `-` to nothing known, and
/// `x` where it is refused.
const TABLE: &str = "\
                list           readmit        unlist         prove     admit    approve  suspend    resume  ban     unban    retire   evict
unknown         pre-registered pre-registered -              pending   active   x        x          x       x       x        x        x
pre-registered  pre-registered pre-registered -              pending   active   pre-registered x    x       banned  x        retired  x
pending         pending        pending        pending        pending   active   pending  x          x       banned  x        retired  -
active          active         active         active         active    active   x        suspended  x       banned  x        retired  -
suspended       suspended      suspended      suspended      x         x        x        x          active  banned  x        retired  -
banned          banned         banned         banned         x         x        x        x          x       banned  pending  retired  -
retired         retired        pre-registered retired        x         x        x        x          x       x       x        x        x";

#[test]
fn every_state_and_action() {
    let mut rows = TABLE.lines().map(str::split_whitespace);
    let actions: Vec<Action> = rows
        .next()
        .unwrap()
        .map(|name| Action::from_name(name).unwrap())
        .collect();
    assert_eq!(actions, Action::ALL);
    let mut states = Vec::new();
    for mut row in rows {
        let name = row.next().unwrap();
        let state = NodeState::from_name(name);
        states.extend(state);
        let cells: Vec<&str> = row.collect();
        assert_eq!(cells.len(), actions.len(), "{name}");
        for (action, cell) in actions.iter().zip(cells) {
            let found = match step(state, *action) {
                Ok(None) => "-",
                Ok(Some(next)) => next.as_str(),
                Err(error) => {
                    let code = if state.is_none() { "HM-REG-0061" } else { "HM-REG-0060" };
                    assert_eq!(error.code().as_str(), code);
                    assert!(error.likely_cause().is_some() && error.next_step().is_some());
                    "x"
                }
            };
            assert_eq!(found, cell, "{name}, {action}");
        }
    }
    assert_eq!(states, NodeState::ALL);
}

/// Whatever operators do, in whatever order: no way leads past an approval, and none out of a retirement.
#[test]
fn no_way_around_an_approval_or_out_of_a_retirement() {
    let without = |start: Option<NodeState>, forbidden: &[Action]| {
        let mut reached = vec![start];
        let mut at = 0;
        while let Some(state) = reached.get(at).copied() {
            for action in Action::ALL.into_iter().filter(|action| !forbidden.contains(action)) {
                if let Ok(next) = step(state, action)
                    && !reached.contains(&next)
                {
                    reached.push(next);
                }
            }
            at += 1;
        }
        reached
    };
    let reached = without(None, &[Action::Admit]);
    assert!(!reached.contains(&Some(NodeState::Active)), "{reached:?}");
    assert!(
        without(None, &[]).contains(&Some(NodeState::Active)),
        "with it there is one"
    );
    let reached = without(Some(NodeState::Retired), &[Action::Readmit]);
    assert_eq!(reached, [Some(NodeState::Retired)]);
    assert!(without(Some(NodeState::Retired), &[]).len() > 1);
}

const EK: [u8; 32] = [7; 32];
const DAY: Duration = Duration::from_secs(86_400);

fn yes(uid: u32, at: i64) -> Approval {
    Approval { uid, ek_sha256: EK, at }
}

fn count(approvals: &Approvals, ek: [u8; 32], now: i64) -> usize {
    approvals.in_force(&ek, now, DAY).count()
}

#[test]
fn the_same_operator_twice_is_one() {
    let mut approvals = Approvals::default();
    approvals.approve(yes(1000, 100), DAY).unwrap();
    let error = approvals.approve(yes(1000, 200), DAY).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-REG-0062");
    assert_eq!(count(&approvals, EK, 200), 1);
    approvals.approve(yes(1001, 200), DAY).unwrap();
    assert_eq!(count(&approvals, EK, 200), 2);
    // A store that was tampered with counts nobody twice.
    assert_eq!(count(&Approvals::new([yes(5, 1), yes(5, 2), yes(5, 3)]), EK, 9), 1);
}

#[test]
fn an_approval_is_for_one_ek_and_for_a_time() {
    let mut approvals = Approvals::default();
    approvals.approve(yes(1000, 100), DAY).unwrap();
    assert_eq!(count(&approvals, [8; 32], 101), 0, "another TPM");
    assert_eq!(count(&approvals, EK, 100 + 86_399), 1);
    assert_eq!(count(&approvals, EK, 100 + 86_400), 0, "lapsed");
    assert_eq!(count(&approvals, EK, 99), 0, "a clock that was set back");
    approvals.approve(yes(1000, 100 + 86_400), DAY).unwrap();
    assert_eq!(approvals.all().len(), 1, "what has lapsed is not kept");
}

#[test]
fn approvals_are_bounded() {
    let mut approvals = Approvals::default();
    for uid in 0..u32::try_from(Approvals::MAX).unwrap() {
        approvals.approve(yes(uid, 1), DAY).unwrap();
    }
    let error = approvals.approve(yes(77, 1), DAY).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-REG-0063");
    approvals.approve(yes(77, 1 + 86_400), DAY).unwrap();
}
