//! `fleet`: a server with 10,000 nodes and 100,000 entries. How fast one caller creates the entries, how long a start takes and
//! what it holds in memory then, how long the lists take by the command line, and what a page of a list costs. Beside each
//! figure stands what it is to stay within.

use crate::cpu;
use crate::reappraise::{NODES, TRUST_DOMAIN, lab_with, stored};
use crate::row::{Row, Table};
use anyhow::{Context as _, Result, ensure};
use hallmark_api::entry::{BatchCreateEntryRequest, ListEntriesRequest};
use hallmark_api::types::{Entry, Selector, Spiffeid};
use hallmark_kit::{AdminClient, Lab, binary};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ENTRIES: u32 = 100_000;
const BATCH: u32 = 50;
const PATIENCE: Duration = Duration::from_secs(120);
const STARTS: u32 = 3;
const PAGE: i32 = 50;
const PAGES: u32 = 400;

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let nodes: Vec<String> = (0..NODES).map(stored).collect::<Result<_>>()?;
    let folder = tempfile::tempdir()?;
    let mut lab = lab_with(folder.path(), &nodes, &vec![BTreeSet::new(); nodes.len()])?;
    lab.start_server()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rate = runtime.block_on(create(&mut lab))?;
    table.push(Row::new("fleet.entries_created", rate, "per second").against(5000.0))?;

    let (mut took, mut peak, mut held) = (0.0, 0.0, 0.0);
    for _ in 0..STARTS {
        lab.server().stop();
        let started = Instant::now();
        lab.server().launch()?;
        lab.server().wait_serving(PATIENCE)?;
        took += millis(started.elapsed()) / f64::from(STARTS);
        let pid = lab.server().pid().context("no server")?;
        peak += cpu::peak_mib(pid)? / f64::from(STARTS);
        held += cpu::resident_mib(pid)? / f64::from(STARTS);
    }
    table.push(Row::new("fleet.start", took, "ms").against(2000.0))?;
    table.push(Row::new("fleet.start_memory", held, "MiB").against(120.0))?;
    table.push(Row::new("fleet.start_memory_peak", peak, "MiB"))?;

    for (name, of, count) in [("node_list", "node", NODES), ("entry_list", "entry", ENTRIES)] {
        let row = Row::new(format!("fleet.{name}"), list(&mut lab, of, count)?, "ms");
        table.push(row.against(1000.0))?;
    }
    measure_pages(&mut lab, &runtime, table)
}

/// One caller, one batch after the other: entries per second.
async fn create(lab: &mut Lab) -> Result<f64> {
    let mut admin = AdminClient::connect(&lab.server().admin_socket()).await?;
    let requests: Vec<_> = (0..ENTRIES / BATCH).map(batch).collect();
    let started = Instant::now();
    for request in requests {
        let results = admin.entry.batch_create_entry(request).await?.into_inner().results;
        let done = |status: &hallmark_api::types::Status| status.code == 0;
        let all = results.iter().all(|result| result.status.as_ref().is_some_and(done));
        ensure!(all, "an entry was not created");
    }
    Ok(f64::from(ENTRIES) / started.elapsed().as_secs_f64())
}

/// Entries of ten workloads on each node.
fn batch(number: u32) -> BatchCreateEntryRequest {
    let id = |path: String| {
        Some(Spiffeid {
            trust_domain: TRUST_DOMAIN.into(),
            path,
        })
    };
    let entry = |n: u32| Entry {
        spiffe_id: id(format!("/workload/{n}")),
        parent_id: id(format!("/spire/agent/tpm2/{:064x}", n % NODES)),
        selectors: vec![Selector {
            r#type: "unix".into(),
            value: format!("uid:{}", n / NODES),
        }],
        ..Entry::default()
    };
    BatchCreateEntryRequest {
        entries: (number * BATCH..(number + 1) * BATCH).map(entry).collect(),
        output_mask: None,
    }
}

/// Milliseconds that the command line needs for the whole list.
fn list(lab: &mut Lab, of: &str, count: u32) -> Result<f64> {
    let started = Instant::now();
    let out = Command::new(binary("hallmark")?)
        .arg("--socket")
        .arg(lab.server().admin_socket())
        .args([of, "list", "-o", "json"])
        .stderr(Stdio::inherit())
        .output()?;
    let took = millis(started.elapsed());
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout)?;
    ensure!(listed.len() == usize::try_from(count)?, "{} listed", listed.len());
    Ok(took)
}

/// Pages one after the other, from the first on: what one costs; the last of them against the first.
fn measure_pages(lab: &mut Lab, runtime: &Runtime, table: &mut Table) -> Result<()> {
    let (socket, pid) = (lab.server().admin_socket(), lab.server().pid().context("no server")?);
    let mut admin = runtime.block_on(AdminClient::connect(&socket))?;
    let mut token = String::new();
    let mut quarters = Vec::new();
    for _ in 0..4 {
        let before = cpu::of_process(pid)?;
        for _ in 0..PAGES / 4 {
            let request = ListEntriesRequest {
                page_size: PAGE,
                page_token: token,
                ..ListEntriesRequest::default()
            };
            let page = runtime.block_on(admin.entry.list_entries(request))?.into_inner();
            ensure!(page.entries.len() == usize::try_from(PAGE)?, "a page is short");
            token = page.next_page_token;
        }
        quarters.push((cpu::of_process(pid)? - before) * 4.0 / f64::from(PAGES));
    }
    let each = quarters.iter().sum::<f64>() / 4.0;
    table.push(Row::new("fleet.entry_page_50.server_cpu_us", each, "us each"))?;
    Table::say(&format!(
        "    by quarters of the first {PAGES} pages: {quarters:.0?} us each; beside the others stands what they are to stay within"
    ))
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
