//! go-spiffe. Where there is no Go, `tests/interop/setup` says so, and these tests have nothing to run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Command;

use hallmark_interop::{Program, WorkloadAgent, go};

/// The client, or nothing where Go itself is missing.
fn start(agent: &WorkloadAgent, mode: &str) -> Option<Program> {
    let Some(command) = go(mode) else {
        assert!(
            Command::new("go").arg("version").output().is_err(),
            "run tests/interop/setup first"
        );
        return None;
    };
    Some(Program::start(command, &agent.endpoint()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn svids_verify_against_their_bundles() {
    let mut agent = WorkloadAgent::start().unwrap();
    agent.add_root().unwrap();
    agent
        .publish([agent.entry("web", 1).unwrap(), agent.entry("api", 2).unwrap()])
        .unwrap();
    let Some(client) = start(&agent, "fetch") else {
        return;
    };
    let event = client.event().unwrap();
    for (svid, name) in event["svids"].as_array().unwrap().iter().zip(["web", "api"]) {
        assert_eq!(svid["id"], format!("spiffe://example.org/{name}"));
        assert_eq!(
            (&svid["hint"], &svid["verified"]),
            (&name.into(), &true.into()),
            "{event}"
        );
    }
    assert_eq!(event["svids"].as_array().unwrap().len(), 2);
    assert_eq!(event["bundles"], serde_json::json!({"example.org": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_the_identity_of_its_binary() {
    let agent = WorkloadAgent::start_with_binaries().unwrap();
    let Some(command) = go("fetch") else {
        return;
    };
    let ours = agent.entry_for("web", command.get_program().as_ref()).unwrap();
    let other = agent.entry_for("other", "/bin/sleep".as_ref()).unwrap();
    agent.publish([ours, other]).unwrap();
    let event = Program::start(command, &agent.endpoint()).unwrap().event().unwrap();
    assert_eq!(event["svids"].as_array().unwrap().len(), 1, "{event}");
    assert_eq!(event["svids"][0]["id"], "spiffe://example.org/web");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wit_profile_is_unimplemented_and_tokens_need_a_server() {
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    for (mode, code) in [("jwt", "Unavailable"), ("wit", "Unimplemented")] {
        let Some(client) = start(&agent, mode) else {
            return;
        };
        assert_eq!(client.event().unwrap()["code"], code, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_follows_rotation_redaction_and_return() {
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let Some(watch) = start(&agent, "watch") else {
        return;
    };
    let first = watch.event().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let second = watch.event().unwrap();
    assert_ne!(first["svids"][0]["serial"], second["svids"][0]["serial"]);
    agent.publish([]).unwrap();
    let lost = watch.event().unwrap();
    assert_eq!(
        (&lost["code"], &lost["message"]),
        (&"PermissionDenied".into(), &"no identity issued".into())
    );
    agent.publish([agent.entry("api", 2).unwrap()]).unwrap();
    // go-spiffe tries again after a second; it may have been told of the loss once more by then.
    let back = std::iter::from_fn(|| watch.event().ok())
        .find(|event| event["svids"].is_array())
        .unwrap();
    assert_eq!(back["svids"][0]["id"], "spiffe://example.org/api");
}
