//! Attack 71: one user who is many, by the user ids that `/etc/subuid` gives it. Attack 69: a user whom a process was.

use crate::site::{Site, is_root};
use hallmark_agent::workload_api::Bounds;
use hallmark_spiffe::Selector;
use hallmark_workload::Users;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

const ALICE: u32 = 54_001;
const BOB: u32 = 54_002;
const FIRST: u32 = 700_000;

/// Connects so often as each user; gives how many connections of each the agent kept, and the callers that hold them.
fn connect(site: &Site, times: usize, uids: &[u32]) -> (Vec<u32>, Child) {
    let mut command = site.caller(Site::python(), Path::new("-"), "connect", times);
    command.args(uids.iter().map(ToString::to_string));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let kept = lines
        .take(uids.len())
        .map(|line| line.unwrap().parse().unwrap())
        .collect();
    (kept, child)
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_71_subordinate_users_do_not_keep_another_out() {
    if !is_root() {
        return;
    }
    let bounds = Bounds {
        connections: 64,
        connections_per_uid: 16,
        ..Bounds::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let (subuid, passwd) = (folder.path().join("subuid"), folder.path().join("passwd"));
    std::fs::write(
        &passwd,
        format!("alice:x:{ALICE}:1::/:/bin/sh\nbob:x:{BOB}:1::/:/bin/sh\n"),
    )
    .unwrap();
    let subordinates: Vec<u32> = (FIRST..FIRST + 8).collect();
    for known in [true, false] {
        let line = if known {
            format!("alice:{FIRST}:65536\n")
        } else {
            String::new()
        };
        std::fs::write(&subuid, line).unwrap();
        let site = Site::start(Users::by(&subuid, &passwd), bounds);
        let (kept, thieves) = tokio::task::block_in_place(|| connect(&site, 16, &subordinates));
        let (of_bob, bob) = tokio::task::block_in_place(|| connect(&site, 16, &[BOB]));
        let (of_alice, alice) = tokio::task::block_in_place(|| connect(&site, 1, &[ALICE]));
        if known {
            assert_eq!(
                kept.iter().sum::<u32>(),
                16,
                "all of them together are one user: {kept:?}"
            );
            assert_eq!(of_bob, [16], "another user has its whole share");
            assert_eq!(of_alice, [0], "and their owner has had its own");
        } else {
            // The control: as many users as they look like take everything but the reserve, of which few are left.
            assert_eq!(kept.iter().sum::<u32>(), 62, "{kept:?}");
            assert_eq!(of_bob, [0]);
        }
        for child in [thieves, bob, alice] {
            end(child);
        }
    }
}

/// What a process is given on its connection of root's, before and after it became another user: once for each call.
fn given_to(site: &Site, becomes: u32, update: impl FnOnce()) -> Vec<String> {
    let mut command = site.caller(Site::python(), Path::new("-"), "demoted", 3);
    let mut child = command.arg(becomes.to_string()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut given: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
    update();
    given.extend(lines.map(Result::unwrap));
    child.wait().unwrap();
    given
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_69_a_process_gives_its_user_up_and_keeps_the_connection() {
    if !is_root() {
        return;
    }
    let site = Site::start(Users::of_this_machine(), Bounds::default());
    let entry = |name: &str| {
        let mut entry = site.agent.entry(name, 1).unwrap();
        entry.selectors = BTreeSet::from([Selector::parse("unix:uid:0").unwrap()]);
        entry
    };
    for (becomes, expected) in [(ALICE, ["1", "0", "0"]), (0, ["1", "1", "1"])] {
        site.agent.publish([entry("before")]).unwrap();
        let given =
            tokio::task::block_in_place(|| given_to(&site, becomes, || site.agent.publish([entry("after")]).unwrap()));
        assert_eq!(given, expected, "becomes {becomes}");
    }
}
