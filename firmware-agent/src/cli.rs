//! The command line. Data goes to stdout, talk to stderr; exit codes are those of every Hallmark program.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use clap::{Parser, Subcommand};
use hallmark_host::{
    answer::{self, Form, Output},
    heed_hangup_of, keep_memory_private,
    log::{self, Filter, Format, Log},
    usage::{self, Stop},
    write_manual,
};
use hallmark_reason::{Coded, Report};
use hallmark_settings::Overrides;
use serde_json::json;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::Signal,
};

use crate::{
    AgentError,
    agent::Attestation,
    api::ApiVerb,
    config::{self, Bootstrap, Config, LogConfig},
    doctor, healthcheck,
    provision::{self, Places},
    reload::Reload,
    run,
    state::StateFile,
    stdout::print,
};

const DEFAULT_CONFIG: &str = "/etc/hallmark/agent.toml";

/// 0 done · 1 unexpected · 2 usage or config · 3 not permitted · 4 cannot reach server or TPM · 5 verified and refused ·
/// 6 conflict.
mod exit {
    pub(super) const UNEXPECTED: u8 = 1;
    pub(super) const CONFIG: u8 = 2;
    pub(super) const NOT_PERMITTED: u8 = 3;
    pub(super) const UNREACHABLE: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const CONFLICT: u8 = 6;
}

#[derive(Parser)]
#[command(
    name = "hallmark-agent",
    version,
    about = "Proves this machine to its trust domain and serves SPIFFE identities to its workloads."
)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the agent.
    Run(ConfigArg),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Attest and say what came of it. Needs --once; the running agent attests by itself.
    Attest {
        /// Attest one time, without taking up or changing the agent's state. Not while the agent runs: it has the TPM.
        #[arg(long, required = true)]
        once: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Ask the running agent whether it does its work. For root and the agent's user.
    Healthcheck {
        #[command(flatten)]
        asked: Asked,
        /// Say how each part is doing.
        #[arg(long)]
        verbose: bool,
    },
    /// Examine configuration, data folder, TPM, measurement logs, the way to the server and the running agent.
    Doctor(Asked),
    /// Install this machine: write the image that the server assigns to its disk, and make the firmware start it. Ends when
    /// that is done; the machine is then to be restarted. Not while the agent runs: it has the TPM.
    Provision {
        #[command(flatten)]
        file: ConfigArg,
        /// The folder with the certificates whose keys may sign images: *.pem.
        #[arg(long, value_name = "FOLDER", default_value = "/etc/hallmark/image-signers")]
        signers: PathBuf,
        /// The authorities that https:// image servers are trusted by, PEM.
        #[arg(long, value_name = "FILE", default_value = "/etc/ssl/certs/ca-certificates.crt")]
        authorities: PathBuf,
        /// The firmware's variables.
        #[arg(long, value_name = "FOLDER", default_value = "/sys/firmware/efi/efivars")]
        firmware_variables: PathBuf,
    },
    /// Ask the Workload API, as a workload: show identities, write them to files, keep the files up to date.
    #[command(subcommand)]
    Api(ApiVerb),
    /// Write the manual's pages, as packages carry them, into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the version.
    Version(Form),
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Check a configuration without using it.
    Check(Asked),
    /// Show each key with its effective value and where it comes from: file and line, variable, or default.
    Explain(Asked),
    /// Print a configuration with every key and its default.
    Defaults,
}

/// A configuration, and the form of the answer.
#[derive(clap::Args)]
struct Asked {
    #[command(flatten)]
    file: ConfigArg,
    #[command(flatten)]
    form: Form,
}

#[derive(clap::Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, env = "HALLMARK_AGENT_CONFIG", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// The TPM library writes to stderr by itself and reads its switch from the environment when it is loaded; a process
/// cannot change its own environment safely, so it replaces itself once. Where that fails, there is only more talk.
pub fn silence_tss() {
    const SWITCH: &str = "TSS2_LOG";
    if env::var_os(SWITCH).is_none() {
        let mut arguments = env::args_os();
        let name = arguments
            .next()
            .unwrap_or_else(|| OsStr::new("hallmark-agent").to_owned());
        if let Ok(program) = env::current_exe() {
            let _ = Command::new(program)
                .arg0(name)
                .args(arguments)
                .env(SWITCH, "all+none")
                .exec();
        }
    }
}

