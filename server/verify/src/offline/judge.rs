//! The checks, one after the other.

use std::time::SystemTime;

use hallmark_evidence::{AkPublic, EvidenceFile, LogKind, ima::ImaList, systemd::SystemdLog, tcg::TcgLog};
use hallmark_tpm_wire::{Attest, AttestKind, ClockInfo, HashAlg, PcrValues, PublicArea, Quote, Signature, pcr_digest};

use super::{
    ak,
    registers::{Logs, from_logs},
    report::{Check, ImaReport, OfflineReport, QuoteReport},
};
use crate::boot::{LoggedEvent, MeasuredBoot, PcrComparison, compare, measured_boot, with_unlogged_phases};
use crate::enrolment::judge_kept;
use crate::fingerprint::{hex, sha256};
use crate::ima::{BootAggregate, ImaListError, MeasuredFiles, measured_files};
use crate::keys::require_ak;
use crate::statement::{StatementError, StatementFault, StatementKind};
use crate::trust::Trust;

/// What a file proves of the machine's state, for those who hold it against rules.
#[derive(Debug)]
pub struct Measured {
    /// The quoted registers.
    pub values: PcrValues,
    /// Clock and counters of the quote.
    pub clock: ClockInfo,
    /// The TPM's firmware version, of the quote.
    pub firmware_version: u64,
    /// The boot, if a log of it came.
    pub boot: Option<MeasuredBoot>,
    /// The IMA list, if it came.
    pub files: Option<MeasuredFiles>,
}

/// Judges a file. `trust` are the anchors for its EK certificate; `now` is the time at which that is looked at.
///
/// The same file, anchors and time give the same report.
#[must_use]
pub fn judge_file(file: &EvidenceFile, trust: Option<&Trust>, now: SystemTime) -> OfflineReport {
    report_on(file, trust, now).0
}

/// The same, and what is proven if nothing was refused.
#[must_use]
pub fn measured(file: &EvidenceFile, trust: Option<&Trust>, now: SystemTime) -> (OfflineReport, Option<Measured>) {
    let (report, measured) = report_on(file, trust, now);
    let verified = report.is_verified();
    (report, measured.filter(|_| verified))
}

fn report_on(file: &EvidenceFile, trust: Option<&Trust>, now: SystemTime) -> (OfflineReport, Option<Measured>) {
    let mut checks = Vec::new();
    let key = read_key(file, &mut checks);
    let attest = read_quote(file, key.as_ref(), &mut checks);
    let quote = attest.as_ref().and_then(|attest| match &attest.kind {
        AttestKind::Quote(quote) => Some((attest, quote)),
        _ => None,
    });
    let mut logs = read_logs(file, &mut checks);
    let hash = key
        .as_ref()
        .and_then(PublicArea::scheme)
        .and_then(|scheme| scheme.hash());
    let values = quote
        .zip(hash)
        .and_then(|((_, quote), hash)| read_values(file, quote, hash, &logs, &mut checks));
    let measured = attest
        .as_ref()
        .zip(values)
        .map(|(attest, values)| prove(file, attest, values, &logs, &mut checks));
    if measured.is_none() {
        // Nothing is proven of the list; that it cannot be read may be why.
        let fault = logs
            .ima
            .and_then(|data| ImaList::new(data).lines().find_map(Result::err));
        checks.extend(fault.map(|error| Check::refused("ima", &ImaListError::from(error))));
    }
    let proven = measured.as_ref().zip(logs.tcg.as_ref());
    let unlogged = proven.and_then(|(it, tcg)| with_unlogged_phases(tcg, logs.systemd.as_ref(), &it.values));
    logs.systemd = unlogged.or(logs.systemd);
    checks.push(ek_certificate(file, trust, now));
    let mut report = OfflineReport {
        verdict: "verified",
        ak_name: matches!(file.ak, AkPublic::Area(_))
            .then(|| key.as_ref().map(|key| key.name().to_string()))
            .flatten(),
        ak_sha256: key
            .as_ref()
            .and_then(|key| key.spki_der().ok())
            .map(|spki| hex(&sha256(&spki))),
        quote: quote.map(|(attest, quote)| quote_report(attest, quote)),
        pcrs: quote
            .map(|(_, quote)| comparisons(quote, &logs, measured.as_ref(), &file.pcr_values))
            .unwrap_or_default(),
        events: events(&logs),
        ima: ima_report(&logs, measured.as_ref()),
        facts: measured
            .as_ref()
            .and_then(|measured| measured.boot.as_ref())
            .map(|boot| boot.facts().clone()),
        checks,
    };
    if !report.is_verified() {
        report.verdict = "refused";
    }
    (report, measured)
}

