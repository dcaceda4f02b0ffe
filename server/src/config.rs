//! The configuration: read strictly, checked whole, and turned into the types that the rest works with.
//!
//! A key that is not known is refused, with its line and the key that was probably meant. Secrets stand in the
//! file only by reference.

mod certificate;
mod error;
mod file;
mod oidc;
mod secret;
mod trust;
mod upstream;
mod value;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use hallmark_host::log::{Filter, Format};
use hallmark_hsm::KeyKind;
use hallmark_pkcs11::TokenSelector;
use hallmark_policy::{Rules, signed::OperatorKeys};
use hallmark_settings::Overrides;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Approvers, DnsNameRules, SvidTtl};
use hallmark_tpm_wire::PcrSelection;
use hallmark_verify::Trust;
use secrecy::SecretString;

pub use certificate::{CertificateFiles, ServedCertificate};
pub use error::ConfigError;
pub use file::load;
pub use oidc::{IssuerUrl, Oidc, host_of};
pub use trust::{TrustFile, crl_files, revocation};
pub use upstream::UpstreamSettings;

/// What the names of variables begin with that set keys over the file's.
pub const ENVIRONMENT: &str = "HALLMARK_SERVER__";

/// The page that documents every key, with its default.
pub const REFERENCE: &str = include_str!("../../docs/reference/server-configuration.md");

/// Everything that the operator decides, with every reference resolved.
#[derive(Debug)]
pub struct Config {
    /// The trust domain that this server speaks for.
    pub trust_domain: TrustDomain,
    /// Who administers the server over TLS, besides the holders of `admin` entries.
    pub admin_ids: BTreeSet<SpiffeId>,
    /// The folder for what the server keeps.
    pub data_dir: PathBuf,
    /// The store's file.
    pub store: PathBuf,
    /// Where it listens.
    pub listen: Listen,
    /// Where health and metrics are served over HTTP, if anywhere.
    pub health: Option<SocketAddr>,
    /// OpenID Connect discovery, where it is served.
    pub oidc: Option<Oidc>,
    /// The token.
    pub hsm: Hsm,
    /// The kind of key that signs, when one has to be made.
    pub key_kind: KeyKind,
    /// What signs the X.509 authorities; `None` where they are self-signed.
    pub upstream: Option<UpstreamSettings>,
    /// What keys for JWT-SVIDs are like; `None` where none are issued.
    pub jwt_keys: Option<JwtKeySettings>,
    /// Who issued a JWT-SVID, as it says (`iss`).
    pub jwt_issuer: Option<String>,
    /// How long what is issued is good for.
    pub lifetimes: Lifetimes,
    /// DNS names that administrators may mint, whatever entries say.
    pub minted_dns_names: DnsNameRules,
    /// What servers below this one get.
    pub downstream: DownstreamSettings,
    /// How TPM evidence is judged.
    pub tpm2: Tpm2,
    /// Who may sign policies and baselines; with none, unsigned ones are taken.
    pub operator_keys: OperatorKeys,
    /// Per-caller limits.
    pub limits: LimitSettings,
    /// What is logged.
    pub log: Log,
    /// Every key that is set, as it is written.
    pub written: toml::Table,
}

/// Where a configuration is read from, again and again.
#[derive(Debug, Default)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// Where systemd put its credentials.
    pub credentials: Option<PathBuf>,
    /// The keys that the environment sets.
    pub overrides: Overrides,
}

impl Source {
    /// As [`load`](Self::load), for the running server of the trust domain `ours`: roles, entries and the store are of that one.
    ///
    /// # Errors
    /// As [`load`](Self::load); and where the configuration is of another trust domain.
    pub fn load_of(&self, ours: &TrustDomain) -> Result<Config, ConfigError> {
        let config = self.load()?;
        if config.trust_domain == *ours {
            return Ok(config);
        }
        Err(ConfigError::Contradiction {
            path: self.file.clone(),
            message: "the trust domain of a server does not change: its data is the other one's".to_owned(),
            compared: format!("trust_domain: in force {ours}, read {}", config.trust_domain),
        })
    }

