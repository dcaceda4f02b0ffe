//! Who is calling, by what the kernel says, as selectors.
//!
//! A [`Peer`] is the process that opened a unix socket connection, pinned by a pidfd so that a recycled
//! process id can never take its place. [`UnixAttestor`] turns the peer into selectors
//! (`unix:uid:1000` …). Every fact read from `/proc` counts only if the pinned process is still alive
//! after it was read: a process id cannot name another process before the first one is gone.
//!
//! What this does *not* prove: that the bytes on the connection were written by that process. A
//! process can hand its end of a connection to another one; whoever holds it speaks for the opener
//! while the opener lives. `unix:path` and `unix:sha256` are therefore no wall between processes of
//! one user, who can trace and drive each other anyway.

mod accounts;
mod executable;
mod peer;
mod peer_error;
mod process;
mod unix;

pub use peer::Peer;
pub use peer_error::PeerError;
pub use unix::{UnixAttestor, UnixConfig};
