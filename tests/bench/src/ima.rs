//! `ima.list_100k` and `ima.list_1m`: an IMA list held against the quoted register, kept, and judged by a list of digests
//! for all of its files. The control is the hashing that proving it cannot do without: a line's own hash, its digest in the
//! quoted bank and the register's extension. `ima.list_1m_by_10` is the long list by ten times the short one, which is 1
//! where time is linear. `ima.kept_100k` is a new policy for files against what was kept (control: reading it),
//! `ima.new_lines_100` all that a hundred new lines cost behind 100,000, from what is stored to what is stored; `ima.list_1m_memory` is what the million lines take by the list's bytes.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_policy::{DigestList, ImaSummary, MachineFacts, MeasuredFile, Policy, PolicySet};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use hallmark_verify::ima::{MeasuredFiles, measured_files};

use crate::cpu;
use crate::row::{Row, Table};

const LINES: u32 = 100_000;
/// A path of a usual length.
const FOLDER: &str = "/usr/lib/python3/dist-packages/something/usual";

fn digest(number: u32) -> Vec<u8> {
    HashAlg::Sha256.digest(&number.to_le_bytes())
}

fn sized(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok([&u32::try_from(bytes.len())?.to_le_bytes()[..], bytes].concat())
}

/// The data of a line of `ima-ng`.
fn data(name: &str, digest: &[u8]) -> Result<Vec<u8>> {
    let digest = [b"sha256:\0", digest].concat();
    Ok([sized(&digest)?, sized(&[name.as_bytes(), &[0]].concat())?].concat())
}

/// A list's bytes, the register that it gives, and how long its hashing takes.
pub(crate) struct List {
    pub(crate) bytes: Vec<u8>,
    pub(crate) register: Vec<u8>,
    pub(crate) hashing: Duration,
    values: PcrValues,
}

impl List {
    pub(crate) fn new(lines: std::ops::Range<u32>, register: Vec<u8>) -> Result<Self> {
        let mut all = Vec::new();
        if lines.start == 0 {
            all.push(data("boot_aggregate", &HashAlg::Sha256.digest(&[0; 320]))?);
        }
        for number in lines {
            all.push(data(&format!("{FOLDER}/{number:08}.py"), &digest(number))?);
        }
        let start = cpu::of_this_thread();
        let (mut register, mut hashes) = (register, Vec::with_capacity(all.len()));
        for data in &all {
            hashes.push(HashAlg::Sha1.digest(data));
            register = HashAlg::Sha256.digest(&[register, HashAlg::Sha256.digest(data)].concat());
        }
        let hashing = cpu::of_this_thread() - start;
        let mut bytes = Vec::new();
        for (data, hash) in all.iter().zip(&hashes) {
            bytes.extend(10_u32.to_le_bytes());
            bytes.extend(hash);
            bytes.extend(sized(b"ima-ng")?);
            bytes.extend(sized(data)?);
        }
        let mut values = PcrValues::new();
        for pcr in 0..10 {
            values.insert(HashAlg::Sha256, pcr, vec![0; 32])?;
        }
        values.insert(HashAlg::Sha256, 10, register.clone())?;
        Ok(Self {
            bytes,
            register,
            hashing,
            values,
        })
    }
}

