//! Digests of registers whose algorithm is a name. The draft allows it; the crate reads numbers there alone.

use std::collections::BTreeSet;

use corim::cbor::{self, value::Value};

/// What stands for a name that is none of a bank: a number that the registry of named information reserves.
pub(super) const UNKNOWN: i64 = 0;

/// `corim-map`: `tags`.
const TAGS: i128 = 1;
/// Tags of an unsigned CoRIM and of a CoMID within it.
const CORIM: u64 = 501;
const COMID: u64 = 506;
/// `concise-mid-tag`: `triples`; of these the reference triples.
const TRIPLES: i128 = 4;
const REFERENCE: i128 = 0;
/// `measurement-map`: `mval`; of it `integrity-registers`.
const VALUES: i128 = 1;
const REGISTERS: i128 = 14;

/// The same CoRIM with numbers in the place of names. Names that are none of a bank are added to `left_out`. None where
/// there is nothing to replace, or the bytes are no CoRIM, which its reader says.
pub(super) fn numbered(bytes: &[u8], left_out: &mut BTreeSet<String>) -> Option<Vec<u8>> {
    let mut document: Value = cbor::decode_exact(bytes).ok()?;
    let mut replaced = false;
    let tags = at(tagged(&mut document, CORIM)?, TAGS)?;
    for tag in items(tags) {
        let Some(Value::Bytes(encoded)) = tagged(tag, COMID) else {
            continue;
        };
        let mut comid: Value = cbor::decode_exact(encoded).ok()?;
        if replace(&mut comid, left_out) {
            replaced = true;
            *encoded = cbor::encode(&comid).ok()?;
        }
    }
    replaced.then(|| cbor::encode(&document).ok())?
}

/// Replaces the names of a CoMID; gives whether there are any.
fn replace(comid: &mut Value, left_out: &mut BTreeSet<String>) -> bool {
    let triples = at(comid, TRIPLES).and_then(|triples| at(triples, REFERENCE));
    let measurements = triples
        .map(items)
        .into_iter()
        .flatten()
        .filter_map(|triple| items(triple).nth(1));
    let registers = measurements
        .flat_map(items)
        .filter_map(|measurement| at(measurement, VALUES).and_then(|values| at(values, REGISTERS)));
    let mut replaced = false;
    for (_, digests) in registers.flat_map(pairs) {
        for algorithm in items(digests).filter_map(|digest| items(digest).next()) {
            let Value::Text(name) = algorithm else { continue };
            let number = match name.as_str() {
                "sha-256" => 1,
                "sha-384" => 7,
                "sha-512" => 8,
                other => {
                    let shown: String = other.escape_debug().take(40).collect();
                    left_out.insert(format!("a digest of algorithm \"{shown}\""));
                    UNKNOWN
                }
            };
            *algorithm = Value::Integer(number.into());
            replaced = true;
        }
    }
    replaced
}

fn tagged(value: &mut Value, wanted: u64) -> Option<&mut Value> {
    match value {
        Value::Tag(tag, inner) if *tag == wanted => Some(inner),
        _ => None,
    }
}

fn at(map: &mut Value, wanted: i128) -> Option<&mut Value> {
    let mut found = pairs(map).filter(|(key, _)| *key == Value::Integer(wanted));
    found.next().map(|(_, value)| value)
}

fn pairs(map: &mut Value) -> impl Iterator<Item = &mut (Value, Value)> {
    let pairs = match map {
        Value::Map(pairs) => pairs.as_mut_slice(),
        _ => &mut [],
    };
    pairs.iter_mut()
}

fn items(array: &mut Value) -> impl Iterator<Item = &mut Value> {
    let items = match array {
        Value::Array(items) => items.as_mut_slice(),
        _ => &mut [],
    };
    items.iter_mut()
}
