//! CSV.

use std::collections::BTreeMap;

use super::{InventoryError, InventoryFault, InventoryItem, Lines, Written};

const COLUMNS: [&str; 8] = [
    "ek_sha256",
    "serial",
    "owner",
    "labels",
    "expires",
    "class",
    "manufacturer",
    "model",
];

pub(super) fn read(file: &[u8]) -> Result<Vec<InventoryItem>, InventoryError> {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(file);
    let header = reader.headers().map_err(|error| syntax(&error))?.clone();
    check_header(&header)?;
    let column = |name: &str| header.iter().position(|column| column == name);
    let mut lines = Lines::default();
    for record in reader.records() {
        let record = record.map_err(|error| syntax(&error))?;
        let line = line_of(record.position());
        let at = |field: &str, fault| InventoryError {
            fault,
            line,
            column: column(field).map_or(0, |index| index + 1),
        };
        let field = |name: &str| column(name).and_then(|index| record.get(index)).unwrap_or_default();
        let some = |name: &str| Some(field(name).to_owned());
        let written = Written {
            ek_sha256: field("ek_sha256").split(';').map(str::to_owned).collect(),
            serial: field("serial").to_owned(),
            owner: field("owner").to_owned(),
            labels: labels(field("labels")).map_err(|fault| at("labels", fault))?,
            expires: some("expires"),
            class: some("class"),
            manufacturer: some("manufacturer"),
            model: some("model"),
        };
        lines.add(written).map_err(|(field, fault)| at(field, fault))?;
    }
    Ok(lines.lines)
}

fn check_header(header: &csv::StringRecord) -> Result<(), InventoryError> {
    let fault = |column: usize, text: String| InventoryError {
        fault: InventoryFault::Header(text),
        line: line_of(header.position()).max(1),
        column,
    };
    for (index, name) in header.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            let name: String = name.chars().take(80).collect();
            return Err(fault(
                index + 1,
                format!("there is no column {name:?}: {}", COLUMNS.join(", ")),
            ));
        }
        if header.iter().take(index).any(|before| before == name) {
            return Err(fault(index + 1, format!("{name} stands there twice")));
        }
    }
    if header.iter().all(|name| name != "ek_sha256") {
        return Err(fault(0, "the column ek_sha256 is missing".to_owned()));
    }
    Ok(())
}

/// Reads `name=value;name=value`.
fn labels(text: &str) -> Result<BTreeMap<String, String>, InventoryFault> {
    let mut labels = BTreeMap::new();
    for pair in text.split(';').filter(|_| !text.is_empty()) {
        let shown = || pair.chars().take(80).collect::<String>();
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| InventoryFault::Label(format!("{:?} is not name=value", shown())))?;
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(InventoryFault::Label(format!("{:?} stands there twice", shown())));
        }
    }
    Ok(labels)
}

fn line_of(position: Option<&csv::Position>) -> usize {
    position.map_or(0, |position| usize::try_from(position.line()).unwrap_or(0))
}

fn syntax(error: &csv::Error) -> InventoryError {
    InventoryError {
        fault: InventoryFault::Syntax(error.to_string()),
        line: line_of(error.position()),
        column: 0,
    }
}
