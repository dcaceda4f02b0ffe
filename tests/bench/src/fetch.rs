//! `fetch_x509`: FetchX509SVID from the agent's cache, over kept and over new connections.
//!
//! The control is a bare tonic server on a unix socket, in a process of its own, that answers every call with the same
//! bytes and knows nobody.

use crate::cpu;
use crate::domain::Domain;
use crate::echo;
use crate::row::{Row, Table};
use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use hallmark_api::workload::{X509svidRequest, X509svidResponse};
use hallmark_kit::{WorkloadClient, WorkloadRequest};
use prost::Message as _;
use std::path::Path;
use std::time::{Duration, Instant};

const CALLERS: usize = 4;
const EACH: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(200);
/// The incumbent's agent when the aims were set, not in this run: streams per second over kept and over new
/// connections.
const INCUMBENT: [f64; 2] = [1800.0, 950.0];
/// SVIDs whose memory is measured.
const HELD: usize = 100;

#[derive(Clone, Copy)]
enum Connection {
    Kept,
    New,
}

#[derive(Default)]
struct Sample {
    latencies_us: Vec<u64>,
    seconds: f64,
    cpu_us: f64,
}

impl Sample {
    fn count(&self) -> Result<f64> {
        Ok(f64::from(u32::try_from(self.latencies_us.len())?))
    }

    fn add(&mut self, other: Self) {
        self.latencies_us.extend(other.latencies_us);
        self.seconds += other.seconds;
        self.cpu_us += other.cpu_us;
    }

    /// The latency that so many of a thousand calls stay within.
    fn latency(&mut self, per_mille: usize) -> Result<f64> {
        self.latencies_us.sort_unstable();
        let at = self.latencies_us.len().saturating_sub(1) * per_mille / 1000;
        Ok(f64::from(u32::try_from(
            *self.latencies_us.get(at).context("nothing was measured")?,
        )?))
    }
}

pub(crate) fn measure(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let parent = domain.agent_id(0)?;
    domain.register(&parent, "fetch", 1)?;
    let (socket, agent) = domain.agent(0)?;
    let answer = domain.runtime.block_on(wait_for(&socket, 1, PACE))?;
    let folder = tempfile::tempdir()?;
    let bare = folder.path().join("echo.sock");
    let mut echo = echo::start(folder.path(), &bare, &answer.encode_to_vec())?;
    echo.wait_until(PATIENCE, || domain.runtime.block_on(WorkloadRequest::is_ready(&bare)))?;

    for (name, connection, incumbent) in [
        ("kept", Connection::Kept, INCUMBENT[0]),
        ("new", Connection::New, INCUMBENT[1]),
    ] {
        let (mut ours, mut control) = (Sample::default(), Sample::default());
        for _ in 0..ROUNDS {
            control.add(sample(domain, &bare, echo.pid(), connection)?);
            ours.add(sample(domain, &socket, agent, connection)?);
        }
        let row = |what: &str, value: f64, unit| Row::new(format!("fetch_x509.{name}{what}"), value, unit);
        let per_second = |sample: &Sample| anyhow::Ok(sample.count()? / sample.seconds);
        table.push(row("", per_second(&ours)?, "streams/s").against(per_second(&control)?))?;
        table.push(row(".p50_us", ours.latency(500)?, "us").against(control.latency(500)?))?;
        table.push(row(".p99_us", ours.latency(990)?, "us").against(control.latency(990)?))?;
        let cpu = |sample: &Sample| anyhow::Ok(sample.cpu_us / sample.count()?);
        table.push(row(".agent_cpu_us", cpu(&ours)?, "us each").against(cpu(&control)?))?;
        table.push(row(".incumbent", incumbent, "streams/s"))?;
    }
    Table::say("    the client runs on the same processors; control: a bare tonic server that answers the same bytes")
}

/// `agent_rss_100_svids`: what the second machine's agent holds in memory with so many SVIDs.
pub(crate) fn measure_memory(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let parent = domain.agent_id(1)?;
    domain.register(&parent, "memory", HELD)?;
    let (socket, agent) = domain.agent(1)?;
    domain.runtime.block_on(wait_for(&socket, HELD, PACE))?;
    table.push(Row::new("agent_rss_100_svids", cpu::resident_mib(agent)?, "MiB").against(20.0))
}

fn sample(domain: &Domain, socket: &Path, pid: u32, connection: Connection) -> Result<Sample> {
    let (before, started) = (cpu::of_process(pid)?, Instant::now());
    let callers = (0..CALLERS).map(|_| call(socket, connection, started + EACH));
    let latencies = domain.runtime.block_on(try_join_all(callers))?;
    Ok(Sample {
        latencies_us: latencies.concat(),
        seconds: started.elapsed().as_secs_f64(),
        cpu_us: cpu::of_process(pid)? - before,
    })
}

async fn call(socket: &Path, connection: Connection, end: Instant) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    let mut client = WorkloadRequest::connect(socket).await?;
    while Instant::now() < end {
        let begin = Instant::now();
        if matches!(connection, Connection::New) {
            client = WorkloadRequest::connect(socket).await?;
        }
        ensure!(!fetch(&mut client).await?.svids.is_empty(), "an answer without SVIDs");
        latencies.push(u64::try_from(begin.elapsed().as_micros())?);
    }
    Ok(latencies)
}

/// Opens the stream, takes its first message and lets it go.
async fn fetch(client: &mut WorkloadClient) -> Result<X509svidResponse> {
    let request = WorkloadRequest::with_header(X509svidRequest {});
    let mut stream = client.fetch_x509svid(request).await?.into_inner();
    stream.message().await?.context("the stream ended without an answer")
}

/// One answer over a connection of its own.
async fn first(socket: &Path) -> Result<X509svidResponse> {
    fetch(&mut WorkloadRequest::connect(socket).await?).await
}

/// The agent's answer once it holds so many SVIDs; it is asked at this pace.
pub(crate) async fn wait_for(socket: &Path, count: usize, pace: Duration) -> Result<X509svidResponse> {
    let start = Instant::now();
    loop {
        match first(socket).await {
            Ok(answer) if answer.svids.len() >= count => return Ok(answer),
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            _ => ensure!(start.elapsed() < PATIENCE, "the agent did not get {count} SVIDs"),
        }
        tokio::time::sleep(pace).await;
    }
}
