//! The Python package `spiffe` over grpcio, whose `:authority` is the socket's path.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use hallmark_interop::{Program, WorkloadAgent, python};

const SETUP: &str = "run tests/interop/setup first";

fn start(agent: &WorkloadAgent, mode: &str) -> Program {
    Program::start(python(mode).expect(SETUP), &agent.endpoint()).unwrap()
}

fn ids(event: &serde_json::Value) -> Vec<&str> {
    event["svids"]
        .as_array()
        .unwrap_or_else(|| panic!("{event}"))
        .iter()
        .map(|s| s["id"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn svids_keys_and_bundles() {
    let mut agent = WorkloadAgent::start().unwrap();
    agent.add_root().unwrap();
    agent
        .publish([agent.entry("web", 1).unwrap(), agent.entry("api", 2).unwrap()])
        .unwrap();
    let event = start(&agent, "fetch").event().unwrap();
    assert_eq!(ids(&event), ["spiffe://example.org/web", "spiffe://example.org/api"]);
    assert!(
        event["svids"]
            .as_array()
            .unwrap()
            .iter()
            .all(|svid| svid["key"] == true),
        "{event}"
    );
    assert_eq!(event["bundles"], serde_json::json!({"example.org": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_the_identity_of_its_binary_also_when_it_forks() {
    let agent = WorkloadAgent::start_with_binaries().unwrap();
    let interpreter = python("fetch").expect(SETUP);
    let ours = agent.entry_for("web", interpreter.get_program().as_ref()).unwrap();
    let other = agent.entry_for("other", "/bin/sleep".as_ref()).unwrap();
    agent.publish([ours, other]).unwrap();
    let client = start(&agent, "fork");
    for _ in 0..3 {
        assert_eq!(ids(&client.event().unwrap()), ["spiffe://example.org/web"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_is_permission_denied() {
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([]).unwrap();
    let event = start(&agent, "fetch").event().unwrap();
    assert!(
        event["error"].as_str().unwrap().contains("no identity issued"),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_follows_rotation_and_comes_back_after_a_redaction() {
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let watch = start(&agent, "watch");
    let first = watch.event().unwrap();
    assert_eq!(ids(&first), ["spiffe://example.org/web"]);
    let rotated = agent.entry("web", 1).unwrap();
    agent.publish([rotated.clone()]).unwrap();
    let second = watch.event().unwrap();
    assert_ne!(first["svids"][0]["serial"], second["svids"][0]["serial"]);
    agent.publish([rotated]).unwrap();
    assert!(
        watch.is_silent_for(Duration::from_millis(500)),
        "what did not change is not sent"
    );
    agent.publish([]).unwrap();
    agent.publish([agent.entry("api", 2).unwrap()]).unwrap();
    let third = watch.event().unwrap();
    assert_eq!(ids(&third), ["spiffe://example.org/api"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_security_metadata_is_demanded_of_raw_calls() {
    let agent = WorkloadAgent::start().unwrap();
    agent.publish([agent.entry("web", 1).unwrap()]).unwrap();
    let client = start(&agent, "headers");
    for _ in 0..4 {
        let event = client.event().unwrap();
        assert_ne!(event["metadata"], "right");
        for (method, code) in event["codes"].as_object().unwrap() {
            assert_eq!(code, "INVALID_ARGUMENT", "{method} with {}", event["metadata"]);
        }
    }
    let right = client.event().unwrap();
    assert_eq!(
        right["codes"],
        serde_json::json!({"FetchX509SVID": "OK", "FetchX509Bundles": "OK", "FetchJWTSVID": "UNAVAILABLE",
                           "FetchJWTBundles": "OK", "ValidateJWTSVID": "INVALID_ARGUMENT"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_workload_api() {
    let agent = WorkloadAgent::start().unwrap();
    let event = start(&agent, "reflect").event().unwrap();
    assert!(
        event["services"]
            .as_array()
            .unwrap()
            .contains(&"SpiffeWorkloadAPI".into()),
        "{event}"
    );
    assert_eq!(event["methods"].as_array().unwrap().len(), 7);
}
