//! Thousands of seeds, with one server and with several: every law holds.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use hallmark_simulation::{Coverage, Setup, run};

/// Seeds of each kind, so that a debug build needs about half a minute on one core.
const SEEDS: u64 = 2000;

fn setup(servers: usize) -> Setup {
    Setup {
        servers,
        steps: 400,
        broken: None,
    }
}

fn every_law_holds(servers: usize) {
    let mut all = Coverage::default();
    for seed in 0..SEEDS {
        match run(setup(servers), seed) {
            Ok(coverage) => all = sum(all, coverage),
            Err(failure) => panic!("{failure}"),
        }
    }
    // A harness in which nothing happens finds nothing.
    let seeds = usize::try_from(SEEDS).unwrap();
    assert!(all.records > 20 * seeds && all.signed > 3 * seeds, "{all:?}");
    assert!(all.conflicts > seeds && all.asked > seeds, "{all:?}");
    assert!(
        all.crashes > seeds / 2 && all.store_crashes > seeds / 2 && all.token_failures > seeds / 10,
        "{all:?}"
    );
    assert!(all.over_tls > seeds / 4 && all.by_two > 0, "{all:?}");
    assert!(all.with_an_end > seeds / 20 && all.doubted > seeds / 25, "{all:?}");
    assert!(
        all.rotations > seeds / 10 && all.authorities_ended > seeds / 25,
        "{all:?}"
    );
    assert!(all.fail_overs > seeds / 2 && all.astray > seeds / 10, "{all:?}");
}

fn sum(a: Coverage, b: Coverage) -> Coverage {
    Coverage {
        records: a.records + b.records,
        signed: a.signed + b.signed,
        conflicts: a.conflicts + b.conflicts,
        asked: a.asked + b.asked,
        crashes: a.crashes + b.crashes,
        store_crashes: a.store_crashes + b.store_crashes,
        token_failures: a.token_failures + b.token_failures,
        over_tls: a.over_tls + b.over_tls,
        by_two: a.by_two + b.by_two,
        with_an_end: a.with_an_end + b.with_an_end,
        fail_overs: a.fail_overs + b.fail_overs,
        astray: a.astray + b.astray,
        doubted: a.doubted + b.doubted,
        rotations: a.rotations + b.rotations,
        authorities_ended: a.authorities_ended + b.authorities_ended,
    }
}

#[test]
fn every_law_holds_with_one_server() {
    every_law_holds(1);
}

#[test]
fn every_law_holds_with_several_servers() {
    every_law_holds(3);
}

#[test]
fn a_seed_is_one_schedule() {
    let [one, other] = [run(setup(3), 5).unwrap(), run(setup(3), 5).unwrap()];
    assert_eq!(one, other);
    assert_ne!(one, run(setup(3), 6).unwrap());
}
