//! An inventory, read from a file: whole or not at all.

mod csv_form;
mod json_form;

use std::collections::{BTreeMap, BTreeSet};

use hallmark_reason::misleading;
use serde::Deserialize;

use super::{InventoryError, InventoryFault, InventoryItem, OWNER};
use crate::{EkId, TpmClass};

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// RFC 4180 with a header; lines that begin with `#` are comments.
    Csv,
    /// An array of objects.
    Json,
}

/// The largest file, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The most machines in one file.
const MAX_LINES: usize = 100_000;

/// Reads a file: `ek_sha256` (an SPKI hash or a Name, whole, in hex of either case; several of one machine with `;` between
/// them in CSV, as an array in JSON), and where they are given `serial`,
/// `owner`, `labels`, `expires` (RFC 3339), `class`, `manufacturer`, `model`. What is not known is refused.
///
/// # Errors
/// [`InventoryError`] with the first place that is wrong.
pub fn read_inventory(file: &[u8], form: Form) -> Result<Vec<InventoryItem>, InventoryError> {
    if file.len() > MAX_BYTES {
        return Err(InventoryError {
            fault: InventoryFault::TooLarge(format!("{} bytes, at most {MAX_BYTES} are read", file.len())),
            line: 0,
            column: 0,
        });
    }
    // Editors write a mark before UTF-8 that nobody sees.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if matches!(file, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err(InventoryError {
            fault: InventoryFault::Syntax("it is UTF-16; save it as UTF-8".to_owned()),
            line: 1,
            column: 1,
        });
    }
    match form {
        Form::Csv => csv_form::read(file),
        Form::Json => json_form::read(file),
    }
}

/// A machine as it is written; nothing of it is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    #[serde(deserialize_with = "json_form::one_or_more")]
    ek_sha256: Vec<String>,
    serial: String,
    owner: String,
    #[serde(deserialize_with = "json_form::labels")]
    labels: BTreeMap<String, String>,
    expires: Option<String>,
    class: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
}

/// The lines read so far.
#[derive(Default)]
struct Lines {
    lines: Vec<InventoryItem>,
    seen: BTreeSet<EkId>,
}

impl Lines {
    /// Adds a machine.
    ///
    /// # Errors
    /// The fault, with the name of the field.
    fn add(&mut self, written: Written) -> Result<(), (&'static str, InventoryFault)> {
        if self.lines.len() == MAX_LINES {
            let fault = InventoryFault::TooLarge(format!("more than {MAX_LINES} machines"));
            return Err(("ek_sha256", fault));
        }
        let line = check(written)?;
        for ek in line.eks() {
            if !self.seen.insert(ek) {
                return Err(("ek_sha256", InventoryFault::Twice(ek.to_string())));
            }
        }
        self.lines.push(line);
        Ok(())
    }
}

fn check(written: Written) -> Result<InventoryItem, (&'static str, InventoryFault)> {
    let (ek, other_eks) = eks(&written.ek_sha256).map_err(|fault| ("ek_sha256", fault))?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let line = InventoryItem {
        ek,
        other_eks,
        serial: text("serial", written.serial)?,
        owner: text("owner", written.owner)?,
        labels: labels(written.labels).map_err(|fault| ("labels", fault))?,
        expires: filled(written.expires)
            .map(|text| expires(&text))
            .transpose()
            .map_err(|fault| ("expires", fault))?,
        class: filled(written.class)
            .map(|name| class(&name))
            .transpose()
            .map_err(|fault| ("class", fault))?,
        manufacturer: filled(Some(text("manufacturer", written.manufacturer.unwrap_or_default())?)).map(Into::into),
        model: filled(Some(text("model", written.model.unwrap_or_default())?)).map(Into::into),
    };
    Ok(line)
}

/// The first EK, and the others of the same machine.
fn eks(written: &[String]) -> Result<(EkId, BTreeSet<EkId>), InventoryFault> {
    let mut parsed = Vec::with_capacity(written.len());
    for text in written {
        let ek = EkId::parse(text).map_err(|_| InventoryFault::Ek(format!("{:?}", shortened(text))))?;
        if parsed.contains(&ek) {
            return Err(InventoryFault::Twice(ek.to_string()));
        }
        parsed.push(ek);
        if parsed.len() > InventoryItem::MAX_EKS {
            let fault = format!("more than {} EKs of one machine", InventoryItem::MAX_EKS);
            return Err(InventoryFault::Ek(fault));
        }
    }
    let mut parsed = parsed.into_iter();
    let first = parsed.next().ok_or_else(|| InventoryFault::Ek("none".to_owned()))?;
    Ok((first, parsed.collect()))
}

fn text(field: &'static str, text: String) -> Result<String, (&'static str, InventoryFault)> {
    if text.len() > InventoryItem::MAX_TEXT {
        let fault = format!(
            "{field}: {} bytes, at most {} allowed",
            text.len(),
            InventoryItem::MAX_TEXT
        );
        return Err((field, InventoryFault::Text(fault)));
    }
    if misleading(&text).is_some() {
        let fault = format!("{field}: a control or format character in {:?}", shortened(&text));
        return Err((field, InventoryFault::Text(fault)));
    }
    Ok(text)
}

fn labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, InventoryFault> {
    if labels.len() > InventoryItem::MAX_LABELS {
        let fault = format!("{}, at most {} allowed", labels.len(), InventoryItem::MAX_LABELS);
        return Err(InventoryFault::Label(fault));
    }
    for (name, value) in &labels {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let fault = if name.is_empty() || name.len() > InventoryItem::MAX_LABEL_NAME || !name.chars().all(plain) {
            format!("{:?} cannot be a label's name", shortened(name))
        } else if name == OWNER {
            "owner has a column of its own".to_owned()
        } else if value.is_empty() || value.len() > InventoryItem::MAX_TEXT {
            format!("the value of {name} has {} bytes", value.len())
        } else if value.contains(';') || misleading(value).is_some() {
            format!("the value of {name} has a ; or a control or format character")
        } else {
            continue;
        };
        return Err(InventoryFault::Label(fault));
    }
    Ok(labels)
}

fn expires(text: &str) -> Result<i64, InventoryFault> {
    let fault = |_| InventoryFault::Expires(format!("{:?} is not RFC 3339", shortened(text)));
    let at = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).map_err(fault)?;
    let at = at.unix_timestamp();
    if at < 0 {
        return Err(InventoryFault::Expires("it lies before 1970".to_owned()));
    }
    Ok(at)
}

fn class(name: &str) -> Result<TpmClass, InventoryFault> {
    TpmClass::from_name(name)
        .filter(|class| *class != TpmClass::Unknown)
        .ok_or_else(|| InventoryFault::Class(format!("{:?}", shortened(name))))
}

/// What a file has in a place is repeated only as far as people need to find it.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
