//! The rows of the SPIFFE conformance table that this room can show, by their ids.

mod bundle;
mod chain;
mod hostile;
mod ids;
mod pki;
mod profile;
mod selectors;
