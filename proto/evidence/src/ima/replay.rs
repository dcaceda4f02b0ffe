//! What a list says that its register holds.

use hallmark_tpm_wire::HashAlg;
use serde::{Deserialize, Serialize};

use super::event::ImaEvent;

/// PCR 10 of one bank after some lines. It is kept, so that a later part of the list goes on from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImaReplay {
    /// `TPM_ALG_ID` of the bank.
    bank: u16,
    value: Vec<u8>,
    lines: u64,
    violations: u64,
}

impl ImaReplay {
    /// The register that IMA measures into, unless the kernel was built otherwise.
    pub const PCR: u8 = 10;

    /// Before the first line: zeros.
    #[must_use]
    pub fn at_boot(bank: HashAlg) -> Self {
        Self {
            bank: bank.id(),
            value: vec![0; bank.digest_len()],
            lines: 0,
            violations: 0,
        }
    }

    /// Takes a line. Those of other registers count, and change nothing here.
    pub fn extend(&mut self, event: &ImaEvent<'_>) {
        self.take(event, |event, bank| event.extension(bank));
    }

    /// Takes a line as a kernel before 5.8 extends the register with it: that says who wrote the list, and proves nothing.
    pub fn extend_padded(&mut self, event: &ImaEvent<'_>) {
        self.take(event, |event, bank| event.padded_extension(bank));
    }

    fn take(&mut self, event: &ImaEvent<'_>, extension: impl Fn(&ImaEvent<'_>, HashAlg) -> Vec<u8>) {
        self.lines = self.lines.saturating_add(1);
        let (true, Some(bank)) = (event.pcr == u32::from(Self::PCR), HashAlg::from_id(self.bank)) else {
            return;
        };
        if event.is_violation() {
            self.violations = self.violations.saturating_add(1);
        }
        self.value.extend_from_slice(&extension(event, bank));
        self.value = bank.digest(&self.value);
    }

    /// The register.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// How many lines were taken.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// How many of them were violations.
    #[must_use]
    pub const fn violations(&self) -> u64 {
        self.violations
    }
}
