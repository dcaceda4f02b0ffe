//! `boot.log_40_us`: a boot log of some forty events, its quote and its key, from the bytes to facts that rules are held
//! against. The control is what that cannot do without: one verification of the quote's signature, a hash over each event's
//! data, and the extensions of the bank that was quoted.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use hallmark_evidence::tcg::{Replay, TcgLog};
use hallmark_evidence::{AkPublic, EvidenceFile, Log, LogKind, RawSigned, Signed, Source};
use hallmark_tpm_wire::{Attest, HashAlg, PcrValues, PublicArea, Signature};
use hallmark_verify::offline::proven_state;
use hallmark_verify::testing::SoftwareMachine;

use crate::cpu;
use crate::row::{Row, Table};

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/measured-boot/noima");
const RUNS: u32 = 500;

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let file = recorded()?;
    let log = file.log(LogKind::Tcg).context("the vector has no boot log")?;
    let events = TcgLog::parse(log)?.events().len();
    let (mut judged, mut control) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..RUNS {
        control += bare(&file, log)?;
        let start = cpu::of_this_thread();
        let (report, proven) = proven_state(&file, None, UNIX_EPOCH);
        judged += cpu::of_this_thread() - start;
        let proven = proven.with_context(|| format!("{:?}", report.checks))?;
        ensure!(proven.boot().is_some_and(|boot| boot.events().len() == events));
    }
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / f64::from(RUNS);
    table.push(Row::new("boot.log_40_us", each(judged), "us").against(each(control)))?;
    Table::say(&format!(
        "    {events} events; control: the quote's signature, a hash of each event's data, and the extensions"
    ))
}

/// A recorded boot, for machines that attest.
pub(crate) struct Boot {
    log: Vec<u8>,
}

impl Boot {
    pub(crate) fn recorded() -> Result<Self> {
        let log = fs::read(Path::new(BOOT).join("eventlog.bin"))?;
        Ok(Self { log })
    }

    /// The machine has the registers that this boot leaves, and sends its log.
    pub(crate) fn happens_to(&self, machine: &mut SoftwareMachine) -> Result<()> {
        let replay = Replay::of(&TcgLog::parse(&self.log)?);
        for pcr in 0..16 {
            let value = replay
                .value(HashAlg::Sha256, pcr)
                .map_or_else(|| vec![0; 32], <[u8]>::to_vec);
            machine.pcrs.insert((HashAlg::Sha256.id(), pcr), value);
        }
        machine.logs = vec![Log::new(LogKind::Tcg, 0, self.log.clone())?];
        Ok(())
    }

    /// The processor time of the hashing that its log cannot do without, in microseconds.
    pub(crate) fn hashing_us(&self) -> Result<f64> {
        let mut spent = Duration::ZERO;
        for _ in 0..RUNS {
            let start = cpu::of_this_thread();
            ensure!(HashAlg::Sha256.digest(&self.log).len() == 32);
            extend(&TcgLog::parse(&self.log)?)?;
            spent += cpu::of_this_thread() - start;
        }
        Ok(spent.as_secs_f64() * 1e6 / f64::from(RUNS))
    }
}

/// A hash of each event's data, and the extension of one register.
fn extend(log: &TcgLog<'_>) -> Result<()> {
    let mut register = vec![0; 32];
    for event in log.events() {
        let digest = HashAlg::Sha256.digest(event.data);
        register = HashAlg::Sha256.digest(&[register, digest].concat());
    }
    ensure!(register != [0; 32]);
    Ok(())
}

/// The recorded boot as an evidence file, without its IMA list.
fn recorded() -> Result<EvidenceFile> {
    let read = |name: &str| fs::read(Path::new(BOOT).join(name)).with_context(|| format!("{BOOT}/{name}"));
    let (attest, signature) = (read("quote.msg")?, read("quote.sig")?);
    let ak = read("ak.tpm2b_public")?;
    // Some versions of tpm2-tools leave the length away.
    let ak = PublicArea::parse_sized(&ak).or_else(|_| PublicArea::parse(&ak))?;
    Ok(EvidenceFile {
        source: Source::Import,
        made_at: String::new(),
        ak: AkPublic::Area(ak.marshal()),
        ek_certificate: None,
        ek_chain: Vec::new(),
        qualification: Attest::parse(&attest)?.extra_data,
        quote: Signed::new(&RawSigned {
            attest: &attest,
            signature: &signature,
        })?,
        pcr_values: values(&String::from_utf8(read("pcrs.txt")?)?)?,
        logs: vec![Log::whole(LogKind::Tcg, read("eventlog.bin")?)?],
        judged: None,
    })
}

/// The SHA-256 values of lines like `sha256:7 65CAF8…`.
fn values(text: &str) -> Result<PcrValues> {
    let mut values = PcrValues::new();
    for line in text.lines() {
        let Some((pcr, hex)) = line.strip_prefix("sha256:").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let bytes =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2).unwrap_or_default(), 16));
        values.insert(HashAlg::Sha256, pcr.parse()?, bytes.collect::<Result<_, _>>()?)?;
    }
    Ok(values)
}

fn bare(file: &EvidenceFile, log: &[u8]) -> Result<Duration> {
    let AkPublic::Area(area) = &file.ak else {
        anyhow::bail!("no public area")
    };
    let (ak, log) = (PublicArea::parse(area)?, TcgLog::parse(log)?);
    let signature = Signature::parse(&file.quote.signature)?;
    let start = cpu::of_this_thread();
    signature.verify(&ak, &file.quote.attest)?;
    extend(&log)?;
    Ok(cpu::of_this_thread() - start)
}
