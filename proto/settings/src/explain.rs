//! Where each value of a configuration comes from.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::Overrides;

/// One key with the value that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key with its tables: `log.level`.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file, at this line, from 1.
    File {
        /// The line.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        name: String,
    },
}

/// The configuration with every key and its default, out of the page that documents it: its first block of TOML.
#[must_use]
pub fn reference(page: &str) -> &str {
    const FENCE: &str = "```toml\n";
    let block = page.split_once(FENCE).map_or("", |(_, rest)| rest);
    block.split_once("```").map_or(block, |(block, _)| block)
}

/// Every key that has a value, in the order of the reference, with what the file and the environment set over the defaults.
/// Keys that the reference marks `# required` or `# optional` have no default.
///
/// # Errors
/// When the file is no TOML.
pub fn explain(reference: &str, file: &str, overrides: &Overrides) -> Result<Vec<Setting>, toml::de::Error> {
    let written = leaves(file)?;
    let mut settings: Vec<Setting> = leaves(reference)?
        .into_iter()
        .filter(|leaf| !has_no_default(reference, leaf))
        .map(|leaf| Setting {
            value: text_of(reference, &leaf),
            key: leaf.key,
            origin: Origin::Default,
        })
        .collect();
    for leaf in written {
        let line = 1 + file.get(..leaf.at).unwrap_or_default().matches('\n').count();
        let value = text_of(file, &leaf);
        set(&mut settings, leaf.key, value, Origin::File { line });
    }
    for (key, value, name) in overrides.keys() {
        let name = name.to_owned();
        set(&mut settings, key, value, Origin::Environment { name });
    }
    Ok(settings)
}

fn set(settings: &mut Vec<Setting>, key: String, value: String, origin: Origin) {
    let setting = Setting { key, value, origin };
    match settings.iter_mut().find(|known| known.key == setting.key) {
        Some(known) => *known = setting,
        None => {
            // Beside the others of its table.
            let table = |key: &str| {
                key.rsplit_once('.')
                    .map_or(String::new(), |(table, _)| table.to_owned())
            };
            let wanted = table(&setting.key);
            let last = settings.iter().rposition(|known| table(&known.key) == wanted);
            settings.insert(last.map_or(settings.len(), |at| at + 1), setting);
        }
    }
}

/// A key that is no table.
struct Leaf {
    key: String,
    /// Where the key stands.
    at: usize,
    /// Where its value does.
    value: std::ops::Range<usize>,
}

fn leaves(text: &str) -> Result<Vec<Leaf>, toml::de::Error> {
    let root = DeTable::parse(text)?;
    let mut found = Vec::new();
    collect(root.get_ref(), "", &mut found);
    found.sort_by_key(|leaf| leaf.at);
    Ok(found)
}

fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<Leaf>) {
    for (name, value) in table.iter() {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &key, found),
            _ => found.push(Leaf {
                key,
                at: name.span().start,
                value: Spanned::span(value),
            }),
        }
    }
}

fn text_of(text: &str, leaf: &Leaf) -> String {
    // A list over several lines is told on one.
    let value = text.get(leaf.value.clone()).unwrap_or_default();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the remark behind the value says that there is none unless it is set.
fn has_no_default(text: &str, leaf: &Leaf) -> bool {
    let rest = text.get(leaf.value.end..).unwrap_or_default();
    let remark = rest.lines().next().unwrap_or_default().trim_start();
    let remark = remark.trim_start_matches('#').trim_start();
    remark.starts_with("required") || remark.starts_with("optional")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Title\n\n```toml\nversion = 1\nname = \"x\"   # required\n\n[log]\nlevel = \"info\"  # a # b\n\
                        extra = \"f\"  # optional; see below\npcrs = [0,\n  7]\n```\n\n```toml\nother = 1\n```\n";

    fn told(file: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let overrides = Overrides::of("P__", variables).unwrap();
        let settings = explain(reference(PAGE), file, &overrides).unwrap();
        let told = settings.into_iter().map(|setting| {
            let origin = match setting.origin {
                Origin::Default => "default".to_owned(),
                Origin::File { line } => format!("line {line}"),
                Origin::Environment { name } => name,
            };
            format!("{} = {} ({origin})", setting.key, setting.value)
        });
        told.collect()
    }

    #[test]
    fn each_value_has_its_place() {
        assert_eq!(
            told("", &[]),
            [
                "version = 1 (default)",
                "log.level = \"info\" (default)",
                "log.pcrs = [0, 7] (default)"
            ]
        );
        let file = "version = 1\nname = \"y\"\nlog.level = \"warn\"\nlog.extra = 'g'\n";
        assert_eq!(
            told(file, &[("P__LOG__LEVEL", "debug"), ("Q__LOG__LEVEL", "x")]),
            [
                "version = 1 (line 1)",
                "name = \"y\" (line 2)",
                "log.level = \"debug\" (P__LOG__LEVEL)",
                "log.pcrs = [0, 7] (default)",
                "log.extra = 'g' (line 4)"
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_told() {
        let none = Overrides::default();
        assert!(explain(reference(PAGE), "a = ", &none).is_err());
        assert_eq!(reference("no block"), "");
    }
}
