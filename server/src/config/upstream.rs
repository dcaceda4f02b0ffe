//! `[upstream]`: the authority above this server's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hallmark_settings::{SecretReference, value as settings};
use hallmark_spiffe::TrustDomain;
use hallmark_upstream::{
    EstConfig, EstUpstream, FileRootError, FileUpstream, SpireSettings, SpireUpstream, Upstream, VaultConfig,
    VaultUpstream,
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{ConfigError, secret, trust};

/// What signs this server's authorities.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum UpstreamSettings {
    /// A SPIRE server, or another hallmark-server.
    Spire(SpireSettings),
    /// The PKI engine of HashiCorp Vault or OpenBao.
    Vault(Arc<VaultUpstream>),
    /// An authority that speaks EST (RFC 7030).
    Est(Arc<EstUpstream>),
    /// A root whose key is in a file: for labs.
    File(FileUpstream),
}

impl UpstreamSettings {
    /// Makes ready what speaks with it. Nothing is asked yet.
    #[must_use]
    pub fn open(&self, trust_domain: &TrustDomain) -> Arc<dyn Upstream> {
        match self {
            Self::Spire(settings) => Arc::new(SpireUpstream::new(trust_domain.clone(), settings.clone())),
            Self::Vault(vault) => vault.clone(),
            Self::Est(est) => est.clone(),
            Self::File(root) => {
                tracing::warn!("the root's key is in a file, where it can be copied: for labs only");
                Arc::new(root.clone())
            }
        }
    }
}

/// The table as it is written: a kind, and a table of each kind's own.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpstreamTable {
    kind: Option<Kind>,
    spire: SpireTable,
    vault: Option<VaultConfig>,
    est: Option<EstConfig>,
    file: FileTable,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Spire,
    Vault,
    Est,
    File,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Spire, Self::Vault, Self::Est, Self::File];

    /// As the configuration has it.
    const fn name(self) -> &'static str {
        match self {
            Self::Spire => "spire",
            Self::Vault => "vault",
            Self::Est => "est",
            Self::File => "file",
        }
    }
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

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileTable {
    #[serde(deserialize_with = "settings::optional_path")]
    certificate: Option<PathBuf>,
    #[serde(deserialize_with = "settings::optional_secret")]
    key: Option<SecretReference>,
}

impl UpstreamTable {
    /// `None` where authorities are self-signed.
    pub(super) fn resolve(
        self,
        path: &Path,
        credentials: Option<&Path>,
        trust_domain: &TrustDomain,
    ) -> Result<Option<UpstreamSettings>, ConfigError> {
        let contradiction = |message: String| ConfigError::Upstream {
            path: path.to_owned(),
            message,
        };
        let Some(kind) = self.kind else {
            return match Kind::ALL.iter().find(|it| self.has_table_of(**it)) {
                None => Ok(None),
                Some(of) => Err(contradiction(format!(
                    "[upstream.{}] is set, and upstream.kind is not",
                    of.name()
                ))),
            };
        };
        let (name, needed) = (kind.name(), |message: &str| contradiction(message.to_owned()));
        if let Some(other) = Kind::ALL.iter().find(|it| **it != kind && self.has_table_of(**it)) {
            let other = other.name();
            return Err(contradiction(format!(
                "upstream.kind is {name:?}, and [upstream.{other}] is set"
            )));
        }
        Ok(Some(match kind {
            Kind::Spire => UpstreamSettings::Spire(self.spire.resolve().map_err(needed)?),
            Kind::Vault => {
                let config = self
                    .vault
                    .ok_or_else(|| needed("upstream.kind is \"vault\": [upstream.vault] is needed"))?;
                let vault = VaultUpstream::new(&config, credentials).map_err(ConfigError::UpstreamCa)?;
                UpstreamSettings::Vault(Arc::new(vault))
            }
            Kind::Est => {
                let config = self
                    .est
                    .ok_or_else(|| needed("upstream.kind is \"est\": [upstream.est] is needed"))?;
                let est = EstUpstream::new(&config, credentials).map_err(ConfigError::UpstreamCa)?;
                UpstreamSettings::Est(Arc::new(est))
            }
            Kind::File => {
                let (Some(certificate), Some(key)) = (self.file.certificate, self.file.key) else {
                    return Err(needed(
                        "upstream.kind is \"file\": upstream.file.certificate and key are needed",
                    ));
                };
                UpstreamSettings::File(root_in_files(&certificate, &key, credentials, trust_domain)?)
            }
        }))
    }

