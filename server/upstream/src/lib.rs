//! Certificate authorities above this server's: what signs an X.509 authority that is not its own root.

mod port;

pub use port::{Asked, Signed, Upstream, UpstreamError};
