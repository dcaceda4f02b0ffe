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
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => from_text(path, text),
        _ => serialized(&bytes).ok_or_else(|| {
            let detail = "it is neither lines of registers nor what tpm2_quote -o writes (--pcrs_format serialized)";
            unfit(WHAT, path, detail)
        }),
    }
}

/// Memory of the TSS, little-endian: a `TPML_PCR_SELECTION`, how many `TPML_DIGEST` follow, and these; the values in the
/// order of the selection.
fn serialized(bytes: &[u8]) -> Option<PcrValues> {
    const MAX_BANKS: usize = 16;
    const BANK: usize = 8;
    const MAX_DIGESTS: usize = 8;
    const DIGEST: usize = 2 + 64;
    let (count, rest) = number(bytes)?;
    let (banks, rest) = rest.split_at_checked(MAX_BANKS * BANK)?;
    let mut registers = Vec::new();
    for bank in banks.chunks_exact(BANK).take(count) {
        let (head, select) = bank.split_at_checked(3)?;
        let hash = HashAlg::from_id(u16::from_le_bytes(head.get(..2)?.try_into().ok()?))?;
        let select = select.get(..usize::from(*head.get(2)?))?;
        let is_selected = |pcr: &u8| {
            let byte = select.get(usize::from(pcr / 8));
            byte.is_some_and(|byte| byte & (1 << (pcr % 8)) != 0)
        };
        registers.extend((0..32).filter(is_selected).map(|pcr| (hash, pcr)));
    }
    let (lists, rest) = number(rest)?;
    let is_whole = count <= MAX_BANKS && rest.len() == lists.checked_mul(4 + MAX_DIGESTS * DIGEST)?;
    let mut digests = Vec::new();
    for list in rest.chunks_exact(4 + MAX_DIGESTS * DIGEST) {
        let (count, list) = number(list)?;
        for digest in list.chunks_exact(DIGEST).take(count) {
            let (size, digest) = digest.split_at_checked(2)?;
            digests.push(digest.get(..usize::from(u16::from_le_bytes(size.try_into().ok()?)))?);
        }
    }
    if !is_whole || digests.len() != registers.len() {
        return None;
    }
    let mut values = PcrValues::new();
    for ((bank, pcr), digest) in registers.into_iter().zip(digests) {
        values.insert(bank, pcr, digest.to_vec()).ok()?;
    }
    Some(values)
}

/// A 32-bit number and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
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
                format!("line {} is no register: {:?}", number + 1, line.trim()),
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
