//! JSON.

use std::{cell::RefCell, collections::BTreeMap, fmt};

use serde::{
    Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};

use super::{InventoryError, InventoryFault, InventoryItem, Lines, Written};

pub(super) fn read(file: &[u8]) -> Result<Vec<InventoryItem>, InventoryError> {
    // The parser's errors know their place; what else is wrong in an element travels beside them.
    let fault = RefCell::new(None);
    let mut json = serde_json::Deserializer::from_slice(file);
    let read = json.deserialize_seq(Machines { fault: &fault });
    read.and_then(|lines| json.end().map(|()| lines.lines))
        .map_err(|error| InventoryError {
            line: error.line(),
            column: error.column(),
            fault: fault.take().unwrap_or_else(|| InventoryFault::Syntax(said(&error))),
        })
}

/// The parser's words without the place, which is told already.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

/// A text, or an array of texts.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    from.deserialize_any(OneOrMore)
}

struct OneOrMore;

impl<'de> Visitor<'de> for OneOrMore {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an EK hash, or an array of them")
    }

    fn visit_str<E: serde::de::Error>(self, one: &str) -> Result<Vec<String>, E> {
        Ok(vec![one.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Vec<String>, A::Error> {
        let mut all = Vec::new();
        while let Some(text) = texts.next_element()? {
            all.push(text);
            if all.len() > InventoryItem::MAX_EKS {
                return Err(A::Error::custom(format!("more than {} EKs", InventoryItem::MAX_EKS)));
            }
        }
        Ok(all)
    }
}

/// An object of texts in which no name stands twice.
pub(super) fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    from.deserialize_map(Labels)
}

struct Labels;

impl<'de> Visitor<'de> for Labels {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some((name, value)) = pairs.next_entry::<String, String>()? {
            if labels.contains_key(&name) {
                return Err(A::Error::custom("a label stands there twice"));
            }
            labels.insert(name, value);
        }
        Ok(labels)
    }
}

struct Machines<'a> {
    fault: &'a RefCell<Option<InventoryFault>>,
}

impl<'de> Visitor<'de> for Machines<'_> {
    type Value = Lines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of machines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut machines: A) -> Result<Lines, A::Error> {
        let mut lines = Lines::default();
        while let Some(written) = machines.next_element::<Written>()? {
            if let Err((_, fault)) = lines.add(written) {
                let text = fault.to_string();
                self.fault.replace(Some(fault));
                return Err(A::Error::custom(text));
            }
        }
        Ok(lines)
    }
}
