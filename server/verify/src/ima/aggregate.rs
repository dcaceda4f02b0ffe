//! The list's first line: a digest over the registers that the firmware and the loader extended.

use hallmark_evidence::ima::{ImaEvent, ImaReplay};
use hallmark_tpm_wire::{HashAlg, PcrValues};
use serde::{Deserialize, Serialize};

/// The line's name.
const NAME: &[u8] = b"boot_aggregate";

/// Whether the list belongs to the boot that was quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootAggregate {
    /// The first line is the digest over the quoted registers.
    Matches,
    /// It is another digest: the list is of another boot, or a register moved after the kernel had started.
    Differs,
    /// Not all registers that it covers were quoted in its bank.
    NotQuoted,
    /// The list does not begin with it.
    Absent,
}

impl BootAggregate {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Matches => "matches",
            Self::Differs => "differs",
            Self::NotQuoted => "not-quoted",
            Self::Absent => "absent",
        }
    }
}

/// Judges the first line, if register 10 proves it. SHA-1 aggregates cover PCR 0 to 7, others PCR 0 to 9 of their own bank (Linux 5.8,
/// security/integrity/ima/ima_crypto.c, `ima_calc_boot_aggregate_tfm`).
pub(super) fn judge(first: &ImaEvent<'_>, values: &PcrValues) -> BootAggregate {
    let bank = HashAlg::from_name(&first.digest.algorithm);
    let is_it = *first.name == *NAME && !first.is_violation() && first.pcr == u32::from(ImaReplay::PCR);
    let (true, Some(bank)) = (is_it, bank) else {
        return BootAggregate::Absent;
    };
    let last = if bank == HashAlg::Sha1 { 7 } else { 9 };
    let registers: Option<Vec<&[u8]>> = (0..=last).map(|pcr| values.get(bank, pcr)).collect();
    match registers {
        Some(registers) if bank.digest(&registers.concat()) == *first.digest.value => BootAggregate::Matches,
        Some(_) => BootAggregate::Differs,
        None => BootAggregate::NotQuoted,
    }
}
