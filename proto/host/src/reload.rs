//! Reading the configuration again (SIGHUP): what became of it.

use std::collections::BTreeMap;

use hallmark_reason::{Coded, ReasonCode};
use toml::{Table, Value};

/// The longest value that is repeated.
const MAX_VALUE: usize = 200;

/// Why not all of a configuration that was read again is in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It cannot be used: nothing has changed.
    #[error("the configuration was not read again; the one before stays in force")]
    Refused {
        /// What is wrong with it.
        fault: Box<dyn Coded + Send + Sync>,
    },
    /// Some keys take a restart; the others are in force.
    #[error("keys have changed that take a restart: {}", keys.keys().cloned().collect::<Vec<_>>().join(", "))]
    RestartNeeded {
        /// Each with its value in force and the one that was read.
        keys: BTreeMap<String, (String, String)>,
    },
}

impl Coded for ReloadError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Refused { .. } => ReasonCode::new("HM-CONF-0201"),
            Self::RestartNeeded { .. } => ReasonCode::new("HM-CONF-0202"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match self {
            Self::Refused { fault } => {
                let compared = fault.compared().map(|compared| format!(" ({compared})"));
                format!("{}: {fault}{}", fault.code(), compared.unwrap_or_default())
            }
            Self::RestartNeeded { keys } => {
                let told = keys
                    .iter()
                    .map(|(key, (old, new))| format!("{key}: in force {old}, read {new}"));
                told.collect::<Vec<_>>().join("; ")
            }
        })
    }

    fn likely_cause(&self) -> Option<String> {
        match self {
            Self::Refused { fault } => fault.likely_cause(),
            Self::RestartNeeded { .. } => Some("these keys are used at the start alone".to_owned()),
        }
    }

    fn next_step(&self) -> Option<String> {
        match self {
            Self::Refused { fault } => fault.next_step().map(|step| format!("{step}; then reload again")),
            Self::RestartNeeded { .. } => Some("restart the program when it suits, or set the keys back".to_owned()),
        }
    }
}

/// The keys whose values differ between two configurations, each with both values.
#[must_use]
pub fn changed_keys(old: &Table, new: &Table) -> BTreeMap<String, (String, String)> {
    let (old, new) = (leaves(old), leaves(new));
    let keys = old.keys().chain(new.keys());
    let changed = keys.filter(|key| old.get(*key) != new.get(*key));
    let told = |values: &BTreeMap<String, &Value>, key: &String| values.get(key).map_or("none".into(), |it| shown(it));
    changed
        .map(|key| (key.clone(), (told(&old, key), told(&new, key))))
        .collect()
}

/// Every value that is no table, by its key with those of the tables above it.
fn leaves(table: &Table) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(String::new(), table)];
    while let Some((above, table)) = waiting.pop() {
        for (key, value) in table {
            let key = format!("{above}{key}");
            match value {
                Value::Table(inner) => waiting.push((format!("{key}."), inner)),
                value => drop(found.insert(key, value)),
            }
        }
    }
    found
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= MAX_VALUE {
        return text;
    }
    let mut short: String = text.chars().take(MAX_VALUE).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(old: &str, new: &str) -> Vec<String> {
        let keys = changed_keys(&old.parse().unwrap(), &new.parse().unwrap());
        keys.into_iter()
            .map(|(key, (old, new))| format!("{key} {old} {new}"))
            .collect()
    }

    #[test]
    fn what_changed_is_named_with_both_values() {
        let old = "a = 1\nb = [1, 2]\n[t.u]\nc = \"x\"\n";
        assert!(changed(old, old).is_empty());
        assert!(
            changed(old, "b = [1, 2]\na = 1\nt = { u = { c = 'x' } }").is_empty(),
            "said otherwise"
        );
        assert_eq!(
            changed(old, "a = 1\nb = [2]\n[t.u]\nd = true\n"),
            ["b [1, 2] [2]", "t.u.c \"x\" none", "t.u.d none true"]
        );
        let [long] = &changed("", &format!("a = '{}'", "ä".repeat(1000)))[..] else {
            panic!("one key")
        };
        assert!(long.len() < 2 * MAX_VALUE + 50, "{long}");
    }
}
