//! Values that check themselves while they are read, so that a fault has its line.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_node::TpmClass;
use hallmark_settings::{List, table, value};
use hallmark_spiffe::Selector;
use hallmark_verify::ima::ImaKeys;
use serde::de::{DeserializeSeed as _, Error as _};
use serde::{Deserialize, Deserializer};

use super::{MokRule, PcrRule, Violations};
use crate::glob::Glob;
use crate::ima::{DigestList, as_measured, entry};

/// The longest name of a policy or baseline, in bytes.
const MAX_NAME: usize = 63;

/// A name: it becomes part of selectors, file names and commands.
pub(crate) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    check_name(String::deserialize(from)?).map_err(D::Error::custom)
}

pub(crate) fn check_name(name: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= MAX_NAME && name.bytes().all(plain) {
        Ok(name)
    } else {
        Err(format!(
            "invalid name {name:?}: write up to {MAX_NAME} of a-z, 0-9, '-', '.', '_', with a letter or digit first"
        ))
    }
}

/// A digest in hex, of either case, of one of these lengths in bytes; as lower case.
fn digest(text: &str, lengths: &[usize], what: &str) -> Result<String, String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && lengths.iter().any(|length| length * 2 == text.len()) {
        return Ok(text.to_ascii_lowercase());
    }
    let digits: Vec<_> = lengths.iter().map(|length| (length * 2).to_string()).collect();
    Err(format!(
        "invalid {what} {text:?}: write {} hexadecimal digits",
        digits.join(" or ")
    ))
}

/// SHA-256 digests.
pub(super) fn digests<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    each(from, |text| digest(&text, &[32], "SHA-256 digest"))
}

/// Digests by the name of a section.
pub(super) fn sections<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, BTreeSet<String>>, D::Error> {
    let name = |name: String| match name.trim_start_matches('.') {
        "" => Err("a section has a name, such as linux".to_owned()),
        name => Ok(name.to_owned()),
    };
    let digests = || list(|text: String| digest(&text, &[32], "SHA-256 digest"));
    let sections = table(from, name, digests)?.into_iter();
    Ok(sections
        .map(|(name, digests)| (name, digests.into_iter().collect()))
        .collect())
}

/// Texts with something in them.
pub(super) fn texts<'de, D, T>(from: D) -> Result<Option<BTreeSet<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Ord + From<String>,
{
    each(from, |text| {
        if text.is_empty() {
            Err("an empty text matches nothing".into())
        } else {
            Ok(text.into())
        }
    })
}

/// Names of baselines.
pub(super) fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    each(from, check_name)
}

/// Name of a baseline.
pub(super) fn optional_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    name(from).map(Some)
}

/// Anchored patterns.
pub(super) fn globs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Glob>>, D::Error> {
    each(from, |text| {
        Glob::parse(&text).map_err(|error| format!("{text:?}: {error}"))
    })
}

/// Anchored patterns of names in IMA lists.
pub(super) fn measured_globs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Glob>>, D::Error> {
    each(from, |text| {
        Glob::parse(&as_measured(&text)).map_err(|error| format!("{text:?}: {error}"))
    })
}

/// Digests that files may have: lines of `sha256sum`.
pub(super) fn allow<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DigestList>, D::Error> {
    let entries: Option<Vec<_>> = each(from, |text| entry(&text))?;
    let mut list = DigestList::default();
    for (digest, path) in entries.into_iter().flatten() {
        list.add(digest, path);
    }
    Ok(Some(list))
}

/// Certificates and public keys, PEM.
pub(super) fn keys<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ImaKeys>, D::Error> {
    let sets: Option<Vec<ImaKeys>> = each(from, |text| {
        let mut keys = ImaKeys::default();
        keys.add_pem(&text).map(|()| keys).map_err(|error| error.to_string())
    })?;
    let mut all = ImaKeys::default();
    for keys in sets.iter().flatten() {
        all.extend(keys);
    }
    Ok(Some(all))
}

/// `refuse` or `allow`.
pub(super) fn violations<'de, D: Deserializer<'de>>(from: D) -> Result<Violations, D::Error> {
    match String::deserialize(from)?.as_str() {
        "refuse" => Ok(Violations::Refuse),
        "allow" => Ok(Violations::Allow),
        other => Err(D::Error::custom(format!("{other:?}: write \"refuse\" or \"allow\""))),
    }
}

/// Classes of TPMs.
pub(super) fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<TpmClass>>, D::Error> {
    each(from, |text| {
        TpmClass::from_name(&text)
            .ok_or_else(|| format!("unknown class {text:?}; known: discrete, firmware, virtual, simulator, unknown"))
    })
}

