//! Sets inside a row, as JSON.

use std::collections::BTreeSet;

use hallmark_spiffe::Selector;

use crate::StoreError;

/// Selectors as `[["type","value"],…]`.
pub(super) fn selectors(selectors: &BTreeSet<Selector>) -> String {
    let pairs: Vec<(&str, &str)> = selectors.iter().map(|s| (s.kind(), s.value())).collect();
    text(&pairs)
}

/// Strings as `["…",…]`.
pub(super) fn strings<'a>(strings: impl Iterator<Item = &'a str>) -> String {
    text(&strings.collect::<Vec<_>>())
}

fn text(value: &impl serde::Serialize) -> String {
    // Vectors of strings always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

/// Reads selectors back.
pub(super) fn parse_selectors(json: &str, what: impl Fn() -> String) -> Result<BTreeSet<Selector>, StoreError> {
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
