//! `hallmark-lab`: a throw-away trust domain on this machine, for trying things.

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use hallmark_kit::{Lab, LabError, LabOptions, LabReport, RecordedBoot};
use hallmark_reason::Report;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use tokio::signal::unix::{SignalKind, signal};

/// Starts and holds a throw-away trust domain: a SoftHSM token, swtpm TPMs, a hallmark-server and its agents.
///
/// Nothing outside --dir is touched; every process ends with this one (SIGTERM or Ctrl-C).
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a trust domain up, print what it is made of on one line, and hold it.
    Up {
        /// An empty or new folder for everything that the lab writes. Keep its path short: unix sockets lie in it.
        #[arg(long)]
        dir: PathBuf,
        /// How many machines, each with a TPM and an agent.
        #[arg(long, default_value_t = 2)]
        nodes: usize,
        /// The trust domain's name.
        #[arg(long, default_value = "lab.example")]
        trust_domain: String,
        /// A folder with a recorded boot (eventlog.bin, and ima.bin if there is one), which a machine measures in place of
        /// the lab's own firmware. Given several times, the machines take them in turns.
        #[arg(long, value_name = "FOLDER")]
        boot: Vec<PathBuf>,
        /// How to print what the lab is made of.
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
        /// Keep the folder at the end, logs and all.
        #[arg(long)]
        keep: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON object on one line.
    Json,
}

fn main() -> ExitCode {
    let Command::Up {
        dir,
        nodes,
        trust_domain,
        boot,
        output,
        keep,
    } = Arguments::parse().command;
    let existed = dir.exists();
    match run(
        LabOptions {
            folder: dir.clone(),
            trust_domain,
            nodes,
        },
        &boot
            .iter()
            .filter_map(|folder| std::path::absolute(folder).ok())
            .map(|folder| RecordedBoot::of(&folder))
            .collect::<Vec<_>>(),
        output,
    ) {
        Ok(()) => {
            if !keep {
                clean(&dir, existed);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut err = std::io::stderr();
            let _ = match error.downcast_ref::<LabError>() {
                Some(coded) => writeln!(err, "{}", Report(coded)),
                None => writeln!(err, "hallmark-lab: {error:#}"),
            };
            ExitCode::FAILURE
        }
    }
}

fn run(options: LabOptions, boots: &[RecordedBoot], output: Output) -> Result<()> {
    // Signals are caught before anything is started, so that an early Ctrl-C cleans up as well. The lab itself
    // stays on the main thread: the kernel ends its children when the thread that started them ends.
    let (ended, end) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) =
        runtime.block_on(async { anyhow::Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)) })?;
    runtime.spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        hallmark_kit::interrupt();
        let _ = ended.send(());
    });
    let lab = Lab::up_as(options, boots)?;
    print(&lab.report()?, output)?;
    Ok(end.recv()?)
}

fn print(report: &LabReport, output: Output) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(report)?)?,
        Output::Table => {
            writeln!(out, "trust domain   {}", report.trust_domain)?;
            writeln!(out, "server         {}", report.server.address)?;
            writeln!(out, "admin socket   {}", report.server.admin_socket.display())?;
            writeln!(out, "trust bundle   {}", report.server.bundle_file.display())?;
            for node in &report.nodes {
                writeln!(out, "{:<14} {}", node.name, node.agent_id)?;
                writeln!(out, "{:<14} unix://{}", "", node.workload_api.display())?;
            }
            writeln!(
                out,
                "\nTry: hallmark --socket {} status\nCtrl-C ends it.",
                report.server.admin_socket.display()
            )?;
        }
    }
    Ok(out.flush()?)
}

/// Removes what the lab wrote. A folder that was there before (empty) stays.
fn clean(dir: &std::path::Path, existed: bool) {
    if existed {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = if path.is_dir() {
                std::fs::remove_dir_all(path)
            } else {
                std::fs::remove_file(path)
            };
        }
    } else {
        let _ = std::fs::remove_dir_all(dir);
    }
}
