//! Certificate authorities above this server's: what signs an X.509 authority that is not its own root.
//!
//! [`Upstream`] is the port. [`VaultUpstream`] speaks the HTTP API of HashiCorp Vault and OpenBao, [`EstUpstream`] EST (RFC 7030).
//! Each exchange is one connection over TLS, without redirects, within bounds of size and time; secrets are read from their files
//! when they are used.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on has failed"
    )
)]

mod chain;
mod endpoint;
mod error;
mod est;
mod exchange;
mod file;
mod files;
mod port;
mod spire;
mod vault;

pub use error::{CaError, Fault};
pub use est::{EstConfig, EstOperation, EstUpstream, certs_only};
pub use file::{FileRootError, FileUpstream};
pub use port::{Asked, JwtKey, Signed, Upstream, UpstreamError};
pub use spire::{SpireError, SpireSettings, SpireUpstream};
pub use vault::{
    AppRole, ClientCertificate, ServiceAccount, TokenFile, VaultAuth, VaultConfig, VaultUpstream, signed_answer,
};
