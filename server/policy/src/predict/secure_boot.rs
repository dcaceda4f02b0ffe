//! PCR 7: the keys that firmware holds images against, and those that let images pass.

use hallmark_evidence::tcg::efi::{
    EFI_GLOBAL_VARIABLE, EFI_IMAGE_SECURITY_DATABASE, SignatureEntry, signature_database,
};

use super::error::PredictError;
use super::events::Event;
use super::pe::PeImage;
use super::signature;
use super::variables::{Guid, Variables};

/// `EFI_SECURE_BOOT_ENABLE_DISABLE_GUID` of EDK II: the switch in the firmware's setup.
const SECURE_BOOT_ENABLE: Guid = [
    0xc7, 0x0b, 0xa3, 0xf0, 0x08, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0x00, 0x10, 0x09, 0xc9, 0x3a, 0x44,
];

/// The variables that are measured, in their order; one that is not there is measured as empty.
const MEASURED: [(&Guid, &str); 4] = [
    (&EFI_GLOBAL_VARIABLE, "PK"),
    (&EFI_GLOBAL_VARIABLE, "KEK"),
    (&EFI_IMAGE_SECURITY_DATABASE, "db"),
    (&EFI_IMAGE_SECURITY_DATABASE, "dbx"),
];

/// Databases of which firmware differs in whether it measures them.
const UNCLEAR: [&str; 3] = ["dbt", "dbr", "devdb"];

/// Whether Secure Boot is on: what was said, or else what the variables give.
///
/// # Errors
/// [`PredictError::SecureBoot`] when the two contradict each other.
pub(super) fn state(said: Option<bool>, variables: Option<&Variables>) -> Result<Option<bool>, PredictError> {
    let Some(variables) = variables else {
        return Ok(said);
    };
    let word = |on| if on { "on" } else { "off" };
    let has_key = variables
        .value(&EFI_GLOBAL_VARIABLE, "PK")
        .is_some_and(|key| !key.is_empty());
    let switch = variables.value(&SECURE_BOOT_ENABLE, "SecureBootEnable");
    // With a platform key and no switch stored, firmware switches it on at its next start.
    let given = has_key && switch.is_none_or(|switch| switch == [1]);
    match said {
        Some(said) if said != given => Err(PredictError::SecureBoot {
            said: word(said),
            given: word(given),
        }),
        _ => Ok(Some(given)),
    }
}

/// PCR 7's events; or why they are not known.
///
/// # Errors
/// [`PredictError`] when a database is malformed, or the firmware would refuse an image.
pub(super) fn events(
    variables: Option<&Variables>,
    secure_boot: Option<bool>,
    images: &[(&str, &PeImage<'_>)],
) -> Result<Result<Vec<Event>, String>, PredictError> {
    let Some(variables) = variables else {
        return Ok(Err("no firmware variables were given".to_owned()));
    };
    if images.iter().any(|(_, image)| image.is_shim) {
        return Ok(Err(
            "shim measures what it verifies by keys of its own, which are not in the variables".to_owned(),
        ));
    }
    let value = |guid, name| variables.value(guid, name).unwrap_or_default();
    for name in UNCLEAR {
        if !value(&EFI_IMAGE_SECURITY_DATABASE, name).is_empty() {
            return Ok(Err(format!(
                "there is a database {name}, which firmware measures or not"
            )));
        }
    }
    let on = secure_boot == Some(true);
    let mut events = configuration(variables, on);
    if on {
        let malformed = |name: &str| PredictError::Variables {
            fault: format!("{name} is not a signature database"),
        };
        let db = value(&EFI_IMAGE_SECURITY_DATABASE, "db");
        let dbx = value(&EFI_IMAGE_SECURITY_DATABASE, "dbx");
        let allowed = signature_database(db).ok_or_else(|| malformed("db"))?;
        let forbidden = signature_database(dbx).ok_or_else(|| malformed("dbx"))?;
        let mut authorities = Vec::new();
        for (name, image) in images {
            let event = authority(&signature::authority(name, image, &allowed, &forbidden)?);
            // The same authority is measured once.
            if !authorities.contains(&event) {
                authorities.push(event);
            }
        }
        events.append(&mut authorities);
    }
    Ok(Ok(events))
}

/// What is measured before any image is started.
pub(super) fn configuration(variables: &Variables, on: bool) -> Vec<Event> {
    let driver = "EV_EFI_VARIABLE_DRIVER_CONFIG";
    let mut events = vec![variable(driver, &EFI_GLOBAL_VARIABLE, "SecureBoot", &[u8::from(on)])];
    for (guid, name) in MEASURED {
        let value = variables.value(guid, name).unwrap_or_default();
        events.push(variable(driver, guid, name, value));
    }
    events.push(Event::separator(7));
    events
}

/// What is measured when an entry of db lets an image pass.
pub(super) fn authority(entry: &SignatureEntry<'_>) -> Event {
    let data = [&entry.owner, entry.data].concat();
    variable("EV_EFI_VARIABLE_AUTHORITY", &EFI_IMAGE_SECURITY_DATABASE, "db", &data)
}

/// An event of `UEFI_VARIABLE_DATA` (PFP, section 10.2.6).
fn variable(kind: &'static str, guid: &Guid, name: &str, value: &[u8]) -> Event {
    let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes();
    let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let data = [
        guid.as_slice(),
        &length(utf16.len() / 2),
        &length(value.len()),
        &utf16,
        value,
    ]
    .concat();
    Event::over(7, kind, &data, format!("variable {name}"))
}
