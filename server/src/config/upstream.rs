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

/// The table as it is written: a kind, and a table of that kind's own.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpstreamTable {
    kind: Option<Kind>,
    spire: Option<SpireTable>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Spire,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpireTable {
    #[serde(deserialize_with = "settings::filled")]
    server_address: String,
    #[serde(default = "usual_port")]
    server_port: u16,
    #[serde(deserialize_with = "settings::path")]
    workload_api_socket: PathBuf,
}

const fn usual_port() -> u16 {
    8081
}

impl UpstreamTable {
    /// `None` where authorities are self-signed.
    pub(super) fn resolve(self, path: &Path) -> Result<Option<UpstreamSettings>, ConfigError> {
        let contradiction = |message: &str| {
            Err(ConfigError::Upstream {
                path: path.to_owned(),
                message: message.to_owned(),
            })
        };
        match (self.kind, self.spire) {
            (None, None) => Ok(None),
            (None, Some(_)) => contradiction("[upstream.spire] is there, and upstream.kind is not set"),
            (Some(Kind::Spire), None) => contradiction("upstream.kind is spire, and [upstream.spire] is missing"),
            (Some(Kind::Spire), Some(it)) if it.server_port == 0 => {
                contradiction("upstream.spire.server_port is 0: it is the port of the server above")
            }
            (Some(Kind::Spire), Some(it)) => Ok(Some(UpstreamSettings::Spire(SpireSettings {
                server_address: it.server_address,
                server_port: it.server_port,
                workload_api_socket: it.workload_api_socket,
            }))),
        }
    }
}
