//! PCR selections (part 2, section 10.6 "TPML_PCR_SELECTION").

use crate::{alg::HashAlg, error::WireError, reader::Reader, writer::Writer};

const STRUCTURE: &str = "TPML_PCR_SELECTION";
/// `PLATFORM_PCR / 8`: no TPM of the PC Client profile has fewer than 24 PCRs.
const MIN_OCTETS: u8 = 3;
const MAX_OCTETS: u8 = 4;

/// The selected registers of one bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PcrBank {
    hash: HashAlg,
    octets: u8,
    bits: u32,
}

impl PcrBank {
    /// The bank's hash.
    #[must_use]
    pub const fn hash(self) -> HashAlg {
        self.hash
    }

    /// The selected registers, lowest first.
    pub fn pcrs(self) -> impl Iterator<Item = u8> {
        (0..32_u8).filter(move |pcr| self.contains(*pcr))
    }

    /// Whether the register is selected.
    #[must_use]
    pub const fn contains(self, pcr: u8) -> bool {
        pcr < 32 && self.bits & (1 << pcr) != 0
    }
}

/// A list of banks, each at most once, and the registers selected in each. The order counts: values are digested in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PcrSelection {
    banks: Vec<PcrBank>,
}

impl PcrSelection {
    /// The most banks in one selection.
    pub const MAX_BANKS: usize = 16;

    /// A selection in canonical form: banks by their identifier, bitmaps of three bytes (four where a register above
    /// 23 is selected).
    ///
    /// # Errors
    /// A bank is named twice, a bank selects nothing or a register above 31, or nothing is selected at all.
    pub fn new<'a>(banks: impl IntoIterator<Item = (HashAlg, &'a [u8])>) -> Result<Self, WireError> {
        let mut selected = Vec::new();
        for (hash, pcrs) in banks {
            let bits = pcrs.iter().try_fold(0_u32, |bits, &pcr| {
                let bit = 1_u32.checked_shl(u32::from(pcr));
                bit.map(|bit| bits | bit)
                    .ok_or(WireError::malformed(STRUCTURE, "registers are numbered 0 to 31"))
            })?;
            if bits == 0 {
                return Err(WireError::malformed(STRUCTURE, "a bank selects at least one register"));
            }
            selected.push(PcrBank {
                hash,
                octets: MIN_OCTETS,
                bits,
            });
        }
        if selected.is_empty() {
            return Err(WireError::malformed(STRUCTURE, "at least one bank is selected"));
        }
        Ok(Self::distinct(selected)?.canonical())
    }

    /// Reads a `TPML_PCR_SELECTION` that is a message of its own.
    ///
    /// # Errors
    /// More than 16 banks, a bank twice, an unknown hash, a bitmap of other than 3 or 4 bytes, or trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes, STRUCTURE);
        let selection = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(selection)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = reader.u32()?;
        let actual = usize::try_from(count).unwrap_or(usize::MAX);
        if actual > Self::MAX_BANKS {
            return Err(WireError::TooLarge {
                field: "PCR bank count",
                limit: Self::MAX_BANKS,
                actual,
            });
        }
        let banks = (0..count).map(|_| read_bank(reader)).collect::<Result<Vec<_>, _>>()?;
        Self::distinct(banks)
    }

    fn distinct(banks: Vec<PcrBank>) -> Result<Self, WireError> {
        for (index, bank) in banks.iter().enumerate() {
            if banks
                .iter()
                .skip(index.saturating_add(1))
                .any(|other| other.hash == bank.hash)
            {
                return Err(WireError::DuplicateBank(bank.hash.as_str()));
            }
        }
        Ok(Self { banks })
    }

    /// The `TPML_PCR_SELECTION`.
    #[must_use]
    pub fn marshal(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u32(u32::try_from(self.banks.len()).unwrap_or(u32::MAX));
        for bank in &self.banks {
            out.u16(bank.hash.id());
            out.u8(bank.octets);
            let bitmap = bank.bits.to_le_bytes();
            out.bytes(bitmap.get(..usize::from(bank.octets)).unwrap_or(&bitmap));
        }
        out.into_bytes()
    }

    /// The same registers with banks in the order of their identifiers and bitmaps as short as they may be. Two
    /// selections mean the same when their canonical forms are equal, but a digest is computed in the original order.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let mut banks = self.banks.clone();
        banks.sort_by_key(|bank| bank.hash.id());
        for bank in &mut banks {
            bank.octets = if bank.bits >> 24 == 0 { MIN_OCTETS } else { MAX_OCTETS };
        }
        Self { banks }
    }

    /// The banks, in order.
    #[must_use]
    pub fn banks(&self) -> &[PcrBank] {
        &self.banks
    }

    /// Every selected register with its bank, in the order of digestion.
    pub fn pcrs(&self) -> impl Iterator<Item = (HashAlg, u8)> {
        self.banks
            .iter()
            .flat_map(|bank| bank.pcrs().map(|pcr| (bank.hash, pcr)))
    }

    /// Whether the register of the bank is selected.
    #[must_use]
    pub fn contains(&self, hash: HashAlg, pcr: u8) -> bool {
        self.banks.iter().any(|bank| bank.hash == hash && bank.contains(pcr))
    }
}

fn read_bank(reader: &mut Reader<'_>) -> Result<PcrBank, WireError> {
    let hash = HashAlg::known("PCR bank", reader.u16()?)?;
    let octets = reader.u8()?;
    if !(MIN_OCTETS..=MAX_OCTETS).contains(&octets) {
        return Err(WireError::malformed(STRUCTURE, "a bitmap has 3 or 4 bytes"));
    }
    let mut bitmap = [0_u8; 4];
    for (slot, byte) in bitmap.iter_mut().zip(reader.take(usize::from(octets))?) {
        *slot = *byte;
    }
    Ok(PcrBank {
        hash,
        octets,
        bits: u32::from_le_bytes(bitmap),
    })
}
