//! SPIRE's wire, against the real server: what its command line, controller-manager and agents rely on.

mod agents;
mod entries;
mod site;
mod svids;
mod sync;
