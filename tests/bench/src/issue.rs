//! `x509_issue`: SVIDs over gRPC and mutual TLS, each with its CSR verified and its record in the store. `jwt_issue`: JWT-SVIDs,
//! each validated before it leaves.

use crate::cpu;
use crate::crypto::Crypto;
use crate::domain::{Domain, id_of};
use crate::row::{Row, Table};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hallmark_api::svid::svid_client::SvidClient;
use hallmark_api::svid::{BatchNewX509svidRequest, NewJwtsvidRequest, NewX509svidParams};
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

/// The cryptography of one document: one C_Sign, its verification, and that of the request where there is one.
#[derive(Clone, Copy)]
struct Control<'a> {
    crypto: &'a Crypto,
    verifications: f64,
}

/// What was issued in a time, and what it took.
#[derive(Debug, Default)]
struct Load {
    issued: f64,
    seconds: f64,
    server_us: f64,
    client_us: f64,
}

impl Load {
    fn add(&mut self, other: &Self) {
        self.issued += other.issued;
        self.seconds += other.seconds;
        self.server_us += other.server_us;
        self.client_us += other.client_us;
    }

    /// The rows of what was issued, `unit` the documents per second.
    fn tell(&self, name: &str, unit: &'static str, control: Control, table: &mut Table) -> Result<()> {
        let Control { crypto, verifications } = control;
        let row = |what: &str, value: f64, unit| Row::new(format!("{name}{what}"), value, unit);
        table.push(row("", self.issued / self.seconds, unit).against(crypto.rate(verifications)))?;
        table.push(
            row(".server_cpu_us", self.server_us / self.issued, "us each").against(crypto.cpu_us(verifications)),
        )?;
        table.push(row(".client_cpu_us", self.client_us / self.issued, "us each"))
    }
}

pub(crate) fn measure(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let (clients, entries) = callers(domain, "issue", BATCH)?;
    let requests = Requests::prepare(&entries);
    let of = |batch: usize| {
        let requests = &requests;
        move |n: usize, client, end| call(client, requests, n, batch, end)
    };
    let (mut single, mut batches, mut controls) = (Load::default(), Load::default(), Vec::new());
    load(domain, &clients, Duration::from_millis(500), of(BATCH))?;
    // By turns, so that a busy machine slows all alike.
    for _ in 0..ROUNDS {
        controls.push(Crypto::measure(domain)?);
        single.add(&load(domain, &clients, EACH, of(1))?);
        batches.add(&load(domain, &clients, EACH, of(BATCH))?);
    }
    let control = Control {
        crypto: &Crypto::mean(&controls)?,
        verifications: 2.0,
    };
    single.tell("x509_issue.single", "SVIDs/s", control, table)?;
    batches.tell("x509_issue.batch10", "SVIDs/s", control, table)?;
    Table::say("    the clients run on the same processors; control: C_Sign, its verification, and the CSR's")
}

/// JWT-SVIDs, one a call: each is validated before it leaves, and its record is in the store before it is signed.
pub(crate) fn measure_jwt(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let (clients, entries) = callers(domain, "tokens", 1)?;
    let entry = entries.first().context("no entry")?;
    let of = |_: usize, client, end| call_jwt(client, entry, end);
    let (mut tokens, mut controls) = (Load::default(), Vec::new());
    load(domain, &clients, Duration::from_millis(500), of)?;
    for _ in 0..ROUNDS {
        controls.push(Crypto::measure(domain)?);
        tokens.add(&load(domain, &clients, EACH, of)?);
    }
    let control = Control {
        crypto: &Crypto::mean(&controls)?,
        verifications: 1.0,
    };
    tokens.tell("jwt_issue", "tokens/s", control, table)?;
    Table::say("    the clients run on the same processors; control: C_Sign and its verification")
}

/// One agent for each caller, as in a fleet: a connection of its own; and so many entries of the machine.
fn callers(domain: &mut Domain, name: &str, entries: usize) -> Result<(Vec<SvidClient<Channel>>, Vec<String>)> {
    let machine = SoftwareMachine::new(&domain.vendor);
    let address = domain.address();
    let svid = domain
        .runtime
        .block_on(async { anyhow::Ok(attest(&Wire::connect(&address).await?, &machine).await?) })?;
    let entries = domain.register(&id_of(&svid)?, name, entries)?;
    let identity: Arc<dyn ResolvesClientCert> = SoftwareIdentity::of(&svid, machine.svid);
    let connecting = (0..CALLERS).map(|_| Wire::connect_as(&address, Arc::clone(&identity)));
    let wires = domain.runtime.block_on(try_join_all(connecting))?;
    Ok((
        wires.iter().map(|wire| SvidClient::new(wire.channel())).collect(),
        entries,
    ))
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

/// Has every client call for so long: `call` is told which it is, and when it ends, and gives how many documents it got.
fn load<F: Future<Output = Result<usize>>>(
    domain: &mut Domain,
    clients: &[SvidClient<Channel>],
    duration: Duration,
    call: impl Fn(usize, SvidClient<Channel>, Instant) -> F,
) -> Result<Load> {
    let (server, me) = (domain.server_pid()?, std::process::id());
    let (server_before, client_before) = (cpu::of_process(server)?, cpu::of_process(me)?);
    let started = Instant::now();
    let callers = clients
        .iter()
        .enumerate()
        .map(|(n, client)| call(n, client.clone(), started + duration));
    let counts = domain.runtime.block_on(try_join_all(callers))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Load {
        issued: f64::from(u32::try_from(counts.into_iter().sum::<usize>())?),
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

async fn call_jwt(mut client: SvidClient<Channel>, entry: &str, end: Instant) -> Result<usize> {
    let mut count = 0;
    while Instant::now() < end {
        let request = NewJwtsvidRequest {
            entry_id: entry.to_owned(),
            audience: vec!["bench".to_owned()],
        };
        let answer = client.new_jwtsvid(request).await?.into_inner();
        ensure!(answer.svid.is_some_and(|svid| !svid.token.is_empty()), "no token");
        count += 1;
    }
    Ok(count)
}
