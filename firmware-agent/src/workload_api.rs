//! The SPIFFE Workload API on a unix socket (SPIFFE Workload Endpoint and Workload API).
//!
//! The way of one call: [`Listener`] accepts, the kernel names the peer, `told_socket` notes who speaks where an entry
//! asks for a binary, [`hallmark_unix::AuthorityFilter`] makes every client's headers readable, `service` checks the
//! security metadata and finds the call, `caller` turns the peer into selectors, `answers` finds the message that was
//! built for whoever matches the same entries, and `updates` sends it, and again whenever it changes. `jwt_calls` has the two
//! calls that are answered once.
//!
//! The X.509 and JWT profiles are served; the WIT calls answer `Unimplemented`. Server reflection needs no
//! security metadata: it tells what is public.

mod answers;
mod caller;
mod closing;
mod concurrency;
mod cut;
mod jwt_calls;
mod listener;
mod listener_error;
mod patience;
mod per_user_queue;
mod refusal;
mod request;
mod server;
mod service;
mod shares;
mod speaker;
mod told_socket;
mod unary;
mod updates;

pub use concurrency::Bounds;
pub(crate) use concurrency::Usage;
pub(crate) use cut::CutAnswer;
pub use listener::Listener;
pub use listener_error::ListenError;
pub use server::WorkloadApi;

#[cfg(test)]
pub(crate) mod tests;
