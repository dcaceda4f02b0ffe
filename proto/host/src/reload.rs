//! Reading the configuration again (SIGHUP): what became of it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use hallmark_reason::{Coded, ReasonCode};
use tokio::task::spawn_blocking;
use toml::{Table, Value};

use crate::{
    health::{Part, State},
    log, notify, reloading,
};

/// What is told where all of a configuration is in force.
const READ_AGAIN: &str = "the configuration was read again";

/// The code of a configuration that cannot be used.
const REFUSED: ReasonCode = ReasonCode::new("HM-CONF-0201");

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
            Self::Refused { .. } => REFUSED,
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

    fn precise_cause(&self) -> Option<String> {
        match self {
            Self::Refused { fault } => fault.likely_cause(),
            Self::RestartNeeded { .. } => None,
        }
    }

    fn precise_step(&self) -> Option<String> {
        match self {
            Self::Refused { fault } => fault.next_step().map(|step| format!("{step}; then reload again")),
            Self::RestartNeeded { .. } => None,
        }
    }
}

/// How the last reload went, for those who watch: while it was refused, the program would not start with what is in the
/// file.
#[derive(Debug, Default)]
pub struct LastReload(Mutex<Option<String>>);

impl LastReload {
    /// The part `configuration` of a program whose last reload was refused; `None` where all is well.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        refused.map(|text| Part::with_reason("configuration", State::Warning, REFUSED, text))
    }

    fn note(&self, refused: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

/// What is in force of a configuration, for what is read later to be held against.
#[derive(Debug)]
pub struct InForce {
    /// The keys, and the tables (with a dot at their end), that are applied at once. All others take a restart.
    applied: &'static [&'static str],
    /// The keys of the start: what takes a restart is as it was then.
    started: Table,
    /// The keys that were read last.
    last: Table,
}

/// What a configuration that was read again changes.
#[derive(Debug)]
pub struct Changes {
    /// The keys that are applied.
    applied: Vec<String>,
    /// The keys that take a restart, each with its value in force and the one that was read.
    pub restart: BTreeMap<String, (String, String)>,
}

impl InForce {
    /// All keys of the start, of which those in `applied` can become others later.
    #[must_use]
    pub fn new(applied: &'static [&'static str], started: &Table) -> Self {
        Self {
            applied,
            started: started.clone(),
            last: started.clone(),
        }
    }

    /// What the keys that were read now change. They are what was read last from now on.
    pub fn changes(&mut self, read: &Table) -> Changes {
        let mut restart = changed_keys(&self.started, read);
        restart.retain(|key, _| !self.is_applied(key));
        let mut applied = changed_keys(&self.last, read);
        applied.retain(|key, _| self.is_applied(key));
        self.last.clone_from(read);
        Changes {
            applied: applied.into_keys().collect(),
            restart,
        }
    }

    fn is_applied(&self, key: &str) -> bool {
        let is = |applied: &&str| *applied == key || applied.ends_with('.') && key.starts_with(*applied);
        self.applied.iter().any(is)
    }
}

impl Changes {
    /// Tells the log, once all is applied that can be; gives what the service manager is told.
    #[must_use]
    pub fn told(self) -> String {
        let changed = self.applied.join(", ");
        tracing::info!(changed, "{READ_AGAIN}");
        if self.restart.is_empty() {
            return READ_AGAIN.to_owned();
        }
        let error = ReloadError::RestartNeeded { keys: self.restart };
        log::warn(&error);
        error.to_string()
    }
}

/// Reads a configuration again, as the service manager asked for; to be followed by [`reloaded`]. `last` tells those who
/// watch whether it could be used.
///
/// # Errors
/// What is told where it cannot be used; the log knows already.
pub async fn read_again<C, E>(
    last: &LastReload,
    read: impl FnOnce() -> Result<C, E> + Send + 'static,
) -> Result<C, String>
where
    C: Send + 'static,
    E: Coded + Send + Sync + 'static,
{
    reloading();
    match spawn_blocking(read).await {
        Ok(Ok(config)) => {
            last.note(None);
            Ok(config)
        }
        Ok(Err(fault)) => {
            // The log alone has the values; what to do names none.
            let (code, next) = (fault.code(), fault.next_step());
            let next = next.map(|next| format!("; next: {next}")).unwrap_or_default();
            let error = ReloadError::Refused { fault: Box::new(fault) };
            log::error(&error);
            last.note(Some(format!("{error}: {code}{next}")));
            Err(error.to_string())
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not read again");
            last.note(Some(format!("the configuration was not read again: {error}")));
            Err("the configuration was not read again".to_owned())
        }
    }
}

/// Tells the service manager that the program goes on, and what became of the reload.
pub fn reloaded(status: &str) {
    notify(&format!("READY=1\nSTATUS={status}"));
}

/// The keys whose values differ between two configurations, each with both values.
fn changed_keys(old: &Table, new: &Table) -> BTreeMap<String, (String, String)> {
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
    fn keys_are_applied_by_name_and_tables_as_a_whole() {
        let start: Table = "level = 1\nlevels = 1\n[limits]\na = 1\n[other]\nb = 1\n"
            .parse()
            .unwrap();
        let mut in_force = InForce::new(&["level", "limits."], &start);
        let read: Table = "level = 2\nlevels = 2\n[limits]\na = 2\n[other]\nb = 2\n"
            .parse()
            .unwrap();
        let changes = in_force.changes(&read);
        assert_eq!(changes.applied, ["level", "limits.a"]);
        assert_eq!(changes.restart.into_keys().collect::<Vec<_>>(), ["levels", "other.b"]);
        // What is applied is in force; what takes a restart still does.
        let changes = in_force.changes(&read);
        assert!(changes.applied.is_empty());
        assert_eq!(changes.restart.len(), 2);
        assert!(in_force.changes(&start).restart.is_empty());
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

    #[tokio::test]
    async fn a_refused_reload_says_what_to_do_and_no_values() {
        let last = LastReload::default();
        let keys = BTreeMap::from([("pin".to_owned(), ("secret".to_owned(), "other".to_owned()))]);
        let refused: Result<(), String> = read_again(&last, || Err(ReloadError::RestartNeeded { keys })).await;
        assert!(refused.is_err());
        let told = last.part().unwrap();
        let text = format!("{told:?}");
        assert!(text.contains("HM-CONF-0202; next: restart the program"), "{text}");
        assert!(!text.contains("secret") && !text.contains("other"), "{text}");
        let good = read_again(&last, || Ok::<_, ReloadError>(())).await;
        assert!(good.is_ok() && last.part().is_none(), "the control");
    }
}
