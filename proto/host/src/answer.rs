//! What a program answers on its command line: for people, or as JSON or YAML for programs.

use std::{fmt::Write as _, path::Path};

use crate::printable_lines;
use hallmark_reason::{Coded, Report};
use hallmark_settings::{Origin, Setting};
use serde_json::{Value, json};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// Lines for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// The same document in YAML.
    Yaml,
}

/// The option by which the form is asked for.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Form {
    /// The form of the answer; JSON and YAML are meant for programs
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

impl Output {
    /// The answer in this form.
    #[must_use]
    pub fn of(self, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) -> String {
        match self {
            Self::Table => printable_lines(&text()),
            Self::Json => format!("{:#}", value()),
            Self::Yaml => yaml(&value()),
        }
    }

    /// One of several answers that follow each other: a line of JSON, or a document of a YAML stream.
    #[must_use]
    pub fn of_many(self, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) -> String {
        match self {
            Self::Table => printable_lines(&text()),
            Self::Json => value().to_string(),
            Self::Yaml => format!("---\n{}", yaml(&value())),
        }
    }

    /// Whether people read it, and not programs.
    #[must_use]
    pub const fn is_for_people(self) -> bool {
        matches!(self, Self::Table)
    }
}

/// Whatever the writer should not know how to write stays as it is: JSON is YAML.
fn yaml(value: &Value) -> String {
    let text = serde_saphyr::to_string(value);
    text.map_or_else(|_| value.to_string(), |text| text.trim_end().to_owned())
}

/// One thing that a program looked at: what was found, or what is wrong, in four lines and in its parts.
#[derive(Debug)]
pub struct Finding {
    what: &'static str,
    is_good: bool,
    text: String,
    parts: Value,
}

impl Finding {
    /// What was found, or what is wrong.
    #[must_use]
    pub fn new(what: &'static str, found: Result<String, &dyn Coded>) -> Self {
        match found {
            Ok(found) => Self {
                what,
                is_good: true,
                parts: json!({ "what": what, "ok": true, "found": found }),
                text: found,
            },
            Err(error) => Self {
                what,
                is_good: false,
                text: Report(error).to_string(),
                parts: json!({
                    "what": what,
                    "ok": false,
                    "code": error.code().as_str(),
                    "found": error.to_string(),
                    "compared": error.compared(),
                    "cause": error.likely_cause(),
                    "next": error.next_step(),
                }),
            },
        }
    }

    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        let word = if self.is_good { "ok   " } else { "FAIL " };
        format!("{word} {}: {}", self.what, self.text)
    }

    /// For programs.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.parts
    }
}

/// Each key of a configuration with its value and where that comes from: `file` is where lines are counted.
#[must_use]
pub fn settings(output: Output, file: &Path, settings: &[Setting]) -> String {
    let place = |origin: &Origin| match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { line } => format!("{}:{line}", file.display()),
        Origin::Environment { name } => name.clone(),
    };
    let text = || {
        let width = settings
            .iter()
            .map(|it| it.key.len() + it.value.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for Setting { key, value, origin } in settings {
            let gap = " ".repeat(width.saturating_sub(key.len() + value.len()));
            // Writing into a string does not fail.
            let _ = writeln!(text, "{key} = {value}{gap}  # {}", place(origin));
        }
        text.trim_end().to_owned()
    };
    let value = || {
        let setting = |it: &Setting| json!({ "key": it.key, "value": it.value, "from": place(&it.origin) });
        settings.iter().map(setting).collect()
    };
    output.of(text, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::ReasonCode;

    #[derive(Debug, thiserror::Error)]
    #[error("it is broken")]
    struct Broken;

    impl Coded for Broken {
        fn code(&self) -> ReasonCode {
            const A_CODE: &str = "HM-CONF-0001";
            ReasonCode::new(A_CODE)
        }
    }

    #[test]
    fn each_form_says_the_same() {
        let all = [
            Setting {
                key: "log.level".into(),
                value: "\"info\"".into(),
                origin: Origin::Default,
            },
            Setting {
                key: "pcrs".into(),
                value: "[0]".into(),
                origin: Origin::File { line: 3 },
            },
        ];
        let file = Path::new("x.toml");
        assert_eq!(
            settings(Output::Table, file, &all),
            "log.level = \"info\"  # default\npcrs = [0]          # x.toml:3"
        );
        let yaml: Value = serde_saphyr::from_str(&settings(Output::Yaml, file, &all)).unwrap();
        let json: Value = serde_json::from_str(&settings(Output::Json, file, &all)).unwrap();
        assert_eq!(yaml, json);
        assert_eq!(json[1], json!({ "key": "pcrs", "value": "[0]", "from": "x.toml:3" }));
    }

    /// What looks like a number, a switch or nothing stays a text, and a list in a stream begins anew.
    #[test]
    fn yaml_reads_back_as_the_json() {
        let value = json!({
            "serial": "0123", "float": "1e5", "switch": "no", "none": "null", "empty": "", "lines": "a\n  next: b\n",
            "list": [], "of": [{ "ok": true, "n": 7 }], "colon": "a: b # c",
        });
        let text = Output::Yaml.of(String::new, || value.clone());
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), value, "{text}");
        let part = Output::Yaml.of_many(String::new, || value.clone());
        assert_eq!(part, format!("---\n{text}"));
    }

    #[test]
    fn a_finding_has_its_code_in_both_forms() {
        let error = Broken;
        let finding = Finding::new("pin", Err(&error));
        assert!(finding.line().starts_with("FAIL  pin: HM-"), "{}", finding.line());
        let value = finding.into_value();
        assert_eq!(
            (&value["ok"], value["code"].as_str().map(|code| &code[..3])),
            (&json!(false), Some("HM-"))
        );
        assert_eq!(Finding::new("x", Ok("y".into())).line(), "ok    x: y");
    }
}
