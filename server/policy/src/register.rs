//! Values of registers, with and without systemd's separator.
//!
//! systemd 261 and later extends registers of the firmware and the loaders with one constant word once they are done. It says
//! nothing of what was booted, so a register is as good with it as without.

use std::collections::BTreeSet;

use hallmark_evidence::systemd::{OS_SEPARATOR, OS_SEPARATOR_REGISTERS};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::boot::BootEvent;

use crate::selectors::sha256_hex;

/// `sha256:7` as bank and number.
pub(crate) fn named(register: &str) -> Option<(HashAlg, u8)> {
    let (bank, number) = register.split_once(':')?;
    let bank = [HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512]
        .into_iter()
        .find(|known| known.to_string() == bank)?;
    let pcr: u8 = number.parse().ok()?;
    (pcr < 24 && pcr.to_string() == number).then_some((bank, pcr))
}

/// Whether the register has one of these values, systemd's separator aside.
pub(crate) fn has_one_of(register: &str, value: &str, good: &BTreeSet<String>) -> bool {
    good.contains(value)
        || good
            .iter()
            .any(|good| separated(register, good).as_deref() == Some(value))
}

/// Whether nothing extended the register but systemd's separator.
pub(crate) fn is_untouched(register: &str, value: &str) -> bool {
    let zero = "0".repeat(value.len());
    value == zero || separated(register, &zero).as_deref() == Some(value)
}

/// Whether the event is that separator, by its digest.
pub(crate) fn is_os_separator(event: &BootEvent) -> bool {
    OS_SEPARATOR_REGISTERS.contains(&event.pcr) && event.digest == sha256_hex(OS_SEPARATOR.as_bytes())
}

/// What a register that holds `value` holds behind the separator; `None` where systemd measures none.
fn separated(register: &str, value: &str) -> Option<String> {
    let (bank, pcr) = named(register)?;
    let value = hex::decode(value).ok();
    let mut extended = value.filter(|value| value.len() == bank.digest_len())?;
    extended.extend(bank.digest(OS_SEPARATOR.as_bytes()));
    OS_SEPARATOR_REGISTERS
        .contains(&pcr)
        .then(|| hex::encode(bank.digest(&extended)))
}
