//! The PKCS#11 adapter of the port [`KeyStore`](hallmark_hsm::KeyStore).
//!
//! A pool of sessions with one token, each on an operating system thread of its own, takes jobs from one bounded
//! queue; callers wait for the answer as a future and never for the token. When the token goes away the pool opens
//! it again by itself; a call that does not come back keeps its thread and nobody else; when the token refuses the PIN the pool stops and never offers that PIN again.

mod attributes;
mod config;
mod connection;
mod der;
mod digests;
mod failure;
mod health;
mod keys;
mod mechanisms;
mod module;
mod pin_memory;
mod pool;
mod public;
mod pulse;
mod queue;
#[cfg(feature = "bench")]
mod raw;
mod recovery;
mod seat;
mod selector;
mod sign;
mod softhsm;
mod store;
mod token;
mod watch;
mod worker;

pub use config::Pkcs11Config;
#[cfg(feature = "bench")]
pub use raw::raw_sign_rate;
pub use selector::{BadTokenUri, TokenSelector};
pub use store::{Ability, Pkcs11KeyStore};