/// Parses the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let hangup = heed_hangup_of(env::args_os());
    let cli = match usage::read::<Cli>(env::args_os()) {
        Ok(cli) => cli,
        Err(Stop::Answered) => return ExitCode::SUCCESS,
        Err(Stop::Helped) => return ExitCode::from(exit::CONFIG),
        Err(Stop::Wrong(wrong)) => {
            log::say(Report(&wrong).to_string());
            return ExitCode::from(exit::CONFIG);
        }
    };
    let done = private().and_then(|()| execute(cli.command, hangup));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(Report(error.as_ref()).to_string());
            ExitCode::from(code(error.code().as_str()))
        }
    }
}

/// Before anything secret is in memory.
fn private() -> Done {
    keep_memory_private().map_err(|error| system(&error))
}

fn execute(command: Verb, hangup: Option<Signal>) -> Done {
    match command {
        Verb::Version(form) => {
            let version = env!("CARGO_PKG_VERSION");
            print(
                &form
                    .output
                    .of(|| format!("hallmark-agent {version}"), || json!({ "version": version })),
            )
        }
        Verb::Manual { folder } => write_manual::<Cli>("8", &folder).map_err(|error| system(&error)),
        Verb::Config(ConfigVerb::Check(asked)) => check(&asked.file.config, asked.form.output),
        Verb::Config(ConfigVerb::Explain(asked)) => explain(&asked.file.config, asked.form.output),
        Verb::Config(ConfigVerb::Defaults) => print(hallmark_settings::reference(config::REFERENCE).trim_end()),
        Verb::Run(arg) => with_config(&arg.config, |config| {
            let log = start_log(&config.log)?;
            let reload = Reload::new(arg.config.clone(), &config, log);
            runtime()?.block_on(run::run(config, reload, hangup))
        }),
        Verb::Attest { asked, .. } => with_config(&asked.file.config, |config| {
            runtime()?.block_on(attest(config, asked.form.output))
        }),
        Verb::Provision {
            file,
            signers,
            authorities,
            firmware_variables,
        } => with_config(&file.config, |config| {
            let _log = start_log(&config.log)?;
            let places = Places {
                signers,
                authorities,
                disks: "/sys/block".into(),
                devices: "/dev".into(),
                variables: firmware_variables,
            };
            runtime()?.block_on(provision::run(config, places))
        }),
        Verb::Healthcheck { asked, verbose } => with_config(&asked.file.config, |config| {
            runtime()?.block_on(health(&config, asked.form.output, verbose))
        }),
        Verb::Doctor(asked) => with_config(&asked.file.config, |config| {
            let runtime = runtime()?;
            let done = runtime.block_on(doctor::examine(&config, asked.form.output));
            // A TPM that hangs keeps its thread for good.
            runtime.shutdown_background();
            done
        }),
        Verb::Api(verb) => runtime()?.block_on(verb.run()).map_err(boxed),
    }
}

type Done = Result<(), Box<dyn Coded + Send>>;

fn boxed(error: impl Coded + Send + 'static) -> Box<dyn Coded + Send> {
    Box::new(error)
}

fn system(error: &dyn std::fmt::Display) -> Box<dyn Coded + Send> {
    boxed(AgentError::System {
        detail: error.to_string(),
    })
}

fn with_config(path: &Path, work: impl FnOnce(Config) -> Done) -> Done {
    work(Config::load(path).map_err(boxed)?)
}

fn check(path: &Path, output: Output) -> Done {
    with_config(path, |config| {
        let (file, trust_domain) = (path.display().to_string(), config.trust_domain.to_string());
        let certificates = match &**config.bootstrap.load() {
            Bootstrap::Bundle(bundle) => bundle.x509_authorities.len(),
            Bootstrap::Insecure => 0,
        };
        print(&output.of(
            || match **config.bootstrap.load() {
                Bootstrap::Bundle(_) => {
                    format!(
                        "{file}: valid, trust domain {trust_domain}, {certificates} certificates in the trust bundle"
                    )
                }
                Bootstrap::Insecure => {
                    format!("{file}: valid, trust domain {trust_domain}, the first server is believed")
                }
            },
            || json!({ "file": file, "valid": true, "trust_domain": trust_domain, "trust_bundle": certificates }),
        ))
    })
}

