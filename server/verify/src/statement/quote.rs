//! TPM2_Quote by the AK (TPM 2.0 part 3, 18.4).

use hallmark_evidence::Signed;
use hallmark_tpm_wire::{
    Attest, AttestKind, HashAlg, PcrSelection, PcrValues, PublicArea, Quote, WireError, pcr_digest,
};

use super::{
    StatementError, StatementFault, StatementKind, other_type, parse, require_bound, require_signed, require_signer,
};
use crate::VerifyError;
use crate::challenge::require_strong;
use crate::fingerprint::hex;

/// TPM_ST_ATTEST_QUOTE (TPM 2.0 part 2, table "TPM_ST").
pub(super) const ATTEST_QUOTE: u16 = 0x8018;

/// Registers that the firmware measures the platform into on every boot (TCG PC Client Platform Firmware Profile).
const FIRMWARE_PCRS: std::ops::RangeInclusive<u8> = 0..=7;

/// What a quote is held against.
pub(crate) struct QuoteRules<'a> {
    /// The key that must have signed; `None` where none can be read, and then nothing is proven.
    pub(crate) ak: Option<&'a PublicArea>,
    /// Whether that key must be a primary key of the endorsement hierarchy.
    pub(crate) endorsement_primary: bool,
    /// What the quote must be qualified by.
    pub(crate) qualification: &'a [u8],
    /// The registers that were asked for; `None` where that is not known.
    pub(crate) asked: Option<&'a PcrSelection>,
}

/// What one check of a quote is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QuoteCheck {
    /// Made by a TPM and signed by the key.
    Signature,
    /// What it is qualified by.
    Qualification,
    /// What it covers.
    Banks,
    /// The values that it covers.
    Registers,
}

/// A quote all of whose checks were made.
pub(crate) struct CheckedQuote {
    pub(crate) attest: Attest,
    pub(crate) quote: Quote,
    /// The values that give the quoted digest; none were found otherwise.
    pub(crate) values: Option<PcrValues>,
    holds: bool,
}

impl CheckedQuote {
    /// The statement, what it covers, and the values that it proves, if every check held.
    pub(crate) fn proven(self) -> Option<(Attest, PcrSelection, PcrValues)> {
        let values = self.values.filter(|_| self.holds)?;
        Some((self.attest, self.quote.selection, values))
    }
}

/// Whoever hears what each check found: it gives back the error by which to stop, or goes on.
type Told<'a> = dyn FnMut(QuoteCheck, Result<(), VerifyError>) -> Result<(), VerifyError> + 'a;

/// Every check of a quote, in order; `values` finds the values of its registers.
///
/// # Errors
/// That of `told`; or the statement is no quote, so that nothing more can be checked.
pub(crate) fn check(
    signed: &Signed,
    rules: &QuoteRules<'_>,
    values: impl FnOnce(&Quote, HashAlg) -> Result<PcrValues, StatementFault>,
    told: &mut Told<'_>,
) -> Result<CheckedQuote, VerifyError> {
    let attest = parse(signed).map_err(quote_fault)?;
    let mut holds = true;
    let mut tell = |check, result: Result<(), VerifyError>| {
        holds &= result.is_ok();
        told(check, result)
    };
    if let Some(ak) = rules.ak {
        let signer = |()| match rules.endorsement_primary {
            true => require_signer(&attest, ak),
            false => Ok(()),
        };
        let signature = require_signed(signed, ak).and_then(signer);
        tell(QuoteCheck::Signature, signature.map_err(quote_fault))?;
    }
    let bound = require_bound(&attest, rules.qualification);
    tell(QuoteCheck::Qualification, bound.map_err(quote_fault))?;
    let AttestKind::Quote(quote) = &attest.kind else {
        return Err(quote_fault(other_type(&attest.kind)));
    };
    let quote = quote.clone();
    let covers = require_covered(&quote, rules.asked);
    let found = match (&covers, rules.ak) {
        (Ok(()), Some(ak)) => {
            let hash = ak.scheme().and_then(|scheme| scheme.hash());
            let hash = hash.ok_or(StatementFault::Signature);
            Some(hash.and_then(|hash| {
                let values = values(&quote, hash)?;
                require_digest(&quote, hash, &values)?;
                Ok(values)
            }))
        }
        _ => None,
    };
    tell(QuoteCheck::Banks, covers)?;
    let values = match found {
        Some(Ok(values)) => {
            tell(QuoteCheck::Registers, Ok(()))?;
            let extended = require_extended(&quote.selection, &values);
            tell(QuoteCheck::Banks, extended.map_err(quote_fault))?;
            Some(values)
        }
        Some(Err(fault)) => {
            tell(QuoteCheck::Registers, Err(quote_fault(fault)))?;
            None
        }
        None => None,
    };
    let holds = holds && rules.ak.is_some();
    Ok(CheckedQuote {
        attest,
        quote,
        values,
        holds,
    })
}

