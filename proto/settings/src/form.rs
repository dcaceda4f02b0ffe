//! Reading a settings file: strictly, and with the line and the key of what is wrong.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::environment::Fault;
use crate::{Overrides, SettingsError};

/// The one version of every form so far.
const VERSION: i64 = 1;

/// A kind of settings file. The types that it is read into deny unknown fields.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The command that checks a file of this form; the file's name follows it.
    pub check: &'static str,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: i64,
}

impl Form {
    /// Reads `text`, the content of `file`, with the keys that the environment sets over it. A byte order mark before the text is
    /// passed over.
    ///
    /// # Errors
    /// [`SettingsError`], with line and key.
    pub fn read<T: DeserializeOwned>(self, file: &str, text: &str, overrides: &Overrides) -> Result<T, SettingsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let located = |error: toml::de::Error| self.locate(file, text, &error);
        // The version first: the rest of a newer file may well look wrong to this program.
        let found = toml::from_str::<VersionOnly>(text).map_err(located)?.version;
        if found != VERSION {
            let file = file.to_owned();
            return Err(SettingsError::Version { file, found });
        }
        overrides.read(text).map_err(|fault| match fault {
            Fault::File(error) => located(error),
            Fault::Environment(error) => error,
        })
    }

    /// A fault that shows only once the file is read: two keys that contradict each other. `key` is the key with its tables.
    #[must_use]
    pub fn invalid(self, file: &str, text: &str, key: &str, message: &str) -> SettingsError {
        let root = DeTable::parse(text).ok();
        let at = root.as_ref().and_then(|root| position(root.get_ref(), key));
        SettingsError::Invalid {
            file: file.to_owned(),
            line: line_at(text, at.unwrap_or(0)),
            key: key.to_owned(),
            message: message.to_owned(),
            check: self.check,
        }
    }

    /// The error for what the reader said about `text`.
    fn locate(self, file: &str, text: &str, error: &toml::de::Error) -> SettingsError {
        let at = error.span().map_or(0, |span| span.start);
        let (file, line) = (file.to_owned(), line_at(text, at));
        let message = error.message();
        if let Some((key, known)) = unknown_field(message) {
            return SettingsError::UnknownKey { file, line, key, known };
        }
        if let Some(key) = message.strip_prefix("missing field ") {
            let key = key.trim_end().trim_matches('`').to_owned();
            return SettingsError::MissingKey { file, line, key };
        }
        SettingsError::Invalid {
            file,
            line,
            key: key_at(text, at),
            message: plain(message.trim_end()),
            check: self.check,
        }
    }
}

fn line_at(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).matches('\n').count()
}

/// serde's words: "unknown field `a`, expected one of `b`, `c`".
pub(crate) fn unknown_field(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    // Between back-quotes lies every second piece.
    let known = rest.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((key.to_owned(), known))
}

/// serde names the types of Rust.
pub(crate) fn plain(message: &str) -> String {
    let known = [
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected u16", "expected a whole number from 0 to 65535"),
        ("expected u32", "expected a whole number from 0"),
        ("expected u64", "expected a whole number from 0"),
        ("expected usize", "expected a whole number from 0"),
        ("expected i64", "expected a whole number"),
    ];
    let named = known
        .iter()
        .find_map(|(end, instead)| Some((message.strip_suffix(end)?, instead)));
    named.map_or_else(|| message.to_owned(), |(rest, instead)| format!("{rest}{instead}"))
}

/// The key, with its tables, whose key or value is at this place; in a text that is not TOML, the key of its line.
fn key_at(text: &str, at: usize) -> String {
    match DeTable::parse(text) {
        Ok(root) => innermost(root.get_ref(), at).unwrap_or_default(),
        Err(_) => {
            let start = text
                .get(..at)
                .and_then(|before| before.rfind('\n'))
                .map_or(0, |end| end + 1);
            let line = text
                .get(start..)
                .and_then(|rest| rest.lines().next())
                .unwrap_or_default();
            let name = line.split_once('=').map_or("", |(name, _)| name.trim());
            let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if name.chars().all(is_key) {
                name.to_owned()
            } else {
                String::new()
            }
        }
    }
}

fn innermost(table: &DeTable<'_>, at: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let within = match value.get_ref() {
            DeValue::Table(inner) => innermost(inner, at),
            _ => None,
        };
        let name_of = name.get_ref();
        within.map(|rest| format!("{name_of}.{rest}")).or_else(|| {
            let is_here = name.span().contains(&at) || Spanned::span(value).contains(&at);
            is_here.then(|| name_of.to_string())
        })
    })
}

