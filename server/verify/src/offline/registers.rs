//! Values for the quoted digest: those that were kept, or those that the logs give.

use hallmark_evidence::{
    ima::{ImaList, ImaReplay},
    systemd::SystemdLog,
    tcg::{Replay, TcgLog},
};
use hallmark_tpm_wire::{HashAlg, PcrSelection, PcrValues, pcr_digest};

/// What the logs of a file say, where they can be read.
pub(super) struct Logs<'a> {
    pub(super) tcg: Option<TcgLog<'a>>,
    pub(super) systemd: Option<SystemdLog>,
    pub(super) ima: Option<&'a [u8]>,
}

/// Values of the selected registers that give `digest`; `None` if the logs give none.
///
/// PCR 10 is what some prefix of the IMA list gives: each is tried, from the empty one on.
pub(super) fn from_logs(logs: &Logs<'_>, selection: &PcrSelection, hash: HashAlg, digest: &[u8]) -> Option<PcrValues> {
    let banks: Vec<HashAlg> = selection.banks().iter().map(|bank| bank.hash()).collect();
    let gives = |values: &PcrValues| pcr_digest(selection, values, hash).is_ok_and(|computed| computed == digest);
    let replay = replayed(logs, &banks);
    let ima_banks: Vec<HashAlg> = banks
        .iter()
        .copied()
        .filter(|bank| selection.contains(*bank, ImaReplay::PCR))
        .collect();
    let mut ima: Vec<ImaReplay> = ima_banks.iter().map(|bank| ImaReplay::at_boot(*bank)).collect();
    let values = values(&replay, selection, &ima_banks, &ima)?;
    if gives(&values) {
        return Some(values);
    }
    if ima_banks.is_empty() {
        return None;
    }
    for event in ImaList::new(logs.ima?).lines() {
        let event = event.ok()?;
        ima.iter_mut().for_each(|replay| replay.extend(&event));
        let values = self::values(&replay, selection, &ima_banks, &ima)?;
        if gives(&values) {
            return Some(values);
        }
    }
    None
}

/// Both boot logs replayed; registers at their reset values without any.
pub(super) fn replayed(logs: &Logs<'_>, banks: &[HashAlg]) -> Replay {
    let mut replay = match &logs.tcg {
        Some(tcg) => Replay::of(tcg),
        None => Replay::at_reset(banks, 0),
    };
    if let Some(systemd) = &logs.systemd {
        systemd.extend(&mut replay);
    }
    replay
}

fn values(replay: &Replay, selection: &PcrSelection, ima_banks: &[HashAlg], ima: &[ImaReplay]) -> Option<PcrValues> {
    let mut values = PcrValues::new();
    for (bank, pcr) in selection.pcrs() {
        let of_ima = ima_banks
            .iter()
            .position(|other| *other == bank)
            .and_then(|at| ima.get(at));
        let value = match (pcr, of_ima) {
            (ImaReplay::PCR, Some(replay)) => replay.value(),
            _ => replay.value(bank, pcr)?,
        };
        values.insert(bank, pcr, value.to_vec()).ok()?;
    }
    Some(values)
}
