//! The verifier against a machine in software: the good ways, and the attacks. Each attack changes one thing of a run that
//! otherwise passes, and names the code of its refusal.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code beside the test functions: a failure here is a failed test; a skipped test says so"
)]

mod again;
mod attack_ek_certificate;
mod attack_identity;
mod attack_key;
mod attack_quote;
mod attack_revocation;
mod attack_withheld;
mod continuous;
mod every_byte;
mod foreign;
mod history;
mod honest;
mod offline;
mod parts;
mod scene;
mod swtpm;
