//! Values that check themselves while they are read, so that a fault has its line.

use std::collections::{BTreeMap, BTreeSet};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hallmark_host::log::{Filter, FilterError};
use hallmark_hsm::KeyKind;
use hallmark_node::TpmClass;
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_tpm_wire::templates::{EK_TEMPLATES, EkTemplate, ek_template_named};

use serde::{Deserialize, Deserializer, de::Error as _};

fn text<'de, D: Deserializer<'de>, T>(from: D, read: impl Fn(&str) -> Result<T, String>) -> Result<T, D::Error> {
    read(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// A trust domain's name.
pub(super) fn trust_domain<'de, D: Deserializer<'de>>(from: D) -> Result<TrustDomain, D::Error> {
    text(from, |text| TrustDomain::parse(text).map_err(|error| error.to_string()))
}

/// SPIFFE IDs.
pub(super) fn spiffe_ids<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SpiffeId>, D::Error> {
    let read = |text: String| SpiffeId::parse(&text).map_err(|error| D::Error::custom(format!("{text}: {error}")));
    Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
}

/// `host:port`, the host an IP address.
pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    text(from, |text| {
        text.parse()
            .map_err(|_| format!("{text:?} is no address: an IP address and a port, as 0.0.0.0:8081"))
    })
}

/// An absolute path.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    text(from, absolute)
}

/// An absolute path, or none.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    path(from).map(Some)
}

/// Absolute paths.
pub(super) fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let read = |text: String| absolute(&text).map_err(D::Error::custom);
    Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{text:?} is no absolute path"))
    }
}

/// Text with something in it.
pub(super) fn filled<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    text(from, |text| {
        if text.is_empty() {
            Err("must not be empty".into())
        } else {
            Ok(text.to_owned())
        }
    })
}

/// What is logged.
pub(super) fn log_filter<'de, D: Deserializer<'de>>(from: D) -> Result<Filter, D::Error> {
    text(from, |text| {
        text.parse().map_err(|error: FilterError| error.to_string())
    })
}

/// A reference to a secret. What stands there instead may be the secret, so no message repeats it.
pub(super) fn reference<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(from) {
        Ok(toml::Value::String(text)) => Ok(text),
        _ => Err(D::Error::custom(
            "must be a reference to a secret: \"file:/path\" or \"credential:NAME\"",
        )),
    }
}

/// A number from 1 on.
pub(super) fn positive<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        0 => Err(D::Error::custom("must be at least 1")),
        number => Ok(number),
    }
}

/// How many sessions: 1 to 256.
pub(super) fn sessions<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        number @ 1..=256 => Ok(number),
        number => Err(D::Error::custom(format!("{number} sessions: must be 1 to 256"))),
    }
}

/// The kind of a key.
pub(super) fn key_kind<'de, D: Deserializer<'de>>(from: D) -> Result<KeyKind, D::Error> {
    text(from, |text| {
        let known = || KeyKind::ALL.map(KeyKind::as_str).join(", ");
        text.parse()
            .map_err(|_| format!("unknown key type {text:?}: one of {}", known()))
    })
}

/// Classes of TPMs.
pub(super) fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TpmClass>, D::Error> {
    let read = |text: String| {
        TpmClass::from_name(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "unknown class {text:?}: discrete, firmware, virtual, simulator, unknown"
            ))
        })
    };
    Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
}

/// Templates of endorsement keys, by name; at least one.
pub(super) fn ek_templates<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<&'static EkTemplate>, D::Error> {
    templates_named(&Vec::<String>::deserialize(from)?).map_err(D::Error::custom)
}

/// Templates of endorsement keys, by the manufacturer of the TPM.
pub(super) fn templates_by_manufacturer<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Vec<&'static EkTemplate>>, D::Error> {
    let tables = BTreeMap::<String, Vec<String>>::deserialize(from)?;
    let read = |(maker, names): (String, Vec<String>)| {
        let templates = templates_named(&names).map_err(|text| format!("{maker}: {text}"))?;
        Ok((maker, templates))
    };
    let read = tables.into_iter().map(read).collect::<Result<_, String>>();
    read.map_err(D::Error::custom)
}

