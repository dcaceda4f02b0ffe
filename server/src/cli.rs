//! The command line.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use hallmark_host::{
    answer::{self, Form, Output},
    heed_hangup_of, keep_memory_private, log,
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
    backup, beginning,
    config::{self, Config, ConfigError, Source},
    doctor,
    errors::StartError,
    healthcheck::{self, HealthError},
    renewal, rollback, run, selftest,
};

/// Exit codes of the product: 0 done, 1 unexpected, 2 usage or configuration, 3 not permitted, 4 cannot reach server, TPM
/// or HSM, 7 would change.
const UNEXPECTED: u8 = 1;
const USAGE_OR_CONFIG: u8 = 2;
const NOT_PERMITTED: u8 = 3;
const UNREACHABLE: u8 = 4;
const WOULD_CHANGE: u8 = 7;

/// Judges evidence, issues SVIDs with keys that stay in the HSM, and records every decision.
#[derive(Debug, Parser)]
#[command(name = "hallmark-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Run(ConfigFile),
    /// Work with the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work with the X.509 authority, while the server is stopped.
    #[command(subcommand)]
    Authority(AuthorityCommand),
    /// Work with the store, while the server is stopped.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Work with the PKCS#11 token.
    #[command(subcommand)]
    Hsm(HsmCommand),
    /// Ask the running server whether it serves.
    Healthcheck {
        #[command(flatten)]
        file: ConfigFile,
        /// Say how each part is doing.
        #[arg(long)]
        verbose: bool,
        #[command(flatten)]
        form: Form,
    },
    /// Examine configuration, data folder, store, token and running server; change nothing.
    Doctor(Asked),
    /// Copy the store into a new file, also while the server runs, and check the copy.
    ///
    /// One read of the whole, however much is written meanwhile. The file is what a restore needs of the store:
    /// see docs/how-to/runbook.md.
    Backup {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        options: backup::Options,
    },
    /// Write the manual's pages, as packages carry them, into a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the version.
    Version(Form),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Read and check a configuration and every file that it refers to; change nothing.
    Check(Asked),
    /// Show each key with its effective value and where it comes from: file and line, variable, or default.
    Explain(Asked),
    /// Print a configuration with every key and its default.
    Defaults,
}

#[derive(Debug, Subcommand)]
enum AuthorityCommand {
    /// Give the authority another certificate, good for `ca_ttl` from now: the same key, the same name.
    ///
    /// The old certificate stays in the bundle until it ends, and agents and workloads go on: see
    /// docs/how-to/renew-the-authority.md.
    Renew {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        options: renewal::Options,
    },
    /// Let the next start begin with an empty store, although the token has keys of this trust domain.
    ///
    /// For a store that is lost for good: its nodes, bans, entries and policies are forgotten, and every agent needs the
    /// new bundle: see docs/how-to/runbook.md.
    Begin {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        options: beginning::Options,
    },
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Let the next start go on with a store whose journal does not have all that was recorded.
    ///
    /// For a backup that was restored, or a write-ahead log that is lost for good: bans and changes since are forgotten and
    /// have to be made again: see docs/how-to/runbook.md.
    AcceptRollback {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        options: rollback::Options,
    },
}

#[derive(Debug, Subcommand)]
enum HsmCommand {
    /// Make a temporary key of each configured kind in the token, sign, verify, and destroy it again.
    ///
    /// Shows which mechanisms the token is asked by, what it says of its keys, and how long it takes. The server may run
    /// meanwhile: see docs/how-to/use-an-hsm.md.
    Selftest {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        options: selftest::Options,
    },
}

/// A configuration, and the form of the answer.
#[derive(Debug, clap::Args)]
struct Asked {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, env = "HALLMARK_SERVER_CONFIG", default_value = "/etc/hallmark/server.toml")]
    config: PathBuf,
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let hangup = heed_hangup_of(std::env::args_os());
    let command = match usage::read::<Arguments>(std::env::args_os()) {
        Ok(arguments) => arguments.command,
        Err(Stop::Answered) => return ExitCode::SUCCESS,
        Err(Stop::Helped) => return ExitCode::from(USAGE_OR_CONFIG),
        Err(Stop::Wrong(wrong)) => {
            log::say(Report(&wrong).to_string());
            return ExitCode::from(USAGE_OR_CONFIG);
        }
    };
    match private().and_then(|()| execute(command, hangup)) {
        Ok(code) => code,
        Err(error) => {
            log::say(Report(&*error).to_string());
            ExitCode::from(exit_code(&*error))
        }
    }
}

