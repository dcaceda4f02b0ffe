//! Keys that the environment sets over the file's.

use std::ffi::OsString;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::ConfigError;

/// What the names begin with. The second underscore keeps other programs' variables apart: an orchestrator sets
/// `HALLMARK_SERVER_PORT` and its like for a service called hallmark-server.
const PREFIX: &str = "HALLMARK_SERVER__";

/// The keys that the environment sets: `HALLMARK_SERVER__LOG__LEVEL` is `level` of `[log]`.
#[derive(Debug, Default)]
pub struct Overrides(Vec<Override>);

#[derive(Debug)]
struct Override {
    name: String,
    value: Value,
}

impl Overrides {
    /// Takes what is meant for the configuration out of the environment's variables.
    ///
    /// # Errors
    /// [`ConfigError::Environment`] for a value that is no text.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut overrides = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let value = value
                .to_str()
                .ok_or_else(|| fault(name, "the value is not UTF-8 text"))?;
            overrides.push(Override {
                name: name.to_owned(),
                value: read_value(value),
            });
        }
        overrides.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(overrides))
    }

    /// Reads `text` with these keys set over it; `located` tells where a fault of the text is.
    ///
    /// # Errors
    /// What is wrong with the text, or else [`ConfigError::Environment`].
    pub(super) fn read<T: DeserializeOwned>(
        &self,
        text: &str,
        located: impl Fn(toml::de::Error) -> ConfigError,
    ) -> Result<T, ConfigError> {
        if self.0.is_empty() {
            return toml::from_str(text).map_err(located);
        }
        let file: Table = toml::from_str(text).map_err(&located)?;
        let error = match self.over(&file, None)?.try_into::<T>() {
            Ok(value) => return Ok(value),
            Err(error) => error.message().to_owned(),
        };
        // Whose fault is it? That of the variable without which it is another one, or none.
        for candidate in &self.0 {
            let without = self.over(&file, Some(&candidate.name))?.try_into::<T>();
            if without.map_or_else(|other| other.message() != error, |_| true) {
                return Err(fault(&candidate.name, &error));
            }
        }
        Err(match toml::from_str::<T>(text) {
            Err(error) => located(error),
            Ok(_) => fault(&self.names(), &error),
        })
    }

    /// The file with every key set but that of one variable.
    fn over(&self, file: &Table, but: Option<&str>) -> Result<Table, ConfigError> {
        let mut merged = file.clone();
        for Override { name, value } in self.0.iter().filter(|one| Some(one.name.as_str()) != but) {
            let path = name.trim_start_matches(PREFIX).to_ascii_lowercase();
            let (tables, key) = path.rsplit_once("__").unwrap_or(("", &path));
            let mut at = &mut merged;
            for table in tables.split("__").filter(|table| !table.is_empty()) {
                let slot = at.entry(table).or_insert_with(|| Value::Table(Table::new()));
                at = slot
                    .as_table_mut()
                    .ok_or_else(|| fault(name, &format!("`{table}` is no table")))?;
            }
            at.insert(key.to_owned(), value.clone());
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

fn fault(name: &str, message: &str) -> ConfigError {
    ConfigError::Environment {
        name: name.to_owned(),
        message: message.trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, path::Path};

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        name: String,
        #[serde(default)]
        log: BTreeMap<String, String>,
        #[serde(default)]
        pcrs: Vec<u8>,
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<File, ConfigError> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let located = |error| super::super::locate::locate(Path::new("server.toml"), text, &error);
        Overrides::of(variables).unwrap().read(text, located)
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
                matches!(&error, ConfigError::Environment { name, .. } if name == variable),
                "{variable}: {error:?}"
            );
        }
        let error = read("name = \"a\"\n\nnmae = 1\n", &[good]).unwrap_err();
        assert!(matches!(error, ConfigError::UnknownKey { line: 3, .. }), "{error:?}");
        let error = read("pcrs = []\n", &[good]).unwrap_err();
        assert!(matches!(error, ConfigError::MissingKey { .. }), "{error:?}");
    }
}
