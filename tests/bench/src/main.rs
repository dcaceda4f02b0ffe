//! Benchmarks: each row with a control in the same run.
fn main() {}
