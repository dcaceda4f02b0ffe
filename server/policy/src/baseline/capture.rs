//! A baseline from what a good machine proved.

use std::collections::{BTreeMap, BTreeSet};

use super::{Baseline, BaselineError, BaselineState, Origin};
use crate::facts::MachineFacts;
use crate::register;

/// Registers that are alike on machines of one kind: firmware, its drivers and settings of Secure Boot, what was booted,
/// kernel, command line, extensions, owner's certificates. Left out are those that hold what differs from machine to
/// machine (1: boot order and serial numbers; 5: partitions; 15: the machine's id) or from minute to minute (10: IMA); and 9
/// where systemd measured NvPCRs into it.
const USUAL_REGISTERS: [u8; 11] = [0, 2, 3, 4, 7, 8, 9, 11, 12, 13, 14];

/// Whether a baseline can hold this register: it exists, does not change while the machine runs, and no program can
/// reset it.
pub(super) const fn can_hold(pcr: u8) -> bool {
    matches!(pcr, 0..=9 | 11..=15)
}

impl Baseline {
    /// The registers that [`capture`](Self::capture) takes if none are named, as far as they were quoted.
    pub const USUAL_REGISTERS: [u8; 11] = USUAL_REGISTERS;

    /// What `facts`, proven of `node`, measured. `registers` are those to hold; with `None`, the
    /// [usual ones](Self::USUAL_REGISTERS) that were quoted.
    ///
    /// # Errors
    /// [`BaselineError`] when the machine's boot is not proven, a named register was not quoted or is none that can be
    /// held, or the name is none.
    pub fn capture(
        name: &str,
        serial: u64,
        created_at: i64,
        node: &str,
        facts: &MachineFacts,
        registers: Option<&BTreeSet<u8>>,
    ) -> Result<Self, BaselineError> {
        let boot = facts.boot.clone().ok_or(BaselineError::NotProven)?;
        // What systemd measures of its NvPCRs is the machine's own: their values hang on a secret of its TPM.
        let is_own = |pcr: u8| pcr == 9 && !boot.facts.nvpcrs.is_empty();
        let is_quoted = |pcr: u8| facts.pcr(pcr).next().is_some();
        let usual = || {
            USUAL_REGISTERS
                .into_iter()
                .filter(|pcr| is_quoted(*pcr) && !is_own(*pcr))
        };
        let registers = registers.cloned().unwrap_or_else(|| usual().collect());
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pcr in registers {
            let before = values.len();
            for (register, value) in facts.pcr(pcr) {
                // The machine's own anchors are nobody else's.
                let own = pcr == 12 && register::is_untouched(register, value, Some(&boot.facts));
                let good = if own { register::zero(value) } else { value.to_owned() };
                values.insert(register.to_owned(), [good].into());
            }
            if values.len() == before {
                return Err(BaselineError::NotQuoted { pcr });
            }
        }
        Self {
            version: 1,
            name: name.to_owned(),
            serial,
            state: BaselineState::Active,
            created_at,
            origin: Origin::Captured {
                node: node.to_owned(),
                seen_at: facts.quote_clock.seen_at,
            },
            registers: values,
            boots: vec![boot],
        }
        .checked()
    }
}
