//! The quote of a file, by the same checks as that of a live answer; each is told.

use hallmark_evidence::{AkPublic, EvidenceFile, Source};
use hallmark_tpm_wire::{HashAlg, PcrValues, PublicArea, Quote};

use super::registers::{Logs, from_logs};
use super::report::Check;
use crate::fingerprint::hex;
use crate::statement::{CheckedQuote, QuoteCheck, QuoteRules, StatementFault, check_quote, require_digest};

/// What was found.
pub(super) struct Judged {
    /// What the statement says and who signed it.
    pub(super) statement: Vec<Check>,
    /// What it covers.
    pub(super) registers: Vec<Check>,
    /// `None` if it is no quote.
    pub(super) checked: Option<CheckedQuote>,
}

/// Makes every check of the file's quote.
///
/// What differs from a live answer, since another verifier asked: the registers are those that were quoted, whichever were
/// asked for; values of others may have been kept beside; and a key that no Hallmark server attested may be outside the
/// endorsement hierarchy. Values that were not kept, or are of another time, may come from the logs.
pub(super) fn judge(file: &EvidenceFile, key: Option<&PublicArea>, logs: &Logs<'_>) -> Judged {
    let attested = matches!(file.source, Source::Attestation { .. });
    let rules = QuoteRules {
        ak: key,
        endorsement_primary: attested && matches!(file.ak, AkPublic::Area(_)),
        qualification: &file.qualification,
        asked: None,
    };
    let mut by = String::new();
    let mut found = Vec::new();
    let checked = check_quote(
        &file.quote,
        &rules,
        |quote, hash| values(file, quote, hash, logs, &mut by),
        &mut |check, result| {
            found.push((check, result));
            Ok(())
        },
    );
    let mut judged = Judged {
        statement: Vec::new(),
        registers: Vec::new(),
        checked: None,
    };
    let is_quote = checked.is_ok();
    for (check, result) in found {
        let (name, told) = match check {
            QuoteCheck::Signature => ("quote", "made by a TPM and signed by the attestation key".to_owned()),
            QuoteCheck::Qualification => (
                "qualification",
                format!("the quote answers {}", hex(&file.qualification)),
            ),
            QuoteCheck::Banks => ("banks", String::new()),
            QuoteCheck::Registers => ("registers", by.clone()),
        };
        let list = match check {
            QuoteCheck::Signature | QuoteCheck::Qualification => &mut judged.statement,
            QuoteCheck::Banks | QuoteCheck::Registers => &mut judged.registers,
        };
        match result {
            Err(error) => list.push(Check::refused(name, &error)),
            // Told where it does not hold.
            Ok(()) if check == QuoteCheck::Banks => {}
            Ok(()) if check == QuoteCheck::Signature && !is_quote => {}
            Ok(()) => list.push(Check::holds(name, told)),
        }
    }
    match checked {
        Ok(checked) => judged.checked = Some(checked),
        Err(error) => judged.statement.insert(0, Check::refused("quote", &error)),
    }
    judged
}

/// The values of the quoted registers: those that were kept, or those that the logs give. `by` tells which.
fn values(
    file: &EvidenceFile,
    quote: &Quote,
    hash: HashAlg,
    logs: &Logs<'_>,
    by: &mut String,
) -> Result<PcrValues, StatementFault> {
    let kept = kept(file, quote);
    let given = !file.pcr_values.is_empty();
    let fault = match require_digest(quote, hash, &kept) {
        Ok(()) => {
            "the kept values give the quoted digest".clone_into(by);
            return Ok(kept);
        }
        Err(fault) => fault,
    };
    if let Some(values) = from_logs(logs, &quote.selection, hash, &quote.pcr_digest) {
        let beside = if given {
            "; the values that were given beside it are of another time"
        } else {
            ""
        };
        let source = if file.logs.is_empty() {
            "as at reset, they"
        } else {
            "the logs"
        };
        *by = format!("{source} give the quoted digest{beside}");
        return Ok(values);
    }
    Err(if given {
        fault
    } else {
        let quoted = hex(&quote.pcr_digest);
        StatementFault::Unreplayed { quoted }
    })
}

/// The values that were kept of the quoted registers.
fn kept(file: &EvidenceFile, quote: &Quote) -> PcrValues {
    let mut values = PcrValues::new();
    let quoted = file.pcr_values.iter();
    for (bank, pcr, value) in quoted.filter(|(bank, pcr, _)| quote.selection.contains(*bank, *pcr)) {
        // What does not go in is missing, and the digest is another.
        let _full = values.insert(bank, pcr, value.to_vec());
    }
    values
}