/// Where a key is written.
fn position(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (name, rest) = key
        .split_once('.')
        .map_or((key, None), |(name, rest)| (name, Some(rest)));
    let (written, value) = table.iter().find(|(written, _)| written.get_ref() == name)?;
    match (rest, value.get_ref()) {
        (None, _) => Some(written.span().start),
        (Some(rest), DeValue::Table(inner)) => position(inner, rest),
        (Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::time::Duration;

    use hallmark_reason::Report;

    use super::*;
    use crate::{SecretReference, value};

    const FORM: Form = Form {
        check: "hallmark x check",
    };

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(rename = "version")]
        _version: i64,
        #[serde(default)]
        table: Table,
        #[serde(default)]
        limits: BTreeMap<String, u8>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Table {
        #[serde(deserialize_with = "value::duration")]
        ttl: Duration,
        #[serde(deserialize_with = "value::paths")]
        paths: Vec<PathBuf>,
        #[serde(deserialize_with = "value::optional_secret")]
        pin: Option<SecretReference>,
        switch: bool,
    }

    fn told(text: &str) -> String {
        match FORM.read::<File>("x.toml", text, &Overrides::default()) {
            Ok(file) => format!("{:?} {:?}", file.table, file.limits),
            Err(error) => Report(&error).to_string(),
        }
    }

    /// The first line of the report.
    fn first(text: &str) -> String {
        told(&format!("version = 1\n{text}"))
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn a_good_file_is_read() {
        let text =
            "\u{feff}version = 1\ntable.ttl = \"1h\"\n[table]\npaths = [\"/a\"]\npin = \"file:/p\"\n[limits]\na = 1\n";
        let text = text
            .replace("table.ttl", "#")
            .replace("[table]", "[table]\nttl = \"1h\"");
        let file: File = FORM.read("x.toml", &text, &Overrides::default()).unwrap();
        assert_eq!((file.table.ttl, file.limits["a"]), (Duration::from_secs(3600), 1));
        assert!(!file.table.switch && file.table.pin.is_some());
    }

    #[test]
    fn a_fault_has_its_line_and_its_key() {
        for (text, expected) in [
            (
                "[table]\nttl = \"5\"",
                "HM-CONF-0002: x.toml:3: table.ttl: invalid duration \"5\"; examples: 90s, 15m, 1h30m, 7d",
            ),
            (
                "[table]\npaths = [\n  \"/a\",\n  \"b\",\n]",
                "HM-CONF-0002: x.toml:5: table.paths: invalid path \"b\": it must be absolute",
            ),
            (
                "[table]\nswitch = \"yes\"",
                "HM-CONF-0002: x.toml:3: table.switch: invalid type: string \"yes\", expected a boolean",
            ),
            (
                "[limits]\na = 300",
                "HM-CONF-0002: x.toml:3: limits.a: invalid value: integer `300`, expected a whole number from 0 to 255",
            ),
            (
                "table = { ttl = 5 }",
                "HM-CONF-0002: x.toml:2: table.ttl: invalid type: integer `5`, expected a string",
            ),
            ("[table\n", "HM-CONF-0002: x.toml:2: unclosed table, expected `]`"),
            (
                "[table]\nswitch = true\nswitch = false",
                "HM-CONF-0002: x.toml:4: switch: duplicate key",
            ),
            ("[table]\nswich = true", "HM-CONF-0003: x.toml:3: unknown key `swich`"),
        ] {
            assert_eq!(first(text), expected);
        }
        assert_eq!(
            told("[table]\n"),
            "HM-CONF-0004: x.toml:1: the key `version` is missing\n  cause: the key has no default that would be safe\n  next: add \
             `version = …`"
        );
        assert!(
            told("version = 2\nfuture = 1")
                .starts_with("HM-CONF-0005: x.toml: version 2 of this file is not supported\n")
        );
        assert!(
            told("version = 1\n[table]\nttl = \"5\"").ends_with("\n  next: correct it; then hallmark x check x.toml")
        );
        assert!(told("version = 1\n[table]\nswich = true").ends_with("\n  next: write `switch` instead of `swich`"));
    }

    #[test]
    fn a_secret_in_the_file_is_not_repeated() {
        for written in [
            "83521",
            "83521.5",
            "[83521]",
            "{ value = 83521 }",
            "\"83521\"",
            "83521x",
            "'83521",
        ] {
            let told = told(&format!("version = 1\n[table]\npin = {written}\n"));
            assert!(told.starts_with("HM-CONF-0002: ") && !told.contains("83521"), "{told}");
        }
    }

    #[test]
    fn a_contradiction_is_at_its_key() {
        let text = "version = 1\n[table]\n# switch\nttl = \"1h\"\nswitch = true\n";
        let error = FORM.invalid("x.toml", text, "table.switch", "not with ttl");
        assert_eq!(error.to_string(), "x.toml:5: table.switch: not with ttl");
        assert!(
            FORM.invalid("x.toml", text, "table", "x")
                .to_string()
                .starts_with("x.toml:2: ")
        );
    }
}
