//! Callers share flushes, and what was acknowledged survives `kill -9`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

#[allow(dead_code, unused_imports, reason = "shared with the conformance suite")]
mod conformance;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use conformance::{accepted, all_events, changed, create, happened, intents, outcome, plain_entry, trust_domain};
use hallmark_state::Outcome;
use hallmark_store::{SqliteOptions, SqliteStore, Store};

fn open(file: impl Into<PathBuf>) -> SqliteStore {
    SqliteStore::open(&SqliteOptions::new(file, trust_domain())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_callers_share_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path().join("server.db")));
    let before = store.statistics();
    let callers = (0..32).map(|caller| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..20 {
                let id = format!("e-{caller}-{n}");
                store.commit(changed(vec![create(plain_entry(&id, 1))])).await.unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let after = store.statistics();
    let (jobs, commits) = (after.jobs - before.jobs, after.commits - before.commits);
    assert_eq!(jobs, 640);
    assert!(commits * 2 < jobs, "{jobs} jobs took {commits} flushes");
    // The control: a caller alone shares with nobody.
    for n in 0..5 {
        let id = format!("alone-{n}");
        store.commit(changed(vec![create(plain_entry(&id, 1))])).await.unwrap();
    }
    assert_eq!(store.statistics().commits - after.commits, 5);
    assert_eq!(store.load().await.unwrap().entries.len(), 645);
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_travel_with_other_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path().join("server.db"));
    let mut open_intents = Vec::new();
    for _ in 0..20 {
        let committed = store.commit(happened(intents(10)));
        open_intents.push(committed.await.unwrap().events.unwrap());
    }
    let before = store.statistics();
    for intents in open_intents {
        store.commit_later(happened(vec![outcome(intents, Outcome::Issued)]));
    }
    store.commit(changed(Vec::new())).await.unwrap();
    let after = store.statistics();
    assert_eq!(after.jobs - before.jobs, 21);
    // One, unless the machine stalls in between.
    let flushes = after.commits - before.commits;
    assert!(flushes <= 5, "{flushes} flushes");
    assert_eq!(after.later_failures, 0);
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.db");
    let mut known = 0;
    for round in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_commits_for_ever", "--ignored", "--nocapture"])
            .env("STORE_FILE", &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Each line is the number of an acknowledged event.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged: Vec<u64> = Vec::new();
        while acknowledged.len() < 300 {
            acknowledged.extend(lines.next().unwrap().unwrap().parse::<u64>());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok()));
        let store = open(&file);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stored = runtime.block_on(all_events(&store));
        let numbers: Vec<u64> = stored.iter().map(|it| it.sequence).collect();
        let expected: Vec<u64> = (1..=store.statistics().last_event).collect();
        assert_eq!(numbers, expected, "round {round}: no gap");
        let stored: std::collections::BTreeSet<u64> = numbers.into_iter().collect();
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|sequence| !stored.contains(sequence))
            .collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        assert!(stored.len() >= known + 300, "earlier rounds are still there");
        known = stored.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by what_was_acknowledged_survives_kill_9"]
async fn child_commits_for_ever() {
    let store = Arc::new(open(std::env::var_os("STORE_FILE").expect("run by another test")));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            loop {
                let event = accepted(&format!("caller {caller}"));
                let done = store.commit(happened(vec![event])).await.unwrap().events.unwrap();
                // One write per line, so that lines of several threads do not mix.
                let line = format!("{}\n", done.last);
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        });
    }
    callers.join_next().await;
}

/// `cargo test --release -p hallmark-store --test sqlite_durability -- --ignored --nocapture cost_of`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn cost_of_recording_svids() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path().join("server.db")));
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        (ticks(11) + ticks(12)) * 10_000
    };
    let (cpu_before, start, before) = (cpu(), Instant::now(), store.statistics());
    let callers = (0..16).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..200 {
                let intents = store.commit(happened(intents(10))).await.unwrap().events.unwrap();
                store.commit_later(happened(vec![outcome(intents, Outcome::Issued)]));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let (svids, after) = (16 * 200 * 10, store.statistics());
    println!(
        "{svids} SVIDs: {:.1} us of CPU each, {:.0}/s, {} jobs in {} flushes",
        (cpu() - cpu_before) as f64 / f64::from(svids),
        f64::from(svids) / start.elapsed().as_secs_f64(),
        after.jobs - before.jobs,
        after.commits - before.commits,
    );
}
