//! PCR selections and PCR_Read.

use hallmark_tpm_wire::{HashAlg, PcrSelection, PcrValues};
use tss_esapi::{
    interface_types::algorithm::HashingAlgorithm,
    structures::{PcrSelectionList, PcrSelectionListBuilder, PcrSlot},
};

use super::{EsysTpm, Fault, Op, op};
use crate::TpmError;

const PCR_READ: Op = op("TPM2_PCR_Read", "owner");

/// A TPM gives at most eight digests in one answer (part 2, section 10.9.8 "TPML_DIGEST").
const DIGESTS_PER_READ: usize = 8;

impl EsysTpm {
    pub(super) fn read_registers(&mut self, selection: &PcrSelection) -> Result<PcrValues, Fault> {
        let registers: Vec<(HashAlg, u8)> = selection.pcrs().collect();
        let mut values = PcrValues::default();
        for chunk in registers.chunks(DIGESTS_PER_READ) {
            self.read_some(chunk, &mut values)?;
        }
        Ok(values)
    }

    fn read_some(&mut self, registers: &[(HashAlg, u8)], values: &mut PcrValues) -> Result<(), Fault> {
        let list = selection_list(PCR_READ, registers.iter().copied())?;
        let (_counter, read, digests) = self.run(PCR_READ, |context| context.pcr_read(list.clone()))?;
        let mut answered = registers.iter().filter(|(hash, pcr)| {
            hashing_algorithm(*hash).zip(slot(*pcr)).is_some_and(|(hash, slot)| {
                read.get_selections()
                    .iter()
                    .any(|bank| bank.hashing_algorithm() == hash && bank.is_selected(slot))
            })
        });
        for digest in digests.value() {
            let (hash, pcr) = answered
                .next()
                .ok_or_else(|| Fault::malformed(PCR_READ, "more digests than registers"))?;
            values
                .insert(*hash, *pcr, digest.value().to_vec())
                .map_err(|error| Fault::malformed(PCR_READ, error))?;
        }
        match registers.iter().find(|(hash, pcr)| values.get(*hash, *pcr).is_none()) {
            Some((hash, pcr)) => Err(TpmError::PcrNotAllocated {
                bank: hash.as_str(),
                pcr: *pcr,
            }
            .into()),
            None => Ok(()),
        }
    }
}

/// The library's form of a selection. Banks keep the order of their first register.
pub(super) fn selection_list(
    op: Op,
    registers: impl Iterator<Item = (HashAlg, u8)>,
) -> Result<PcrSelectionList, Fault> {
    let mut banks: Vec<(HashingAlgorithm, Vec<PcrSlot>)> = Vec::new();
    for (hash, pcr) in registers {
        let not_allocated = || {
            Fault::from(TpmError::PcrNotAllocated {
                bank: hash.as_str(),
                pcr,
            })
        };
        let algorithm = hashing_algorithm(hash).ok_or_else(not_allocated)?;
        let slot = slot(pcr).ok_or_else(not_allocated)?;
        match banks.iter_mut().find(|(bank, _)| *bank == algorithm) {
            Some((_, slots)) => slots.push(slot),
            None => banks.push((algorithm, vec![slot])),
        }
    }
    banks
        .iter()
        .fold(PcrSelectionListBuilder::new(), |list, (bank, slots)| {
            list.with_selection(*bank, slots)
        })
        .build()
        .map_err(|error| Fault::malformed(op, error))
}

fn hashing_algorithm(hash: HashAlg) -> Option<HashingAlgorithm> {
    match hash {
        HashAlg::Sha1 => Some(HashingAlgorithm::Sha1),
        HashAlg::Sha256 => Some(HashingAlgorithm::Sha256),
        HashAlg::Sha384 => Some(HashingAlgorithm::Sha384),
        HashAlg::Sha512 => Some(HashingAlgorithm::Sha512),
    }
}

fn slot(pcr: u8) -> Option<PcrSlot> {
    1_u32
        .checked_shl(u32::from(pcr))
        .and_then(|bit| PcrSlot::try_from(bit).ok())
}
