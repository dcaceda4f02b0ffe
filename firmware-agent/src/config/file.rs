//! The file's form.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hallmark_host::{Foreign, foreign_file, log, read_settings};
use hallmark_settings::{Form, Overrides, SecretReference, value as settings};
use hallmark_spiffe::{Bundle, TrustDomain};
use hallmark_tpm::Tcti;
use hallmark_tpm_wire::templates::{EK_TEMPLATES, EkTemplate, ek_template_named};
use hallmark_workload::UnixConfig;
use serde::Deserialize;

use super::value::{self, ServerAddress};
use super::{Bootstrap, Config, ConfigError, LogConfig, secret};
use crate::measurements::LogPaths;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(deserialize_with = "settings::parsed")]
    trust_domain: TrustDomain,
    #[serde(default = "default_data_dir", deserialize_with = "settings::path")]
    data_dir: PathBuf,
    server: Server,
    #[serde(default)]
    tpm: Tpm,
    #[serde(default)]
    measurements: Measurements,
    #[serde(default)]
    workload_api: WorkloadApi,
    #[serde(default)]
    workload_attestors: WorkloadAttestors,
    #[serde(default)]
    health: Health,
    #[serde(default)]
    log: Log,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Health {
    #[serde(deserialize_with = "settings::optional_address")]
    listen: Option<SocketAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    #[serde(deserialize_with = "value::server")]
    address: ServerAddress,
    #[serde(default, deserialize_with = "settings::optional_path")]
    trust_bundle: Option<PathBuf>,
    #[serde(default)]
    insecure_bootstrap: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tpm {
    #[serde(deserialize_with = "value::tcti")]
    tcti: Option<Tcti>,
    #[serde(deserialize_with = "value::ek_templates")]
    ek_templates: Vec<&'static EkTemplate>,
    ek_chain: bool,
    #[serde(deserialize_with = "settings::optional_secret")]
    endorsement_auth: Option<SecretReference>,
}

impl Default for Tpm {
    fn default() -> Self {
        Self {
            tcti: None,
            ek_templates: EK_TEMPLATES
                .iter()
                .filter_map(|template| ek_template_named(template.name))
                .collect(),
            ek_chain: false,
            endorsement_auth: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Measurements {
    #[serde(deserialize_with = "settings::path_or_none")]
    tcg: Option<PathBuf>,
    #[serde(deserialize_with = "settings::path_or_none")]
    systemd: Option<PathBuf>,
    #[serde(deserialize_with = "settings::path_or_none")]
    ima: Option<PathBuf>,
    #[serde(deserialize_with = "settings::path_or_none")]
    credentials: Option<PathBuf>,
}

impl Default for Measurements {
    fn default() -> Self {
        Self {
            tcg: Some("/sys/kernel/security/tpm0/binary_bios_measurements".into()),
            systemd: Some("/run/log/systemd/tpm2-measure.log".into()),
            ima: Some("/sys/kernel/security/ima/binary_runtime_measurements".into()),
            credentials: Some("/run/credentials/@encrypted".into()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WorkloadApi {
    #[serde(deserialize_with = "value::socket")]
    socket: PathBuf,
}

impl Default for WorkloadApi {
    fn default() -> Self {
        Self {
            socket: "/run/hallmark-agent/workload.sock".into(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct WorkloadAttestors {
    unix: Unix,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Unix {
    path: bool,
    sha256: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    #[serde(deserialize_with = "settings::parsed")]
    level: log::Filter,
    format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: log::Filter::default(),
            format: Format::Text,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Text,
    Json,
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/hallmark-agent")
}

/// The TPM where none is named.
const TCTI: &str = "device:/dev/tpmrm0";

const FORM: Form = Form {
    check: "hallmark-agent config check --config",
};

pub(super) fn load(path: &Path, overrides: &Overrides, credentials: Option<&Path>) -> Result<Config, ConfigError> {
    let text = read_settings(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    only_ours("the configuration", path)?;
    let name = path.display().to_string();
    let file: File = FORM.read(&name, &text, overrides)?;
    let bootstrap = bootstrap(&file.trust_domain, &file.server)?;
    let measurements = file.measurements;
    Ok(Config {
        data_dir: file.data_dir,
        server_host: file.server.address.host,
        server_port: file.server.address.port,
        bootstrap: Arc::new(ArcSwap::from_pointee(bootstrap)),
        tcti: match file.tpm.tcti {
            Some(tcti) => tcti,
            None => Tcti::parse(TCTI).map_err(|error| FORM.invalid(&name, &text, "tpm.tcti", &error.to_string()))?,
        },
        ek_templates: file.tpm.ek_templates,
        endorsement_auth: (file.tpm.endorsement_auth.as_ref())
            .map(|reference| secret::authorization("tpm.endorsement_auth", reference, credentials))
            .transpose()?,
        ek_chain: file.tpm.ek_chain,
        logs: LogPaths {
            tcg: measurements.tcg,
            systemd: measurements.systemd,
            ima: measurements.ima,
            credentials: measurements.credentials,
        },
        socket: file.workload_api.socket,
        unix: UnixConfig {
            path: file.workload_attestors.unix.path,
            sha256: file.workload_attestors.unix.sha256,
        },
        health: file.health.listen,
        log: log_config(file.log),
        written: overrides.table(&text),
        trust_domain: file.trust_domain,
    })
}

fn bootstrap(trust_domain: &TrustDomain, server: &Server) -> Result<Bootstrap, ConfigError> {
    match (&server.trust_bundle, server.insecure_bootstrap) {
        (None, true) => Ok(Bootstrap::Insecure),
        (Some(path), false) => {
            let unusable = |detail: String| ConfigError::TrustBundle {
                path: path.clone(),
                detail,
            };
            let file = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            only_ours("server.trust_bundle", path)?;
            let bundle = Bundle::from_certificates(trust_domain, &file).map_err(|error| unusable(error.to_string()))?;
            bundle.authorities().map_err(|error| unusable(error.to_string()))?;
            Ok(Bootstrap::Bundle(bundle))
        }
        (bundle, _) => Err(ConfigError::Bootstrap { both: bundle.is_some() }),
    }
}

/// Refuses a file that is trusted as it stands where others than the agent's user and root can change it.
fn only_ours(key: &'static str, path: &Path) -> Result<(), ConfigError> {
    let looked = foreign_file(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        detail: error.to_string(),
    })?;
    looked.map_or(Ok(()), |Foreign { place, why }| {
        Err(ConfigError::Changeable {
            key,
            path: path.to_owned(),
            exposed: format!("{}: {why}", place.display()),
        })
    })
}

fn log_config(log: Log) -> LogConfig {
    LogConfig {
        // The TPM library logs every failure, also those that are expected; the driver says what they mean.
        filter: log.level.without("tss_esapi"),
        format: match log.format {
            Format::Text => log::Format::Text,
            Format::Json => log::Format::Json,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::Coded as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn load_text(text: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, &Overrides::default(), None)
    }

    const GOOD: &str = "version = 1\ntrust_domain = \"example.org\"\n[server]\naddress = \"127.0.0.1:9000\"\ninsecure_bootstrap = true\n";

    #[test]
    fn a_small_file_is_enough() {
        let config = load_text(GOOD).unwrap();
        assert_eq!(config.server_address(), "127.0.0.1:9000");
        assert!(matches!(**config.bootstrap.load(), Bootstrap::Insecure));
        assert_eq!(config.tcti.to_string(), "device:/dev/tpmrm0");
        let ima = "/sys/kernel/security/ima/binary_runtime_measurements";
        assert_eq!(config.logs.ima.as_deref(), Some(Path::new(ima)));
    }

    /// Whoever writes a documented default into the file changes nothing.
    #[test]
    fn the_documented_defaults_are_the_true_ones() {
        let reference = hallmark_settings::reference(super::super::REFERENCE);
        let settings = hallmark_settings::explain(reference, GOOD, &Overrides::default()).unwrap();
        assert!(settings.len() > 12, "{settings:?}");
        let written = settings.iter().map(|it| format!("{} = {}\n", it.key, it.value));
        let written: String = written.collect();
        // But for what is written, which is kept to tell what a reload changes.
        let loaded = |text: &str| {
            let written = toml::Table::new();
            format!(
                "{:#?}",
                Config {
                    written,
                    ..load_text(text).unwrap()
                }
            )
        };
        assert_eq!(loaded(GOOD), loaded(&written));
        assert_ne!(
            loaded(GOOD),
            loaded(&written.replace("ek_chain = false", "ek_chain = true"))
        );
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, GOOD).unwrap();
        let with = |name: &str, value: &str| {
            let variables = [
                (name.into(), value.into()),
                ("HALLMARK_AGENT_CONFIG".into(), "/x".into()),
            ];
            load(
                &path,
                &Overrides::of(super::super::ENVIRONMENT, variables).unwrap(),
                None,
            )
        };
        let config = with("HALLMARK_AGENT__SERVER__ADDRESS", "10.0.0.1:7").unwrap();
        assert_eq!(config.server_address(), "10.0.0.1:7");
        let refused = with("HALLMARK_AGENT__SERVER__ADRESS", "10.0.0.1:7").unwrap_err();
        assert_eq!(refused.code().as_str(), "HM-CONF-0011");
        assert!(
            refused.to_string().contains("HALLMARK_AGENT__SERVER__ADRESS"),
            "{refused}"
        );
    }

    #[test]
    fn a_log_without_a_path_is_not_sent() {
        let config = load_text(&format!("{GOOD}[measurements]\ntcg = \"\"\nima = \"/tmp/ima\"\n")).unwrap();
        assert_eq!(config.logs.tcg, None);
        assert_eq!(config.logs.ima.as_deref(), Some(Path::new("/tmp/ima")));
        assert!(load_text(&format!("{GOOD}[measurements]\ntcg = \"log\"\n")).is_err());
    }

    #[test]
    fn the_endorsement_key_may_be_chosen() {
        let names = |text: &str| {
            let templates = load_text(&format!("{GOOD}{text}")).map(|config| config.ek_templates);
            templates.map(|all| all.iter().map(|template| template.name).collect::<Vec<_>>())
        };
        assert_eq!(names("").unwrap()[..2], ["rsa-2048-l1", "ecc-p256-l2"]);
        let chosen = names("[tpm]\nek_templates = [\"ecc-p384-h3\", \"rsa-2048-l1\"]\n");
        assert_eq!(chosen.unwrap(), ["ecc-p384-h3", "rsa-2048-l1"]);
        assert!(names("[tpm]\nek_templates = []\n").is_err());
        assert!(names("[tpm]\nek_templates = [\"ecc\"]\n").is_err());
    }

    #[test]
    fn what_recognises_the_server_is_asked_for_with_a_command_that_works() {
        let neither = load_text(&GOOD.replace("insecure_bootstrap = true", "")).unwrap_err();
        let both = load_text(&GOOD.replace("insecure", "trust_bundle = \"/b.pem\"\ninsecure")).unwrap_err();
        assert_eq!(neither.compared().as_deref(), Some("expected one, found none"));
        assert_eq!(both.compared().as_deref(), Some("expected one, found both"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.json");
        std::fs::write(&file, "{\"keys\":[]}").unwrap();
        let bundle = format!("trust_bundle = \"{}\"", file.display());
        let jwks = load_text(&GOOD.replace("insecure_bootstrap = true", &bundle)).unwrap_err();
        assert!(jwks.compared().unwrap().contains("neither PEM nor DER"));
        for (error, code) in [
            (neither, "HM-CONF-0105"),
            (both, "HM-CONF-0105"),
            (jwks, "HM-CONF-0106"),
        ] {
            assert_eq!(error.code().as_str(), code);
            let next = error.next_step().unwrap();
            assert!(
                next.contains("hallmark bundle show --format pem > bundle.pem"),
                "{next}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = GOOD.replace("[server]\n", "[server]\nadress = \"x\"\n");
        let error = load_text(&text).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-CONF-0003");
        assert!(
            error.to_string().ends_with("agent.toml:4: unknown key `adress`"),
            "{error}"
        );
    }

    #[test]
    fn a_value_that_cannot_be_is_refused_with_its_line() {
        let text = format!("{GOOD}[tpm]\ntcti = \"cmd:x\"\n");
        let error = load_text(&text).unwrap_err();
        assert_eq!(error.code().as_str(), "HM-CONF-0002");
        assert!(error.to_string().contains("agent.toml:7: tpm.tcti: "), "{error}");
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (from, to) in [
            ("version = 1", "version = 2"),
            ("example.org", "Example.org"),
            ("127.0.0.1:9000", "127.0.0.1:x"),
            ("127.0.0.1:9000", "a b:1"),
            ("insecure_bootstrap = true", ""),
            ("insecure_bootstrap = true", "trust_bundle = \"/nonexistent\""),
            (
                "insecure_bootstrap = true",
                "insecure_bootstrap = true\n[tpm]\ntcti = \"cmd:x\"",
            ),
            (
                "insecure_bootstrap = true",
                "insecure_bootstrap = true\n[log]\nlevel = \"verbose\"",
            ),
        ] {
            assert!(load_text(&GOOD.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn what_others_can_change_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, GOOD).unwrap();
        for (mode, good) in [(0o644, true), (0o666, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match load(&path, &Overrides::default(), None) {
                Ok(_) => assert!(good, "{mode:o}"),
                Err(error) => assert_eq!((error.code().as_str(), good), ("HM-CONF-0107", false), "{mode:o}"),
            }
        }
    }
}
