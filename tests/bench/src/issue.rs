//! `x509_issue`: SVIDs over gRPC and mutual TLS, each with its CSR verified and its record in the store.

use crate::cpu;
use crate::crypto::Crypto;
use crate::domain::{Domain, id_of};
use crate::row::{Row, Table};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::svid::{BatchNewX509svidRequest, NewX509svidParams};
use hallmark_attacks::{SoftwareIdentity, Wire, attest};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine};
use rustls::client::ResolvesClientCert;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const CALLERS: usize = 16;
const BATCH: usize = 10;
const EACH: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
/// Requests prepared beforehand; the server remembers none.
const REQUESTS: usize = 64;

#[derive(Debug, Default)]
struct Load {
    svids: f64,
    seconds: f64,
    server_us: f64,
    client_us: f64,
}

impl Load {
    fn add(&mut self, other: &Self) {
        self.svids += other.svids;
        self.seconds += other.seconds;
        self.server_us += other.server_us;
        self.client_us += other.client_us;
    }
}

pub(crate) fn measure(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let machine = SoftwareMachine::new(&domain.vendor);
    let address = domain.address();
    let svid = domain
        .runtime
        .block_on(async { anyhow::Ok(attest(&Wire::connect(&address).await?, &machine).await?) })?;
    let entries = domain.register(&id_of(&svid)?, "issue", BATCH)?;
    let identity: Arc<dyn ResolvesClientCert> = SoftwareIdentity::of(&svid, machine.svid);
    // One agent for each caller, as in a fleet: a connection of its own.
    let connecting = (0..CALLERS).map(|_| Wire::connect_as(&address, Arc::clone(&identity)));
    let clients: Vec<_> = domain
        .runtime
        .block_on(try_join_all(connecting))?
        .iter()
        .map(|wire| SvidClient::new(wire.channel()))
        .collect();
    let requests = Requests::prepare(&entries);

    let (mut single, mut batches, mut controls) = (Load::default(), Load::default(), Vec::new());
    load(domain, &clients, &requests, BATCH, Duration::from_millis(500))?;
    // By turns, so that a busy machine slows all alike.
    for _ in 0..ROUNDS {
        controls.push(Crypto::measure(domain)?);
        single.add(&load(domain, &clients, &requests, 1, EACH)?);
        batches.add(&load(domain, &clients, &requests, BATCH, EACH)?);
    }
    let control = Crypto::mean(&controls)?;
    for (name, load) in [("single", &single), ("batch10", &batches)] {
        let row = |what: &str, value: f64, unit| Row::new(format!("x509_issue.{name}{what}"), value, unit);
        table.push(row("", load.svids / load.seconds, "SVIDs/s").against(control.rate()))?;
        table.push(row(".server_cpu_us", load.server_us / load.svids, "us each").against(control.cpu_us()))?;
        table.push(row(".client_cpu_us", load.client_us / load.svids, "us each"))?;
    }
    Table::say("    the clients run on the same processors; control: C_Sign and the CSR's verification alone")
}

/// Certificate requests with the entries that they are for.
struct Requests(Vec<NewX509svidParams>);

impl Requests {
    fn prepare(entries: &[String]) -> Self {
        let request = |entry_id: &String| {
            let key = SoftwareKey::svid();
            NewX509svidParams {
                entry_id: entry_id.clone(),
                csr: Bytes::from(key.csr_for(&key.spki())),
            }
        };
        Self(entries.iter().cycle().take(REQUESTS).map(request).collect())
    }

    fn batch(&self, from: usize, count: usize) -> BatchNewX509svidRequest {
        BatchNewX509svidRequest {
            params: self
                .0
                .iter()
                .cycle()
                .skip(from % REQUESTS)
                .take(count)
                .cloned()
                .collect(),
        }
    }
}

fn load(
    domain: &mut Domain,
    clients: &[SvidClient<Channel>],
    requests: &Requests,
    batch: usize,
    duration: Duration,
) -> Result<Load> {
    let (server, me) = (domain.server_pid()?, std::process::id());
    let (server_before, client_before) = (cpu::of_process(server)?, cpu::of_process(me)?);
    let started = Instant::now();
    let callers = clients
        .iter()
        .enumerate()
        .map(|(n, client)| call(client.clone(), requests, n, batch, started + duration));
    let counts = domain.runtime.block_on(try_join_all(callers))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Load {
        svids: f64::from(u32::try_from(counts.into_iter().sum::<usize>())?),
        seconds,
        server_us: cpu::of_process(server)? - server_before,
        client_us: cpu::of_process(me)? - client_before,
    })
}

async fn call(
    mut client: SvidClient<Channel>,
    requests: &Requests,
    mut from: usize,
    batch: usize,
    end: Instant,
) -> Result<usize> {
    let mut count = 0;
    while Instant::now() < end {
        let answer = client
            .batch_new_x509svid(requests.batch(from, batch))
            .await?
            .into_inner();
        for result in &answer.results {
            let status = result.status.as_ref().context("no status")?;
            ensure!(status.code == 0, "no SVID: {}", status.message);
            let issued = result.svid.as_ref().is_some_and(|svid| !svid.cert_chain.is_empty());
            ensure!(issued, "a result without an SVID");
        }
        count += answer.results.len();
        from += batch;
    }
    Ok(count)
}