fn quote_fault(fault: StatementFault) -> VerifyError {
    let kind = StatementKind::Quote;
    StatementError { kind, fault }.into()
}

/// The registers that were asked for, in banks over which a quote proves something.
fn require_covered(quote: &Quote, asked: Option<&PcrSelection>) -> Result<(), VerifyError> {
    if let Some(asked) = asked {
        require_selection(quote, asked).map_err(quote_fault)?;
    }
    Ok(require_strong(&quote.selection)?)
}

/// Every bank and every register that was asked for, and no other. Only how the TPM orders banks is left to it.
fn require_selection(quote: &Quote, asked: &PcrSelection) -> Result<(), StatementFault> {
    if quote.selection.canonical() == asked.canonical() {
        Ok(())
    } else {
        Err(StatementFault::Selection {
            expected: text(asked),
            actual: text(&quote.selection),
        })
    }
}

fn text(selection: &PcrSelection) -> String {
    let banks = selection.banks().iter().map(|bank| {
        let pcrs: Vec<String> = bank.pcrs().map(|pcr| pcr.to_string()).collect();
        format!("{}:{}", bank.hash(), pcrs.join(","))
    });
    let text = banks.collect::<Vec<_>>().join("+");
    if text.is_empty() { "nothing".to_owned() } else { text }
}

/// Whether these values, all of them and no other, give the quoted digest, which is made with the `hash` of the AK's scheme
/// (TPM 2.0 part 3, 18.4.1).
pub(crate) fn require_digest(quote: &Quote, hash: HashAlg, values: &PcrValues) -> Result<(), StatementFault> {
    let supplied = pcr_digest(&quote.selection, values, hash).map_err(|error| match error {
        WireError::UnselectedPcr { bank, pcr } => StatementFault::Unquoted { bank, pcr },
        WireError::MissingPcr { bank, pcr } => StatementFault::NoValue { bank, pcr },
        other => StatementFault::Malformed(other),
    })?;
    if supplied == quote.pcr_digest {
        Ok(())
    } else {
        Err(StatementFault::Digest {
            supplied: hex(&supplied),
            quoted: hex(&quote.pcr_digest),
        })
    }
}

/// A bank that the firmware does not extend is free for anyone to write a history into. Judged by the firmware's
/// registers among those selected, or by all selected ones if there are none of the firmware's.
fn require_extended(selection: &PcrSelection, values: &PcrValues) -> Result<(), StatementFault> {
    for bank in selection.banks() {
        let firmware = bank.pcrs().filter(|pcr| FIRMWARE_PCRS.contains(pcr)).count();
        let judged = bank.pcrs().filter(|pcr| firmware == 0 || FIRMWARE_PCRS.contains(pcr));
        let extended = judged.filter_map(|pcr| Some((pcr, values.get(bank.hash(), pcr)?)));
        if extended.into_iter().all(|(pcr, value)| is_reset_value(pcr, value)) {
            return Err(StatementFault::Unextended {
                bank: HashAlg::to_string(&bank.hash()),
            });
        }
    }
    Ok(())
}

/// Zeros; ones for 17 to 22; and for PCR 0 zeros that end in the locality that the TPM was started from, 3 or 4
/// (TCG PC Client Platform TPM Profile, "PCR Initial and Reset Values").
fn is_reset_value(pcr: u8, value: &[u8]) -> bool {
    let all = |wanted: u8| value.iter().all(|byte| *byte == wanted);
    match (pcr, value.split_last()) {
        (0, Some((last, rest))) => *last <= 4 && rest.iter().all(|byte| *byte == 0),
        (17..=22, _) => all(0x00) || all(0xff),
        _ => all(0x00),
    }
}
