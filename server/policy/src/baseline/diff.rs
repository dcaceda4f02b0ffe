//! Two boots' facts, told apart in words.

use serde::Serialize;
use serde_json::Value;

/// One fact in which two boots differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FactDifference {
    /// Which fact, by its name in the evidence's JSON, such as `secure_boot`.
    pub fact: String,
    /// What the baseline's boot has.
    pub expected: Option<String>,
    /// What this boot has.
    pub actual: Option<String>,
}

impl std::fmt::Display for FactDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fact = words(&self.fact);
        match (&self.expected, &self.actual) {
            (Some(expected), Some(actual)) => write!(f, "{fact}: was {expected}, is {actual}"),
            (Some(expected), None) => write!(f, "{fact}: {expected} is gone"),
            (None, Some(actual)) => write!(f, "{fact}: {actual} is new"),
            (None, None) => f.write_str(&fact),
        }
    }
}

/// Every fact in which `actual` differs from `expected`, in the order of their names. Lists are compared as sets: what is
/// gone and what is new, one by one.
pub(super) fn differences<T: Serialize>(expected: &T, actual: &T) -> Vec<FactDifference> {
    let mut found = Vec::new();
    // What cannot be written as JSON (there is no such fact) would compare as equal; the registers still decide.
    let (expected, actual) = (serde_json::to_value(expected), serde_json::to_value(actual));
    if let (Ok(expected), Ok(actual)) = (expected, actual) {
        walk("", &expected, &actual, &mut found);
    }
    found
}

fn walk(path: &str, expected: &Value, actual: &Value, found: &mut Vec<FactDifference>) {
    match (expected, actual) {
        _ if expected == actual => {}
        (Value::Object(expected), Value::Object(actual)) => {
            let mut names: Vec<_> = expected.keys().chain(actual.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let value = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or(Value::Null);
                walk(&path, &value(expected), &value(actual), found);
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            let gone = expected.iter().filter(|value| !actual.contains(value));
            let new = actual.iter().filter(|value| !expected.contains(value));
            let before = found.len();
            found.extend(gone.map(|value| difference(path, value, &Value::Null)));
            found.extend(new.map(|value| difference(path, &Value::Null, value)));
            if found.len() == before {
                let order = |list: &[Value]| Value::String(list.iter().filter_map(text).collect::<Vec<_>>().join(", "));
                found.push(difference(path, &order(expected), &order(actual)));
            }
        }
        _ => found.push(difference(path, expected, actual)),
    }
}

fn difference(path: &str, expected: &Value, actual: &Value) -> FactDifference {
    FactDifference {
        fact: path.to_owned(),
        expected: text(expected),
        actual: text(actual),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("on".to_owned()),
        Value::Bool(false) => Some("off".to_owned()),
        Value::String(text) => Some(format!("{text:?}")),
        Value::Object(fields) => {
            let each = fields
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", text(value)?)));
            Some(each.collect::<Vec<_>>().join(", "))
        }
        other => Some(other.to_string()),
    }
}

/// A fact's name as people say it.
fn words(fact: &str) -> String {
    const KNOWN: [(&str, &str); 12] = [
        ("secure_boot", "Secure Boot"),
        ("setup_mode", "the firmware's setup mode"),
        ("command_line", "the kernel command line"),
        ("images", "a booted image"),
        ("authorities", "a certificate or hash that authorised an image"),
        ("uki_sections", "a section of the unified kernel image"),
        ("dbx_hashes", "a revoked hash (dbx)"),
        ("scrtm_version", "the firmware's version"),
        ("grub", "a command of GRUB"),
        ("phases", "a phase of the boot"),
        ("gpt", "the partition table"),
        ("sbat_level", "the SBAT revocation level"),
    ];
    let (first, rest) = fact.split_once('.').unwrap_or((fact, ""));
    let known = KNOWN.iter().find(|(name, _)| *name == first).map(|(_, words)| *words);
    match (known, rest) {
        (Some(known), "") => known.to_owned(),
        (Some(known), rest) => format!("{known} ({rest})"),
        (None, _) => fact.replace(['_', '.'], " "),
    }
}
