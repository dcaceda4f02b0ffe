//! The two listeners of the API, and what sockets have in common.

mod admin;
mod flood;
mod frames;
mod lifetime;
mod tcp;
mod unix;

pub use admin::AdminSocket;
pub(crate) use admin::BoundFile;
pub use flood::Floods;
pub use tcp::{bind, serve};
pub(crate) use unix::{Access, BoundSocket};

use std::time::Duration;

use tonic::transport::Server as Grpc;

/// Requests under way on one connection; an agent has a few. Each may leave an answer that its caller does not read.
const MAX_STREAMS: u32 = 32;
/// What a peer may send on one connection before somebody has read it, in bytes.
const WINDOW: u32 = 256 * 1024;
/// How long open connections may finish after the order to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// What both listeners have in common.
fn grpc() -> Grpc {
    Grpc::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .http2_max_header_list_size(8 * 1024)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
}