/// One policy, with a list of digests for `count` files.
fn policies(count: u32) -> Result<PolicySet> {
    let mut set = PolicySet::default();
    let text = "version = 1\nname = \"files\"\nserial = 1\n[ima]\nlists = [\"image\"]\nexclude = [\"/var/log/*\"]\n";
    set.apply(Policy::from_toml("bench", text)?);
    let lines = (0..count).map(|number| format!("{}  {FOLDER}/{number:08}.py\n", hex(&digest(number))));
    set.add_digest_list(DigestList::import("image", 1, &lines.collect::<String>())?.0);
    Ok(set)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A machine without anything but its list.
fn facts(ima: ImaSummary) -> Result<MachineFacts> {
    let mut facts: MachineFacts = serde_json::from_value(serde_json::json!({
        "tpm": {"ek_sha256": "", "class": "discrete", "enrolled_by": "certificate", "inventory": null, "certificate": null,
            "firmware_version": 1},
        "sighting": {"reset_count": 1, "restart_count": 0, "clock": 1, "safe": true, "firmware_version": 1, "seen_at": 1},
        "pcrs": {}, "boot": null, "labels": {}
    }))?;
    facts.ima = Some(ima);
    Ok(facts)
}

fn judge(set: &PolicySet, facts: &MachineFacts) -> Result<()> {
    let result = set.judge(facts, UNIX_EPOCH + Duration::from_secs(1_795_392_000));
    ensure!(result.is_trusted(), "{:?}", result.refusal());
    let judged = result
        .reasons()
        .iter()
        .any(|reason| reason.rule == "ima.lists" && reason.code.as_str() == "HM-POLICY-0208");
    ensure!(judged, "the files were judged");
    Ok(())
}

/// Proves, keeps and judges the list; gives how long that took and what is held then.
fn once(set: &PolicySet, list: &List) -> Result<(Duration, MeasuredFiles, MachineFacts)> {
    let bytes = list.bytes.clone();
    let start = cpu::of_this_thread();
    let files = measured_files(bytes, None, &list.values)?;
    let mut summary = ImaSummary::of(None, &files).context("a whole list")?;
    set.look(&mut summary);
    let mut facts = facts(summary)?;
    judge(set, &facts)?;
    let took = cpu::of_this_thread() - start;
    if let Some(ima) = &mut facts.ima {
        ima.looked.clear();
    }
    Ok((took, files, facts))
}

/// The best of three: what is told is the work, not what else the machine did.
fn best(set: &PolicySet, list: &List) -> Result<(Duration, MeasuredFiles, MachineFacts)> {
    let runs = (0..3).map(|_| once(set, list)).collect::<Result<Vec<_>>>()?;
    runs.into_iter().min_by_key(|(took, ..)| *took).context("three runs")
}

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    let start_value = || vec![0; 32];
    let set = policies(LINES)?;
    let list = List::new(0..LINES, start_value())?;
    let (short, files, facts) = best(&set, &list)?;
    ensure!(
        files.line_count() == u64::from(LINES) + 1,
        "{} lines",
        files.line_count()
    );
    table.push(Row::new("ima.list_100k", millis(short), "ms").against(millis(list.hashing)))?;
    measure_kept(table, &set, &files, facts)?;
    drop((set, list, files));

    let set = policies(10 * LINES)?;
    let list = List::new(0..10 * LINES, start_value())?;
    let before = cpu::resident_mib(std::process::id())?;
    let (long, files, facts) = once(&set, &list)?;
    let after = cpu::resident_mib(std::process::id())?;
    let kept = facts.ima.as_ref().map_or(0, |it| it.files.len());
    ensure!(kept == 1_000_000, "{kept} lines are kept");
    table.push(Row::new("ima.list_1m", millis(long), "ms").against(millis(list.hashing)))?;
    table.push(Row::new("ima.list_1m_by_10", millis(long), "ms").against(10.0 * millis(short)))?;
    ensure!(
        files.proven_bytes() == u64::try_from(list.bytes.len())?,
        "the whole list is proven"
    );
    let mib = f64::from(u32::try_from(files.proven_bytes())?) / 1_048_576.0;
    table.push(Row::new("ima.list_1m_memory", after - before, "MiB").against(mib))
}

/// What was kept, judged again, and gone on with.
fn measure_kept(table: &mut Table, set: &PolicySet, files: &MeasuredFiles, mut facts: MachineFacts) -> Result<()> {
    let micros = |span: Duration| span.as_secs_f64() * 1_000_000.0;
    let list = |facts: &mut MachineFacts| facts.ima.take().context("a list");
    let stored = MeasuredFile::to_lines(facts.ima.as_ref().context("a list")?.files.clone());
    let start = cpu::of_this_thread();
    let lines = MeasuredFile::from_lines(&stored)?;
    let decoded = cpu::of_this_thread() - start;
    // A policy that comes later: the lines are read again, looked at, and go.
    let start = cpu::of_this_thread();
    let mut later = facts.clone();
    let mut ima = list(&mut later)?;
    ima.files = Vec::new();
    ensure!(
        set.needs_lines(&ima) && ima.recall(lines),
        "the lines are those of the list"
    );
    set.look(&mut ima);
    later.ima = Some(ima);
    judge(set, &later)?;
    let judged = cpu::of_this_thread() - start + decoded;
    table.push(Row::new("ima.kept_100k", micros(judged) / 1000.0, "ms").against(micros(decoded) / 1000.0))?;

    // New lines: the others stay where they are.
    let mut ima = list(&mut facts)?;
    set.look(&mut ima);
    facts.ima = Some(ima);
    let kept = serde_json::to_string(&facts)?;
    let more = List::new(LINES..LINES + 100, files.replay().value().to_vec())?;
    let bytes = more.bytes.clone();
    let start = cpu::of_this_thread();
    let new = measured_files(bytes, Some(files.replay().clone()), &more.values)?;
    let mut facts: MachineFacts = serde_json::from_str(&kept)?;
    let held = list(&mut facts)?;
    ensure!(!set.needs_lines(&held), "what was found is known");
    let mut ima = ImaSummary::of(Some(held), &new).context("it goes on")?;
    set.look(&mut ima);
    let appended = MeasuredFile::to_lines(std::mem::take(&mut ima.files));
    facts.ima = Some(ima);
    let refused = set
        .judge(&facts, UNIX_EPOCH)
        .refusal()
        .map(|reason| reason.code.as_str());
    let written = serde_json::to_string(&facts)?;
    let took = cpu::of_this_thread() - start;
    ensure!(
        refused == Some("HM-POLICY-0209"),
        "the list of digests has them not: {refused:?}"
    );
    ensure!(
        written.len() + appended.len() < 32 * 1024,
        "only what is new is written"
    );
    let mut control = ImaReplay::at_boot(HashAlg::Sha256);
    ImaList::binary(&more.bytes).lines().for_each(|event| {
        if let Ok(event) = event {
            control.extend(&event);
        }
    });
    ensure!(control.lines() == 100, "{} lines", control.lines());
    table.push(Row::new("ima.new_lines_100", micros(took), "us").against(micros(more.hashing)))
}
