//! `make soak`: authorities that live for a minute, rotation after rotation, while workloads on two machines open mutual-TLS
//! connections to each other, the server is killed and the token goes away, at random. Not one handshake may fail, and in the end
//! the token holds no key that nobody knows.
//!
//! `hallmark-soak [ROTATIONS [LIFE [SEED]]]`: how often the authority is to change (20), how many seconds one lives (60, at least
//! 60), and what the disturbances are drawn from (said at the start).
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

mod clients;
mod disturb;
mod operator;

use anyhow::{Context as _, Result, ensure};
use clients::Traffic;
use disturb::{Disturbance, Draw};
use hallmark_kit::{Lab, LabOptions};
use operator::Operator;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};

const TRUST_DOMAIN: &str = "soak.test";
/// Seconds that an authority lives at least: its last sixth has room for whatever is drawn.
const SHORTEST_LIFE: u64 = 60;
/// Seconds behind the last rotation in which what is left over is taken away.
const QUIET: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    rotations: usize,
    life: u64,
    seed: u64,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut number = |name: &str, usual: u64| match words.next() {
            None => Ok(usual),
            Some(word) => word.parse().with_context(|| format!("{name} is no number: {word:?}")),
        };
        let drawn = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let asked = Self {
            rotations: usize::try_from(number("ROTATIONS", 20)?)?,
            life: number("LIFE", SHORTEST_LIFE)?,
            seed: number("SEED", drawn)?,
        };
        ensure!(asked.life >= SHORTEST_LIFE, "LIFE is at least {SHORTEST_LIFE} seconds");
        ensure!(words.next().is_none(), "hallmark-soak [ROTATIONS [LIFE [SEED]]]");
        Ok(asked)
    }
}

fn main() -> ExitCode {
    match Asked::read(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("soak: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(asked: Asked) -> Result<()> {
    println!(
        "soak: {} rotations of authorities that live {} s; seed {}",
        asked.rotations, asked.life, asked.seed
    );
    let folder = tempfile::Builder::new().prefix("hallmark-soak").tempdir()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut lab = lay_out(&folder.path().join("lab"), asked.life)?;
    let soaked = soak(&mut lab, &runtime, asked);
    if soaked.is_err() {
        // What they said is the way to why.
        println!("soak: the server's last words:\n{}", last(&lab.server().log()));
        for node in lab.nodes() {
            println!("soak: the last words of {}:\n{}", node.name(), last(&node.log()));
        }
    }
    soaked
}

/// Two machines below a server whose authorities live for so many seconds.
fn lay_out(folder: &std::path::Path, life: u64) -> Result<Lab> {
    let options = LabOptions {
        folder: folder.to_owned(),
        trust_domain: TRUST_DOMAIN.into(),
        nodes: 0,
    };
    let mut lab = Lab::lay_out(options)?;
    for _ in 0..2 {
        lab.build_node()?;
    }
    let roots = [lab.ek_authority().root(), lab.ek_authority().issuer()];
    lab.server().trust(&roots);
    let seconds = |count: u64| format!("{count}s");
    lab.server().set("authority", "ca_ttl", seconds(life).into());
    lab.server().set("authority", "agent_ttl", seconds(life / 2).into());
    lab.server().set("authority", "x509_svid_ttl", seconds(life / 2).into());
    lab.start_server()?;
    for node in lab.nodes() {
        node.start()?;
    }
    Ok(lab)
}

fn soak(lab: &mut Lab, runtime: &Runtime, asked: Asked) -> Result<()> {
    let operator = Operator::new(lab.server().admin_socket());
    let (here, there) = (lab.node(0)?.agent_id()?, lab.node(1)?.agent_id()?);
    operator.register("server", &here)?;
    operator.register("client", &there)?;
    let sockets = (lab.node(0)?.workload_api(), lab.node(1)?.workload_api());
    let traffic = runtime.block_on(Traffic::start(TRUST_DOMAIN, &sockets.0, &sockets.1))?;

    let (mut draw, started) = (Draw::new(asked.seed), Instant::now());
    // A rotation takes five sixths of a life; twice that, and it does not rotate.
    let patience = Duration::from_secs(asked.life * 2);
    let (mut signs, mut rotations, mut since) = (operator.active()?, 0, Instant::now());
    while rotations < asked.rotations {
        let disturbance = draw.disturbance();
        println!("soak: {:>5} s: {disturbance}", started.elapsed().as_secs());
        disturbance.happens_to(lab)?;
        let now = operator.active()?;
        if now != signs {
            (signs, since) = (now, Instant::now());
            rotations += 1;
            let told = traffic.counts();
            println!(
                "soak: {:>5} s: rotation {rotations}: {signs} signs; {} handshakes, {} failed",
                started.elapsed().as_secs(),
                told.good,
                told.failed
            );
        }
        ensure!(
            since.elapsed() < patience,
            "no rotation within {} s",
            patience.as_secs()
        );
        ensure!(traffic.counts().failed == 0, "{}", traffic.failure());
    }
    Disturbance::Nothing(QUIET).happens_to(lab)?;
    let counts = traffic.counts();
    ensure!(counts.failed == 0, "{}", traffic.failure());
    ensure!(counts.good > asked.rotations, "the clients did not connect");
    ensure!(
        counts.renewed > asked.rotations,
        "the workloads' SVIDs were not renewed"
    );
    let keys = operator.require_known_keys()?;
    println!(
        "soak: passed: {rotations} rotations in {} s, {} handshakes with {} SVIDs, none failed ({} begun anew while the client library took in an update); {keys} keys in the token, all in use",
        started.elapsed().as_secs(),
        counts.good,
        counts.renewed,
        counts.anew
    );
    Ok(())
}

fn last(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(40))
        .fold(String::new(), |text, line| text + line + "\n")
}
