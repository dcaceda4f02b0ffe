//! The file of `entry export` and `entry apply`: the entries that there are to be.

use std::{fs, path::Path};

use hallmark_api::types;
use hallmark_spiffe::TrustDomain;
use hallmark_state::EntryDraft;
use serde::{
    Deserialize, Serialize, Serializer,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{read, selectors};
use crate::{
    duration::parse_ttl,
    error::{CliError, ENTRIES_FILE},
    lookup,
    output::Show,
    timestamp::{parse_rfc3339, rfc3339},
};

/// The largest file that is read, in bytes: more than 100,000 entries.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// A file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declared {
    pub(super) entries: Vec<DeclaredEntry>,
}

/// An entry of the file. What is left out is as `entry create` has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredEntry {
    /// The entry's id; without one, the entry is known by its SPIFFE ID, parent and selectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    x509_svid_ttl: Ttl,
    #[serde(default, skip_serializing_if = "is_default")]
    jwt_svid_ttl: Ttl,
    #[serde(default, skip_serializing_if = "is_default")]
    federates_with: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    dns_names: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    hint: String,
    #[serde(default, skip_serializing_if = "is_default")]
    admin: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    downstream: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    store_svid: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    disable_x509_svid_prefetch: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    jwt_svid_include_jti: bool,
    /// RFC 3339; left out for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// What `entry list` tells of an entry and nobody can declare: passed over.
    #[serde(default, skip_serializing, rename = "created_at")]
    _created_at: IgnoredAny,
    #[serde(default, skip_serializing, rename = "revision")]
    _revision: IgnoredAny,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A lifetime: seconds, or as people write it (`30m`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
struct Ttl(i32);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Seconds(i32),
    Text(String),
}

impl TryFrom<Written> for Ttl {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Seconds(seconds) => Ok(Self(seconds)),
            Written::Text(text) => parse_ttl(&text).map(Self),
        }
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(self.0)
    }
}

impl Declared {
    /// What the server holds, as a file says it.
    pub(super) fn of(entries: Vec<types::Entry>) -> Result<Self, CliError> {
        let entries = entries.into_iter().map(DeclaredEntry::of).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Reads a file, YAML or JSON, as `entry export` or `entry list` writes it; `-` is standard input.
    pub(super) fn read(file: &Path) -> Result<Self, CliError> {
        let failed = |cause| CliError::File {
            file: file.to_owned(),
            cause,
        };
        let text = if file == Path::new("-") {
            // One byte more than is taken: what was cut would read as a file that has fewer entries.
            let input = std::io::Read::take(std::io::stdin().lock(), MAX_BYTES + 1);
            let text = std::io::read_to_string(input).map_err(failed)?;
            if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_BYTES {
                return Err(too_large(file, format_args!("more than {MAX_BYTES} bytes")));
            }
            text
        } else {
            let length = fs::metadata(file).map_err(failed)?.len();
            if length > MAX_BYTES {
                return Err(too_large(file, format_args!("{length} bytes")));
            }
            fs::read_to_string(file).map_err(failed)?
        };
        Self::parse(file, &text)
    }

    /// The same, of a text.
    fn parse(file: &Path, text: &str) -> Result<Self, CliError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // JSON is read by its own reader: its errors name line and column, and big files are read faster.
        let list = |entries| Self { entries };
        match first_sign(text) {
            Some('{') => serde_json::from_str(text).map_err(|cause| unfit(file, cause.to_string())),
            Some('[') => serde_json::from_str(text)
                .map(list)
                .map_err(|cause| unfit(file, cause.to_string())),
            Some('-') => yaml(file, text).map(list),
            _ => yaml(file, text),
        }
    }
}

/// Reads YAML. What a file may have is bounded by its size alone; what aliases make of it stays bounded as by default.
fn yaml<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, CliError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: text.len(),
            max_events: text.len().saturating_mul(2).saturating_add(16),
            max_total_scalar_bytes: text.len(),
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|cause| unfit(file, cause.to_string()))
}

fn too_large(file: &Path, size: std::fmt::Arguments<'_>) -> CliError {
    unfit(
        file,
        format!("{size}, at most {MAX_BYTES} are read; make several files of it, and apply each without --prune"),
    )
}

/// The first character that says something: not of a comment, nor of YAML's mark of a document.
fn first_sign(text: &str) -> Option<char> {
    let says = |line: &&str| !line.is_empty() && !line.starts_with(['#', '%']) && !line.starts_with("---");
    text.lines().map(str::trim).find(says)?.chars().next()
}

