//! The inventory.

use std::{collections::BTreeMap, io};

use hallmark_api::admin::{ImportInventoryResponse, InventoryItem};
use serde::{Serialize, Serializer};

use super::node::dash;
use crate::{
    error::CliError,
    output::Show,
    table::{columns, facts},
    timestamp::rfc3339,
};

/// A machine of the inventory.
#[derive(Debug, Serialize)]
struct ItemView {
    #[serde(flatten)]
    line: Line,
    /// Where the machine stands; `expired` for a line that lets nobody in any more.
    state: String,
}

/// A machine in the form in which it is imported.
#[derive(Debug, Serialize)]
struct Line {
    #[serde(serialize_with = "one_or_more")]
    ek_sha256: Vec<String>,
    serial: String,
    owner: String,
    labels: BTreeMap<String, String>,
    expires: Option<String>,
    class: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
}

impl From<InventoryItem> for Line {
    fn from(item: InventoryItem) -> Self {
        let stated = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            ek_sha256: std::iter::once(item.ek).chain(item.other_eks).collect(),
            serial: item.serial,
            owner: item.owner,
            labels: item.labels.into_iter().collect(),
            expires: rfc3339(item.expires_at),
            class: stated(item.class),
            manufacturer: stated(item.manufacturer),
            model: stated(item.model),
        }
    }
}

/// One as a text, several as an array: as an import takes them.
fn one_or_more<S: Serializer>(eks: &[String], to: S) -> Result<S::Ok, S::Error> {
    match eks {
        [one] => to.serialize_str(one),
        several => to.collect_seq(several),
    }
}

impl Line {
    /// The first EK, short, and how many more there are.
    fn eks_shortly(&self) -> String {
        let first: String = self
            .ek_sha256
            .iter()
            .flat_map(|ek| ek.chars().take(12))
            .take(12)
            .collect();
        match self.ek_sha256.len() {
            0 | 1 => first,
            several => format!("{first} +{}", several - 1),
        }
    }

    fn labels_as_text(&self) -> String {
        let labels = self.labels.iter().map(|(name, value)| format!("{name}={value}"));
        labels.collect::<Vec<_>>().join(";")
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct InventoryList(Vec<ItemView>);

impl InventoryList {
    pub(crate) fn new(items: Vec<InventoryItem>) -> Self {
        let view = |item: InventoryItem| ItemView {
            state: item.state.clone(),
            line: item.into(),
        };
        Self(items.into_iter().map(view).collect())
    }
}

impl Show for InventoryList {
    fn table(&self, _: i64) -> String {
        let rows: Vec<[String; 6]> = self
            .0
            .iter()
            .map(|item| {
                [
                    item.line.eks_shortly(),
                    item.state.clone(),
                    dash(&item.line.serial),
                    dash(&item.line.owner),
                    dash(&item.line.labels_as_text()),
                    item.line.expires.clone().unwrap_or_else(|| "-".into()),
                ]
            })
            .collect();
        columns(["EK", "STATE", "SERIAL", "OWNER", "LABELS", "EXPIRES"], &rows)
    }
}

/// The inventory as a CSV file.
pub(crate) fn csv(items: &[InventoryItem]) -> Result<String, CliError> {
    let failed = |cause: csv::Error| CliError::Output(io::Error::other(cause.to_string()));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record([
            "ek_sha256",
            "serial",
            "owner",
            "labels",
            "expires",
            "class",
            "manufacturer",
            "model",
        ])
        .map_err(failed)?;
    for item in items {
        let line = Line::from(item.clone());
        let labels = line.labels_as_text();
        let or_empty = |text: Option<String>| text.unwrap_or_default();
        let record = [
            line.ek_sha256.join(";"),
            line.serial,
            line.owner,
            labels,
            or_empty(line.expires),
            or_empty(line.class),
            or_empty(line.manufacturer),
            or_empty(line.model),
        ];
        writer.write_record(record).map_err(failed)?;
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| CliError::Output(io::Error::other(error.to_string())))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The inventory as a JSON file.
pub(crate) fn json(items: Vec<InventoryItem>) -> Result<String, CliError> {
    let lines: Vec<Line> = items.into_iter().map(Into::into).collect();
    let text = serde_json::to_string_pretty(&lines).map_err(|cause| CliError::Output(io::Error::other(cause)))?;
    Ok(text + "\n")
}

/// What an import changed, or would change.
#[derive(Debug, Serialize)]
pub(crate) struct ImportView {
    added: Vec<String>,
    changed: Vec<String>,
    unchanged: u64,
    removed: Vec<String>,
    /// Retired machines that the file names: they stay out.
    retired: Vec<String>,
    /// Retired machines that may come back.
    readmitted: Vec<String>,
    /// Machines whose lines have expired already.
    expired: Vec<String>,
    dry_run: bool,
}

impl ImportView {
    pub(crate) fn new(imported: ImportInventoryResponse, dry_run: bool) -> Self {
        Self {
            added: imported.added,
            changed: imported.changed,
            unchanged: imported.unchanged,
            removed: imported.removed,
            retired: imported.retired,
            readmitted: imported.readmitted,
            expired: imported.expired,
            dry_run,
        }
    }

    pub(crate) fn changes_something(&self) -> bool {
        [&self.added, &self.changed, &self.removed, &self.readmitted]
            .iter()
            .any(|eks| !eks.is_empty())
    }
}

impl Show for ImportView {
    fn table(&self, _: i64) -> String {
        let of = |eks: &[String]| match eks {
            [] => "0".to_owned(),
            [one] => format!("1: {one}"),
            [first, ..] => format!("{}: {first}, …", eks.len()),
        };
        let stay = |eks: &[String]| match eks {
            [] => String::new(),
            _ => format!("{} (they stay out; --readmit lets them come back)", of(eks)),
        };
        let mut lines = vec![
            ("added", of(&self.added)),
            ("changed", of(&self.changed)),
            ("unchanged", self.unchanged.to_string()),
            ("removed", of(&self.removed)),
            ("retired", stay(&self.retired)),
        ];
        if !self.readmitted.is_empty() {
            lines.push(("readmitted", of(&self.readmitted)));
        }
        if !self.expired.is_empty() {
            lines.push((
                "expired",
                format!(
                    "{} (lines that have expired let nobody in; their labels still select policies)",
                    of(&self.expired)
                ),
            ));
        }
        let head = match (self.dry_run, self.changes_something()) {
            (true, true) => "would change\n",
            (true, false) => "would change nothing\n",
            (false, _) => "",
        };
        format!("{head}{}", facts(&lines))
    }
}

/// What was taken out of the inventory, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct RemovalView {
    pub(crate) removed: Vec<String>,
    pub(crate) dry_run: bool,
}

impl Show for RemovalView {
    fn table(&self, _: i64) -> String {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        self.removed.iter().map(|ek| format!("{verb} {ek}\n")).collect()
    }
}
