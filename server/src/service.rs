//! The gRPC services. Each is thin: read the message (`convert`), do the step, write the answer.
//!
//! Who calls has been checked before a handler runs; [`crate::caller::of`] tells who it is. A handler that
//! changes something commits to the store first and lets memory follow.

pub mod admin;
pub mod agent;
pub mod agent_admin;
pub mod bundle;
pub mod entry;
pub mod health;
pub mod svid;
