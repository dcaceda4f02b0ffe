//! Values that check themselves while they are read, so that a fault has its line.

use std::collections::{BTreeMap, BTreeSet};

use hallmark_spiffe::Selector;
use hallmark_verify::TpmClass;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{MokRule, PcrRule};
use crate::glob::Glob;

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
            "{name:?} is no name: up to {MAX_NAME} of a-z, 0-9, '-', '.', '_', beginning with a letter or digit"
        ))
    }
}

/// A list with something in it: an empty one would refuse every machine.
fn filled<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(from)?;
    if list.is_empty() {
        return Err(D::Error::custom(
            "an empty list refuses every machine: leave the key out",
        ));
    }
    Ok(list)
}

fn each<'de, D: Deserializer<'de>, T, C: FromIterator<T>>(
    from: D,
    read: impl Fn(String) -> Result<T, String>,
) -> Result<Option<C>, D::Error> {
    let list = filled(from)?.into_iter().map(read);
    list.collect::<Result<_, _>>().map(Some).map_err(D::Error::custom)
}

/// A digest in hex, of either case, of one of these lengths in bytes; as lower case.
fn digest(text: &str, lengths: &[usize], what: &str) -> Result<String, String> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && lengths.iter().any(|length| length * 2 == text.len()) {
        return Ok(text.to_ascii_lowercase());
    }
    let digits: Vec<_> = lengths.iter().map(|length| (length * 2).to_string()).collect();
    Err(format!(
        "{text:?} is no {what}: {} hexadecimal digits",
        digits.join(" or ")
    ))
}

/// SHA-256 digests.
pub(super) fn digests<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    each(from, |text| digest(&text, &[32], "SHA-256"))
}

/// Digests by the name of a section.
pub(super) fn sections<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, BTreeSet<String>>, D::Error> {
    let lists = BTreeMap::<String, Vec<String>>::deserialize(from)?;
    let read = |(name, list): (String, Vec<String>)| {
        if list.is_empty() {
            return Err(format!(
                "{name}: an empty list refuses every machine: leave the key out"
            ));
        }
        let digests = list.iter().map(|text| digest(text, &[32], "SHA-256"));
        Ok((
            name.trim_start_matches('.').to_owned(),
            digests.collect::<Result<_, _>>()?,
        ))
    };
    lists
        .into_iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(D::Error::custom)
}

/// Texts with something in them.
pub(super) fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    each(from, |text| {
        if text.is_empty() {
            Err("an empty text matches nothing".into())
        } else {
            Ok(text)
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

/// Classes of TPMs.
pub(super) fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<TpmClass>>, D::Error> {
    each(from, |text| {
        TpmClass::from_name(&text)
            .ok_or_else(|| format!("unknown class {text:?}: discrete, firmware, virtual, simulator, unknown"))
    })
}

fn version(text: &str) -> Result<u64, String> {
    let fault = || format!("{text:?} is no firmware version: up to 16 hexadecimal digits");
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
        let selector = Selector::parse(&text).map_err(|error| format!("{text:?} is no selector: {error}"))?;
        let fact = selector.value().split(':').next().unwrap_or_default();
        match selector.kind() {
            "tpm2" if FIXED_FACTS.contains(&fact) => Ok(selector),
            "inventory" => Ok(selector),
            _ => Err(format!(
                "{text:?}: a policy is for machines by what they cannot choose: tpm2:{} or inventory:…",
                FIXED_FACTS.join(", tpm2:")
            )),
        }
    };
    let list = Vec::<String>::deserialize(from)?.into_iter().map(read);
    list.collect::<Result<_, _>>().map_err(D::Error::custom)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WordOrList {
    Word(String),
    List(Vec<String>),
}

/// `"none"`, or digests of lists of owner's certificates.
pub(super) fn mok<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MokRule>, D::Error> {
    let list = match WordOrList::deserialize(from) {
        Ok(WordOrList::Word(word)) if word == "none" => return Ok(Some(MokRule::None)),
        Ok(WordOrList::List(list)) if !list.is_empty() => list,
        _ => return Err(D::Error::custom("write \"none\", or a list of SHA-256 digests")),
    };
    let digests = list.iter().map(|text| digest(text, &[32], "SHA-256"));
    let digests = digests.collect::<Result<_, _>>().map_err(D::Error::custom)?;
    Ok(Some(MokRule::OneOf(digests)))
}

/// `"zero"`, or values of a register, by its number.
pub(super) fn pcrs<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u8, PcrRule>, D::Error> {
    let table = BTreeMap::<String, WordOrList>::deserialize(from)
        .map_err(|_| D::Error::custom("write \"zero\", or a list of values in hexadecimal, for each register"))?;
    let read = |(number, rule): (String, WordOrList)| Ok((pcr(&number)?, pcr_rule(&number, rule)?));
    table
        .into_iter()
        .map(read)
        .collect::<Result<_, String>>()
        .map_err(D::Error::custom)
}

fn pcr(number: &str) -> Result<u8, String> {
    match number.parse() {
        // "07" would be a second way to write 7.
        Ok(pcr @ 0..=22_u8) if pcr != 16 && pcr.to_string() == number => Ok(pcr),
        Ok(16 | 23) => Err(format!(
            "any program may reset PCR {number}: a rule over it proves nothing"
        )),
        _ => Err(format!("there is no PCR {number}: 0 to 15 and 17 to 22")),
    }
}

fn pcr_rule(number: &str, rule: WordOrList) -> Result<PcrRule, String> {
    match rule {
        WordOrList::Word(word) if word == "zero" => Ok(PcrRule::Zero),
        WordOrList::List(list) if !list.is_empty() => {
            let values = list
                .iter()
                .map(|text| digest(text, &[32, 48, 64], "value of a register"));
            Ok(PcrRule::OneOf(values.collect::<Result<_, _>>()?))
        }
        _ => Err(format!(
            "PCR {number}: write \"zero\", or a list of values in hexadecimal"
        )),
    }
}

/// A time span, in seconds: whole numbers with `s`, `m`, `h` or `d`, one after the other (`1h30m`).
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(from)?;
    seconds(&text)
        .filter(|seconds| (1..=3_155_760_000).contains(seconds))
        .map(Some)
        .ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no time span: write it as 30s, 90m, 1h30m or 365d, up to a hundred years"
            ))
        })
}

fn seconds(text: &str) -> Option<u64> {
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let mut behind = behind.chars();
        let unit = match behind.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = behind.as_str();
    }
    Some(seconds)
}
