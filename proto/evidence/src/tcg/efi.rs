//! The EFI structures that events carry.

use super::reader::Reader;

/// `UEFI_VARIABLE_DATA` (PFP, section 10.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UefiVariable<'a> {
    /// The vendor's GUID, as in memory.
    pub guid: [u8; 16],
    /// The name.
    pub name: String,
    /// The contents.
    pub data: &'a [u8],
}

/// The longest variable name that is read, in UTF-16 units.
const MAX_NAME: usize = 256;

/// `EFI_GLOBAL_VARIABLE` (UEFI 2.10, section 3.3).
pub const EFI_GLOBAL_VARIABLE: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];

/// `EFI_IMAGE_SECURITY_DATABASE_GUID` (UEFI 2.10, section 32.6.1): `db`, `dbx`.
pub const EFI_IMAGE_SECURITY_DATABASE: [u8; 16] = [
    0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f,
];

/// `SHIM_LOCK_GUID`: the variables of the shim.
pub const SHIM_LOCK: [u8; 16] = [
    0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43, 0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23,
];

impl<'a> UefiVariable<'a> {
    /// Reads the structure; `None` if it is malformed or bytes follow it.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (variable, rest) = Self::parse_front(bytes)?;
        rest.is_empty().then_some(variable)
    }

    /// Reads the structure at the front of `bytes`, and gives what follows it; `None` if it is malformed.
    #[must_use]
    pub fn parse_front(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader::new(bytes);
        let guid = reader.take(16, "VariableName").ok()?.try_into().ok()?;
        let mut length = || {
            let low = reader.u32("length").ok()?;
            let high = reader.u32("length").ok()?;
            (high == 0).then_some(usize::try_from(low).ok()).flatten()
        };
        let (name, data) = (length()?, length()?);
        if name > MAX_NAME {
            return None;
        }
        let name = utf16(reader.take(name.checked_mul(2)?, "UnicodeName").ok()?)?;
        let data = reader.take(data, "VariableData").ok()?;
        Some((Self { guid, name, data }, reader.rest()))
    }
}

/// Text in UTF-16LE, up to the first NUL; `None` if it is odd or not well-formed.
#[must_use]
pub fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    let units = pairs
        .iter()
        .map(|pair| u16::from_le_bytes(*pair))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units).collect::<Result<String, _>>().ok()
}

/// A GUID in its text form.
#[must_use]
pub fn guid_text(guid: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let tail: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, last) = tail.split_at_checked(4).unwrap_or_default();
    format!("{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{first}-{last}")
}

/// What `EV_S_CRTM_VERSION` says: a text, or the GUID that stands for a version where a firmware has one (PFP, section
/// 10.4.1). 16 bytes are a GUID, unless they are a text with its NUL, or plain letters without one.
#[must_use]
pub fn version_text(data: &[u8]) -> Option<String> {
    let text = utf16(data).filter(|text| !text.is_empty() && text.chars().all(|c| !c.is_control()));
    let is_letters = |text: &String| text.is_ascii() && text.len() * 2 == data.len();
    let is_text = data.ends_with(&[0, 0]) || text.as_ref().is_some_and(is_letters);
    match <&[u8; 16]>::try_from(data) {
        Ok(guid) if !is_text => Some(guid_text(guid)),
        _ => text,
    }
}

/// What a signature list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureType {
    /// `EFI_CERT_X509_GUID`: a certificate, DER.
    X509,
    /// `EFI_CERT_SHA256_GUID`: the SHA-256 of an image.
    Sha256,
    /// Any other.
    Other,
}

const CERT_X509: [u8; 16] = [
    0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72,
];
const CERT_SHA256: [u8; 16] = [
    0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28,
];

/// One entry of a signature database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureEntry<'a> {
    /// What it is.
    pub kind: SignatureType,
    /// Its owner's GUID, as in memory.
    pub owner: [u8; 16],
    /// The certificate or hash, without the owner's GUID.
    pub data: &'a [u8],
}

/// The entries of `PK`, `KEK`, `db` or `dbx`: a sequence of `EFI_SIGNATURE_LIST` (UEFI 2.10, section 32.4.1). `None` if it
/// is malformed.
#[must_use]
pub fn signature_database(bytes: &[u8]) -> Option<Vec<SignatureEntry<'_>>> {
    let mut entries = Vec::new();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let kind = match reader.take(16, "SignatureType").ok()? {
            guid if guid == CERT_X509 => SignatureType::X509,
            guid if guid == CERT_SHA256 => SignatureType::Sha256,
            _ => SignatureType::Other,
        };
        let list = reader.length("SignatureListSize").ok()?;
        let header = reader.length("SignatureHeaderSize").ok()?;
        let size = reader.length("SignatureSize").ok()?;
        let body = reader.take(list.checked_sub(28)?, "SignatureList").ok()?;
        let signatures = body.get(header..)?;
        // Each begins with its owner's GUID.
        if size <= 16 || !signatures.len().is_multiple_of(size) {
            return None;
        }
        for signature in signatures.chunks_exact(size) {
            let (owner, data) = signature.split_first_chunk()?;
            entries.push(SignatureEntry {
                kind,
                owner: *owner,
                data,
            });
        }
    }
    Some(entries)
}

/// `UEFI_IMAGE_LOAD_EVENT` (PFP, section 10.2.3): the path from which the log says that an image was loaded. A hint.
#[must_use]
pub fn image_path(data: &[u8]) -> Option<String> {
    let mut reader = Reader::new(data);
    reader.take(24, "image").ok()?;
    let length = reader.length("LengthOfDevicePath").ok()?;
    reader.take(4, "LengthOfDevicePath").ok()?;
    let mut nodes = Reader::new(reader.take(length, "DevicePath").ok()?);
    let mut parts: Vec<String> = Vec::new();
    while !nodes.is_empty() {
        let (kind, subtype) = (nodes.u8("Type").ok()?, nodes.u8("SubType").ok()?);
        let length = usize::from(nodes.u16("Length").ok()?).checked_sub(4)?;
        let body = nodes.take(length, "node").ok()?;
        match (kind, subtype) {
            (0x7f, 0xff) => break,
            (4, 4) => parts.extend(utf16(body)),
            (4, 6) => parts.push(format!(
                "FvFile({})",
                body.try_into().ok().map(guid_text).unwrap_or_default()
            )),
            (4, 7) => parts.push(format!(
                "Fv({})",
                body.try_into().ok().map(guid_text).unwrap_or_default()
            )),
            (3, 24) => parts.push(format!("Uri({})", String::from_utf8_lossy(body))),
            (1, 1) => parts.push(format!(
                "Pci({})",
                body.iter()
                    .rev()
                    .map(|byte| format!("{byte:x}"))
                    .collect::<Vec<_>>()
                    .join(",")
            )),
            _ => {}
        }
    }
    Some(parts.join("/"))
}
