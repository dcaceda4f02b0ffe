//! Who is calling, by what the kernel says, as selectors.
//!
//! A [`Peer`] is the process that opened a unix socket connection, pinned by a pidfd so that a recycled
//! process id can never take its place. [`UnixAttestor`] turns the peer into selectors
//! (`unix:uid:1000` …). Every fact read from `/proc` counts only if the pinned process is still alive
//! after it was read: a process id cannot name another process before the first one is gone.
//!
//! A process can hand its end of a connection to another one: whoever holds it speaks for the opener while the opener
//! lives. [`Receiver`] tells who wrote what arrives, for selectors that are about the opener's own program.

mod account_file;
mod accounts;
mod binary;
mod executable;
mod peer;
mod peer_error;
mod process;
mod sender;
mod unix;
mod users;

pub use binary::Binary;
pub use peer::Peer;
pub use peer_error::PeerError;
pub use sender::{Received, Receiver, nothing_waits, tell_senders};
pub use unix::{UnixAttestor, UnixConfig};
pub use users::Users;