fn version(text: &str) -> Result<u64, String> {
    let fault = || format!("invalid firmware version {text:?}: write up to 16 hexadecimal digits");
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u64::from_str_radix(text, 16).map_err(|_| fault())
    } else {
        Err(fault())
    }
}

/// Firmware versions as selectors show them: 64 bits in hexadecimal.
pub(super) fn firmware<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<u64>>, D::Error> {
    each(from, |text| version(&text))
}

/// One firmware version.
pub(super) fn firmware_version<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    version(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// What a machine cannot choose for itself. Were policies chosen by what it booted, it could boot its way out of one.
const FIXED_FACTS: [&str; 5] = ["ek-hash", "class", "manufacturer", "model", "firmware"];

/// Selectors by which a policy finds its machines.
pub(super) fn applies_to<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<Selector>, D::Error> {
    let read = |text: String| {
        let selector = Selector::parse(&text).map_err(|error| format!("invalid selector {text:?}: {error}"))?;
        let fact = selector.value().split(':').next().unwrap_or_default();
        match selector.kind() {
            "tpm2" if FIXED_FACTS.contains(&fact) => can_match(&selector, fact).map(|()| selector),
            "inventory" => Ok(selector),
            _ => Err(format!(
                "{text:?}: a policy is for machines by what they cannot choose: tpm2:{} or inventory:…",
                FIXED_FACTS.join(", tpm2:")
            )),
        }
    };
    Ok(each::<_, _, BTreeSet<_>>(from, read)?.unwrap_or_default())
}

/// A selector that no machine can have would make a policy that is for nobody, without a word.
fn can_match(selector: &Selector, fact: &str) -> Result<(), String> {
    let value = selector.value().split_once(':').map_or("", |(_, value)| value);
    let fault = match fact {
        "class" if TpmClass::from_name(value).is_none() => "no such class",
        "ek-hash" if digest(value, &[32], "").as_deref() != Ok(value) => "write 64 lower-case hexadecimal digits",
        _ if value.is_empty() => "a value is missing",
        _ => return Ok(()),
    };
    Err(format!("\"{selector}\": no machine can have it: {fault}"))
}

/// `"none"`, or digests of lists of owner's certificates.
pub(super) fn mok<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MokRule>, D::Error> {
    let read = |text: String| digest(&text, &[32], "SHA-256 digest");
    let digests = list(read).or_word("none").deserialize(from)?;
    Ok(Some(digests.map_or(MokRule::None, |digests| {
        MokRule::OneOf(digests.into_iter().collect())
    })))
}

/// `"zero"`, or values of a register, by its number.
pub(super) fn pcrs<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u8, PcrRule>, D::Error> {
    let value = |text: String| digest(&text, &[32, 48, 64], "PCR value");
    let rules = table(from, |number: String| pcr(&number), || list(value).or_word("zero"))?;
    let rule = |(pcr, values): (u8, Option<Vec<_>>)| {
        let one_of = |values: Vec<_>| PcrRule::OneOf(values.into_iter().collect());
        (pcr, values.map_or(PcrRule::Zero, one_of))
    };
    Ok(rules.into_iter().map(rule).collect())
}

fn pcr(number: &str) -> Result<u8, String> {
    match number.parse() {
        Ok(16 | 23) => Err(format!(
            "any program may reset PCR {number}: a rule over it proves nothing"
        )),
        // "07" would be a second way to write 7.
        Ok(pcr @ 0..=22_u8) if pcr.to_string() == number => Ok(pcr),
        _ => Err(format!("there is no PCR {number}: 0 to 15 and 17 to 22")),
    }
}

/// Registers that the firmware closes with a separator, and nothing but firmware extends.
pub(super) fn closed_registers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<u8>>, D::Error> {
    const CLOSED: [u8; 5] = [0, 1, 2, 3, 6];
    let registers = BTreeSet::<u8>::deserialize(from)?;
    match registers.iter().find(|pcr| !CLOSED.contains(pcr)) {
        Some(pcr) => Err(D::Error::custom(format!(
            "PCR {pcr} is not closed by the firmware: write 0, 1, 2, 3 or 6"
        ))),
        None if registers.is_empty() => Err(D::Error::custom("an empty list lets nothing pass: remove the key")),
        None => Ok(Some(registers)),
    }
}

/// A duration, in seconds.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    value::duration(from).map(|duration| Some(duration.as_secs()))
}

/// A list of texts, each read by `read`: an empty one would refuse every machine.
fn list<T, F: Fn(String) -> Result<T, String> + Clone>(read: F) -> List<F, T> {
    List::new(read).not_empty("an empty list refuses every machine: remove the key")
}

fn each<'de, D: Deserializer<'de>, T, C: FromIterator<T>>(
    from: D,
    read: impl Fn(String) -> Result<T, String> + Clone,
) -> Result<Option<C>, D::Error> {
    list(read).each(from).map(Some)
}
