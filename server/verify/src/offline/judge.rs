//! The checks, one after the other.

use std::time::SystemTime;

use hallmark_evidence::{AkPublic, EvidenceFile, LogKind, Source, ima::ImaList, systemd::SystemdLog, tcg::TcgLog};
use hallmark_tpm_wire::{Attest, PcrValues, PublicArea, Quote};

use super::{
    ak, quote,
    registers::Logs,
    report::{Check, ImaReport, OfflineReport, QuoteReport},
};
use crate::boot::{LoggedEvent, PcrComparison, compare, measured_boot, with_unlogged_phases};
use crate::enrolment::judge_kept;
use crate::fingerprint::{hex, sha256};
use crate::ima::{BootAggregate, ImaListError, MeasuredFiles, measured_files};
use crate::keys::{require_agents_ak, require_ak};
use crate::proven::{MeasuredLogs, ProvenState, QuotedState};
use crate::trust::Trust;

/// Judges a file. `trust` are the anchors for its EK certificate; `now` is the time at which that is looked at.
///
/// The same file, anchors and time give the same report.
#[must_use]
pub fn judge_file(file: &EvidenceFile, trust: Option<&Trust>, now: SystemTime) -> OfflineReport {
    proven_state(file, trust, now).0
}

/// The same, and the state that is proven if nothing was refused.
#[must_use]
pub fn proven_state(
    file: &EvidenceFile,
    trust: Option<&Trust>,
    now: SystemTime,
) -> (OfflineReport, Option<ProvenState>) {
    let mut checks = Vec::new();
    let key = read_key(file, &mut checks);
    let mut log_checks = Vec::new();
    let mut logs = read_logs(file, &mut log_checks);
    let judged = quote::judge(file, key.as_ref(), &logs);
    checks.extend(judged.statement);
    checks.extend(log_checks);
    checks.extend(judged.registers);
    let checked = judged.checked;
    let values = checked.as_ref().and_then(|checked| checked.values.as_ref());
    let measured = values.map(|values| measure(file, values, &logs, &mut checks));
    if measured.is_none() {
        // Nothing is proven of the list; that it cannot be read may be why.
        let fault = logs
            .ima
            .and_then(|data| ImaList::new(data).lines().find_map(Result::err));
        checks.extend(fault.map(|error| Check::refused("ima", &ImaListError::from(error))));
    }
    let proven = values.zip(logs.tcg.as_ref());
    let unlogged = proven.and_then(|(values, tcg)| with_unlogged_phases(tcg, logs.systemd.as_ref(), values));
    logs.systemd = unlogged.or(logs.systemd);
    checks.push(ek_certificate(file, trust, now));
    let files = measured.as_ref().and_then(|measured| measured.ima.as_ref());
    let mut report = OfflineReport {
        verdict: "verified",
        ak_name: matches!(file.ak, AkPublic::Area(_))
            .then(|| key.as_ref().map(|key| key.name().to_string()))
            .flatten(),
        ak_sha256: key
            .as_ref()
            .and_then(|key| key.spki_der().ok())
            .map(|spki| hex(&sha256(&spki))),
        quote: checked
            .as_ref()
            .map(|checked| quote_report(&checked.attest, &checked.quote)),
        pcrs: checked.as_ref().map_or_else(Vec::new, |checked| {
            let values = values.unwrap_or(&file.pcr_values);
            comparisons(&checked.quote, &logs, files, values)
        }),
        events: events(&logs),
        ima: ima_report(&logs, files),
        facts: measured
            .as_ref()
            .and_then(|measured| measured.boot.as_ref())
            .map(|boot| boot.facts().clone()),
        checks,
    };
    if !report.is_verified() {
        report.verdict = "refused";
        return (report, None);
    }
    let quoted = checked.and_then(|checked| QuotedState::of(checked, file.quote.clone()));
    let state = quoted.zip(measured).map(|(quoted, logs)| quoted.measured(logs));
    (report, state)
}

/// Of a key that a Hallmark server attested the same is asked as at the attestation; another verifier's may be made after
/// another template.
fn read_key(file: &EvidenceFile, checks: &mut Vec<Check>) -> Option<PublicArea> {
    let key = match ak::key(&file.ak, &file.quote.signature) {
        Ok(key) => key,
        Err(error) => {
            checks.push(Check::refused("ak", &error));
            return None;
        }
    };
    let fit = match file.source {
        Source::Attestation { .. } => require_agents_ak(&key),
        _ => require_ak(&key),
    };
    checks.push(match (&file.ak, fit) {
        (AkPublic::Spki(_), _) => Check::not_shown(
            "ak",
            "the key's properties are not in the file: it may be a key in software",
        ),
        (AkPublic::Area(_), Ok(())) => Check::holds(
            "ak",
            "of a kind that is restricted, signs only and never leaves its TPM; that a TPM holds it takes a live attestation",
        ),
        (AkPublic::Area(_), Err(error)) => Check::refused("ak", &error),
    });
    Some(key)
}

fn read_logs<'a>(file: &'a EvidenceFile, checks: &mut Vec<Check>) -> Logs<'a> {
    let tcg = file.log(LogKind::Tcg).filter(|log| !log.is_empty());
    let tcg = tcg.map(TcgLog::parse).transpose();
    let tcg = tcg.unwrap_or_else(|error| {
        checks.push(Check::refused("boot-log", &error));
        None
    });
    let systemd = file.log(LogKind::Systemd).map(SystemdLog::parse).transpose();
    let systemd = systemd.unwrap_or_else(|error| {
        checks.push(Check::refused("systemd-log", &error));
        None
    });
    Logs {
        tcg,
        systemd,
        ima: file.log(LogKind::Ima),
    }
}

