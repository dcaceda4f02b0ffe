//! Certificate authorities above this server's: what signs an X.509 authority that is not its own root.

mod file;
mod port;
mod spire;

pub use file::{FileRootError, FileUpstream};
pub use port::{Asked, JwtKey, Signed, Upstream, UpstreamError};
pub use spire::{SpireError, SpireSettings, SpireUpstream};