/// Tells each key with its value and where that comes from; then whether the configuration holds.
fn explain(path: &Path, output: Output) -> Done {
    let settings = std::fs::read_to_string(path).ok().and_then(|text| {
        let overrides = Overrides::of(config::ENVIRONMENT, env::vars_os()).ok()?;
        let reference = hallmark_settings::reference(config::REFERENCE);
        hallmark_settings::explain(reference, &text, &overrides).ok()
    });
    // What cannot be read at all is told by the check.
    if let Some(settings) = settings {
        print(&answer::settings(output, path, &settings))?;
    }
    with_config(path, |_| Ok(()))
}

async fn attest(config: Config, output: Output) -> Done {
    let _log = start_log(&LogConfig {
        filter: Filter::warnings().without("tss_esapi"),
        format: Format::Text,
    })?;
    let socket = healthcheck::socket(&config);
    if tokio::net::UnixStream::connect(&socket).await.is_ok() {
        return Err(boxed(AgentError::Runs {
            socket: socket.display().to_string(),
        }));
    }
    let scratch = ScratchFolder::new(&config.data_dir);
    let state = StateFile::open(scratch.path()).map_err(boxed)?;
    let tpm = run::open_tpm(&config).await.map_err(boxed)?;
    let mut attestation = Attestation::alone(config, tpm.clone(), state);
    let told = attestation.once().await.map(|svid| {
        let until: time::OffsetDateTime = svid.not_after.into();
        let until = until
            .format(&time::format_description::well_known::Rfc3339)
            .unwrap_or_default();
        let (id, serial) = (svid.id.to_string(), svid.serial.clone());
        output.of(
            || format!("id: {id}\nserial: {serial}\nexpires: {until}"),
            || json!({ "id": id, "serial": serial, "expires": until }),
        )
    });
    tpm.stop().await;
    print(&told.map_err(boxed)?)
}

async fn health(config: &Config, output: Output, verbose: bool) -> Done {
    let report = healthcheck::ask(config).await.map_err(boxed)?;
    let ready = healthcheck::require_ready(&report).map_err(boxed);
    let parts = report.parts.iter().filter(|_| verbose).map(ToString::to_string);
    let lines: Vec<String> = parts.chain(report.ok.then(|| "ready".to_owned())).collect();
    if !output.is_for_people() || !lines.is_empty() {
        print(&output.of(
            || lines.join("\n"),
            || json!({ "ready": report.ok, "parts": report.parts }),
        ))?;
    }
    ready
}

/// A folder below the data folder for a state that nobody keeps.
struct ScratchFolder(PathBuf);

impl ScratchFolder {
    fn new(data_dir: &Path) -> Self {
        Self(data_dir.join(format!("attest-once-{}", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // What stays behind is small and says nothing secret.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn runtime() -> Result<Runtime, Box<dyn Coded + Send>> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(|error| system(&error))
}

fn start_log(log: &LogConfig) -> Result<Log, Box<dyn Coded + Send>> {
    Log::start(&log.filter, log.format).map_err(|error| system(&error))
}

fn code(reason: &str) -> u8 {
    match reason {
        "HM-AGENT-0003" | "HM-AGENT-0004" | "HM-AGENT-0019" | "HM-WL-0041" => exit::REFUSED,
        "HM-AGENT-0001" | "HM-AGENT-0002" | "HM-AGENT-0006" | "HM-AGENT-0008" | "HM-AGENT-0010" | "HM-AGENT-0027"
        | "HM-AGENT-0030" | "HM-WL-0031" | "HM-WL-0033" => exit::UNREACHABLE,
        "HM-AGENT-0021" => exit::UNREACHABLE,
        "HM-TPM-0002" | "HM-AGENT-0029" | "HM-WL-0032" => exit::NOT_PERMITTED,
        tpm if tpm.starts_with("HM-TPM-") => exit::UNREACHABLE,
        "HM-AGENT-0031" | "HM-AGENT-0056" => exit::CONFLICT,
        "HM-WL-0030" | "HM-WL-0042" => exit::CONFIG,
        config if config.starts_with("HM-CONF-") => exit::CONFIG,
        _ => exit::UNEXPECTED,
    }
}
