//! Values of registers, in the forms in which tpm2-tools write them.

use std::path::Path;

use hallmark_tpm_wire::{HashAlg, PcrValues};

use super::{
    import::unfit,
    read::{MAX_FILE, limited},
};
use crate::error::CliError;

const WHAT: &str = "register values";

/// Register values: text (tpm2_pcrread), or the binary form of tpm2_quote -o and tpm2_pcrread -F serialized.
pub(super) fn registers(path: &Path) -> Result<PcrValues, CliError> {
    let bytes = limited(path, MAX_FILE)?;
    let values = match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => from_text(path, text.trim_start_matches('\u{feff}'))?,
        _ => PcrValues::from_tss(&bytes).map_err(|_| {
            let detail = "it is neither lines of registers nor what tpm2_quote -o writes (--pcrs_format serialized)";
            unfit(WHAT, path, detail)
        })?,
    };
    if values.is_empty() {
        return Err(unfit(WHAT, path, "it has none"));
    }
    Ok(values)
}

/// `sha256:7 HEX` a line, or `7 : 0xHEX` below a line that names the bank.
fn from_text(path: &Path, text: &str) -> Result<PcrValues, CliError> {
    let mut values = PcrValues::new();
    let mut bank = None;
    for (number, line) in text.lines().enumerate() {
        let fault = || {
            unfit(
                WHAT,
                path,
                format!("line {} is not a register: {:?}", number + 1, line.trim()),
            )
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_suffix(':') {
            bank = Some(HashAlg::from_name(name).ok_or_else(fault)?);
            continue;
        }
        let (register, value) = line.rsplit_once([' ', ':']).ok_or_else(fault)?;
        let register = register.trim().trim_end_matches(':').trim();
        let (named, pcr) = match register.split_once(':') {
            Some((name, pcr)) => (HashAlg::from_name(name), pcr),
            None => (bank, register),
        };
        let value = hex::decode(value.trim().to_lowercase().trim_start_matches("0x")).map_err(|_| fault())?;
        let (named, pcr) = (named.ok_or_else(fault)?, pcr.parse().map_err(|_| fault())?);
        values.insert(named, pcr, value).map_err(|_| fault())?;
    }
    Ok(values)
}
