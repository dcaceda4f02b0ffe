//! Lists of digests in the forms in which they are found: `sha256sum` and its kin, Keylime's runtime policies, our own.

use std::collections::BTreeMap;

use hallmark_tpm_wire::HashAlg;
use serde::Deserialize;

use super::file::spelt;
use super::list::DigestList;
use super::list_error::DigestListError;
use crate::rule_file::unmarked;

impl DigestList {
    /// Reads a list in any form that is known, and says what of the file has no place in a list.
    ///
    /// - lines of `sha256sum`, `sha384sum` or `sha512sum`, with or without `--tag`, relative paths (`./usr/bin/true`,
    ///   `usr/bin/true`) being those of an image's root; a digest alone may be anywhere; lines that begin with `#` say
    ///   nothing;
    /// - a Keylime runtime policy (JSON): its `digests`;
    /// - our own JSON, whose own name and serial are taken.
    ///
    /// # Errors
    /// [`DigestListError`] with the first line that is none of these.
    pub fn import(name: &str, serial: u64, text: &str) -> Result<(Self, Vec<String>), DigestListError> {
        if text.len() > Self::MAX_BYTES {
            return Err(DigestListError::TooLarge { actual: text.len() });
        }
        let text = unmarked(text);
        let (list, left_out) = match text.trim_start().starts_with('{') {
            true if text.contains("\"digest_list\"") => (Self::from_json(text)?, Vec::new()),
            true => keylime(name, serial, text)?,
            false => (lines(name, serial, text)?, Vec::new()),
        };
        if list.is_empty() {
            return Err(DigestListError::Empty);
        }
        Ok((list, left_out))
    }
}

fn lines(name: &str, serial: u64, text: &str) -> Result<DigestList, DigestListError> {
    let mut list = DigestList::new(name, serial)?;
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at_line = |what| DigestListError::Malformed { line: number + 1, what };
        let (digest, path) = entry(line).map_err(at_line)?;
        // A file of the root itself, where the list was made there by `sha256sum *`.
        if let Some(word) = path.as_ref().filter(|path| !path.contains('/')) {
            list.add(digest.clone(), Some(format!("/{word}")));
        }
        list.add(digest, path);
    }
    Ok(list)
}

/// One line of `sha256sum`: digest and path, or a digest alone.
pub(crate) fn entry(line: &str) -> Result<(String, Option<String>), String> {
    // A name with a line's end or a backslash in it is escaped, and its line begins with a backslash.
    let (escaped, line) = match line.strip_prefix('\\') {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (hex, path) = match tagged(line) {
        Some((hex, path)) => (hex, Some(path)),
        None => match line.split_once(' ') {
            None => (line, None),
            Some((hex, path)) => (hex, Some(path.strip_prefix([' ', '*']).unwrap_or(path))),
        },
    };
    let path = path.map(|path| if escaped { unescaped(path) } else { Ok(path.to_owned()) });
    let path = path.transpose()?;
    if path.as_deref() == Some("") {
        return Err("a digest with a space behind it, and no path".to_owned());
    }
    let path = path.map(|path| rooted(&path)).transpose()?;
    Ok((digest(hex)?, path))
}

/// `SHA256 (path) = hex`.
fn tagged(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(" (")?;
    let (path, hex) = rest.rsplit_once(") = ")?;
    let is_known = |tag: &&str| line.starts_with(*tag);
    let tags = ["SHA256 (", "SHA384 (", "SHA512 ("];
    tags.iter().any(is_known).then_some((hex, path))
}

fn unescaped(path: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = path.chars();
    while let Some(next) = chars.next() {
        out.push(match next {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('\\') => '\\',
                _ => return Err(format!("{path:?}: an escape that sha256sum does not write")),
            },
            other => other,
        });
    }
    Ok(out)
}

/// The path on the machine, spelt as names of lines are. A relative path is one of the image's root; a word alone is the
/// name of something that is no file, such as `kexec-cmdline`.
fn rooted(path: &str) -> Result<String, String> {
    let path = spelt(path.as_bytes());
    if !path.contains('/') {
        return Ok(path);
    }
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    if parts.clone().any(|part| part == "..") {
        return Err(format!("{path:?}: no file is measured under a path with `..`"));
    }
    if parts.clone().next().is_none() || path.ends_with('/') {
        return Err(format!("{path:?}: the path of a folder"));
    }
    Ok(parts.fold(String::new(), |rooted, part| rooted + "/" + part))
}

/// A digest as lines spell it: `sha256:` and lower-case hex. Which algorithm it is shows by its length, unless it says so.
pub(super) fn digest(text: &str) -> Result<String, String> {
    let (verity, rest) = match text.strip_prefix("verity:") {
        Some(rest) => ("verity:", rest),
        None => ("", text),
    };
    let (named, hex) = match rest.split_once(':') {
        Some((name, hex)) => (Some(name), hex),
        None => (None, rest),
    };
    let mut strong = HashAlg::ALL.into_iter().filter(|hash| hash.is_strong());
    let hash = strong.find(|hash| hash.digest_len() * 2 == hex.len() && named.is_none_or(|it| it == hash.as_str()));
    match hash {
        Some(hash) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(format!("{verity}{hash}:{}", hex.to_ascii_lowercase()))
        }
        _ => {
            let shown: String = text.chars().take(140).collect();
            Err(format!(
                "invalid digest {shown:?}: write 64, 96 or 128 hexadecimal digits of SHA-256, SHA-384 or SHA-512"
            ))
        }
    }
}

/// A Keylime runtime policy, as far as it is a list.
#[derive(Deserialize)]
struct RuntimePolicy {
    digests: BTreeMap<String, Vec<String>>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

fn keylime(name: &str, serial: u64, text: &str) -> Result<(DigestList, Vec<String>), DigestListError> {
    let policy: RuntimePolicy = serde_json::from_str(text).map_err(|error| DigestListError::of_json(&error))?;
    let mut list = DigestList::new(name, serial)?;
    let mut left_out = Vec::new();
    for (path, digests) in policy.digests {
        let at = rooted(&path).map_err(|what| DigestListError::Malformed { line: 1, what })?;
        for text in digests {
            match digest(&text) {
                Ok(digest) => list.add(digest, Some(at.clone())),
                Err(_) => left_out.push(format!("digests: {path}: {text:.140}")),
            }
        }
    }
    for (key, value) in policy.others {
        let says_something = match &value {
            serde_json::Value::Array(items) => !items.is_empty(),
            serde_json::Value::Object(items) => !items.is_empty(),
            serde_json::Value::String(text) => !text.is_empty(),
            _ => false,
        };
        if says_something && key != "meta" {
            left_out.push(key);
        }
    }
    Ok((list, left_out))
}
