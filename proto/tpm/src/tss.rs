//! What the TSS leaves in files beside the structures of the specification.

use crate::{alg::HashAlg, error::WireError, pcr_values::PcrValues};

const MAX_BANKS: usize = 16;
/// `TPMS_PCR_SELECTION` in memory.
const BANK: usize = 8;
const MAX_DIGESTS: usize = 8;
/// `TPM2B_DIGEST` in memory.
const DIGEST: usize = 2 + 64;

impl PcrValues {
    /// Reads what `tpm2_quote -o` and `tpm2_pcrread -o` write (`--pcrs_format serialized`): memory of the TSS, little-endian; a
    /// `TPML_PCR_SELECTION`, how many `TPML_DIGEST` follow, and these. The values stand in the order of the selection.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_tss(bytes: &[u8]) -> Result<Self, WireError> {
        let malformed = WireError::malformed("PCR values", "it is no TPML_PCR_SELECTION with its TPML_DIGESTs");
        let (registers, rest) = selection(bytes).ok_or_else(|| malformed.clone())?;
        let digests = digests(rest).filter(|digests| digests.len() == registers.len());
        let mut values = Self::new();
        for ((bank, pcr), digest) in registers.into_iter().zip(digests.ok_or(malformed)?) {
            values.insert(bank, pcr, digest.to_vec())?;
        }
        Ok(values)
    }
}

type Registers = Vec<(HashAlg, u8)>;

/// The selected registers, and what follows.
fn selection(bytes: &[u8]) -> Option<(Registers, &[u8])> {
    let (count, rest) = number(bytes)?;
    let (banks, rest) = rest.split_at_checked(MAX_BANKS * BANK)?;
    let mut registers = Vec::new();
    for bank in banks.get(..count.checked_mul(BANK)?)?.chunks_exact(BANK) {
        let (head, select) = bank.split_at_checked(3)?;
        let hash = HashAlg::from_id(u16::from_le_bytes(head.get(..2)?.try_into().ok()?))?;
        let select = select.get(..usize::from(*head.get(2)?))?;
        let is_selected = |pcr: &u8| {
            let byte = select.get(usize::from(pcr / 8));
            byte.is_some_and(|byte| byte & (1 << (pcr % 8)) != 0)
        };
        registers.extend((0..=u8::MAX).filter(is_selected).map(|pcr| (hash, pcr)));
    }
    Some((registers, rest))
}

/// The digests of every list, one after the other; nothing may follow.
fn digests(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    const LIST: usize = 4 + MAX_DIGESTS * DIGEST;
    let (lists, rest) = number(bytes)?;
    if Some(rest.len()) != lists.checked_mul(LIST) {
        return None;
    }
    let mut digests = Vec::new();
    for list in rest.chunks_exact(LIST) {
        let (count, list) = number(list)?;
        for digest in list.get(..count.checked_mul(DIGEST)?)?.chunks_exact(DIGEST) {
            let (size, digest) = digest.split_at_checked(2)?;
            digests.push(digest.get(..usize::from(u16::from_le_bytes(size.try_into().ok()?)))?);
        }
    }
    Some(digests)
}

/// A 32-bit number and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}
