//! The file as it is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hallmark_host::log;
use hallmark_hsm::KeyKind;
use hallmark_node::TpmClass;
use hallmark_pkcs11::TokenSelector;
use hallmark_policy::Rules;
use hallmark_settings::{Form, Overrides, SecretReference, value as settings};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{Approvers, DnsNameRule, SvidTtl};
use hallmark_tpm_wire::{
    HashAlg, PcrSelection,
    templates::{EkTemplate, ek_template_named},
};
use hallmark_verify::{EkTemplates, ExpiredPolicy, Trust};
use serde::Deserialize;

use crate::config::{DownstreamSettings, JwtKeySettings};

use super::{
    Config, ConfigError, Hsm, Lifetimes, LimitSettings, Listen, Log, Tpm2,
    oidc::{self, OidcTable},
    secret, trust,
    upstream::UpstreamTable,
    value,
};

const FORM: Form = Form {
    check: "hallmark-server config check --config",
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(deserialize_with = "settings::parsed")]
    trust_domain: TrustDomain,
    #[serde(deserialize_with = "settings::path")]
    data_dir: PathBuf,
    #[serde(default, deserialize_with = "settings::each_parsed")]
    admin_ids: Vec<SpiffeId>,
    #[serde(default)]
    listen: ListenTable,
    hsm: HsmTable,
    #[serde(default)]
    health: HealthTable,
    #[serde(default)]
    oidc: OidcTable,
    #[serde(default)]
    upstream: UpstreamTable,
    #[serde(default)]
    authority: AuthorityTable,
    #[serde(default)]
    attestation: AttestationTable,
    #[serde(default)]
    policy: PolicyTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    store: StoreTable,
    #[serde(default)]
    log: LogTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListenTable {
    #[serde(deserialize_with = "settings::address")]
    address: SocketAddr,
    #[serde(deserialize_with = "settings::path")]
    admin_socket: PathBuf,
}

