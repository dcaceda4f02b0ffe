//! What registers hold, found out without reading them: a quote's digest proves values that were computed elsewhere.

use hallmark_evidence::{
    Log, LogKind,
    ima::{ImaList, ImaReplay},
    systemd::SystemdLog,
    tcg::{Replay, TcgLog},
};
use hallmark_tpm_wire::{HashAlg, PcrSelection, PcrValues, pcr_digest};

/// The values of `selection` that give `digest` (SHA-256), if they follow from what is known: `last`, the values of the
/// quote before; those that the boot logs among `logs` give; those of a reset. In each, PCR 10 may be what a part of the
/// IMA list among `logs` gives.
pub(crate) fn proven_by(
    digest: &[u8],
    selection: &PcrSelection,
    last: Option<&PcrValues>,
    logs: &[Log],
) -> Option<PcrValues> {
    let gives = |values: &PcrValues| pcr_digest(selection, values, HashAlg::Sha256).is_ok_and(|it| it == digest);
    let measured = measured_files(selection, last, logs);
    let bases = [last.cloned(), replayed(selection, logs), Some(at_reset(selection))];
    bases.into_iter().flatten().find_map(|base| {
        if gives(&base) {
            return Some(base);
        }
        // The list was read behind the quote: most likely it is the last line, or one of few before.
        let (bank, lines) = measured.as_ref()?;
        lines.iter().rev().find_map(|value| {
            let values = with(selection, &base, *bank, value)?;
            gives(&values).then_some(values)
        })
    })
}

/// The registers as a reset leaves them, before anything is measured (PC Client platform profile, section 3.1): zeros,
/// and ones in those of the dynamic root of trust.
fn at_reset(selection: &PcrSelection) -> PcrValues {
    let mut values = PcrValues::new();
    for (bank, pcr) in selection.pcrs() {
        let fill = if (17..=22).contains(&pcr) { 0xff } else { 0 };
        // A selection names each register once, and the value is as long as the bank's digest.
        let _ = values.insert(bank, pcr, vec![fill; bank.digest_len()]);
    }
    values
}

/// The registers that the whole boot logs give, if they are whole.
fn replayed(selection: &PcrSelection, logs: &[Log]) -> Option<PcrValues> {
    let log = |kind| logs.iter().find(|log| log.kind == kind && log.offset == 0);
    let mut replay = Replay::of(&TcgLog::parse(&log(LogKind::Tcg)?.data).ok()?);
    if let Some(systemd) = log(LogKind::Systemd) {
        SystemdLog::parse(&systemd.data).ok()?.extend(&mut replay);
    }
    let mut values = PcrValues::new();
    for (bank, pcr) in selection.pcrs() {
        values.insert(bank, pcr, replay.value(bank, pcr)?.to_vec()).ok()?;
    }
    Some(values)
}

/// PCR 10 of a quoted bank after each line of the list. A part of the list goes on from the last quote.
fn measured_files(selection: &PcrSelection, last: Option<&PcrValues>, logs: &[Log]) -> Option<(HashAlg, Vec<Vec<u8>>)> {
    let (bank, _) = selection.pcrs().find(|(_, pcr)| *pcr == ImaReplay::PCR)?;
    let log = logs.iter().find(|log| log.kind == LogKind::Ima)?;
    let mut value = if log.offset == 0 {
        vec![0; bank.digest_len()]
    } else {
        last?.get(bank, ImaReplay::PCR)?.to_vec()
    };
    let mut values = Vec::new();
    for line in ImaList::new(&log.data).lines() {
        let line = line.ok()?;
        if line.pcr == u32::from(ImaReplay::PCR) {
            value = bank.digest(&[value, line.extension(bank)].concat());
            values.push(value.clone());
        }
    }
    Some((bank, values))
}

/// `base` with another value of PCR 10.
fn with(selection: &PcrSelection, base: &PcrValues, bank: HashAlg, value: &[u8]) -> Option<PcrValues> {
    let mut values = PcrValues::new();
    for (other, pcr) in selection.pcrs() {
        let is_it = other == bank && pcr == ImaReplay::PCR;
        let value = if is_it { value } else { base.get(other, pcr)? };
        values.insert(other, pcr, value.to_vec()).ok()?;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/measured-boot/base");
        std::fs::read(std::path::Path::new(folder).join(name)).unwrap()
    }

    fn log(kind: LogKind, offset: u64, data: &[u8]) -> Log {
        Log::new(kind, offset, data.to_vec()).unwrap()
    }

    fn selection() -> PcrSelection {
        let all: Vec<u8> = (0..16).collect();
        PcrSelection::new([(HashAlg::Sha256, all.as_slice())]).unwrap()
    }

    fn digest(values: &PcrValues) -> Vec<u8> {
        pcr_digest(&selection(), values, HashAlg::Sha256).unwrap()
    }

    /// The registers of the recorded boot after all lines of its list but the last `left_out`.
    fn registers(left_out: usize) -> PcrValues {
        let base = replayed(&selection(), &[log(LogKind::Tcg, 0, &vector("eventlog.bin"))]).unwrap();
        let list = [log(LogKind::Ima, 0, &vector("ima.bin"))];
        let (bank, lines) = measured_files(&selection(), None, &list).unwrap();
        with(&selection(), &base, bank, &lines[lines.len() - 1 - left_out]).unwrap()
    }

    #[test]
    fn the_whole_logs_of_a_boot_give_its_registers() {
        let logs = [
            log(LogKind::Tcg, 0, &vector("eventlog.bin")),
            log(LogKind::Ima, 0, &vector("ima.bin")),
        ];
        for left_out in [0, 1, 5] {
            let quoted = registers(left_out);
            assert_eq!(proven_by(&digest(&quoted), &selection(), None, &logs), Some(quoted));
        }
        assert_eq!(proven_by(&digest(&registers(0)), &selection(), None, &logs[..1]), None);
        assert_eq!(proven_by(&[7; 32], &selection(), None, &logs), None);
    }

    #[test]
    fn new_lines_go_on_from_the_last_quote() {
        let list = vector("ima.bin");
        let mut lines = ImaList::new(&list).lines();
        for _ in 0..60 {
            lines.next().unwrap().unwrap();
        }
        let held = usize::try_from(lines.bytes_read()).unwrap();
        let rest = [log(LogKind::Ima, lines.bytes_read(), &list[held..])];
        let before = registers(67 - 60);
        let now = registers(2);
        assert_eq!(
            proven_by(&digest(&now), &selection(), Some(&before), &rest),
            Some(now.clone())
        );
        assert_eq!(proven_by(&digest(&now), &selection(), None, &rest), None);
        assert_eq!(
            proven_by(&digest(&before), &selection(), Some(&before), &[]),
            Some(before)
        );
    }

    #[test]
    fn registers_of_a_reset_are_known() {
        let reset = at_reset(&selection());
        assert_eq!(proven_by(&digest(&reset), &selection(), None, &[]), Some(reset));
    }
}
