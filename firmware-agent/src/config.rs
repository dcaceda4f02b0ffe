//! The agent's configuration: TOML, strict.

mod error;
mod file;
mod secret;
mod value;

pub use error::ConfigError;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hallmark_host::log::{Filter, Format};
use hallmark_settings::Overrides;
use hallmark_spiffe::{Bundle, TrustDomain};
use hallmark_tpm::{Authorization, Tcti};
use hallmark_tpm_wire::templates::EkTemplate;
use hallmark_workload::UnixConfig;

use crate::measurements::LogPaths;

/// What the names of variables begin with that set keys over the file's.
pub const ENVIRONMENT: &str = "HALLMARK_AGENT__";

/// The page that documents every key, with its default.
pub const REFERENCE: &str = include_str!("../../docs/reference/agent-configuration.md");

/// A configuration that has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The trust domain that the machine joins.
    pub trust_domain: TrustDomain,
    /// Where the agent keeps its state.
    pub data_dir: PathBuf,
    /// The server's host name or IP address.
    pub server_host: String,
    /// The server's port.
    pub server_port: u16,
    /// What the server is recognised by before the agent has a bundle of its own.
    pub bootstrap: Arc<ArcSwap<Bootstrap>>,
    /// Where the TPM is.
    pub tcti: Tcti,
    /// The templates of endorsement keys that may be taken, in this order.
    pub ek_templates: Vec<&'static EkTemplate>,
    /// The authorization value of the TPM's endorsement hierarchy; `None` where nobody has set one.
    pub endorsement_auth: Option<Authorization>,
    /// Whether the EK certificate's chain is read from the TPM.
    pub ek_chain: bool,
    /// The measurement logs.
    pub logs: LogPaths,
    /// The Workload API's socket.
    pub socket: PathBuf,
    /// The unix workload attestor.
    pub unix: UnixConfig,
    /// Where the agent tells how it is doing over TCP, if anywhere.
    pub health: Option<SocketAddr>,
    /// The log.
    pub log: LogConfig,
    /// Every key that is set, as it is written.
    pub written: toml::Table,
}

/// How the server is recognised at the first connection.
#[derive(Debug, Clone)]
pub enum Bootstrap {
    /// By these authorities.
    Bundle(Bundle),
    /// Not at all: only the SPIFFE ID in its certificate is looked at, and the bundle that it gives is pinned. Whoever
    /// stands between agent and server at that moment can pose as the server to this agent for ever (though not, with
    /// its attestation, as this agent to the server).
    Insecure,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Levels.
    pub filter: Filter,
    /// How lines look.
    pub format: Format,
}

impl Config {
    /// Reads and checks a configuration file, with the keys that this process's environment sets over it, and the bundle
    /// that it names.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, it or the environment has a key that does not exist, or a value that cannot be.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        file::load(
            path,
            &Overrides::of(ENVIRONMENT, std::env::vars_os())?,
            credentials.as_deref(),
        )
    }

    /// `host:port` of the server.
    #[must_use]
    pub fn server_address(&self) -> String {
        format!("{}:{}", self.server_host, self.server_port)
    }
}
