//! `attest`: whole attestations, each on a new connection with a new AK and a new SVID key. `attest_logs`: the same of
//! machines that have booted anew each time, and send the boot's log. `attest_ima_1m`: one whose IMA list has a million lines
//! (control: their hashing; of memory, the list's bytes), and what it costs when that machine comes again with a few more.

use crate::boot::Boot;
use crate::cpu;
use crate::crypto::Crypto;
use crate::domain::Domain;
use crate::ima::List;
use crate::row::{Row, Table};
use crate::tls::handshakes;
use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use futures_util::future::try_join_all;
use hallmark_attacks::{Wire, attest};
use hallmark_evidence::{Log, LogKind};
use hallmark_tpm_wire::{HashAlg, PublicArea, Signature, credential};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine, VendorCa};
use std::time::{Duration, Instant};

const CALLERS: usize = 8;
const EACH: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;
const CONTROL_RUNS: u32 = 400;
/// EK leaf by its intermediate, the intermediate by its root, the CSR; and what the token signed.
const X509_SIGNATURES: u32 = 4;
/// Certify and Quote.
const TPM_SIGNATURES: u32 = 2;
/// Attestation keys of one machine: the server takes 64 of an endorsement key, and no more.
const KEYS: u32 = 60;
/// Of a long IMA list.
const LINES: u32 = 1_000_000;
/// How often more of them come, and how many.
const TIMES: u32 = 100;
const MORE_LINES: u32 = 100;

pub(crate) fn measure(domain: &mut Domain, table: &mut Table) -> Result<()> {
    measure_as(domain, table, "attest", None)?;
    let boot = Boot::recorded()?;
    measure_as(domain, table, "attest_logs", Some(&boot))?;
    measure_long_list(domain, table)?;
    Table::say(
        "    the machines run on the same processors; control: handshake, EK path, MakeCredential, CSR, Certify, Quote, C_Sign and its verification,",
    )?;
    Table::say("    and of logs their digest, a hash of each event's data, and the extensions")
}

/// A machine that comes with a million lines of an IMA list, and then again and again with a hundred more.
fn measure_long_list(domain: &mut Domain, table: &mut Table) -> Result<()> {
    let server = domain.server_pid()?;
    let mut machine = SoftwareMachine::new(&domain.vendor);
    let (idle, before) = (cpu::resident_mib(server)?, cpu::of_process(server)?);
    let list = List::new(1..LINES, vec![0; 32])?;
    let (mib, hashing_ms) = (
        f64::from(u32::try_from(list.bytes.len())?) / 1_048_576.0,
        list.hashing.as_secs_f64() * 1e3,
    );
    let mut held = measured(domain, &mut machine, list, 0)?;
    let spent_ms = (cpu::of_process(server)? - before) / 1000.0;
    table.push(Row::new("attest_ima_1m.server_cpu_ms", spent_ms, "ms").against(hashing_ms))?;
    table.push(Row::new("attest_ima_1m.server_mib", cpu::peak_mib(server)? - idle, "MiB").against(mib))?;

    let (mut before, mut hashing_us) = (0.0, 0.0);
    for number in 0..=TIMES {
        let from = LINES + number * MORE_LINES;
        let list = List::new(from..from + MORE_LINES, held.1)?;
        if number > 0 {
            hashing_us += list.hashing.as_secs_f64() * 1e6 / f64::from(TIMES);
        }
        held = measured(domain, &mut machine, list, held.0)?;
        if number == 0 {
            // The store folds the log of the long list into its file behind the first of these.
            before = cpu::of_process(server)?;
        }
    }
    let spent_us = (cpu::of_process(server)? - before) / f64::from(TIMES);
    let control_us = bare_everywhere(&domain.vendor)? + Crypto::measure(domain)?.sign_cpu_us + hashing_us;
    table.push(Row::new("attest_ima_100_more.server_cpu_us", spent_us, "us each").against(control_us))
}

/// The machine's kernel measured these lines, from `offset` on. Gives where the list ends then, and the register.
fn measured(domain: &mut Domain, machine: &mut SoftwareMachine, list: List, offset: u64) -> Result<(u64, Vec<u8>)> {
    let register = list.register.clone();
    machine.pcrs.insert((HashAlg::Sha256.id(), 10), list.register);
    let end = offset + u64::try_from(list.bytes.len())?;
    machine.logs = vec![Log::new(LogKind::Ima, offset, list.bytes)?];
    machine.svid = SoftwareKey::svid();
    let address = domain.address();
    domain.runtime.block_on(async {
        let wire = Wire::connect(&address).await?;
        attest(&wire, machine).await?;
        Ok::<_, anyhow::Error>(())
    })?;
    Ok((end, register))
}