    fn has_table_of(&self, kind: Kind) -> bool {
        match kind {
            Kind::Spire => self.spire != SpireTable::default(),
            Kind::Vault => self.vault.is_some(),
            Kind::Est => self.est.is_some(),
            Kind::File => self.file.certificate.is_some() || self.file.key.is_some(),
        }
    }
}

/// The root of these files: its certificate, and its key in PKCS#8; PEM.
fn root_in_files(
    certificate: &Path,
    key: &SecretReference,
    credentials: Option<&Path>,
    trust_domain: &TrustDomain,
) -> Result<FileUpstream, ConfigError> {
    const CERTIFICATE: &str = "upstream.file.certificate";
    let unreadable = |cause: String| ConfigError::TrustUnreadable {
        key: CERTIFICATE,
        path: certificate.to_owned(),
        cause,
    };
    let content = hallmark_host::read_settings(certificate).map_err(|error| unreadable(error.to_string()))?;
    trust::only_ours(CERTIFICATE, certificate)?;
    let all = hallmark_der::certificates(content.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let [root] = &all[..] else {
        return Err(unreadable(format!("expected one certificate, found {}", all.len())));
    };
    let pem = secret::resolve("upstream.file.key", key, credentials)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.expose_secret().as_bytes());
    let key = key.map_err(|_| ConfigError::UpstreamRoot(FileRootError::unreadable_key()))?;
    let root = FileUpstream::new(root, key.secret_pkcs8_der(), trust_domain);
    root.map_err(ConfigError::UpstreamRoot)
}

impl SpireTable {
    fn resolve(self) -> Result<SpireSettings, &'static str> {
        if self.server_address.is_empty() || self.server_port == 0 {
            return Err(
                "upstream.kind is \"spire\": upstream.spire.server_address and server_port say where the server above is",
            );
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

#[cfg(test)]
mod tests {
    use hallmark_reason::Coded as _;

    use super::*;

    fn resolved(text: &str) -> Result<Option<UpstreamSettings>, ConfigError> {
        let table: UpstreamTable = toml::from_str(text).unwrap();
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        table.resolve(Path::new("server.toml"), None, &trust_domain)
    }

    #[test]
    fn a_kind_has_what_it_needs_and_nothing_of_another_one() {
        let spire = "[spire]\nserver_address = \"above\"\nworkload_api_socket = \"/run/w.sock\"";
        let file = "[file]\ncertificate = \"/etc/root.pem\"\nkey = \"file:/etc/key.pem\"";
        assert!(resolved("").unwrap().is_none());
        let settings = resolved(&format!("kind = \"spire\"\n{spire}")).unwrap();
        let Some(UpstreamSettings::Spire(settings)) = settings else {
            panic!("{settings:?}")
        };
        assert_eq!(
            (settings.server_address.as_str(), settings.server_port),
            ("above", 8081)
        );
        for bad in [
            spire.to_owned(),
            file.to_owned(),
            "kind = \"spire\"".to_owned(),
            "kind = \"file\"".to_owned(),
            "kind = \"vault\"".to_owned(),
            "kind = \"est\"".to_owned(),
            "[est]\nurl = \"https://ca\"\nca = \"/etc/ca.pem\"".to_owned(),
            format!("kind = \"est\"\n{spire}"),
            format!("kind = \"vault\"\n{file}"),
            "kind = \"spire\"\n[spire]\nserver_address = \"above\"".to_owned(),
            format!("kind = \"spire\"\n{}\nserver_port = 0", spire),
            format!("kind = \"spire\"\n{spire}\n{file}"),
            format!("kind = \"file\"\n{spire}\n{file}"),
            "kind = \"file\"\n[file]\ncertificate = \"/etc/root.pem\"".to_owned(),
        ] {
            assert_eq!(resolved(&bad).unwrap_err().code().as_str(), "HM-CONF-0113", "{bad}");
        }
        let est = "kind = \"est\"\n[est]\nurl = \"https://ca.example.org\"\nca = \"/etc/hallmark/absent.pem\"";
        let vault = "kind = \"vault\"\n[vault]\nurl = \"https://vault.example.org\"\nca = \"/etc/hallmark/absent.pem\"\n[vault.auth.token]\ntoken = \"file:/t\"";
        for unreadable in [est, vault] {
            let error = resolved(unreadable).unwrap_err();
            assert_eq!(error.code().as_str(), "HM-CA-0050", "{error}");
        }
        let absent = resolved(&format!("kind = \"file\"\n{file}")).unwrap_err();
        assert_eq!(absent.code().as_str(), "HM-CONF-0010", "the file is not there");
    }
}
