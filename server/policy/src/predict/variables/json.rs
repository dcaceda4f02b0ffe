//! Variables as `virt-fw-vars --output-json` writes them.

use serde::Deserialize;

use super::{Guid, Variables};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    variables: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    guid: String,
    #[serde(rename = "attr")]
    _attributes: u32,
    data: String,
    #[serde(default, rename = "time")]
    _time: Option<String>,
    #[serde(default, rename = "count")]
    _count: Option<u64>,
    #[serde(default, rename = "pkidx")]
    _key: Option<u64>,
}

/// Reads the text.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Variables, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != 2 {
        return Err(format!("JSON of version {}, this program reads 2", file.version));
    }
    let mut variables = Variables::default();
    for entry in file.variables {
        let wrong = || format!("the variable {:?} has no hexadecimal data or no GUID", entry.name);
        let guid = guid(&entry.guid).ok_or_else(wrong)?;
        let data = hex(&entry.data).ok_or_else(wrong)?;
        variables.insert(guid, entry.name, data)?;
    }
    Ok(variables)
}

/// A GUID's text: the first three groups are little-endian in memory.
fn guid(text: &str) -> Option<Guid> {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    if lengths != [8, 4, 4, 4, 12] {
        return None;
    }
    let bytes: Guid = hex(&text.replace('-', ""))?.try_into().ok()?;
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let [i, j, k, l, m, n, o, p] = rest;
    Some([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8; 2]| Some(digit(pair[0])? * 16 + digit(pair[1])?);
    pairs.iter().map(byte).collect()
}