fn read_key(file: &EvidenceFile, checks: &mut Vec<Check>) -> Option<PublicArea> {
    let key = match ak::key(&file.ak, &file.quote.signature) {
        Ok(key) => key,
        Err(error) => {
            checks.push(Check::refused("ak", &error));
            return None;
        }
    };
    checks.push(match (&file.ak, require_ak(&key)) {
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

fn read_quote(file: &EvidenceFile, key: Option<&PublicArea>, checks: &mut Vec<Check>) -> Option<Attest> {
    let fault = |fault| StatementError {
        kind: StatementKind::Quote,
        fault,
    };
    let attest = match Attest::parse(&file.quote.attest) {
        Ok(attest) => attest,
        Err(error) => {
            checks.push(Check::refused("quote", &fault(StatementFault::Malformed(error))));
            return None;
        }
    };
    if !matches!(attest.kind, AttestKind::Quote(_)) {
        let found = file
            .quote
            .attest
            .get(4..6)
            .and_then(|tag| tag.try_into().ok())
            .map_or(0, u16::from_be_bytes);
        checks.push(Check::refused("quote", &fault(StatementFault::Type { found })));
        return None;
    }
    if let Some(key) = key {
        let signed =
            Signature::parse(&file.quote.signature).and_then(|signature| signature.verify(key, &file.quote.attest));
        checks.push(match signed {
            Ok(()) => Check::holds("quote", "made by a TPM and signed by the attestation key"),
            Err(_) => Check::refused("quote", &fault(StatementFault::Signature)),
        });
    }
    checks.push(if attest.extra_data == file.qualification {
        Check::holds(
            "qualification",
            format!("the quote answers {}", hex(&file.qualification)),
        )
    } else {
        let (expected, actual) = (hex(&file.qualification), hex(&attest.extra_data));
        Check::refused("qualification", &fault(StatementFault::NotBound { expected, actual }))
    });
    Some(attest)
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

/// The values of the quoted registers, once they give the quoted digest.
fn read_values(
    file: &EvidenceFile,
    quote: &Quote,
    hash: HashAlg,
    logs: &Logs<'_>,
    checks: &mut Vec<Check>,
) -> Option<PcrValues> {
    let fault = |fault| StatementError {
        kind: StatementKind::Quote,
        fault,
    };
    if let Some(weak) = quote.selection.banks().iter().find(|bank| !bank.hash().is_strong()) {
        let bank = weak.hash().to_string();
        checks.push(Check::refused("banks", &crate::ChallengeError::WeakBank { bank }));
        return None;
    }
    let supplied = supplied(file, quote);
    let computed = pcr_digest(&quote.selection, &supplied, hash);
    if computed.as_ref().is_ok_and(|computed| *computed == quote.pcr_digest) {
        checks.push(Check::holds("registers", "the kept values give the quoted digest"));
        return Some(supplied);
    }
    let given = !file.pcr_values.is_empty();
    if let Some(values) = from_logs(logs, &quote.selection, hash, &quote.pcr_digest) {
        let beside = if given {
            "; the values that were given beside it are of another time"
        } else {
            ""
        };
        let by = if file.logs.is_empty() {
            "as at reset, they"
        } else {
            "the logs"
        };
        let text = format!("{by} give the quoted digest{beside}");
        checks.push(Check::holds("registers", text));
        return Some(values);
    }
    let quoted = hex(&quote.pcr_digest);
    let reason = if given {
        let supplied = computed.map_or_else(|error| error.to_string(), |computed| hex(&computed));
        StatementFault::Digest { supplied, quoted }
    } else {
        StatementFault::Unreplayed { quoted }
    };
    checks.push(Check::refused("registers", &fault(reason)));
    None
}

/// The values that were kept of the quoted registers. Those of others may have been kept beside; they are not looked at.
fn supplied(file: &EvidenceFile, quote: &Quote) -> PcrValues {
    let mut values = PcrValues::new();
    let quoted = file.pcr_values.iter();
    for (bank, pcr, value) in quoted.filter(|(bank, pcr, _)| quote.selection.contains(*bank, *pcr)) {
        // What does not go in is missing, and the digest is another.
        let _full = values.insert(bank, pcr, value.to_vec());
    }
    values
}

/// Logs against proven registers. Faults of parsing were told before.
fn prove(
    file: &EvidenceFile,
    attest: &Attest,
    values: PcrValues,
    logs: &Logs<'_>,
    checks: &mut Vec<Check>,
) -> Measured {
    let readable = logs.tcg.is_some() || file.log(LogKind::Tcg).is_none_or(<[u8]>::is_empty);
    let mut boot = None;
    if readable {
        let user_space = file.log(LogKind::Systemd).filter(|_| logs.systemd.is_some());
        match measured_boot(file.log(LogKind::Tcg), user_space, &values) {
            Ok(proven) => {
                checks.push(match &proven {
                    Some(boot) => Check::holds(
                        "boot-log",
                        format!("{} events replay to the quoted registers", boot.events().len()),
                    ),
                    None => Check::not_shown("boot-log", "the file has no boot log"),
                });
                boot = proven;
            }
            Err(error) => checks.push(Check::refused("boot-log", &error)),
        }
    }
    let mut files = None;
    match logs.ima.map(|data| measured_files(data.to_vec(), None, &values)) {
        Some(Ok(proven)) => {
            let lines = proven.line_count();
            checks.push(match proven.boot_aggregate() {
                Some(BootAggregate::Differs) => Check::refused("ima", &ImaListError::OtherBoot),
                _ if lines == 0 => Check::not_shown(
                    "ima",
                    "PCR 10 was never extended: the quote proves no line of the list, IMA runs without this TPM",
                ),
                _ => Check::holds("ima", format!("{lines} lines replay to the quoted PCR 10")),
            });
            files = Some(proven);
        }
        Some(Err(error)) => checks.push(Check::refused("ima", &error)),
        None => checks.push(Check::not_shown("ima", "the file has no IMA list")),
    }
    Measured {
        values,
        clock: attest.clock_info,
        firmware_version: attest.firmware_version,
        boot,
        files,
    }
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
fn comparisons(quote: &Quote, logs: &Logs<'_>, measured: Option<&Measured>, kept: &PcrValues) -> Vec<PcrComparison> {
    let values = measured.map_or(kept, |measured| &measured.values);
    let registers = quote.selection.pcrs();
    registers
        .map(|(bank, pcr)| {
            let quoted = values.get(bank, pcr);
            match &logs.tcg {
                Some(tcg) if pcr != hallmark_evidence::ima::ImaReplay::PCR => {
                    compare(tcg, logs.systemd.as_ref(), bank, pcr, quoted)
                }
                _ => {
                    let proven = measured.and_then(|measured| measured.files.as_ref());
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

fn ima_report(logs: &Logs<'_>, measured: Option<&Measured>) -> Option<ImaReport> {
    let lines = ImaList::new(logs.ima?).lines().count();
    let proven = measured.and_then(|measured| measured.files.as_ref());
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
