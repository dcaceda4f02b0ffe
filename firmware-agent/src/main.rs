//! The `hallmark-agent` binary.
fn main() {}
