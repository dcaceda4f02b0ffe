//! The variable store of EDK II: a firmware volume with variables that carry times (MdeModulePkg,
//! `VariableFormat.h`).

use std::collections::BTreeMap;

use hallmark_evidence::tcg::efi::utf16;

use super::{Guid, Variables};

/// `EFI_SYSTEM_NV_DATA_FV_GUID`: the volume holds variables.
const VOLUME: Guid = [
    0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
];
/// `EFI_AUTHENTICATED_VARIABLE_GUID`: the variables have the longer header.
const STORE: Guid = [
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
];
/// The store's header and each variable's, in bytes.
const STORE_HEADER: usize = 28;
const HEADER: usize = 60;
/// `StartId` of a variable, and what flash has where nothing was written.
const START: u16 = 0x55aa;
const ERASED: u16 = 0xffff;
/// States: written; written, and its successor is being written. In every other state it does not count.
const ADDED: u8 = 0x3f;
const IN_DELETION: u8 = 0x3e;

/// Reads the store at the beginning of a file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Variables, String> {
    let store = store(bytes).ok_or("it is neither JSON nor a store of authenticated variables (OVMF_VARS.fd)")?;
    let (mut current, mut outgoing) = (Variables::default(), BTreeMap::new());
    let mut at = STORE_HEADER;
    while let Some(start) = word(store, at).filter(|start| *start != ERASED) {
        let cut = || format!("the variable at {at} is cut or not aligned");
        if start != START {
            return Err(cut());
        }
        let header = part(store, at, HEADER).ok_or_else(cut)?;
        let name = length(header, 36).ok_or_else(cut)?;
        let data = length(header, 40).ok_or_else(cut)?;
        let guid: Guid = header
            .get(44..60)
            .and_then(|guid| guid.try_into().ok())
            .ok_or_else(cut)?;
        let name_at = at.saturating_add(HEADER);
        let data_at = name_at.saturating_add(name);
        let state = header.get(2).copied();
        if let Some(ADDED | IN_DELETION) = state {
            let text = part(store, name_at, name).and_then(utf16).ok_or_else(cut)?;
            let value = part(store, data_at, data).ok_or_else(cut)?.to_vec();
            match state {
                Some(ADDED) => current.insert(guid, text, value)?,
                _ => drop(outgoing.insert((guid, text), value)),
            }
        }
        at = data_at.saturating_add(data).next_multiple_of(4);
        if at > store.len() {
            return Err(format!("a variable reaches to {at}, behind the store's end"));
        }
    }
    for ((guid, name), data) in outgoing {
        if current.value(&guid, &name).is_none() {
            current.insert(guid, name, data)?;
        }
    }
    Ok(current)
}

/// The store, with its header.
fn store(bytes: &[u8]) -> Option<&[u8]> {
    let is_volume = bytes.get(16..32)? == VOLUME && bytes.get(40..44)? == b"_FVH";
    let header = usize::from(word(bytes, 48)?);
    let store = is_volume.then(|| bytes.get(header..)).flatten()?;
    // Format 0x5a: formatted; state 0xfe: healthy.
    let is_good = store.get(..16)? == STORE && store.get(20..22)? == [0x5a, 0xfe];
    let size = length(store, 16)?;
    is_good
        .then(|| store.get(..size))
        .flatten()
        .filter(|store| store.len() >= STORE_HEADER)
}

fn part(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..start.checked_add(length)?)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(part(bytes, at, 2)?.try_into().ok()?))
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(part(bytes, at, 4)?.try_into().ok()?)).ok()
}
