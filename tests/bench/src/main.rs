//! Benchmarks: each row with a control in the same run. Prints a table and writes `target/bench/results.json`.
//!
//! `hallmark-bench [GROUP ...]` measures the groups named (`tpm_commands`, `x509_issue`, `jwt_issue`, `attest`, `fetch_x509`,
//! `agent_rss_100_svids`, `agent_start`, `binary_size`, `policy`, `fleet`, `boot`, `ima`), or all of them. The project's programs are taken from `HALLMARK_BIN_DIR`, else
//! from beside this one; a debug build measures nothing worth knowing.

mod attest;
mod boot;
mod budget;
mod cpu;
mod crypto;
mod domain;
mod echo;
mod fetch;
mod fleet;
mod ima;
mod issue;
mod reappraise;
mod row;
mod size;
mod start;
mod tls;

use anyhow::Result;
use domain::Domain;
use row::Table;
use std::path::Path;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/bench/results.json");

type Measure = fn(&mut Domain, &mut Table) -> Result<()>;

/// The groups that need a trust domain.
const GROUPS: [(&str, Measure); 6] = [
    ("agent_rss_100_svids", fetch::measure_memory),
    ("x509_issue", issue::measure),
    ("jwt_issue", issue::measure_jwt),
    ("attest", attest::measure),
    ("fetch_x509", fetch::measure),
    ("agent_start", start::measure),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((word, args)) if word == crypto::WORD => crypto::run(args),
        Some((word, args)) if word == echo::WORD => echo::run(args),
        _ => bench(&args),
    }
}

/// The groups that need none.
const OTHERS: [&str; 6] = ["binary_size", "tpm_commands", "policy", "fleet", "boot", "ima"];

fn bench(asked: &[String]) -> Result<()> {
    let is_known = |name: &str| OTHERS.contains(&name) || GROUPS.iter().any(|(group, _)| *group == name);
    if let Some(unknown) = asked.iter().find(|name| !is_known(name)) {
        anyhow::bail!("unknown group {unknown:?}; nothing was measured");
    }
    let is_asked = |group: &str| asked.is_empty() || asked.iter().any(|name| name == group);
    let mut table = Table::default();
    Table::head()?;
    if is_asked("binary_size") {
        size::measure(&mut table)?;
    }
    if is_asked("tpm_commands") {
        budget::measure(&mut table)?;
    }
    if is_asked("policy") {
        reappraise::measure(&mut table)?;
    }
    if is_asked("fleet") {
        fleet::measure(&mut table)?;
    }
    if is_asked("boot") {
        boot::measure(&mut table)?;
    }
    if is_asked("ima") {
        ima::measure(&mut table)?;
    }
    if GROUPS.iter().any(|(group, _)| is_asked(group)) {
        let mut domain = Domain::up()?;
        for (_, measure) in GROUPS.iter().filter(|(group, _)| is_asked(group)) {
            measure(&mut domain, &mut table)?;
        }
    }
    table.write(Path::new(RESULTS))?;
    Table::say("written to target/bench/results.json")
}