fn unfit(file: &Path, detail: String) -> CliError {
    CliError::Unfit {
        what: ENTRIES_FILE,
        file: file.to_owned(),
        detail,
    }
}

impl DeclaredEntry {
    fn of(entry: types::Entry) -> Result<Self, CliError> {
        let draft = read::draft(&entry)?;
        Ok(Self {
            id: Some(entry.id),
            spiffe_id: draft.spiffe_id.to_string(),
            parent_id: draft.parent_id.to_string(),
            selectors: draft.selectors.iter().map(ToString::to_string).collect(),
            x509_svid_ttl: Ttl(draft.x509_svid_ttl),
            jwt_svid_ttl: Ttl(draft.jwt_svid_ttl),
            federates_with: draft.federates_with.iter().map(ToString::to_string).collect(),
            dns_names: draft.dns_names,
            hint: draft.hint,
            admin: draft.admin,
            downstream: draft.downstream,
            store_svid: draft.store_svid,
            disable_x509_svid_prefetch: draft.disable_x509_svid_prefetch,
            jwt_svid_include_jti: draft.jwt_svid_include_jti,
            expires_at: rfc3339(draft.expires_at),
            _created_at: IgnoredAny,
            _revision: IgnoredAny,
        })
    }

    /// The entry that is to be; ids in any of the forms that are typed, paths within
    /// `trust_domain`. `number` is its place in the file, from 1.
    pub(super) fn draft(&self, trust_domain: &TrustDomain, file: &Path, number: usize) -> Result<EntryDraft, CliError> {
        let expires_at = match self.expires_at.as_deref() {
            None => 0,
            Some(text) => parse_rfc3339(text).map_err(|wrong| unfit(file, format!("entry {number}: {wrong}")))?,
        };
        let federates_with = self.federates_with.iter().map(|name| TrustDomain::parse(name));
        Ok(EntryDraft {
            x509_svid_ttl: self.x509_svid_ttl.0,
            jwt_svid_ttl: self.jwt_svid_ttl.0,
            federates_with: federates_with.collect::<Result<_, _>>()?,
            admin: self.admin,
            downstream: self.downstream,
            expires_at,
            dns_names: self.dns_names.clone(),
            store_svid: self.store_svid,
            hint: self.hint.clone(),
            disable_x509_svid_prefetch: self.disable_x509_svid_prefetch,
            jwt_svid_include_jti: self.jwt_svid_include_jti,
            ..EntryDraft::new(
                lookup::spiffe_id_in(trust_domain, &self.spiffe_id)?,
                lookup::spiffe_id_in(trust_domain, &self.parent_id)?,
                selectors(&self.selectors)?,
            )
        })
    }
}

impl Show for Declared {
    /// A file is no table: YAML, which `entry apply` reads as it does JSON.
    fn table(&self, _: i64) -> String {
        serde_saphyr::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    /// The form of `entry export`, with what is seldom given too.
    fn export(count: usize) -> String {
        let entry = |n: usize| {
            format!(
                "- id: entry-{n}\n  spiffe_id: spiffe://example.org/w/{n}\n  parent_id: spiffe://example.org/spire/server\n  \
                 selectors:\n  - unix:uid:{n}\n  - unix:gid:{n}\n  - unix:path:/usr/bin/w{n}\n  x509_svid_ttl: 600\n  \
                 dns_names:\n  - w{n}.example.org\n  hint: h{n}\n"
            )
        };
        let entries: String = (0..count).map(entry).collect();
        format!("entries:\n{entries}")
    }

    #[test]
    fn a_file_of_as_many_entries_as_there_can_be_is_read() {
        let text = export(30_000);
        let read = Declared::parse(Path::new("f"), &text).unwrap();
        assert_eq!(read.entries.len(), 30_000);
        let list = text.strip_prefix("entries:\n").unwrap();
        assert_eq!(Declared::parse(Path::new("f"), list).unwrap().entries.len(), 30_000);
    }

    /// What a small file makes of aliases is refused as ever.
    #[test]
    fn a_file_that_grows_while_it_is_read_is_refused() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in [
            ("b", "a"),
            ("c", "b"),
            ("d", "c"),
            ("e", "d"),
            ("f", "e"),
            ("g", "f"),
            ("h", "g"),
        ] {
            let all = vec![format!("*{of}"); 9].join(", ");
            text.push_str(&format!("{name}: &{name} [{all}]\n"));
        }
        text.push_str("entries: *h\n");
        let Err(CliError::Unfit { detail, .. }) = Declared::parse(Path::new("f"), &text) else {
            panic!("it is read");
        };
        assert!(!detail.is_empty());
    }
}