    /// Reads and checks the configuration, with every file that it refers to.
    ///
    /// # Errors
    /// [`ConfigError`], with the line where there is one; a fault of the environment names its variable.
    pub fn load(&self) -> Result<Config, ConfigError> {
        file::load_over(&self.file, self.credentials.as_deref(), &self.overrides)
    }

    /// Where the running server is asked. Neither the PIN nor any other file that the configuration names is read.
    ///
    /// # Errors
    /// [`ConfigError`], for the file's form.
    pub fn admin_socket(&self) -> Result<PathBuf, ConfigError> {
        file::admin_socket(&self.file, &self.overrides)
    }
}

/// Where the server listens.
#[derive(Debug, Clone)]
pub struct Listen {
    /// TLS: agents, and administrators with an SVID.
    pub address: SocketAddr,
    /// Unix socket: operators of this machine.
    pub admin_socket: PathBuf,
}

/// The PKCS#11 token.
#[derive(Debug)]
pub struct Hsm {
    /// The module's path.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenSelector,
    /// Whether a key must say that it was made in the token.
    pub require_local: bool,
    /// The user PIN.
    pub pin: SecretString,
    /// Sessions, and so signatures side by side.
    pub sessions: usize,
    /// How often the authority's key is made to sign something, to see that it does.
    pub probe_interval: Duration,
}

/// How long what is issued is good for.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// The CA certificate.
    pub authority: Duration,
    /// X509-SVIDs of workloads; the default is also the server's own.
    pub x509_svid: SvidTtl,
    /// JWT-SVIDs of workloads.
    pub jwt_svid: SvidTtl,
    /// SVIDs that administrators mint by hand, at most.
    pub minted_max: Duration,
    /// X509-SVIDs of agents.
    pub agent: Duration,
}

impl Lifetimes {
    /// The longest that an SVID lives for which no entry says otherwise.
    #[must_use]
    pub fn usual(&self) -> Duration {
        self.x509_svid.default.max(self.agent)
    }
}

/// What servers below this one get.
#[derive(Debug, Clone, Copy)]
pub struct DownstreamSettings {
    /// How long their CA certificates live, and at most the keys that they publish.
    pub ttl: SvidTtl,
    /// How many further servers may stand below each other under one.
    pub path_len: u8,
}

/// What new keys for JWT-SVIDs are like.
#[derive(Debug, Clone, Copy)]
pub struct JwtKeySettings {
    /// Their kind.
    pub kind: KeyKind,
    /// For how long they are good.
    pub lifetime: Duration,
}

/// How TPM evidence is judged.
#[derive(Debug, Clone)]
pub struct Tpm2 {
    /// Roots, inventory, revocation lists, and what an expired certificate means.
    pub trust: Trust,
    /// What the files of roots and revocation lists gave.
    pub trust_files: Vec<TrustFile>,
    /// Files and folders of the revocation lists, to be read again.
    pub crls: Vec<PathBuf>,
    /// What the operator demands beyond that.
    pub rules: Rules,
    /// What quotes cover.
    pub pcrs: PcrSelection,
    /// How many operators approve a new node.
    pub approvers: Approvers,
    /// Who may: login names, and user ids in digits; with none, whoever has an account.
    pub approver_list: BTreeSet<String>,
    /// How long an approval counts.
    pub approval_lifetime: Duration,
}

/// Limits for callers over TLS; 0 means none.
#[derive(Debug, Clone, Copy)]
pub struct LimitSettings {
    /// Attestations begun per second, by one address.
    pub attestations_per_second_per_ip: u32,
    /// SVIDs asked for per second, by one address.
    pub signing_per_second_per_ip: u32,
    /// Attestations that are worked on at a time.
    pub concurrent_attestations: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Connections at a time from one address, and attestations that it has open.
    pub connections_per_ip: usize,
}

/// What is logged.
#[derive(Debug, Clone)]
pub struct Log {
    /// Levels.
    pub filter: Filter,
    /// How lines look.
    pub format: Format,
}
