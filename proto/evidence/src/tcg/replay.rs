//! What a log says the registers hold.

use std::collections::BTreeMap;

use hallmark_tpm_wire::HashAlg;

use super::log::TcgLog;

/// The registers of a bank (PC Client Platform TPM Profile, section 4.6.1).
pub const PCRS: u8 = 24;

/// The registers of every bank of a log, as its events leave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    banks: BTreeMap<HashAlg, Bank>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Bank {
    values: Vec<Vec<u8>>,
    /// How many events extended each register.
    extended: Vec<u32>,
}

impl Replay {
    /// Registers at their reset values: zeros, ones in 17 to 22, and in PCR 0 the locality that the TPM was started
    /// from (TPM 2.0 part 1, "Startup"; PC Client Platform TPM Profile, "PCR Initial and Reset Values").
    #[must_use]
    pub fn at_reset(banks: &[HashAlg], startup_locality: u8) -> Self {
        let bank = |alg: &HashAlg| {
            let value = |pcr: u8| {
                let fill = if (17..=22).contains(&pcr) { 0xff } else { 0 };
                let mut value = vec![fill; alg.digest_len()];
                if let (0, Some(last)) = (pcr, value.last_mut()) {
                    *last = startup_locality;
                }
                value
            };
            let bank = Bank {
                values: (0..PCRS).map(value).collect(),
                extended: vec![0; usize::from(PCRS)],
            };
            (*alg, bank)
        };
        Self {
            banks: banks.iter().map(bank).collect(),
        }
    }

    /// Every event of `log`, in all its banks.
    #[must_use]
    pub fn of(log: &TcgLog<'_>) -> Self {
        let mut replay = Self::at_reset(log.banks(), log.startup_locality());
        for event in log.events().iter().filter(|event| event.is_measured()) {
            let Ok(pcr) = u8::try_from(event.pcr) else { continue };
            for (alg, digest) in &event.digests {
                replay.extend(*alg, pcr, digest);
            }
        }
        replay
    }

    /// Extends a register: the hash over its value and the digest. Banks and registers that are not there stay so.
    pub fn extend(&mut self, alg: HashAlg, pcr: u8, digest: &[u8]) {
        let Some(bank) = self.banks.get_mut(&alg) else { return };
        let index = usize::from(pcr);
        if let (Some(value), Some(extended)) = (bank.values.get_mut(index), bank.extended.get_mut(index)) {
            value.extend_from_slice(digest);
            *value = alg.digest(value);
            *extended = extended.saturating_add(1);
        }
    }

    /// The banks.
    pub fn banks(&self) -> impl Iterator<Item = HashAlg> + '_ {
        self.banks.keys().copied()
    }

    /// What the register holds after all events; `None` for a bank that the log does not have.
    #[must_use]
    pub fn value(&self, alg: HashAlg, pcr: u8) -> Option<&[u8]> {
        let value = self.banks.get(&alg)?.values.get(usize::from(pcr))?;
        Some(value)
    }

    /// How many events extended the register.
    #[must_use]
    pub fn extended(&self, alg: HashAlg, pcr: u8) -> u32 {
        let bank = self.banks.get(&alg);
        bank.and_then(|bank| bank.extended.get(usize::from(pcr)))
            .copied()
            .unwrap_or(0)
    }
}