/// Logs against the quoted registers. Faults of parsing were told before.
fn measure(file: &EvidenceFile, values: &PcrValues, logs: &Logs<'_>, checks: &mut Vec<Check>) -> MeasuredLogs {
    let readable = logs.tcg.is_some() || file.log(LogKind::Tcg).is_none_or(<[u8]>::is_empty);
    let mut measured = MeasuredLogs::default();
    if readable {
        let user_space = file.log(LogKind::Systemd).filter(|_| logs.systemd.is_some());
        match measured_boot(file.log(LogKind::Tcg), user_space, values) {
            Ok(proven) => {
                checks.push(match &proven {
                    Some(boot) => Check::holds(
                        "boot-log",
                        format!("{} events replay to the quoted registers", boot.events().len()),
                    ),
                    None => Check::not_shown("boot-log", "the file has no boot log"),
                });
                measured.boot = proven;
            }
            Err(error) => checks.push(Check::refused("boot-log", &error)),
        }
    }
    match logs.ima.map(|data| measured_files(data.to_vec(), None, values)) {
        Some(Ok(proven)) => {
            let lines = proven.line_count();
            checks.push(match proven.require_own_boot() {
                Err(error) => Check::refused("ima", &error),
                Ok(()) if lines == 0 => Check::not_shown(
                    "ima",
                    "PCR 10 was never extended: the quote proves no line of the list, IMA runs without this TPM",
                ),
                Ok(()) => Check::holds("ima", format!("{lines} lines replay to the quoted PCR 10")),
            });
            measured.ima = Some(proven);
        }
        Some(Err(error)) => checks.push(Check::refused("ima", &error)),
        None => checks.push(Check::not_shown("ima", "the file has no IMA list")),
    }
    measured
}

fn ek_certificate(file: &EvidenceFile, trust: Option<&Trust>, now: SystemTime) -> Check {
    const NAME: &str = "ek-certificate";
    let (Some(certificate), Some(trust)) = (&file.ek_certificate, trust) else {
        let missing = if file.ek_certificate.is_none() {
            "the file has no EK certificate"
        } else {
            "no anchors were given"
        };
        return Check::not_shown(NAME, missing);
    };
    match judge_kept(certificate, &file.ek_chain, trust, now) {
        Ok(genuine) => Check::holds(
            NAME,
            format!(
                "of {}, model {}, class {}; that the attestation key lives in that TPM takes a live attestation",
                genuine.facts.attributes.manufacturer, genuine.facts.attributes.model, genuine.class
            ),
        ),
        Err(error) => Check::refused(NAME, &error),
    }
}

fn quote_report(attest: &Attest, quote: &Quote) -> QuoteReport {
    let banks = quote.selection.banks().iter();
    QuoteReport {
        qualified_signer: attest.qualified_signer.to_string(),
        qualification: hex(&attest.extra_data),
        clock: attest.clock_info.clock,
        reset_count: attest.clock_info.reset_count,
        restart_count: attest.clock_info.restart_count,
        safe: attest.clock_info.safe,
        firmware_version: format!("{:016x}", attest.firmware_version),
        selection: banks
            .map(|bank| (bank.hash().to_string(), bank.pcrs().collect()))
            .collect(),
        pcr_digest: hex(&quote.pcr_digest),
    }
}

/// Every quoted register. Kept values are compared even where they do not give the quoted digest: they are all that
/// there is to explain with.
fn comparisons(
    quote: &Quote,
    logs: &Logs<'_>,
    proven: Option<&MeasuredFiles>,
    values: &PcrValues,
) -> Vec<PcrComparison> {
    let registers = quote.selection.pcrs();
    registers
        .map(|(bank, pcr)| {
            let quoted = values.get(bank, pcr);
            match &logs.tcg {
                Some(tcg) if pcr != hallmark_evidence::ima::ImaReplay::PCR => {
                    compare(tcg, logs.systemd.as_ref(), bank, pcr, quoted)
                }
                _ => {
                    let replayed = proven
                        .filter(|files| files.bank() == bank)
                        .map(|files| hex(files.replay().value()));
                    let replayed = replayed.filter(|_| pcr == hallmark_evidence::ima::ImaReplay::PCR);
                    PcrComparison {
                        bank: bank.to_string(),
                        pcr,
                        agrees: quoted
                            .zip(replayed.as_ref())
                            .map(|(quoted, replayed)| hex(quoted) == *replayed),
                        quoted: quoted.map(hex),
                        replayed,
                        parts_after: None,
                        first_divergence: None,
                        among: None,
                    }
                }
            }
        })
        .collect()
}

pub(super) fn events(logs: &Logs<'_>) -> Vec<LoggedEvent> {
    let firmware = logs.tcg.iter().flat_map(|log| log.events()).map(LoggedEvent::from);
    let user_space = logs.systemd.iter().flat_map(|log| log.records()).map(LoggedEvent::from);
    firmware.chain(user_space).collect()
}

fn ima_report(logs: &Logs<'_>, proven: Option<&MeasuredFiles>) -> Option<ImaReport> {
    let lines = ImaList::new(logs.ima?).lines().count();
    let aggregate = proven
        .and_then(MeasuredFiles::boot_aggregate)
        .unwrap_or(BootAggregate::NotQuoted);
    Some(ImaReport {
        lines: u64::try_from(lines).unwrap_or(u64::MAX),
        proven_lines: proven.map_or(0, MeasuredFiles::line_count),
        violations: proven.map_or(0, |files| files.replay().violations()),
        boot_aggregate: aggregate.as_str().to_owned(),
    })
}
