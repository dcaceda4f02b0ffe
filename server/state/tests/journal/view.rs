//! What a decision looks at is what it rests on.

use std::collections::BTreeSet;

use hallmark_node::EkId;
use hallmark_state::{Action, Key, View};

use crate::samples::{A, A2, B, NEW, NOW, eid, id, name, node_id, state};

fn looked_at(look: impl FnOnce(&View<'_>)) -> Vec<Key> {
    let state = state();
    let view = View::new(&state);
    look(&view);
    let expect = view.into_expect();
    assert_eq!(expect.revision, state.revision());
    expect.keys.into_iter().collect()
}

#[test]
fn nothing_is_expected_before_a_look() {
    assert!(looked_at(|_| ()).is_empty());
    // What is only shown is not expected.
    assert!(looked_at(|view| assert!(view.unprotected().node(&node_id(A)).is_some())).is_empty());
}

#[test]
fn each_look_is_expected() {
    let (a, web) = (node_id(A), eid("web"));
    let line = |ek| Key::InventoryLine(EkId::Spki(ek));
    assert_eq!(
        looked_at(|view| assert!(view.node(&a).is_some())),
        [Key::Node(a.clone())]
    );
    // What is not there is expected to stay away.
    assert_eq!(
        looked_at(|view| assert!(view.node_of_ek(&NEW).is_none())),
        [Key::Node(node_id(NEW))]
    );
    assert_eq!(
        looked_at(|view| assert!(view.attestation(&a).is_some())),
        [Key::Node(a.clone())]
    );
    assert_eq!(
        looked_at(|view| assert!(view.entry(&web).is_some())),
        [Key::Entry(web.clone())]
    );
    let similar = |view: &View<'_>| {
        let web = view.unprotected().entries().entry("web").unwrap();
        assert!(view.similar(web).is_none());
    };
    assert_eq!(looked_at(similar), [Key::EntryPair(id("/web"), a.clone())]);
    assert_eq!(looked_at(|view| assert_eq!(view.entries().len(), 4)), [Key::Entries]);
    assert_eq!(looked_at(|view| assert_eq!(view.rules().revision, 0)), [Key::Rules]);
    assert_eq!(
        looked_at(|view| assert!(view.machines().listed_with(&A, &[]).contains(&A2))),
        [Key::Machines]
    );
    assert_eq!(
        looked_at(|view| assert_eq!(view.ek_of_name(&name(A[0])), Some(A))),
        [Key::TpmName(name(A[0]))]
    );
    let names = [name(1), name(2)];
    assert_eq!(
        looked_at(|view| drop(view.links_of(&A, &names).clone())),
        [
            Key::Machines,
            Key::TpmName(name(1)),
            Key::TpmName(name(2)),
            Key::NamesOf(A)
        ]
    );
    assert_eq!(
        looked_at(|view| drop(view.inventory_lines(&[EkId::Spki(A), EkId::Spki(B)]).lines().clone())),
        [line(A), line(B)]
    );
    assert_eq!(
        looked_at(|view| assert!(view.inventory_line(&EkId::Spki(NEW)).is_none())),
        [line(NEW)]
    );
    assert_eq!(
        looked_at(|view| assert_eq!(view.inventory().lines().len(), 1)),
        [Key::Inventory]
    );
    assert_eq!(
        looked_at(|view| assert!(view.policy_files().policy_files().is_empty())),
        [Key::PolicyFiles]
    );
    assert_eq!(
        looked_at(|view| assert!(view.authorities().active_authority().is_some())),
        [Key::Authorities]
    );
    assert_eq!(
        looked_at(|view| assert!(view.requests(&a, Action::Unban).is_empty())),
        [Key::Requests(a.clone())]
    );
}

#[test]
fn where_a_node_stands_rests_on_its_line_only_without_a_row() {
    let standing = |ek: [u8; 32], has_row: bool| {
        looked_at(|view| {
            let row = view.unprotected().node_of_ek(&ek).filter(|_| has_row);
            let _ = view.standing(row.map(|row| &**row), &ek, NOW);
        })
    };
    assert!(standing(A, true).is_empty(), "whoever has the row has looked at it");
    assert_eq!(standing(NEW, false), [Key::InventoryLine(EkId::Spki(NEW))]);
}

#[test]
fn all_looks_of_a_decision_are_in_its_transaction() {
    let state = state();
    let view = View::new(&state);
    let _ = (view.rules(), view.node(&node_id(A)), view.rules());
    view.rests_on(Key::Machines);
    let decision = view.decide(Vec::new(), Vec::new());
    assert!(decision.is_empty());
    let transaction = decision.into_transaction([3; 16], "uid:0", NOW);
    assert_eq!(
        (transaction.id, &*transaction.actor, transaction.at),
        ([3; 16], "uid:0", NOW)
    );
    assert_eq!(transaction.expect.revision, 1);
    let expected: BTreeSet<Key> = [Key::Rules, Key::Machines, Key::Node(node_id(A))].into();
    assert_eq!(transaction.expect.keys, expected);
}
