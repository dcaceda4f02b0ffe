//! Judges evidence, issues SVIDs with keys that stay in the HSM, and records every decision.
//!
//! The one place that orders the steps: the pure rooms (`verify`, `policy`, `authority`, `state`) say what is
//! right, the adapters (`store`, `hsm`) do what must be done, and this crate calls them in the only order in
//! which their types fit. [`run`] is the table of contents.

pub mod api;
pub mod appraise;
pub mod attest;
pub mod authority;
mod backup;
mod beginning;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod compute;
pub mod config;
pub mod connection;
pub mod convert;
mod doctor;
pub mod errors;
pub mod health;
mod healthcheck;
pub mod issue;
pub mod journal;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod nodes;
pub mod oidc;
pub mod probe;
mod reload;
mod renewal;
mod rollback;
pub mod run;
mod selftest;
pub mod tls;
mod watched;
