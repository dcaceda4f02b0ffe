//! Sets inside a row, as JSON.

use std::collections::BTreeMap;

use hallmark_spiffe::Selector;
use hallmark_state::{Approval, Approvals};

use crate::StoreError;

/// Selectors as `[["type","value"],…]`.
pub(super) fn selectors<'a>(selectors: impl IntoIterator<Item = &'a Selector>) -> String {
    let pairs: Vec<(&str, &str)> = selectors.into_iter().map(|s| (s.kind(), s.value())).collect();
    text(&pairs)
}

/// Strings as `["…",…]`.
pub(super) fn strings<'a>(strings: impl Iterator<Item = &'a str>) -> String {
    text(&strings.collect::<Vec<_>>())
}

/// Approvals as `[[uid,"EK SHA-256, hex",seconds],…]`.
pub(super) fn approvals(approvals: &Approvals) -> String {
    let rows = approvals.all().iter();
    text(
        &rows
            .map(|yes| (yes.uid, hex(&yes.ek_sha256), yes.at))
            .collect::<Vec<_>>(),
    )
}

/// Names and values as `{"name":"value",…}`.
pub(super) fn map(map: &BTreeMap<String, String>) -> String {
    text(map)
}

fn text(value: &impl serde::Serialize) -> String {
    // Vectors of strings always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads selectors back.
pub(super) fn parse_selectors<S: FromIterator<Selector>>(
    json: &str,
    what: impl Fn() -> String,
) -> Result<S, StoreError> {
    let pairs: Vec<(String, String)> = parse(json, &what)?;
    pairs
        .iter()
        .map(|(kind, value)| Selector::new(kind, value).map_err(|e| undecodable(&what, &e)))
        .collect()
}

/// Reads strings back.
pub(super) fn parse_strings(json: &str, what: impl Fn() -> String) -> Result<Vec<String>, StoreError> {
    parse(json, &what)
}

/// Reads approvals back.
pub(super) fn parse_approvals(json: &str, what: impl Fn() -> String) -> Result<Approvals, StoreError> {
    let rows: Vec<(u32, String, i64)> = parse(json, &what)?;
    let approvals = rows.into_iter().map(|(uid, ek, at)| {
        let ek_sha256 = hash(&ek).ok_or_else(|| StoreError::Undecodable {
            what: what(),
            reason: format!("invalid EK hash {ek:?}"),
        })?;
        Ok(Approval { uid, ek_sha256, at })
    });
    Ok(Approvals::new(approvals.collect::<Result<Vec<_>, StoreError>>()?))
}

/// A hash in lower-case hex.
pub(super) fn hex(hash: &[u8; 32]) -> String {
    hex_of(hash)
}

/// Bytes in lower-case hex.
pub(super) fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a hash back.
pub(super) fn hash(hex: &str) -> Option<[u8; 32]> {
    bytes(hex)?.try_into().ok()
}

/// Reads bytes back.
pub(super) fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..hex.len()).step_by(2).map(|at| hex.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

/// Reads names and values back.
pub(super) fn parse_map(json: &str, what: impl Fn() -> String) -> Result<BTreeMap<String, String>, StoreError> {
    parse(json, &what)
}

fn parse<T: serde::de::DeserializeOwned>(json: &str, what: &impl Fn() -> String) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|e| undecodable(what, &e))
}

/// The error for a row, named by `what`, that does not read back.
pub(super) fn undecodable(what: &impl Fn() -> String, error: &dyn std::error::Error) -> StoreError {
    StoreError::Undecodable {
        what: what(),
        reason: error.to_string(),
    }
}
