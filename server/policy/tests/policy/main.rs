//! Policies, baselines and signed files over facts: each rule holds for the good machine and fails for the one that
//! differs in just that point.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code beside the test functions: a failure here is a failed test"
)]

mod applies;
mod baselines;
mod corim;
mod digest_lists;
mod files;
mod ima;
mod ima_kept;
mod image_signers;
mod machine;
mod predict;
mod rules;
mod sets;
mod signed;
#[path = "../../../../proto/evidence/tests/ima/writer.rs"]
mod writer;