impl Default for ListenTable {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8081)),
            admin_socket: "/run/hallmark-server/admin.sock".into(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct HealthTable {
    #[serde(deserialize_with = "settings::optional_address")]
    listen: Option<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HsmTable {
    #[serde(deserialize_with = "settings::path")]
    module: PathBuf,
    #[serde(default)]
    token_label: Option<String>,
    #[serde(default, deserialize_with = "value::token")]
    token: Option<TokenSelector>,
    #[serde(deserialize_with = "settings::secret")]
    pin: SecretReference,
    #[serde(default = "four", deserialize_with = "value::sessions")]
    sessions: usize,
    #[serde(default = "a_minute", deserialize_with = "settings::duration")]
    probe_interval: Duration,
    #[serde(default = "yes")]
    require_local: bool,
}

const fn yes() -> bool {
    true
}

const fn four() -> usize {
    4
}

const fn a_minute() -> Duration {
    Duration::from_secs(60)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuthorityTable {
    #[serde(deserialize_with = "value::x509_key_kind")]
    key_type: KeyKind,
    #[serde(deserialize_with = "settings::duration")]
    ca_ttl: Duration,
    #[serde(deserialize_with = "settings::duration")]
    x509_svid_ttl: Duration,
    #[serde(deserialize_with = "settings::duration")]
    x509_svid_ttl_max: Duration,
    #[serde(deserialize_with = "settings::duration")]
    minted_ttl_max: Duration,
    #[serde(deserialize_with = "settings::each_parsed")]
    minted_dns_names: Vec<DnsNameRule>,
    #[serde(deserialize_with = "settings::duration")]
    agent_ttl: Duration,
    #[serde(deserialize_with = "settings::duration")]
    downstream_ttl: Duration,
    #[serde(deserialize_with = "settings::duration")]
    downstream_ttl_max: Duration,
    downstream_path_length: u8,
    jwt_svids: bool,
    #[serde(deserialize_with = "value::jwt_key_kind")]
    jwt_key_type: KeyKind,
    #[serde(deserialize_with = "settings::duration")]
    jwt_key_ttl: Duration,
    #[serde(deserialize_with = "settings::duration")]
    jwt_svid_ttl: Duration,
    #[serde(deserialize_with = "settings::duration")]
    jwt_svid_ttl_max: Duration,
    #[serde(deserialize_with = "oidc::issuer")]
    jwt_issuer: String,
}

impl Default for AuthorityTable {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            key_type: KeyKind::EcP256,
            ca_ttl: hours(8760),
            x509_svid_ttl: hours(1),
            x509_svid_ttl_max: hours(24),
            minted_ttl_max: hours(24),
            minted_dns_names: Vec::new(),
            agent_ttl: hours(1),
            downstream_ttl: hours(24),
            downstream_ttl_max: hours(168),
            downstream_path_length: 0,
            jwt_svids: true,
            jwt_key_type: KeyKind::EcP256,
            jwt_key_ttl: hours(24),
            jwt_svid_ttl: Duration::from_secs(300),
            jwt_svid_ttl_max: hours(1),
            jwt_issuer: String::new(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AttestationTable {
    tpm2: Tpm2Table,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyTable {
    #[serde(deserialize_with = "settings::paths")]
    operator_keys: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tpm2Table {
    #[serde(deserialize_with = "settings::paths")]
    ek_roots: Vec<PathBuf>,
    #[serde(deserialize_with = "settings::optional_path")]
    ek_inventory: Option<PathBuf>,
    #[serde(deserialize_with = "settings::paths")]
    crls: Vec<PathBuf>,
    revocation: Revocation,
    #[serde(deserialize_with = "settings::duration")]
    crl_grace: Duration,
    #[serde(deserialize_with = "value::ek_templates")]
    ek_templates: Vec<&'static EkTemplate>,
    #[serde(deserialize_with = "value::templates_by_manufacturer")]
    ek_templates_by_manufacturer: BTreeMap<String, Vec<&'static EkTemplate>>,
    require_inventory: bool,
    #[serde(deserialize_with = "value::classes")]
    allowed_classes: Vec<TpmClass>,
    expired_ek_certificates: Expired,
    #[serde(deserialize_with = "value::pcrs")]
    pcrs: Vec<u8>,
    approval: Approval,
    #[serde(deserialize_with = "value::users")]
    approvers: BTreeSet<String>,
    #[serde(deserialize_with = "settings::duration")]
    approval_lifetime: Duration,
    deny: DenyTable,
}

/// What may not join, whatever else speaks for it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct DenyTable {
    #[serde(deserialize_with = "value::ek_hashes")]
    eks: BTreeSet<[u8; 32]>,
    manufacturers: BTreeSet<String>,
    models: BTreeSet<String>,
    #[serde(deserialize_with = "value::firmware_versions")]
    firmware: BTreeSet<u64>,
}

impl Default for Tpm2Table {
    fn default() -> Self {
        Self {
            ek_roots: Vec::new(),
            ek_inventory: None,
            crls: Vec::new(),
            revocation: Revocation::IfPresent,
            crl_grace: Duration::from_secs(24 * 3600),
            ek_templates: ek_template_named("rsa-2048-l1").into_iter().collect(),
            ek_templates_by_manufacturer: BTreeMap::new(),
            require_inventory: false,
            allowed_classes: vec![TpmClass::Discrete, TpmClass::Firmware, TpmClass::Virtual],
            expired_ek_certificates: Expired::AtEnrolment,
            pcrs: (0..16).collect(),
            approval: Approval::None,
            approvers: BTreeSet::new(),
            approval_lifetime: Duration::from_secs(24 * 3600),
            deny: DenyTable::default(),
        }
    }
}

/// What it means where no fresh revocation list covers a certificate.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Revocation {
    IfPresent,
    Required,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Expired {
    Enforce,
    AtEnrolment,
    Ignore,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Approval {
    None,
    One,
    Two,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    attestations_per_second_per_ip: u32,
    signing_per_second_per_ip: u32,
    #[serde(deserialize_with = "settings::positive")]
    concurrent_attestations: usize,
    #[serde(deserialize_with = "settings::positive")]
    connections: usize,
    connections_per_ip: usize,
}

impl Default for LimitsTable {
    fn default() -> Self {
        Self {
            attestations_per_second_per_ip: 10,
            signing_per_second_per_ip: 500,
            concurrent_attestations: 64,
            connections: 8192,
            connections_per_ip: 512,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreTable {
    #[serde(deserialize_with = "settings::filled")]
    path: String,
}

impl Default for StoreTable {
    fn default() -> Self {
        Self {
            path: "server.db".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogTable {
    #[serde(deserialize_with = "settings::parsed")]
    level: log::Filter,
    format: Format,
}

impl Default for LogTable {
    fn default() -> Self {
        Self {
            level: log::Filter::default(),
            format: Format::Text,
        }
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Format {
    Text,
    Json,
}

/// Reads and checks the configuration at `path`, with every file that it refers to. `credentials` is the folder
/// where systemd put its credentials.
///
/// # Errors
/// [`ConfigError`], with the line where there is one.
pub fn load(path: &Path, credentials: Option<&Path>) -> Result<Config, ConfigError> {
    load_over(path, credentials, &Overrides::default())
}

/// As [`load`], with the keys that the environment sets over the file's.
///
/// # Errors
/// As [`load`]; a fault of the environment names its variable.
pub(super) fn load_over(path: &Path, credentials: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let text = read(path)?;
    trust::only_ours("the configuration", path)?;
    let file = decode(path, &text, overrides)?;
    Ok(Config {
        written: overrides.table(&text),
        ..file.resolve(path, credentials)?
    })
}

/// Where the server of the configuration at `path` listens for its operators. No other file is read, and it does not
/// matter whose the configuration is: whoever asks a running server may be somebody else than its user.
///
/// # Errors
/// As [`load_over`], for the file's form.
pub(super) fn admin_socket(path: &Path, overrides: &Overrides) -> Result<PathBuf, ConfigError> {
    let file = decode(path, &read(path)?, overrides)?;
    Ok(file.listen.admin_socket)
}

fn decode(path: &Path, text: &str, overrides: &Overrides) -> Result<File, ConfigError> {
    Ok(FORM.read(&path.display().to_string(), text, overrides)?)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    hallmark_host::read_settings(path).map_err(|error| ConfigError::unreadable(path, &error))
}

impl File {
    fn resolve(self, path: &Path, credentials: Option<&Path>) -> Result<Config, ConfigError> {
        self.check_contradictions(path)?;
        let authority = &self.authority;
        let oidc = self
            .oidc
            .resolve(path, credentials, &authority.jwt_issuer, authority.jwt_svids)?;
        let token = self.hsm.token(path)?;
        Ok(Config {
            oidc,
            upstream: self.upstream.resolve(path, credentials, &self.trust_domain)?,
            store: self.data_dir.join(&self.store.path),
            health: self.health.listen,
            hsm: Hsm {
                pin: secret::resolve("hsm.pin", &self.hsm.pin, credentials)?,
                module: self.hsm.module,
                token,
                require_local: self.hsm.require_local,
                sessions: self.hsm.sessions,
                probe_interval: self.hsm.probe_interval,
            },
            tpm2: self.attestation.tpm2.resolve(path)?,
            trust_domain: self.trust_domain,
            admin_ids: self.admin_ids.into_iter().collect(),
            operator_keys: trust::operator_keys(&self.policy.operator_keys)?,
            data_dir: self.data_dir,
            listen: Listen {
                address: self.listen.address,
                admin_socket: self.listen.admin_socket,
            },
            key_kind: self.authority.key_type,
            jwt_keys: self.authority.jwt_svids.then_some(JwtKeySettings {
                kind: self.authority.jwt_key_type,
                lifetime: self.authority.jwt_key_ttl,
            }),
            jwt_issuer: Some(self.authority.jwt_issuer).filter(|name| !name.is_empty()),
            downstream: DownstreamSettings {
                ttl: SvidTtl {
                    default: self.authority.downstream_ttl,
                    max: self.authority.downstream_ttl_max,
                },
                path_len: self.authority.downstream_path_length,
            },
            minted_dns_names: self.authority.minted_dns_names.into_iter().collect(),
            lifetimes: Lifetimes {
                authority: self.authority.ca_ttl,
                x509_svid: SvidTtl {
                    default: self.authority.x509_svid_ttl,
                    max: self.authority.x509_svid_ttl_max,
                },
                jwt_svid: SvidTtl {
                    default: self.authority.jwt_svid_ttl,
                    max: self.authority.jwt_svid_ttl_max,
                },
                minted_max: self.authority.minted_ttl_max,
                agent: self.authority.agent_ttl,
            },
            limits: LimitSettings {
                attestations_per_second_per_ip: self.limits.attestations_per_second_per_ip,
                signing_per_second_per_ip: self.limits.signing_per_second_per_ip,
                concurrent_attestations: self.limits.concurrent_attestations,
                connections: self.limits.connections,
                connections_per_ip: self.limits.connections_per_ip,
            },
            log: Log {
                filter: self.log.level,
                format: match self.log.format {
                    Format::Text => log::Format::Text,
                    Format::Json => log::Format::Json,
                },
            },
            written: toml::Table::new(),
        })
    }

    fn check_contradictions(&self, path: &Path) -> Result<(), ConfigError> {
        let contradiction = |message: &str, compared: String| {
            Err(ConfigError::Contradiction {
                path: path.to_owned(),
                message: message.to_owned(),
                compared,
            })
        };
        let authority = &self.authority;
        let (svid, agent, ca) = (authority.x509_svid_ttl, authority.agent_ttl, authority.ca_ttl);
        for (name, ttl, above, longest) in [
            ("x509_svid_ttl", svid, "ca_ttl", ca),
            ("agent_ttl", agent, "ca_ttl", ca),
            ("x509_svid_ttl", svid, "x509_svid_ttl_max", authority.x509_svid_ttl_max),
            (
                "downstream_ttl",
                authority.downstream_ttl,
                "downstream_ttl_max",
                authority.downstream_ttl_max,
            ),
            (
                "jwt_svid_ttl",
                authority.jwt_svid_ttl,
                "jwt_svid_ttl_max",
                authority.jwt_svid_ttl_max,
            ),
            (
                "jwt_svid_ttl_max",
                authority.jwt_svid_ttl_max,
                "jwt_key_ttl",
                authority.jwt_key_ttl,
            ),
        ] {
            if ttl > longest {
                let compared = format!("{name} is {} s, {above} {} s", ttl.as_secs(), longest.as_secs());
                return contradiction(&format!("{name} is longer than {above}"), compared);
            }
        }
        if let Some(id) = self.admin_ids.iter().find(|id| !id.is_member_of(&self.trust_domain)) {
            let compared = format!("{id}, trust_domain is {}", self.trust_domain);
            return contradiction("an admin id belongs to another trust domain", compared);
        }
        Ok(())
    }
}

impl HsmTable {
    /// The one token that is meant.
    fn token(&self, path: &Path) -> Result<TokenSelector, ConfigError> {
        let label = self.token_label.as_deref().filter(|label| !label.is_empty());
        match (label, &self.token) {
            (Some(label), None) => Ok(TokenSelector::labelled(label)),
            (None, Some(token)) => Ok(token.clone()),
            (label, token) => Err(ConfigError::Contradiction {
                path: path.to_owned(),
                message: "hsm: name the token by token_label or by token, a PKCS#11 URI".to_owned(),
                compared: format!(
                    "token_label is {}, token is {}",
                    label.unwrap_or("not set"),
                    token.as_ref().map_or("not set".to_owned(), ToString::to_string)
                ),
            }),
        }
    }
}

impl Tpm2Table {
    fn resolve(self, path: &Path) -> Result<Tpm2, ConfigError> {
        let (roots, mut files) = trust::roots(&self.ek_roots)?;
        let required = matches!(self.revocation, Revocation::Required);
        let (revocation, lists) = trust::revocation(&self.crls, required, self.crl_grace)?;
        files.extend(lists);
        let trust = Trust {
            roots,
            inventory: self
                .ek_inventory
                .as_deref()
                .map(trust::inventory)
                .transpose()?
                .unwrap_or_default(),
            ek_templates: (self.ek_templates_by_manufacturer.into_iter())
                .fold(EkTemplates::new(self.ek_templates), |all, (maker, templates)| {
                    all.with(maker.into(), templates)
                }),
            expired: match self.expired_ek_certificates {
                Expired::Enforce => ExpiredPolicy::Enforce,
                Expired::AtEnrolment => ExpiredPolicy::AtEnrolment,
                Expired::Ignore => ExpiredPolicy::Ignore,
            },
            revocation: Arc::new(revocation),
        };
        let rules = Rules {
            allowed_classes: self.allowed_classes.into_iter().collect(),
            require_inventory: self.require_inventory,
            denied_eks: self.deny.eks.iter().map(hex::encode).collect(),
            denied_manufacturers: self.deny.manufacturers.into_iter().map(Into::into).collect(),
            denied_models: self.deny.models.into_iter().map(Into::into).collect(),
            denied_firmware: self.deny.firmware,
        };
        let pcrs = PcrSelection::new([(HashAlg::Sha256, self.pcrs.as_slice())]);
        let pcrs = pcrs.map_err(|error| ConfigError::Contradiction {
            path: path.to_owned(),
            message: "the PCRs cannot be selected".into(),
            compared: error.to_string(),
        })?;
        Ok(Tpm2 {
            crls: self.crls,
            trust,
            trust_files: files,
            rules,
            pcrs,
            approvers: match self.approval {
                Approval::None => Approvers::None,
                Approval::One => Approvers::One,
                Approval::Two => Approvers::Two,
            },
            approver_list: self.approvers,
            approval_lifetime: self.approval_lifetime,
        })
    }
}

#[cfg(test)]
mod tests;