fn measure_as(domain: &mut Domain, table: &mut Table, name: &str, boot: Option<&Boot>) -> Result<()> {
    let hashing_us = boot.map_or(Ok(0.0), Boot::hashing_us)?;
    let (server, address) = (domain.server_pid()?, domain.address());
    let processors = f64::from(u32::try_from(std::thread::available_parallelism()?.get())?);
    let (mut count, mut seconds, mut server_us, mut control_us) = (0_u32, 0.0, 0.0, 0.0);
    run(domain, &address, boot, Duration::from_millis(500))?;
    for _ in 0..ROUNDS {
        let rounds = f64::from(u32::try_from(ROUNDS)?);
        control_us += (bare_everywhere(&domain.vendor)? + Crypto::measure(domain)?.sign_cpu_us + hashing_us) / rounds;
        let (before, started) = (cpu::of_process(server)?, Instant::now());
        count += run(domain, &address, boot, EACH)?;
        seconds += started.elapsed().as_secs_f64();
        server_us += cpu::of_process(server)? - before;
    }
    let count = f64::from(count);
    table.push(Row::new(name, count / seconds, "per second").against(processors * 1e6 / control_us))?;
    let name = format!("{name}.server_cpu_us");
    table.push(Row::new(&name, server_us / count, "us each").against(control_us))
}

fn run(domain: &Domain, address: &str, boot: Option<&Boot>, duration: Duration) -> Result<u32> {
    let end = Instant::now() + duration;
    let callers = (0..CALLERS).map(|_| attest_until(address, &domain.vendor, boot, end));
    Ok(domain.runtime.block_on(try_join_all(callers))?.into_iter().sum())
}

async fn attest_until(address: &str, vendor: &VendorCa, boot: Option<&Boot>, end: Instant) -> Result<u32> {
    let mut count = 0;
    while Instant::now() < end {
        let mut machine = SoftwareMachine::new(vendor);
        if let Some(boot) = boot {
            boot.happens_to(&mut machine)?;
        }
        for _ in 0..KEYS {
            // A new AK has to be activated: the whole protocol, not the short way of a renewal.
            machine.ak = SoftwareKey::ak();
            machine.svid = SoftwareKey::svid();
            machine.reset_count += 1;
            let wire = Wire::connect(address).await?;
            attest(&wire, &machine).await?;
            count += 1;
            if Instant::now() >= end {
                break;
            }
        }
    }
    Ok(count)
}

/// [`bare`] on every processor at once, as the server works: processors that share a core slow each other down.
fn bare_everywhere(vendor: &VendorCa) -> Result<f64> {
    let count = std::thread::available_parallelism()?.get();
    let each = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(|| bare(vendor))).collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().ok().context("a thread ended early")?);
        results.collect::<Result<Vec<f64>>>()
    })?;
    Ok(each.iter().sum::<f64>() / f64::from(u32::try_from(count)?))
}

/// The processor time of one attestation's cryptography on the server, without the token's, in microseconds.
fn bare(vendor: &VendorCa) -> Result<f64> {
    let machine = SoftwareMachine::new(vendor);
    let spki = machine.ak.spki();
    let point = spki.get(26..).context("no P-256 SPKI")?;
    let message = [9; 300];
    let der = machine.ak.sign_x509(&message);
    let signature = Signature::parse(&machine.ak.sign(&message))?;
    let ak = PublicArea::parse(&machine.ak.public.marshal())?;
    let ek = PublicArea::parse(&machine.ek.public.marshal())?;
    let before = cpu::of_this_thread();
    for _ in 0..CONTROL_RUNS {
        for _ in 0..X509_SIGNATURES {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point);
            key.verify(&message, &der)
                .ok()
                .context("the signature does not verify")?;
        }
        for _ in 0..TPM_SIGNATURES {
            signature.verify(&ak, &message)?;
        }
        credential::make(&ek, &ak.name(), &[2; 32])?;
    }
    let spent = (cpu::of_this_thread() - before) + handshakes(vendor, CONTROL_RUNS)?;
    Ok(spent.as_secs_f64() * 1e6 / f64::from(CONTROL_RUNS))
}
