//! Enrols, attests, holds and renews a machine's identity; serves the SPIFFE Workload API.
fn main() {}
