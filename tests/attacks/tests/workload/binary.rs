//! Attack 69: the identity of a binary, for whoever connects first and runs it then. The binary of a connection is known
//! once it is accepted; whoever was faster left the connection to another process.

use crate::site::{Site, is_root};
use hallmark_agent::workload_api::Bounds;
use hallmark_spiffe::Selector;
use hallmark_workload::Users;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// How often each way is tried.
const TIMES: usize = 50;

fn selector(text: &str) -> BTreeSet<Selector> {
    BTreeSet::from([Selector::parse(text).unwrap()])
}

/// The selectors that a binary alone has.
fn selectors_of(program: &Path) -> [BTreeSet<Selector>; 2] {
    let out = Command::new("sha256sum").arg(program).output().unwrap();
    let digest = String::from_utf8(out.stdout).unwrap();
    [
        selector(&format!("unix:path:{}", program.display())),
        selector(&format!("unix:sha256:{}", digest.split(' ').next().unwrap())),
    ]
}

/// A Workload API whose entries are for two programs: one that knows nothing of connections, and one that speaks. The
/// second is the control: it says the very bytes that the thieves say.
async fn tried(ways: &[&str]) {
    tried_so_often(ways, TIMES).await;
}

async fn tried_so_often(ways: &[&str], times: usize) {
    let site = Site::start(Users::of_this_machine(), Bounds::default());
    let (program, speaker) = (
        site.copy("/bin/sleep", "program"),
        site.copy("/usr/bin/python3", "speaker"),
    );
    // With a digest of its own: the thieves run under the interpreter, too.
    let appended = Command::new("sh")
        .args(["-c", "echo >> \"$0\""])
        .arg(&speaker)
        .status()
        .unwrap();
    assert!(appended.success());
    for (program_entry, speaker_entry) in selectors_of(&program).into_iter().zip(selectors_of(&speaker)) {
        let mut entries = [
            site.agent.entry("program", 1).unwrap(),
            site.agent.entry("speaker", 2).unwrap(),
        ];
        entries[0].selectors = program_entry;
        entries[1].selectors = speaker_entry;
        site.agent.publish(entries).unwrap();
        for way in ways {
            let given = site.given(Site::python(), &program, way, times).await;
            assert_eq!(given, 0, "{way}: stolen {given} times in {times}");
        }
        let given = site.given(&speaker, &program, "honest", TIMES).await;
        assert_eq!(given, TIMES, "the binary itself is served, every time");
        let given = site.given(Site::python(), &program, "honest", TIMES).await;
        assert_eq!(given, 0, "another binary is not");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_69_a_child_speaks_for_the_program_that_was_run() {
    tried(&["child-speaks", "child-speaks-at-once"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_69_all_was_said_before_the_program_was_run() {
    tried(&["prepared", "prepared-and-child-answers"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_69_the_connection_is_passed_to_another_process() {
    tried(&["passed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_69_the_answer_was_written_before_and_is_filled_in_later() {
    // Each of them opens a hundred connections, of the thousand that a user may have.
    tried_so_often(&["filled-in-later"], 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attack_69_the_child_writes_in_the_name_of_its_parent() {
    // Outside a namespace of its own, the kernel does not let it, and the try ends there.
    if is_root() {
        tried(&["root-of-a-namespace"]).await;
    }
}
