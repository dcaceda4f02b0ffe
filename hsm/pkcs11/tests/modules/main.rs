//! One suite, run against the modules of several makers: what Hallmark asks of a token, each of them does, or refuses with a code.
//!
//! A module keeps its state in variables of the process and in folders that they name, so each test runs in a child process
//! with a folder of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it measured"
)]

mod device;
mod suite;
#[path = "../softhsm/verifying.rs"]
mod verifying;

use device::Device;
use hallmark_hsm::KeyKind;

const EC: &[KeyKind] = &[KeyKind::EcP256, KeyKind::EcP384];

#[test]
fn softhsm_does_what_is_asked_of_a_token() {
    Device::softhsm(KeyKind::ALL.to_vec()).run("softhsm_does_what_is_asked_of_a_token", suite::conformance);
}

#[test]
fn nss_softokn_does_what_is_asked_of_a_token() {
    let kinds = [
        EC,
        &[KeyKind::EcP521, KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096],
    ]
    .concat();
    Device::nss(kinds).run("nss_softokn_does_what_is_asked_of_a_token", suite::conformance);
}

#[test]
fn a_tpm_by_tpm2_pkcs11_does_what_is_asked_of_a_token() {
    let kinds = [EC, &[KeyKind::Rsa2048, KeyKind::Rsa3072]].concat();
    Device::tpm(kinds).run("a_tpm_by_tpm2_pkcs11_does_what_is_asked_of_a_token", suite::conformance);
}

#[test]
fn a_remote_token_by_p11_kit_does_what_is_asked_of_a_token() {
    let kinds = [
        EC,
        &[KeyKind::EcP521, KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096],
    ]
    .concat();
    Device::remote(kinds).run("a_remote_token_by_p11_kit_does_what_is_asked_of_a_token", suite::remote);
}
