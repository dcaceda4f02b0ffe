//! PCR values and the digest that a quote signs over them.

use std::collections::BTreeMap;

use crate::{alg::HashAlg, error::WireError, pcr::PcrSelection};

/// Values of PCRs, each as long as its bank's digest, each register at most once.
///
/// They mean nothing until their [`pcr_digest`] equals the one in a verified quote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PcrValues(BTreeMap<(HashAlg, u8), Vec<u8>>);

impl PcrValues {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the value of a register.
    ///
    /// # Errors
    /// The register is above 31, the value is not as long as the bank's digest, or the register has a value already.
    pub fn insert(&mut self, bank: HashAlg, pcr: u8, value: Vec<u8>) -> Result<(), WireError> {
        if pcr > 31 {
            return Err(WireError::malformed("PCR values", "registers are numbered 0 to 31"));
        }
        if value.len() != bank.digest_len() {
            return Err(WireError::PcrValueLength {
                bank: bank.as_str(),
                pcr,
                expected: bank.digest_len(),
                actual: value.len(),
            });
        }
        if self.0.contains_key(&(bank, pcr)) {
            return Err(WireError::DuplicatePcr {
                bank: bank.as_str(),
                pcr,
            });
        }
        self.0.insert((bank, pcr), value);
        Ok(())
    }

    /// The value of a register.
    #[must_use]
    pub fn get(&self, bank: HashAlg, pcr: u8) -> Option<&[u8]> {
        self.0.get(&(bank, pcr)).map(Vec::as_slice)
    }

    /// Every value, by bank and register.
    pub fn iter(&self) -> impl Iterator<Item = (HashAlg, u8, &[u8])> {
        self.0
            .iter()
            .map(|((bank, pcr), value)| (*bank, *pcr, value.as_slice()))
    }

    /// How many registers have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no register has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The digest that a quote under `hash` holds for `selection` when the registers hold `values` (part 1, section 17.6):
/// over the selected values in the order of the selection.
///
/// # Errors
/// A selected register has no value, or a value was given for a register that is not selected.
pub fn pcr_digest(selection: &PcrSelection, values: &PcrValues, hash: HashAlg) -> Result<Vec<u8>, WireError> {
    if let Some((bank, pcr, _)) = values.iter().find(|(bank, pcr, _)| !selection.contains(*bank, *pcr)) {
        return Err(WireError::UnselectedPcr {
            bank: bank.as_str(),
            pcr,
        });
    }
    let mut selected = Vec::new();
    for (bank, pcr) in selection.pcrs() {
        let value = values.get(bank, pcr).ok_or(WireError::MissingPcr {
            bank: bank.as_str(),
            pcr,
        })?;
        selected.extend_from_slice(value);
    }
    Ok(hash.digest(&selected))
}
