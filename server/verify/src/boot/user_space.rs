//! What systemd measured once the kernel ran (systemd, TPM2_PCR_MEASUREMENTS).
//!
//! A record counts as what it says only where its digests are those of the text. Any program can extend a register with the
//! same words: that adds nothing to what the register says, and takes nothing away.

use hallmark_evidence::systemd::{OS_SEPARATOR, OS_SEPARATOR_REGISTERS, SystemdLog, SystemdRecord};
use hallmark_evidence::tcg::{Replay, TcgEvent, TcgLog};
use hallmark_tpm_wire::{HashAlg, PcrValues};

use super::facts::{BootFacts, Measured};
use super::stages::Quoted;
use crate::fingerprint::hex;

/// Behind this word in PCR 9 no NvPCR is set up any more.
const NVPCR_SEPARATOR: &str = "nvpcr-separator";

/// The phases of a boot in their order, and their register. systemd before 255 measures them, and keeps no log of it.
const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];
const OF_PHASES: u8 = 11;

/// systemd's log with the phases behind it that the quoted PCR 11 shows and no log has; `None` where the logs give the
/// register, or no phases do.
///
/// The register itself proves the words: nothing else that is known gives its value. It is as if systemd had kept a log.
pub(crate) fn with_unlogged_phases(
    tcg: &TcgLog<'_>,
    systemd: Option<&SystemdLog>,
    values: &PcrValues,
) -> Option<SystemdLog> {
    let mut records = systemd.into_iter().flat_map(SystemdLog::records);
    let is_logged = records.any(|record| record.pcr == OF_PHASES);
    let before = Replay::of(tcg);
    let gives = |replay: &Replay| {
        let mut quoted = values.iter().filter(|(_, pcr, _)| *pcr == OF_PHASES);
        quoted.all(|(bank, pcr, value)| replay.value(bank, pcr) == Some(value))
    };
    if is_logged || gives(&before) {
        return None;
    }
    let known = systemd.cloned().unwrap_or_default();
    (1_u8..1 << PHASES.len()).find_map(|chosen| {
        let words = PHASES.iter().enumerate().filter(|(at, _)| (chosen >> at) & 1 == 1);
        let words: Vec<_> = words.map(|(_, word)| *word).collect();
        let log = known.followed_by(OF_PHASES, &words, tcg.banks());
        let mut replay = before.clone();
        log.extend(&mut replay);
        gives(&replay).then_some(log)
    })
}

/// The event of PCR 12 that is the archive of the NvPCR anchors that the agent sent: its digests show that it held them and
/// nothing else.
pub(super) fn anchors<'e, 'a>(systemd: Option<&SystemdLog>, events: &[&'e TcgEvent<'a>]) -> Option<&'e TcgEvent<'a>> {
    let anchors = systemd.map(SystemdLog::anchors).filter(|anchors| !anchors.is_empty())?;
    let archive = anchors.archive();
    let is_archive = |event: &TcgEvent<'_>| {
        let mut digests = event.digests.iter();
        !event.digests.is_empty() && digests.all(|(bank, digest)| bank.digest(&archive) == *digest)
    };
    events.iter().copied().find(|event| is_archive(event))
}

/// Reads the facts of the user-space log.
pub(super) fn read(systemd: Option<&SystemdLog>, quoted: Quoted<'_>, facts: &mut BootFacts) {
    let mut nvpcrs_are_done = false;
    let records = systemd.into_iter().flat_map(SystemdLog::records);
    for record in records.filter(|record| (quoted.text)(record.pcr)) {
        let Some(digest) = record.digest(HashAlg::Sha256) else {
            continue;
        };
        let text = record.is_proven().then_some(record.text.as_str());
        let measured = Measured {
            event: record.number,
            sha256: hex(digest),
            text: text.map(str::to_owned),
            hint: record.text.clone(),
        };
        match (record.pcr, text) {
            (pcr, Some(OS_SEPARATOR)) if OS_SEPARATOR_REGISTERS.contains(&pcr) => {}
            (9, Some(NVPCR_SEPARATOR)) => nvpcrs_are_done = true,
            (9, Some(text)) if is_nvpcr(text) && nvpcrs_are_done => {
                doubt(facts, record, "sets up an NvPCR behind their separator");
            }
            (9, Some(text)) if is_nvpcr(text) => facts.nvpcrs.push(text.to_owned()),
            (11, Some(text)) => facts.phases.push(text.to_owned()),
            (11, None) => doubt(facts, record, "in PCR 11 is not a phase"),
            (12..=15, _) if !(quoted.digest)(record.pcr) => {}
            (12, _) => facts.overrides.push(measured),
            (13, _) => facts.system_extensions.push(measured),
            (15, _) => facts.system_identity.push(measured),
            (pcr, _) => doubt(facts, record, &format!("is in PCR {pcr}")),
        }
    }
}

fn doubt(facts: &mut BootFacts, record: &SystemdRecord, what: &str) {
    facts
        .doubts
        .insert(format!("record {} of the user-space log {what}", record.number));
}

/// `nvpcr-init:NAME:0xHANDLE:…`: what the index is then, by its Name or, with systemd 259 to 261, by algorithm and value.
fn is_nvpcr(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        !name.is_empty() && name.bytes().all(plain)
    };
    let is_hex = |text: &str| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        !text.is_empty() && text.bytes().all(digit)
    };
    let is_handle = |handle: &str| handle.strip_prefix("0x").is_some_and(is_hex);
    match parts.as_slice() {
        ["nvpcr-init", name, handle, tpm_name] => {
            let (alg, digest) = tpm_name.split_at_checked(4).unwrap_or_default();
            let alg = u16::from_str_radix(alg, 16).ok().and_then(HashAlg::from_id);
            let fits = alg.is_some_and(|alg| alg.digest_len() * 2 == digest.len());
            is_name(name) && is_handle(handle) && fits && is_hex(tpm_name)
        }
        ["nvpcr-init", name, handle, alg, value] => {
            let alg = HashAlg::from_name(alg);
            let fits = alg.is_some_and(|alg| alg.digest_len() * 2 == value.len());
            is_name(name) && is_handle(handle) && fits && is_hex(value)
        }
        _ => false,
    }
}
