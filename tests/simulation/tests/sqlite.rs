//! The same schedules on real SQLite, in a process that is killed at any moment: what it holds is a fold of the run's first
//! records, all that was acknowledged among them, and nothing was signed whose intent it does not have.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::{
    io::{BufRead as _, BufReader, sink, stdout},
    process::{Command, Stdio},
};

use hallmark_simulation::{Setup, check_killed, run_on_sqlite};

/// Runs that are killed.
const KILLED: u64 = 24;
/// Runs that come to rest.
const WHOLE: u64 = 6;

const fn setup(seed: u64) -> Setup {
    Setup {
        servers: if seed.is_multiple_of(2) { 1 } else { 3 },
        steps: 400,
        broken: None,
    }
}

/// Which seed the child process runs, and where its store is.
const SEED: &str = "HALLMARK_SIMULATION_SEED";
const FOLDER: &str = "HALLMARK_SIMULATION_FOLDER";

#[test]
#[ignore = "the child process of another test"]
fn as_the_process_that_is_killed() {
    let (Ok(seed), Some(folder)) = (std::env::var(SEED), std::env::var_os(FOLDER)) else {
        return;
    };
    let seed = seed.parse().unwrap();
    run_on_sqlite(setup(seed), seed, folder.as_ref(), Box::new(stdout())).unwrap();
}

#[test]
fn sqlite_answers_as_the_simulated_store_does() {
    for seed in 0..WHOLE {
        let folder = tempfile::tempdir().unwrap();
        match run_on_sqlite(setup(seed), seed, folder.path(), Box::new(sink())) {
            Ok(coverage) => assert!(coverage.records > 20, "{coverage:?}"),
            Err(violation) => panic!("seed {seed}: {violation}"),
        }
        let found = check_killed(setup(seed), seed, folder.path()).unwrap();
        assert!(found.revision > 20, "the control: all of it is there");
    }
}

#[test]
fn what_a_killed_process_acknowledged_is_there_and_nothing_was_signed_without_record() {
    let (mut acknowledged, mut signed, mut cut) = (0, 0, 0);
    for seed in 0..KILLED {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(seed);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_the_process_that_is_killed", "--ignored", "--nocapture"])
            .env(SEED, seed.to_string())
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // After so many lines, wherever the process is by then.
        let most = 4 + 2 * usize::try_from(seed).unwrap();
        let mut told: Vec<String> = lines.by_ref().take(most).map(Result::unwrap).collect();
        child.kill().unwrap();
        let killed = !child.wait().unwrap().success();
        // A line that was cut off says nothing.
        told.extend(lines.map_while(Result::ok));
        let found = check_killed(setup, seed, folder.path());
        let found = found.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        for line in &told {
            if let Some(revision) = line.strip_prefix("acknowledged ") {
                let revision: u64 = revision.parse().unwrap();
                assert!(
                    revision <= found.revision,
                    "seed {seed}: {revision} of {}",
                    found.revision
                );
                acknowledged += 1;
            } else if let Some(serial) = line.strip_prefix("signs ").filter(|serial| serial.len() == 32) {
                let serial = u128::from_str_radix(serial, 16).unwrap();
                assert!(
                    found.intents.contains(&serial),
                    "seed {seed}: {serial:x} is not on record"
                );
                signed += 1;
            }
        }
        cut += u64::from(killed);
    }
    // A harness in which nothing happens finds nothing.
    assert!(acknowledged > 200 && signed > 20, "{acknowledged}, {signed}");
    assert!(cut > KILLED / 3, "{cut} were killed before their end");
}