fn templates_named(names: &[String]) -> Result<Vec<&'static EkTemplate>, String> {
    if names.is_empty() {
        return Err("without a template no TPM could attest: name at least one".into());
    }
    let named = |name: &String| {
        ek_template_named(name).ok_or_else(|| {
            let known = EK_TEMPLATES.map(|template| template.name).join(", ");
            format!("unknown template {name:?}: {known}")
        })
    };
    names.iter().map(named).collect()
}

/// SHA-256 hashes in hex: 64 digits each, of either case.
pub(super) fn ek_hashes<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<[u8; 32]>, D::Error> {
    let read = |text: String| {
        let mut hash = [0; 32];
        hex::decode_to_slice(&text, &mut hash)
            .map(|()| hash)
            .map_err(|_| D::Error::custom(format!("{text:?} is no SHA-256 hash: 64 hexadecimal digits")))
    };
    Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
}

/// Login names, and user ids in digits.
pub(super) fn users<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let read = |name: String| {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if name.is_empty() || name.contains([':', '/', ' ', '\0']) || (is_number && name.parse::<u32>().is_err()) {
            return Err(D::Error::custom(format!(
                "{name:?} is no user: a login name, or a user id in digits"
            )));
        }
        Ok(name)
    };
    Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
}

/// Firmware versions as selectors show them: 64 bits in hexadecimal.
pub(super) fn firmware_versions<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<u64>, D::Error> {
    let read = |text: String| {
        u64::from_str_radix(&text, 16)
            .map_err(|_| D::Error::custom(format!("{text:?} is no firmware version: up to 16 hexadecimal digits")))
    };
    Vec::<String>::deserialize(from)?.into_iter().map(read).collect()
}

/// Numbers of PCRs, none twice, and none of those that programs may reset.
pub(super) fn pcrs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let mut pcrs = Vec::<u8>::deserialize(from)?;
    pcrs.sort_unstable();
    if pcrs.is_empty() {
        return Err(D::Error::custom(
            "a quote over no PCR proves nothing: name at least one",
        ));
    }
    if let Some(pcr) = pcrs.iter().find(|pcr| **pcr > 23) {
        return Err(D::Error::custom(format!("there is no PCR {pcr}: 0 to 23")));
    }
    if let Some(pcr) = pcrs.iter().find(|pcr| matches!(**pcr, 16 | 23)) {
        return Err(D::Error::custom(format!(
            "any program may reset PCR {pcr}: a quote over it proves nothing"
        )));
    }
    let before = pcrs.len();
    pcrs.dedup();
    if pcrs.len() < before {
        return Err(D::Error::custom("a PCR is named twice"));
    }
    Ok(pcrs)
}

/// A time span: a whole number and `s`, `m`, `h` or `d`; several may follow each other (`1h30m`).
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    text(from, parse_duration)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("{text:?} is no time span: write it as 30s, 90m, 1h30m or 365d");
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
        let (number, behind) = rest.split_at(digits);
        let mut behind = behind.chars();
        let unit = match behind.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(fault()),
        };
        let number: u64 = number.parse().map_err(|_| fault())?;
        seconds = number
            .checked_mul(unit)
            .and_then(|span| seconds.checked_add(span))
            .ok_or_else(fault)?;
        rest = behind.as_str();
    }
    match seconds {
        0 => Err(format!("{text:?}: a time span must not be zero")),
        // A hundred years: beyond it only certificates' date formats wait.
        1..=3_155_760_000 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is longer than a hundred years")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read() {
        for (text, seconds) in [
            ("1s", 1),
            ("90m", 5400),
            ("1h30m", 5400),
            ("8760h", 31_536_000),
            ("1d", 86_400),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0s",
            "1",
            "h",
            "1 h",
            "-1h",
            "1.5h",
            "1w",
            "99999999999999999999s",
            "101y",
            "40000d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