/// Before anything secret is in memory.
fn private() -> Result<(), Failure> {
    keep_memory_private().map_err(|error| {
        boxed(StartError::Runtime {
            what: "keeping the memory private",
            cause: error.to_string(),
        })
    })
}

fn execute(command: Command, hangup: Option<Signal>) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Authority(AuthorityCommand::Renew { file, options }) => return renew(&file, &options),
        Command::Authority(AuthorityCommand::Begin { file, options }) => return begin(&file, &options),
        Command::Store(StoreCommand::AcceptRollback { file, options }) => return accept_rollback(&file, &options),
        Command::Hsm(HsmCommand::Selftest { file, options }) => return selftest(&file, &options),
        Command::Backup { file, options } => return save(&file, &options),
        Command::Run(file) => {
            let source = source(&file)?;
            let config = source.load().map_err(|error| boxed(StartError::from(error)))?;
            run::run(source, config, hangup).map_err(boxed)
        }
        Command::Config(ConfigCommand::Check(asked)) => load(&asked.file).map(|config| {
            let (file, trust_domain) = (asked.file.config.display().to_string(), config.trust_domain.to_string());
            let files = config.tpm2.trust_files.iter().map(ToString::to_string);
            let read: Vec<String> = files.chain(config.oidc.as_ref().map(ToString::to_string)).collect();
            let (roots, lists) = (config.tpm2.trust.roots.len(), config.tpm2.trust.revocation.len());
            print(&asked.form.output.of(
                || {
                    let read: String = read.iter().map(|line| format!("{line}\n")).collect();
                    let counts = format!("{roots} EK roots, {lists} revocation lists");
                    format!("{read}{file}: valid, trust domain {trust_domain}, {counts}")
                },
                || {
                    json!({
                        "file": file, "valid": true, "trust_domain": trust_domain, "ek_roots": roots,
                        "revocation_lists": lists, "read": read,
                    })
                },
            ));
        }),
        Command::Config(ConfigCommand::Explain(asked)) => explain(&asked.file, asked.form.output),
        Command::Config(ConfigCommand::Defaults) => {
            print(hallmark_settings::reference(config::REFERENCE).trim_end());
            Ok(())
        }
        Command::Healthcheck { file, verbose, form } => {
            let socket = source(&file)?.admin_socket();
            let socket = socket.map_err(|error| boxed(StartError::from(error)))?;
            health(&socket, verbose, form.output)
        }
        Command::Doctor(asked) => load(&asked.file).and_then(|config| {
            let mut findings = Vec::new();
            let output = asked.form.output;
            let examined = alone()?.block_on(doctor::examine(&config, |finding| {
                if output.is_for_people() {
                    print(&finding.line());
                } else {
                    findings.push(finding.into_value());
                }
            }));
            if !output.is_for_people() {
                print(&output.of(String::new, || findings.into()));
            }
            examined
        }),
        Command::Manual { folder } => write_manual::<Arguments>("8", &folder).map_err(|error| {
            boxed(StartError::Runtime {
                what: "writing the manual",
                cause: error.to_string(),
            })
        }),
        Command::Version(form) => {
            let version = env!("CARGO_PKG_VERSION");
            print(&form.output.of(
                || format!("hallmark-server {version}"),
                || json!({ "version": version }),
            ));
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn renew(file: &ConfigFile, options: &renewal::Options) -> Result<ExitCode, Failure> {
    let config = load(file)?;
    let renewed = alone()?.block_on(renewal::renew(&config, options)).map_err(boxed)?;
    print(&options.form.output.of(|| renewed.text(), || renewed.value()));
    Ok(ExitCode::from(if options.dry_run { WOULD_CHANGE } else { 0 }))
}

fn begin(file: &ConfigFile, options: &beginning::Options) -> Result<ExitCode, Failure> {
    let config = load(file)?;
    let begun = alone()?.block_on(beginning::begin(&config, options)).map_err(boxed)?;
    print(&options.form.output.of(|| begun.text(), || begun.value()));
    Ok(ExitCode::SUCCESS)
}

fn accept_rollback(file: &ConfigFile, options: &rollback::Options) -> Result<ExitCode, Failure> {
    let config = load(file)?;
    let accepted = alone()?.block_on(rollback::accept(&config, options)).map_err(boxed)?;
    print(&options.form.output.of(|| accepted.text(), || accepted.value()));
    Ok(ExitCode::SUCCESS)
}

fn selftest(file: &ConfigFile, options: &selftest::Options) -> Result<ExitCode, Failure> {
    let config = load(file)?;
    let tested = alone()?.block_on(selftest::run(&config, options)).map_err(boxed)?;
    print(&options.form.output.of(|| tested.text(), || tested.value()));
    tested.require_good().map_err(boxed).map(|()| ExitCode::SUCCESS)
}

fn save(file: &ConfigFile, options: &backup::Options) -> Result<ExitCode, Failure> {
    let config = load(file)?;
    let saved = alone()?.block_on(backup::backup(&config, options)).map_err(boxed)?;
    print(&options.form.output.of(|| saved.text(), || saved.value()));
    saved.require_good().map(|()| ExitCode::SUCCESS)
}

type Failure = Box<dyn Coded + Send>;

fn boxed(error: impl Coded + Send + 'static) -> Failure {
    Box::new(error)
}

fn load(file: &ConfigFile) -> Result<Config, Failure> {
    source(file)?.load().map_err(|error| boxed(StartError::from(error)))
}

fn source(file: &ConfigFile) -> Result<Source, Failure> {
    Ok(Source {
        file: file.config.clone(),
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        overrides: overrides()?,
    })
}

fn overrides() -> Result<Overrides, Failure> {
    let read = Overrides::of(config::ENVIRONMENT, std::env::vars_os());
    read.map_err(|error| boxed(StartError::from(ConfigError::from(error))))
}

/// Tells each key with its value and where that comes from; then whether the configuration holds.
fn explain(file: &ConfigFile, output: Output) -> Result<(), Failure> {
    let read = std::fs::read_to_string(&file.config);
    let settings = read.ok().and_then(|text| {
        let reference = hallmark_settings::reference(config::REFERENCE);
        hallmark_settings::explain(reference, &text, &overrides().ok()?).ok()
    });
    // What cannot be read at all is told by the check.
    if let Some(settings) = settings {
        print(&answer::settings(output, &file.config, &settings));
    }
    load(file).map(drop)
}

fn health(socket: &Path, verbose: bool, output: Output) -> Result<(), Failure> {
    let outcome = alone()?.block_on(healthcheck::ask(socket));
    let parts = match &outcome {
        Ok(status) => status.parts.as_slice(),
        Err(HealthError::NotReady { parts }) => parts.as_slice(),
        Err(_) => &[],
    };
    if !output.is_for_people() {
        let told = parts
            .iter()
            .map(|part| json!({ "name": part.name, "ok": part.ok, "code": part.code, "message": part.message }));
        let told: Vec<_> = told.collect();
        let ready = outcome.is_ok();
        print(&output.of(String::new, || json!({ "ready": ready, "parts": told })));
        return outcome.map(drop).map_err(boxed);
    }
    for part in parts.iter().filter(|_| verbose) {
        print(&healthcheck::line(part));
    }
    outcome.map(|_| print("ready")).map_err(boxed)
}

/// A runtime for one errand.
fn alone() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| {
        boxed(StartError::Runtime {
            what: "the async runtime",
            cause: error.to_string(),
        })
    })
}

fn print(text: &str) {
    // A reader that went away has no use for the line.
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn exit_code(error: &(dyn Coded + 'static)) -> u8 {
    let unreachable = error.code().as_str().starts_with("HM-HSM");
    if let Some(StartError::Config(_)) = <dyn std::error::Error>::downcast_ref(error) {
        USAGE_OR_CONFIG
    } else if let Some(StartError::Hsm(error)) = <dyn std::error::Error>::downcast_ref(error)
        && error.is_about_pin()
    {
        // Whatever starts servers again must not start this one: each start offers the PIN once, and tokens lock.
        USAGE_OR_CONFIG
    } else if let Some(HealthError::Forbidden { .. }) = <dyn std::error::Error>::downcast_ref(error) {
        NOT_PERMITTED
    } else if let Some(HealthError::Silent { .. }) = <dyn std::error::Error>::downcast_ref(error) {
        UNREACHABLE
    } else if unreachable {
        UNREACHABLE
    } else {
        UNEXPECTED
    }
}
