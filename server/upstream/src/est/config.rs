//! `[upstream.est]`.

use std::{path::PathBuf, time::Duration};

use hallmark_settings::{SecretReference, value as settings};
use serde::Deserialize;

/// An EST server, and who this server is there: by user name and password, by TLS client certificate, or by both.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstConfig {
    /// `https://host[:port]`. `/.well-known/est` is added.
    #[serde(deserialize_with = "settings::filled")]
    pub url: String,
    /// The label of the authority or profile behind `/.well-known/est/`, where the EST server has several (RFC 7030, 3.2.2).
    #[serde(default)]
    pub label: Option<String>,
    /// The authorities that sign the EST server's TLS certificate, in PEM: its explicit trust anchors (RFC 7030, 3.6.1).
    #[serde(deserialize_with = "settings::path")]
    pub ca: PathBuf,
    /// The user name of HTTP Basic; with `password`.
    #[serde(default)]
    pub username: Option<String>,
    /// Where the password of HTTP Basic is.
    #[serde(default, deserialize_with = "settings::optional_secret")]
    pub password: Option<SecretReference>,
    /// A TLS client certificate, and those between it and its root, in PEM; with `key`.
    #[serde(default, deserialize_with = "settings::optional_path")]
    pub certificate: Option<PathBuf>,
    /// Where the client certificate's private key is, in PEM.
    #[serde(default, deserialize_with = "settings::optional_secret")]
    pub key: Option<SecretReference>,
    /// What is asked of the EST server; `simpleenroll` by default.
    #[serde(default)]
    pub operation: EstOperation,
    /// The roots that the chain has to end at, in PEM. They are then what relying parties trust, whatever the EST server says. By
    /// default `/cacerts` names the root.
    #[serde(default, deserialize_with = "settings::optional_path")]
    pub roots: Option<PathBuf>,
    /// How long one order may take, with the pauses that the EST server asks for; a minute by default.
    #[serde(default = "a_minute", deserialize_with = "settings::duration")]
    pub timeout: Duration,
}

/// The operation by which certificates are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EstOperation {
    /// `/simpleenroll` (RFC 7030, 4.2.1).
    #[default]
    SimpleEnroll,
    /// `/simplereenroll` (RFC 7030, 4.2.2): for an EST server that has a certificate of the same subject and names already, and wants
    /// its renewal asked for as such.
    SimpleReenroll,
}

impl EstOperation {
    pub(super) const fn segment(self) -> &'static str {
        match self {
            Self::SimpleEnroll => "simpleenroll",
            Self::SimpleReenroll => "simplereenroll",
        }
    }
}

const fn a_minute() -> Duration {
    Duration::from_secs(60)
}
