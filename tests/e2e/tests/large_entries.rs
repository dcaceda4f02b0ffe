//! A node whose entries take more than any one message does: agent and operator go on as with small ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use std::path::Path;

use serde_json::{Value, json};
use trial::{DOMAIN, Trial, entry, register, svids, wait_for};

/// What gRPC's libraries read by default.
const MESSAGE: usize = 4 << 20;

/// Runs a command that has to end well; what it wrote.
fn hallmark(socket: &Path, words: &[&str]) -> String {
    let out = hallmark_kit::hallmark(socket, words).unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {told}");
    String::from_utf8(out.stdout).unwrap()
}

/// Entries of other users' workloads, 60 kB each.
fn large(agent: &str, count: usize) -> Value {
    let large = |n: usize| {
        let name = |part: usize| format!("{part}.{0}.{0}.{0}.{0}.example", "n".repeat(56));
        json!({
            "id": format!("large-{n}"),
            "spiffe_id": format!("spiffe://{DOMAIN}/large/{n}"),
            "parent_id": agent,
            "selectors": [format!("unix:uid:{}", 4_000_000_000_u32)],
            "dns_names": (0..250).map(name).collect::<Vec<_>>(),
        })
    };
    json!({ "entries": (0..count).map(large).collect::<Vec<_>>() })
}

#[test]
fn entries_above_the_size_of_a_message_are_listed_applied_and_served() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    let (agent, api) = (trial.node().agent_id().unwrap(), trial.node().workload_api());
    let socket = trial.lab.server().admin_socket();
    let id = |path: &str| format!("spiffe://{DOMAIN}{path}");
    let serves = |path: &str| svids(&api).iter().any(|(svid, _)| *svid == id(path));
    let victim = register(&socket, entry(&agent, "/victim")).unwrap();
    wait_for("the first workload is served", || serves("/victim"));

    let declared = large(&agent, 120);
    let file = trial.folder.path().join("large.json");
    std::fs::write(&file, declared.to_string()).unwrap();
    assert!(declared.to_string().len() > MESSAGE, "the control");
    let file = file.display().to_string();
    hallmark(&socket, &["entry", "apply", "-f", &file]);

    let listed: Value = serde_json::from_str(&hallmark(&socket, &["entry", "list", "-o", "json"])).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 121);
    let exported: Value = serde_json::from_str(&hallmark(&socket, &["entry", "export", "-o", "json"])).unwrap();
    assert_eq!(exported["entries"].as_array().unwrap().len(), 121);
    let again = hallmark(&socket, &["entry", "apply", "-f", &file, "-o", "json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["unchanged"], 120, "{again}");
    let records = hallmark(&socket, &["record", "export", "--kind", "admin"]);
    assert_eq!(records.matches("entry-created").count(), 121);

    // What is new arrives, and what changed does: the process that no longer fits gets nothing.
    register(&socket, entry(&agent, "/late")).unwrap();
    wait_for("a small entry beside the large ones is served", || serves("/late"));
    let other = ["entry", "update", &victim, "--selector", "unix:uid:4000000001"];
    hallmark(&socket, &other);
    wait_for("the changed selectors count", || !serves("/victim") && serves("/late"));
    // All of the large ones have their SVIDs as well.
    let issued = || {
        let records = hallmark(&socket, &["record", "export", "--kind", "svid"]);
        (0..120).all(|n| records.contains(&format!("{}\"", id(&format!("/large/{n}")))))
    };
    wait_for("the large entries have SVIDs", issued);
    let log = trial.node().log();
    assert!(!log.contains("HM-AGENT-0033") && !log.contains("too large"), "{log}");
}
