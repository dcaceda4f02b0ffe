//! What stands behind the end of the firmware's own measurements, in the registers that are then closed.
//!
//! Images, boot attempts and partition tables go on in PCR 4 and 5, authorities in PCR 7; 0, 1, 2, 3 and 6 are done. Firmware
//! in the field writes into some of them all the same. Root can do that too, and gives its events the type that it likes:
//! so only what the digests themselves show to be of that kind is the firmware's, and everything else is unexpected.

use hallmark_evidence::tcg::{
    TcgEvent,
    efi::{EFI_GLOBAL_VARIABLE, UefiVariable},
};

/// The registers that the separator closes.
pub(super) const REGISTERS: [u8; 5] = [0, 1, 2, 3, 6];

/// Features of the processor as firmware of Lenovo measures them into PCR 1.
const FEATURES: [&[u8]; 2] = [b"FeatureTME=0", b"FeatureTME=1"];

/// A separator, by its digest: the type is only the log's word.
pub(super) fn is_marker(event: &TcgEvent<'_>) -> bool {
    is_digest_of_one(event, &[&[0; 4], &[0xff; 4]])
}

/// Whether AMD's memory encryption is on: one byte, which AGESA measures into PCR 2 when the firmware is done. It is no driver.
pub(super) fn is_memory_encryption(event: &TcgEvent<'_>) -> bool {
    is_digest_of_one(event, &[&[0], &[1]])
}

/// The events of a closed register behind its end that nothing shows to be the firmware's.
pub(super) fn unexpected<'e, 'a>(
    pcr: u8,
    events: &'e [&'e TcgEvent<'a>],
) -> impl Iterator<Item = &'e TcgEvent<'a>> + use<'e, 'a> {
    let behind = events.iter().skip_while(|event| !is_marker(event)).skip(1).copied();
    behind.filter(move |event| !is_of_firmware(pcr, event))
}

fn is_of_firmware(pcr: u8, event: &TcgEvent<'_>) -> bool {
    match pcr {
        1 => {
            let variable = event.authenticated_variable();
            variable.is_some_and(|it| is_boot_variable(&it) || is_mode(&it)) || is_digest_of_one(event, &FEATURES)
        }
        2 => is_memory_encryption(event),
        _ => false,
    }
}

/// `BootOrder`, or a boot entry (UEFI 2.10, section 3.3).
fn is_boot_variable(variable: &UefiVariable<'_>) -> bool {
    let is_number = |digits: &str| {
        digits.len() == 4
            && digits
                .bytes()
                .all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit))
    };
    let is_entry = variable.name.strip_prefix("Boot").is_some_and(is_number);
    variable.guid == EFI_GLOBAL_VARIABLE && (is_entry || variable.name == "BootOrder")
}

/// The modes of Secure Boot that open nothing, as firmware of Dell measures them into PCR 1 (UEFI 2.10, section 32.3).
fn is_mode(variable: &UefiVariable<'_>) -> bool {
    let harmless = match variable.name.as_str() {
        "DeployedMode" => matches!(variable.data, [0 | 1]),
        "AuditMode" => variable.data == [0],
        _ => false,
    };
    variable.guid == EFI_GLOBAL_VARIABLE && harmless
}

fn is_digest_of_one(event: &TcgEvent<'_>, texts: &[&[u8]]) -> bool {
    let is_of = |text: &&[u8]| event.digests.iter().all(|(bank, digest)| bank.digest(text) == *digest);
    !event.digests.is_empty() && texts.iter().any(is_of)
}
