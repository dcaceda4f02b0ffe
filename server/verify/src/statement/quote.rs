//! TPM2_Quote by the AK (TPM 2.0 part 3, 18.4).

use hallmark_evidence::Signed;
use hallmark_tpm_wire::{
    Attest, AttestKind, HashAlg, PcrSelection, PcrValues, PublicArea, Quote, WireError, pcr_digest,
};

use super::{StatementError, StatementFault, StatementKind, certify, open};
use crate::fingerprint::hex;

/// TPM_ST_ATTEST_QUOTE (TPM 2.0 part 2, table "TPM_ST").
pub(super) const ATTEST_QUOTE: u16 = 0x8018;

/// Registers that the firmware measures the platform into on every boot (TCG PC Client Platform Firmware Profile).
const FIRMWARE_PCRS: std::ops::RangeInclusive<u8> = 0..=7;

/// A quote that holds, with the values that it covers: no other value can come from here.
#[derive(Debug)]
pub(crate) struct Quoted {
    pub(crate) attest: Attest,
    pub(crate) values: PcrValues,
}

/// Proves that the TPM that holds `ak` had exactly `values` in exactly the registers of `selection`.
///
/// # Errors
/// [`StatementError`] for the first thing that does not hold.
pub(crate) fn verify(
    signed: &Signed,
    ak: &PublicArea,
    binding: &[u8; 32],
    selection: &PcrSelection,
    values: PcrValues,
) -> Result<Quoted, StatementError> {
    let kind = StatementKind::Quote;
    let fault = |fault| StatementError { kind, fault };
    let attest = open(kind, signed, ak, binding)?;
    let quote = match &attest.kind {
        AttestKind::Quote(quote) => quote,
        AttestKind::Certify(_) => {
            return Err(fault(StatementFault::Type {
                found: certify::ATTEST_CERTIFY,
            }));
        }
        AttestKind::Other(found) => return Err(fault(StatementFault::Type { found: *found })),
        _ => return Err(fault(StatementFault::Type { found: 0 })),
    };
    require_selection(quote, selection).map_err(fault)?;
    require_digest(quote, ak, &values).map_err(fault)?;
    require_extended(selection, &values).map_err(fault)?;
    Ok(Quoted { attest, values })
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

/// The digest is made with the hash of the AK's scheme (TPM 2.0 part 3, 18.4.1).
fn require_digest(quote: &Quote, ak: &PublicArea, values: &PcrValues) -> Result<(), StatementFault> {
    let hash = ak
        .scheme()
        .and_then(|scheme| scheme.hash())
        .ok_or(StatementFault::Signature)?;
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
