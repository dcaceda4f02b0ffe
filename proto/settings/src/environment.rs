//! Keys that the environment sets over the file's.

use std::ffi::OsString;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use hallmark_reason::nearest;

use crate::SettingsError;
use crate::form::{plain, unknown_field};

/// What a file with the environment over it was refused for.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Something in the file.
    File(toml::de::Error),
    /// Something in the environment.
    Environment(SettingsError),
}

/// The keys that the environment sets over a file's: with the prefix `HALLMARK_SERVER__`, `HALLMARK_SERVER__LOG__LEVEL` is
/// `level` of `[log]`.
///
/// The two underscores behind the program's name keep other programs' variables apart: an orchestrator sets
/// `HALLMARK_SERVER_PORT` and its like for a service called hallmark-server.
#[derive(Debug, Default)]
pub struct Overrides(Vec<Override>);

#[derive(Debug)]
struct Override {
    name: String,
    /// The tables and the key.
    path: Vec<String>,
    value: Value,
}

impl Overrides {
    /// Takes what is meant for the configuration out of the environment's variables: those whose names begin with `prefix`.
    ///
    /// # Errors
    /// [`SettingsError::Environment`] for a value that is not UTF-8 text.
    pub fn of(prefix: &str, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, SettingsError> {
        let mut overrides = Vec::new();
        for (name, value) in variables {
            let Some((name, path)) = name.to_str().and_then(|name| Some((name, name.strip_prefix(prefix)?))) else {
                continue;
            };
            let value = value
                .to_str()
                .ok_or_else(|| fault(name, "the value is not UTF-8 text"))?;
            overrides.push(Override {
                name: name.to_owned(),
                path: path.to_ascii_lowercase().split("__").map(str::to_owned).collect(),
                value: read_value(value),
            });
        }
        overrides.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(overrides))
    }

    /// Reads `text` with these keys set over it.
    ///
    /// # Errors
    /// What is wrong with the text, or else with the environment.
    pub(crate) fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, Fault> {
        if self.0.is_empty() {
            return toml::from_str(text).map_err(Fault::File);
        }
        let file: Table = toml::from_str(text).map_err(Fault::File)?;
        let error = match self.over(&file, None).map_err(Fault::Environment)?.try_into::<T>() {
            Ok(value) => return Ok(value),
            Err(error) => error.message().to_owned(),
        };
        // Whose fault is it? That of the variable without which it is another one, or none.
        for candidate in &self.0 {
            let without = self.over(&file, Some(&candidate.name)).map_err(Fault::Environment)?;
            if without
                .try_into::<T>()
                .map_or_else(|other| other.message() != error, |_| true)
            {
                return Err(Fault::Environment(fault(&candidate.name, &error)));
            }
        }
        Err(match toml::from_str::<T>(text) {
            Err(error) => Fault::File(error),
            Ok(_) => Fault::Environment(fault(&self.names(), &error)),
        })
    }

    /// Each key that is set, as `table.key`, with its value as TOML and the variable's name.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (String, String, &str)> {
        let key = |one: &Override| one.path.join(".");
        self.0
            .iter()
            .map(move |one| (key(one), one.value.to_string(), one.name.as_str()))
    }

    /// Every key that is set, by a text that was read before and by the environment.
    #[must_use]
    pub fn table(&self, text: &str) -> Table {
        let file = toml::from_str(text).unwrap_or_default();
        self.over(&file, None).unwrap_or_default()
    }

    /// The file with every key set but that of one variable.
    fn over(&self, file: &Table, but: Option<&str>) -> Result<Table, SettingsError> {
        let mut merged = file.clone();
        for Override { name, path, value } in self.0.iter().filter(|one| Some(one.name.as_str()) != but) {
            let Some((key, tables)) = path.split_last() else {
                continue;
            };
            let mut at = &mut merged;
            for table in tables.iter().filter(|table| !table.is_empty()) {
                let slot = at.entry(table.as_str()).or_insert_with(|| Value::Table(Table::new()));
                at = slot
                    .as_table_mut()
                    .ok_or_else(|| fault(name, &format!("`{table}` is not a table")))?;
            }
            at.insert(key.clone(), value.clone());
        }
        Ok(merged)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    }
}

/// A TOML value as it stands in a file; what is none is text.
fn read_value(text: &str) -> Value {
    let read = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let alone = read.filter(|table| table.len() == 1);
    let value = alone.and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn fault(name: &str, message: &str) -> SettingsError {
    let message = match unknown_field(message) {
        Some((key, known)) => {
            let meant = nearest(&key, &known).map(|meant| format!("; did you mean `{meant}`?"));
            format!("unknown key `{key}`{}", meant.unwrap_or_default())
        }
        None => plain(message.trim_end()),
    };
    SettingsError::Environment {
        name: name.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        name: String,
        #[serde(default)]
        log: BTreeMap<String, String>,
        #[serde(default)]
        pcrs: Vec<u8>,
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<File, Fault> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Overrides::of("HALLMARK_SERVER__", variables).unwrap().read(text)
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let text = "name = \"a\"\n[log]\nlevel = \"info\"\nformat = \"text\"\n";
        let file = read(
            text,
            &[
                ("HALLMARK_SERVER__LOG__LEVEL", "debug"),
                ("HALLMARK_SERVER__PCRS", "[0, 7]"),
                ("HALLMARK_SERVER__NAME", "\"12\""),
                ("HALLMARK_SERVER_PORT", "tcp://10.0.0.1:8081"),
                ("HALLMARK_SERVER_CONFIG", "/x"),
            ],
        )
        .unwrap();
        let log = [("format", "text"), ("level", "debug")].map(|(key, value)| (key.into(), value.into()));
        let expected = File {
            name: "12".into(),
            log: log.into(),
            pcrs: vec![0, 7],
        };
        assert_eq!(file, expected);
        assert_eq!(read("", &[("HALLMARK_SERVER__NAME", "b")]).unwrap().name, "b");
        // What would be two lines of a file is one text.
        let injected = read("", &[("HALLMARK_SERVER__NAME", "1\npcrs = [1]")]).unwrap();
        assert_eq!((injected.name.as_str(), injected.pcrs.len()), ("1\npcrs = [1]", 0));
    }

    #[test]
    fn a_fault_is_laid_at_the_door_it_came_from() {
        let good = ("HALLMARK_SERVER__LOG__LEVEL", "debug");
        for (variable, value) in [
            ("HALLMARK_SERVER__NMAE", "x"),
            ("HALLMARK_SERVER__NAME", "12"),
            ("HALLMARK_SERVER__PCRS", "7"),
            ("HALLMARK_SERVER__NAME__FIRST", "x"),
            ("HALLMARK_SERVER__", "x"),
        ] {
            let error = read("name = \"a\"\n", &[good, (variable, value)]).unwrap_err();
            assert!(
                matches!(&error, Fault::Environment(SettingsError::Environment { name, .. }) if name == variable),
                "{variable}: {error:?}"
            );
        }
        let error = read("name = \"a\"\n\nnmae = 1\n", &[good]).unwrap_err();
        assert!(
            matches!(&error, Fault::File(error) if error.message().contains("nmae")),
            "{error:?}"
        );
        let error = read("pcrs = []\n", &[good]).unwrap_err();
        assert!(
            matches!(&error, Fault::File(error) if error.message().contains("missing field")),
            "{error:?}"
        );
    }
}
