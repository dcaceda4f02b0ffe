//! What systemd measured once the kernel ran (systemd, TPM2_PCR_MEASUREMENTS).
//!
//! A record counts as what it says only where its digests are those of the text. Any program can extend a register with the
//! same words: that adds nothing to what the register says, and takes nothing away.

use hallmark_evidence::systemd::{OS_SEPARATOR, OS_SEPARATOR_REGISTERS, SystemdLog, SystemdRecord};
use hallmark_evidence::tcg::TcgEvent;
use hallmark_tpm_wire::HashAlg;

use super::facts::{BootFacts, Measured};
use super::stages::Quoted;
use crate::fingerprint::hex;

/// Behind this word in PCR 9 no NvPCR is set up any more.
const NVPCR_SEPARATOR: &str = "nvpcr-separator";

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
            (11, None) => doubt(facts, record, "in PCR 11 is no phase"),
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
