//! Lists of digests that files may have.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::list_error::DigestListError;
use crate::policy::check_name;
use crate::rule_file::unmarked;

/// A path or pattern as the kernel writes names: with `_` for every space (Linux, security/integrity/ima/
/// ima_template_lib.c, `ima_write_template_field_data`). Names that differ in nothing else are one name in its list.
pub(crate) fn as_measured(text: &str) -> String {
    text.replace(' ', "_")
}

/// A list of digests that files may have: each at the paths for which it is listed, or anywhere. Policies name it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DigestList {
    /// Its name, which policies use; empty for the list within a policy.
    pub name: String,
    /// Grows with every change.
    pub serial: u64,
    anywhere: HashSet<Arc<str>>,
    /// Digests of a path, in their order.
    paths: HashMap<String, Vec<Arc<str>>>,
    all: HashSet<Arc<str>>,
}

/// The file's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// 1.
    digest_list: u32,
    name: String,
    serial: u64,
    /// Digests that a file may have wherever it is.
    anywhere: BTreeSet<String>,
    /// Digests that a file may have, by path.
    paths: BTreeMap<String, BTreeSet<String>>,
}

impl DigestList {
    /// No file of a list is larger, in bytes.
    pub const MAX_BYTES: usize = 128 * 1024 * 1024;

    /// An empty list.
    ///
    /// # Errors
    /// [`DigestListError::Malformed`] when the name is none.
    pub fn new(name: &str, serial: u64) -> Result<Self, DigestListError> {
        check_name(name.to_owned()).map_err(|what| DigestListError::Malformed { line: 1, what })?;
        Ok(Self {
            name: name.to_owned(),
            serial,
            ..Self::default()
        })
    }

    /// Adds a digest, for a path or for anywhere. Both are spelt as [`MeasuredFile`](super::MeasuredFile) spells them, but
    /// that the path may have spaces.
    pub(crate) fn add(&mut self, digest: String, path: Option<String>) {
        let digest = match self.all.get(digest.as_str()) {
            Some(known) => Arc::clone(known),
            None => Arc::from(digest),
        };
        self.all.insert(Arc::clone(&digest));
        let Some(path) = path else {
            self.anywhere.insert(digest);
            return;
        };
        let digests = self.paths.entry(as_measured(&path)).or_default();
        if let Err(place) = digests.binary_search(&digest) {
            digests.insert(place, digest);
        }
    }

    /// How many different digests it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a file with this name may have this digest.
    #[must_use]
    pub fn allows(&self, name: &str, digest: &str) -> bool {
        let at_path = |digests: &Vec<Arc<str>>| digests.iter().any(|it| **it == *digest);
        self.anywhere.contains(digest) || self.paths.get(name).is_some_and(at_path)
    }

    /// Whether some file may have this digest.
    #[must_use]
    pub fn knows(&self, digest: &str) -> bool {
        self.all.contains(digest)
    }

    /// The digests that a file with this name may have, if the list names it.
    #[must_use]
    pub fn digests_of(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        Some(self.paths.get(name)?.iter().map(|digest| &**digest))
    }

    /// The file's text: the same list gives the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let written = Written {
            digest_list: 1,
            name: self.name.clone(),
            serial: self.serial,
            anywhere: self.anywhere.iter().map(ToString::to_string).collect(),
            paths: self
                .paths
                .iter()
                .map(|(path, it)| (path.clone(), it.iter().map(ToString::to_string).collect()))
                .collect(),
        };
        // Strings, numbers and lists always have a JSON form.
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`DigestListError`] when it is no list of this version, or one of its digests is none.
    pub fn from_json(text: &str) -> Result<Self, DigestListError> {
        if text.len() > Self::MAX_BYTES {
            return Err(DigestListError::TooLarge { actual: text.len() });
        }
        let written: Written =
            serde_json::from_str(unmarked(text)).map_err(|error| DigestListError::of_json(&error))?;
        let malformed = |what: String| DigestListError::Malformed { line: 1, what };
        if written.digest_list != 1 {
            return Err(malformed(format!(
                "version {}, this program reads 1",
                written.digest_list
            )));
        }
        let mut list = Self::new(&written.name, written.serial)?;
        let by_path = written.paths.into_iter().flat_map(|(path, digests)| {
            let with_path = move |digest| (digest, Some(path.clone()));
            digests.into_iter().map(with_path)
        });
        for (digest, path) in written.anywhere.into_iter().map(|digest| (digest, None)).chain(by_path) {
            if super::import::digest(&digest).as_ref() != Ok(&digest) {
                return Err(malformed(format!("invalid digest {digest:?} for this file")));
            }
            list.add(digest, path);
        }
        Ok(list)
    }
}
