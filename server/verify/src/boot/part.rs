//! Where log and quote part.

use hallmark_evidence::{
    systemd::SystemdLog,
    tcg::{Replay, TcgLog},
};
use hallmark_tpm_wire::HashAlg;
use serde::{Deserialize, Serialize};

use super::LoggedEvent;

/// A register as it was quoted and as the log gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcrComparison {
    /// The bank.
    pub bank: String,
    /// The register.
    pub pcr: u8,
    /// The quoted value, hex; `None` where only a digest over all registers is known.
    pub quoted: Option<String>,
    /// The replayed value, hex; `None` for a bank that the log does not have.
    pub replayed: Option<String>,
    /// Whether they are the same; `None` where the quoted value is not known.
    pub agrees: Option<bool>,
    /// Where they differ: the last event of the register up to which they agree; `None` if they part at once.
    pub parts_after: Option<u32>,
    /// Where they differ: the first event that was not measured so; `None` where the quote does not show which one it is.
    pub first_divergence: Option<LoggedEvent>,
    /// Where they differ and the quote does not show at which event: the first and last event of the register.
    pub among: Option<(u32, u32)>,
}

/// Compares one register. The quote shows only the end of a register's history, so an event can be named only where the
/// log goes on behind what was quoted; else it is any of the register's.
#[must_use]
pub fn compare(
    tcg: &TcgLog<'_>,
    systemd: Option<&SystemdLog>,
    bank: HashAlg,
    pcr: u8,
    quoted: Option<&[u8]>,
) -> PcrComparison {
    let events = of_register(tcg, systemd, bank, pcr);
    let mut replay = Replay::at_reset(&[bank], tcg.startup_locality());
    let mut parts_after = None;
    let mut next = None;
    let begins_so = replay.value(bank, pcr) == quoted;
    for (event, digest) in &events {
        replay.extend(bank, pcr, digest);
        if next.is_none() && parts_after.is_some() {
            next = Some(event);
        }
        if replay.value(bank, pcr) == quoted {
            parts_after = Some(event.number);
            next = None;
        }
    }
    let known = tcg.banks().contains(&bank);
    let replayed = replay.value(bank, pcr).filter(|_| known);
    let agrees = quoted.map(|quoted| replayed == Some(quoted));
    let differs = agrees == Some(false);
    let first = match parts_after {
        Some(_) => next,
        None => events.first().map(|(event, _)| event).filter(|_| begins_so),
    };
    let ends = events.first().zip(events.last());
    let among = ends.map(|((first, _), (last, _))| (first.number, last.number));
    PcrComparison {
        bank: bank.to_string(),
        pcr,
        quoted: quoted.map(hex::encode),
        replayed: replayed.map(hex::encode),
        agrees,
        parts_after: parts_after.filter(|_| differs && !begins_so),
        among: among.filter(|_| differs && first.is_none()),
        first_divergence: first.filter(|_| differs).cloned(),
    }
}

/// The events that extend a register, with their digests.
fn of_register(tcg: &TcgLog<'_>, systemd: Option<&SystemdLog>, bank: HashAlg, pcr: u8) -> Vec<(LoggedEvent, Vec<u8>)> {
    let firmware = tcg
        .events()
        .iter()
        .filter(|event| event.is_measured() && event.pcr == u32::from(pcr))
        .filter_map(|event| Some((LoggedEvent::from(event), event.digest(bank)?.to_vec())));
    let user_space = systemd
        .into_iter()
        .flat_map(SystemdLog::records)
        .filter(|record| record.pcr == pcr)
        .filter_map(|record| Some((LoggedEvent::from(record), record.digest(bank)?.to_vec())));
    firmware.chain(user_space).collect()
}
