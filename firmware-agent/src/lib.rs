//! The agent: enrols, attests, holds and renews a machine's identity, and serves it to workloads.
//!
//! The way of an identity: [`attester`] asks the TPM, [`attest`] shows its answers to the server, [`agent_svid`] checks
//! what comes back, [`agent`] holds and renews it, [`workloads`] gets the workloads' SVIDs with it, [`cache`] hands
//! them to [`workload_api`]. [`run`] puts the parts together.

pub mod agent;
pub mod agent_svid;
mod api;
pub mod attest;
pub mod attester;
mod blocking;
pub mod cache;
pub mod cli;
pub mod condition;
pub mod config;
pub mod connect;
mod convert;
mod csr;
mod digest;
mod doctor;
mod error;
mod healthcheck;
mod jitter;
pub mod measurements;
mod metrics;
mod provision;
pub mod readiness;
mod registers;
pub mod reload;
pub mod run;
pub mod server_client;
pub mod socket_path;
pub mod state;
mod status;
mod stdout;
pub mod tls;
mod verdict;
pub mod workload_api;
pub mod workloads;

pub use error::AgentError;
pub use verdict::Verdict;
