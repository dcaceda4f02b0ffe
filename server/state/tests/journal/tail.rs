//! Which expectations no longer hold.

use std::collections::BTreeSet;

use hallmark_node::EkId;
use hallmark_state::{Change, Expect, Key, Tail};
use proptest::{collection::vec, prelude::*};

use crate::samples::{A, B, line, name, node_id, put_name, transaction};

fn expecting(revision: u64, keys: &[Key]) -> Expect {
    let keys: BTreeSet<Key> = keys.iter().cloned().collect();
    Expect { revision, keys }
}

/// A change that touches this node.
fn touching(ek: [u8; 32]) -> Change {
    Change::DeleteNode(node_id(ek))
}

fn node_key(ek: [u8; 32]) -> Key {
    Key::Node(node_id(ek))
}

#[test]
fn what_a_later_record_touched_no_longer_holds() {
    let mut tail = Tail::new(10);
    tail.push(11, &transaction(vec![touching(A)], Vec::new()));
    tail.push(12, &transaction(vec![touching(B)], Vec::new()));
    let (a, b) = (node_key(A), node_key(B));
    for (revision, keys, conflict) in [
        (10, vec![a.clone()], Some(&a)),
        (11, vec![a.clone()], None),
        (11, vec![b.clone()], Some(&b)),
        (11, vec![a.clone(), b.clone()], Some(&b)),
        (12, vec![a.clone(), b.clone()], None),
        (10, vec![Key::Rules], None),
        // Nothing is known of records up to 10: what rests on less is decided again, whatever it is.
        (9, vec![Key::Rules], Some(&Key::Rules)),
        (0, Vec::new(), None),
    ] {
        assert_eq!(
            tail.conflict(&expecting(revision, &keys)),
            conflict,
            "{revision} {keys:?}"
        );
    }
}

#[test]
fn every_key_of_every_change_counts() {
    let mut tail = Tail::new(0);
    let changes = vec![put_name(1, A), Change::PutInventoryLine(line(B).into())];
    tail.push(1, &transaction(changes, Vec::new()));
    for key in [
        Key::TpmName(name(1)),
        Key::NamesOf(A),
        Key::Inventory,
        Key::InventoryLine(EkId::Spki(B)),
    ] {
        assert_eq!(tail.conflict(&expecting(0, std::slice::from_ref(&key))), Some(&key));
    }
    for key in [
        Key::TpmName(name(2)),
        Key::NamesOf(B),
        Key::InventoryLine(EkId::Spki(A)),
    ] {
        assert_eq!(tail.conflict(&expecting(0, &[key])), None);
    }
}

/// More touches than are remembered, all of one record.
fn many(first: u32, count: u32) -> Change {
    let ek = |n: u32| {
        let mut ek = [0; 32];
        ek[..4].copy_from_slice(&n.to_be_bytes());
        EkId::Spki(ek)
    };
    let mut line = line([0xff; 32]);
    line.other_eks = (first..first + count).map(ek).collect();
    Change::PutInventoryLine(line.into())
}

#[test]
fn what_was_forgotten_is_decided_again() {
    let mut tail = Tail::new(0);
    let (a, b) = (node_key(A), node_key(B));
    tail.push(1, &transaction(vec![touching(A)], Vec::new()));
    // What is touched again stays remembered by its last touch.
    tail.push(2, &transaction(vec![touching(A)], Vec::new()));
    tail.push(3, &transaction(vec![many(0, (1 << 16) - 3)], Vec::new()));
    assert_eq!(tail.conflict(&expecting(1, std::slice::from_ref(&a))), Some(&a));
    assert_eq!(tail.conflict(&expecting(1, std::slice::from_ref(&b))), None);
    assert_eq!(tail.conflict(&expecting(2, std::slice::from_ref(&a))), None);
    // Now the touches of the first records are gone.
    tail.push(4, &transaction(vec![many(1 << 20, 10)], Vec::new()));
    assert_eq!(tail.conflict(&expecting(1, std::slice::from_ref(&b))), Some(&b));
    assert_eq!(tail.conflict(&expecting(3, std::slice::from_ref(&b))), None);
    assert_eq!(tail.conflict(&expecting(3, &[Key::Inventory])), Some(&Key::Inventory));
}

proptest! {
    /// As long as nothing is forgotten, a look at every record says the same.
    #[test]
    fn a_conflict_is_a_later_touch_and_nothing_else(
        touched in vec(vec(0..6_u8, 0..4), 1..20),
        revision in 0..20_u64,
        expected in vec(0..6_u8, 0..4),
    ) {
        let mut tail = Tail::new(0);
        for (revision, some) in (1..).zip(&touched) {
            let changes = some.iter().map(|n| touching([*n; 32])).collect();
            tail.push(revision, &transaction(changes, Vec::new()));
        }
        let later = (1..).zip(&touched).filter(|(at, _)| *at > revision).flat_map(|(_, some)| some);
        let later: BTreeSet<Key> = later.map(|n| node_key([*n; 32])).collect();
        let keys: Vec<Key> = expected.iter().map(|n| node_key([*n; 32])).collect();
        let expect = expecting(revision, &keys);
        prop_assert_eq!(tail.conflict(&expect), expect.keys.iter().find(|key| later.contains(key)));
    }
}
