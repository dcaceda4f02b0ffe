//! The agent: enrols, attests, holds and renews a machine's identity, and serves it to workloads.
//!
//! `run` puts the parts together; `cache` is what the parts share.

pub mod cache;
pub mod workload_api;
