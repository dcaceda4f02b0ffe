//! A measurement, without gRPC around it:
//! `cargo test --release -p hallmark-server --test services -- --ignored --nocapture cost`

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use hallmark_api::types;
use hallmark_authority::SubjectKey;

use crate::{
    lab::{Lab, entry, isolated},
    svids::{batch, csr},
};

const CALLERS: usize = 16;
const BATCHES: usize = 100;
const BATCH: usize = 10;

/// Processor time of this process so far, in microseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
    (ticks(11) + ticks(12)) * 10_000
}

fn report(what: &str, count: usize, started: Instant, cpu_before: u64) {
    let count = u64::try_from(count).unwrap();
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap();
    let (each, rate) = ((cpu() - cpu_before) / count, count * 1_000_000 / micros);
    println!("measured: {what}: {each} us of CPU each, {rate}/s");
}

#[test]
#[ignore = "a measurement"]
fn cost_of_batches() {
    isolated("cost::cost_of_batches", |folder| async move {
        let lab = Arc::new(Lab::start(&folder).await);
        let agent = lab.attested("aa", &["tpm2:model:x"]).await;
        lab.create(vec![types::Entry {
            id: "web".into(),
            ..entry("/web", agent.path(), 1)
        }])
        .await;
        let csrs: Vec<Bytes> = (0..BATCH).map(|_| csr(&[], &[])).collect();
        let (started, before) = (Instant::now(), cpu());
        let callers = (0..CALLERS).map(|_| {
            let (lab, agent, csrs) = (Arc::clone(&lab), agent.clone(), csrs.clone());
            tokio::spawn(async move {
                for _ in 0..BATCHES {
                    let items: Vec<_> = csrs.iter().map(|csr| ("web", csr.clone())).collect();
                    let response = batch(&lab, &agent, &items).await.unwrap();
                    assert!(response.results.iter().all(|result| result.svid.is_some()));
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        report(
            "SVIDs in batches of 10 from 16 callers",
            CALLERS * BATCHES * BATCH,
            started,
            before,
        );
        let statistics = lab.server.journal.store().statistics();
        println!("measured: {} jobs in {} flushes", statistics.jobs, statistics.commits);
        control(&lab, &csrs).await;
    });
}

/// The crypto that cannot be avoided: the CSR's signature, and the token's.
async fn control(lab: &Lab, csrs: &[Bytes]) {
    let count = CALLERS * BATCHES;
    let (started, before) = (Instant::now(), cpu());
    for csr in csrs.iter().cycle().take(count) {
        SubjectKey::from_csr(csr).unwrap();
    }
    report("CSRs verified, on one thread", count, started, before);
    let authority = lab.server.authority.load_full();
    let (started, before) = (Instant::now(), cpu());
    let algorithm = authority.key.kind.signature_alg();
    let signing = (0..CALLERS).map(|_| async {
        for _ in 0..BATCHES {
            let messages = vec![vec![7; 500]; BATCH];
            lab.server
                .keys
                .sign_batch(&authority.key.id, algorithm, messages)
                .await
                .unwrap();
        }
    });
    futures_util::future::join_all(signing).await;
    report(
        "messages signed by the token",
        CALLERS * BATCHES * BATCH,
        started,
        before,
    );
}
