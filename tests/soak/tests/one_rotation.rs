//! One rotation of the soak, with whatever its seed draws.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

#[test]
fn no_handshake_fails_over_a_rotation_while_server_token_and_agents_fail() {
    let out = Command::new(env!("CARGO_BIN_EXE_hallmark-soak"))
        .args(["1", "60", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{said}");
    assert!(said.contains("soak: passed: 1 rotations"), "{said}");
    // The control: what this seed draws is no quiet time.
    for disturbance in ["the server is killed", "the token is away", "the agent of machine"] {
        assert!(said.contains(disturbance), "{said}");
    }
}

#[test]
fn a_life_without_room_for_disturbances_is_refused() {
    let out = Command::new(env!("CARGO_BIN_EXE_hallmark-soak"))
        .args(["1", "10"])
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(!out.status.success() && said.contains("at least 60 seconds"), "{said}");
}
