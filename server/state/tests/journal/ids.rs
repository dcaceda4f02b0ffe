//! Which transactions are records already.

use hallmark_state::RecentIds;

fn id(revision: u64) -> [u8; 16] {
    u128::from(revision).to_be_bytes()
}

#[test]
fn ids_of_the_last_records_are_known_and_older_ones_told_as_unknown() {
    let mut ids = RecentIds::new(10);
    assert_eq!((ids.floor(), ids.revision_of(&id(10))), (10, None));
    for revision in 11..100_011 {
        ids.push(revision, id(revision));
    }
    let floor = ids.floor();
    assert!((10_000..100_000).contains(&floor), "{floor}");
    // From the floor on every id is known: what rests on a record that is not below it needs no further look.
    for revision in floor + 1..100_011 {
        assert_eq!(ids.revision_of(&id(revision)), Some(revision));
    }
    assert_eq!(ids.revision_of(&id(floor)), None);
}

#[test]
fn what_did_not_become_durable_may_come_again() {
    let mut ids = RecentIds::new(0);
    (1..=5).for_each(|revision| ids.push(revision, id(revision)));
    ids.forget_after(3);
    let known: Vec<Option<u64>> = (1..=5).map(|revision| ids.revision_of(&id(revision))).collect();
    assert_eq!(known, [Some(1), Some(2), Some(3), None, None]);
    ids.push(4, id(5));
    assert_eq!(ids.revision_of(&id(5)), Some(4));
}
