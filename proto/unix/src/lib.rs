//! What both programs must know about callers on a local unix socket.
//!
//! - [`AuthorityFilter`] lets gRPC clients in that put a percent-encoded socket path into `:authority`.
//! - [`SubordinateIds`] tells whose a user id is that `/etc/subuid` gives to a user.
//! - [`FrameWalk`], [`PingWatch`] and [`ping_frame`] put a PING between the frames of a connection and find its
//!   acknowledgement, so that whoever answers it can be told.
//! - [`FrameTally`] tells calls from frames that are none.
//!
//! Nothing here opens a socket or a file, or looks at a clock.

mod authority;
mod frame;
mod ping;
mod subordinate;
mod tally;

pub use authority::{AuthorityFilter, HpackError, Mode, RewriteError, Rewriter};
pub use frame::FrameWalk;
pub use ping::{PingWatch, ping_frame};
pub use subordinate::{SubordinateIds, SubordinateRange, subordinate_ranges};
pub use tally::{FrameTally, Tally};
