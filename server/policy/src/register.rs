//! Values of registers, with and without what systemd adds by itself: it says nothing of what was booted, so a register is as
//! good with it as without.
//!
//! systemd 261 and later extends registers of the firmware and the loaders with one constant word once they are done. systemd
//! 259 to 261 leaves NvPCR anchors where systemd-stub takes them for credentials.

use std::collections::BTreeSet;

use hallmark_evidence::systemd::{OS_SEPARATOR, OS_SEPARATOR_REGISTERS};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::boot::{BootEvent, BootFacts};

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

/// Whether the register has one of these values, but for what systemd adds by itself.
pub(crate) fn has_one_of(register: &str, value: &str, good: &BTreeSet<String>, boot: Option<&BootFacts>) -> bool {
    good.contains(value) || good.iter().any(|good| becomes(register, good, value, boot))
}

/// Whether nothing extended the register but what systemd adds by itself.
pub(crate) fn is_untouched(register: &str, value: &str, boot: Option<&BootFacts>) -> bool {
    let zero = zero(value);
    value == zero || becomes(register, &zero, value, boot)
}

/// A register that nothing extended, of this value's bank.
pub(crate) fn zero(value: &str) -> String {
    "0".repeat(value.len())
}

/// Whether `good` becomes `value` by the NvPCR anchors that systemd-stub packed, if nothing was there before, by systemd's
/// separator, or by both.
fn becomes(register: &str, good: &str, value: &str, boot: Option<&BootFacts>) -> bool {
    let Some((bank, pcr)) = named(register) else {
        return false;
    };
    let separator = bank.digest(OS_SEPARATOR.as_bytes());
    let separated = |before: &str| {
        let is_measured = OS_SEPARATOR_REGISTERS.contains(&pcr);
        is_measured.then(|| extended(bank, before, &separator)).flatten()
    };
    let anchors = boot.and_then(|boot| boot.nvpcr_anchors.get(bank.as_str()));
    let anchors = anchors.filter(|_| pcr == 12 && *good == zero(good));
    let anchored = anchors.and_then(|anchors| extended(bank, good, &hex::decode(anchors).ok()?));
    let both = anchored.as_deref().and_then(separated);
    [separated(good), anchored, both]
        .into_iter()
        .flatten()
        .any(|it| it == value)
}

/// Whether the event is that separator, or the machine's anchors: what systemd adds by itself.
pub(crate) fn is_of_systemd(event: &BootEvent, boot: &BootFacts) -> bool {
    let anchors = boot.nvpcr_anchors.get(HashAlg::Sha256.as_str());
    is_os_separator(event) || (event.pcr == 12 && anchors == Some(&event.digest))
}

/// What a register that holds `value` holds behind one more extension.
fn extended(bank: HashAlg, value: &str, digest: &[u8]) -> Option<String> {
    let value = hex::decode(value).ok();
    let mut bytes = value.filter(|value| value.len() == bank.digest_len())?;
    bytes.extend(digest);
    Some(hex::encode(bank.digest(&bytes)))
}

/// Whether the event is that separator, by its digest.
pub(crate) fn is_os_separator(event: &BootEvent) -> bool {
    OS_SEPARATOR_REGISTERS.contains(&event.pcr) && event.digest == sha256_hex(OS_SEPARATOR.as_bytes())
}
