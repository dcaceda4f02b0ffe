//! What logs say by themselves, without a quote that proves any of it.

use hallmark_evidence::{
    ima::{ImaList, ImaReplay},
    systemd::SystemdLog,
    tcg::{PCRS, Replay, TcgLog},
};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use serde::Serialize;

use super::judge::events;
use super::registers::{Logs, replayed};
use super::report::{Check, ImaReport};
use crate::boot::{BootFacts, LoggedEvent, PcrComparison, compare, measured_boot};
use crate::ima::{BootAggregate, ImaListError, MeasuredFiles, measured_files};

/// Logs as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct RawLogs<'a> {
    /// The firmware's event log.
    pub tcg: &'a [u8],
    /// systemd's measurement log.
    pub systemd: Option<&'a [u8]>,
    /// The IMA list.
    pub ima: Option<&'a [u8]>,
}

/// Logs, decoded and replayed. Nothing of it is proven, and there is no verdict: whoever writes a log can write what they like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnprovenReport {
    /// Never.
    pub proven: bool,
    /// What cannot be read.
    pub faults: Vec<Check>,
    /// Every register that the logs extend, as they leave it.
    pub pcrs: Vec<PcrComparison>,
    /// Every event of both boot logs; none is authenticated.
    pub events: Vec<LoggedEvent>,
    /// The IMA list: none of its lines is proven, and its first is held against the boot log's own registers.
    pub ima: Option<ImaReport>,
    /// What would be proven by a quote over the registers that the logs give; `None` for a log that cannot be read, or that has
    /// no SHA-256, SHA-384 or SHA-512 digests.
    pub unproven_facts: Option<BootFacts>,
}

/// Decodes and replays logs. The same logs give the same report.
#[must_use]
pub fn explain_unproven(raw: &RawLogs<'_>) -> UnprovenReport {
    let mut faults = Vec::new();
    let tcg = TcgLog::parse(raw.tcg)
        .map_err(|error| faults.push(Check::refused("boot-log", &error)))
        .ok();
    let systemd = raw.systemd.map(SystemdLog::parse).transpose();
    let systemd = systemd.unwrap_or_else(|error| {
        faults.push(Check::refused("systemd-log", &error));
        None
    });
    let banks = tcg
        .as_ref()
        .map_or_else(|| vec![HashAlg::Sha256], |log| log.banks().to_vec());
    let ima = raw.ima.and_then(|data| match ima_replays(data, &banks) {
        Ok(replays) => Some((data, replays)),
        Err(error) => {
            faults.push(Check::refused("ima", &error));
            None
        }
    });
    let replays = ima.as_ref().map_or(&[][..], |(_, replays)| replays);
    let logs = Logs {
        tcg,
        systemd,
        ima: raw.ima,
    };
    let replay = replayed(&logs, &banks);
    let values = facts_values(&replay, replays);
    let unproven_facts = logs.tcg.as_ref().zip(values.as_ref()).and_then(|(_, values)| {
        let user_space = raw.systemd.filter(|_| logs.systemd.is_some());
        match measured_boot(Some(raw.tcg), user_space, values) {
            Ok(boot) => boot.map(|boot| boot.facts().clone()),
            Err(error) => {
                faults.push(Check::refused("boot-log", &error));
                None
            }
        }
    });
    let mut events = events(&logs);
    events.iter_mut().for_each(|event| event.authenticated = false);
    UnprovenReport {
        proven: false,
        pcrs: registers(&logs, &replay, &banks, replays),
        ima: ima.map(|(data, replays)| ima_report(data, &replays, values.as_ref())),
        faults,
        events,
        unproven_facts,
    }
}

/// PCR 10 of each bank after all lines.
fn ima_replays(data: &[u8], banks: &[HashAlg]) -> Result<Vec<(HashAlg, ImaReplay)>, ImaListError> {
    let mut replays: Vec<_> = banks.iter().map(|bank| (*bank, ImaReplay::at_boot(*bank))).collect();
    for event in ImaList::new(data).lines() {
        let event = event.map_err(ImaListError::from)?;
        replays.iter_mut().for_each(|(_, replay)| replay.extend(&event));
    }
    Ok(replays)
}

/// The registers of the bank that facts are read from: SHA-256, or the first other strong one.
fn facts_values(replay: &Replay, ima: &[(HashAlg, ImaReplay)]) -> Option<PcrValues> {
    let bank = replay.banks().filter(|bank| bank.is_strong()).min()?;
    let mut values = PcrValues::new();
    for pcr in 0..PCRS {
        let list = ima.iter().find(|(of, _)| *of == bank && pcr == ImaReplay::PCR);
        let value = list.map_or_else(|| replay.value(bank, pcr), |(_, list)| Some(list.value()));
        values.insert(bank, pcr, value?.to_vec()).ok()?;
    }
    Some(values)
}

fn registers(logs: &Logs<'_>, replay: &Replay, banks: &[HashAlg], ima: &[(HashAlg, ImaReplay)]) -> Vec<PcrComparison> {
    let registers = banks.iter().flat_map(|bank| (0..PCRS).map(move |pcr| (*bank, pcr)));
    registers
        .filter_map(|(bank, pcr)| {
            let list = ima.iter().find(|(of, _)| *of == bank && pcr == ImaReplay::PCR);
            let compared = |tcg| compare(tcg, logs.systemd.as_ref(), bank, pcr, None);
            match (list, &logs.tcg) {
                (Some((_, list)), _) => Some(PcrComparison {
                    bank: bank.to_string(),
                    pcr,
                    quoted: None,
                    replayed: Some(hex::encode(list.value())),
                    agrees: None,
                    parts_after: None,
                    first_divergence: None,
                    among: None,
                }),
                (None, Some(tcg)) => (replay.extended(bank, pcr) > 0).then(|| compared(tcg)),
                (None, None) => None,
            }
        })
        .collect()
}

fn ima_report(data: &[u8], replays: &[(HashAlg, ImaReplay)], values: Option<&PcrValues>) -> ImaReport {
    let held = values.and_then(|values| measured_files(data.to_vec(), None, values).ok());
    let aggregate = held.as_ref().and_then(MeasuredFiles::boot_aggregate);
    let first = replays.first().map(|(_, replay)| replay);
    ImaReport {
        lines: first.map_or(0, ImaReplay::lines),
        proven_lines: 0,
        violations: first.map_or(0, ImaReplay::violations),
        boot_aggregate: aggregate.unwrap_or(BootAggregate::NotQuoted).as_str().to_owned(),
    }
}
