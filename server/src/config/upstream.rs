//! `[upstream]`: the authority above this server's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hallmark_settings::value as settings;
use hallmark_spiffe::TrustDomain;
use hallmark_upstream::{SpireSettings, SpireUpstream, Upstream};
use serde::Deserialize;

use super::ConfigError;

/// What signs this server's authorities.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamSettings {
    /// A SPIRE server, or another hallmark-server.
    Spire(SpireSettings),
}

impl UpstreamSettings {
    /// Makes ready what speaks with it. Nothing is asked yet.
    #[must_use]
    pub fn open(&self, trust_domain: &TrustDomain) -> Arc<dyn Upstream> {
        match self {
            Self::Spire(settings) => Arc::new(SpireUpstream::new(trust_domain.clone(), settings.clone())),
        }
    }
}

/// The table as it is written: a kind, and a table of each kind's own.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpstreamTable {
    kind: Option<Kind>,
    spire: SpireTable,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Spire,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
struct SpireTable {
    server_address: String,
    server_port: u16,
    #[serde(deserialize_with = "settings::optional_path")]
    workload_api_socket: Option<PathBuf>,
}

impl Default for SpireTable {
    fn default() -> Self {
        Self {
            server_address: String::new(),
            server_port: 8081,
            workload_api_socket: None,
        }
    }
}

impl UpstreamTable {
    /// `None` where authorities are self-signed.
    pub(super) fn resolve(self, path: &Path) -> Result<Option<UpstreamSettings>, ConfigError> {
        let contradiction = |message: &str| ConfigError::Upstream {
            path: path.to_owned(),
            message: message.to_owned(),
        };
        match self.kind {
            None if self.spire == SpireTable::default() => Ok(None),
            None => Err(contradiction("[upstream.spire] is set, and upstream.kind is not")),
            Some(Kind::Spire) => {
                let settings = self.spire.resolve().map_err(contradiction)?;
                Ok(Some(UpstreamSettings::Spire(settings)))
            }
        }
    }
}

impl SpireTable {
    fn resolve(self) -> Result<SpireSettings, &'static str> {
        if self.server_address.is_empty() || self.server_port == 0 {
            return Err("upstream.kind is \"spire\": upstream.spire.server_address and server_port say where the server above is");
        }
        let socket = self.workload_api_socket;
        Ok(SpireSettings {
            server_address: self.server_address,
            server_port: self.server_port,
            workload_api_socket: socket.ok_or(
                "upstream.kind is \"spire\": upstream.spire.workload_api_socket says who gives the SVID for the server above",
            )?,
        })
    }
}
