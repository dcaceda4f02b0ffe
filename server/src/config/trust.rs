//! EK roots and inventory, from their files.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use hallmark_host::{Foreign, foreign_file};
use hallmark_node::{Form, read_inventory};
use hallmark_policy::signed::OperatorKeys;
use hallmark_verify::{EkRoots, Inventory, Revocation};

use super::ConfigError;

/// The most files of a folder.
const MAX_FILES: usize = 10_000;

/// The endings of certificates' names.
const OF_ROOTS: [&str; 5] = ["pem", "crt", "cer", "cert", "der"];
/// The endings of revocation lists' names.
const OF_CRLS: [&str; 3] = ["crl", "pem", "der"];

/// What a file of the operator's trust gave, for `config check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFile {
    /// The key that names it, or its folder.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// How many certificates or lists are in it; none where its ending is not one that is read of a folder.
    pub count: Option<usize>,
}

impl fmt::Display for TrustFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (noun, endings) = match self.key {
            CRLS => ("revocation list", OF_CRLS.as_slice()),
            _ => ("certificate", OF_ROOTS.as_slice()),
        };
        write!(f, "{}: {}: ", self.key, self.path.display())?;
        match self.count {
            Some(1) => write!(f, "1 {noun}"),
            Some(count) => write!(f, "{count} {noun}s"),
            None => write!(f, "not read; of a folder: .{}", endings.join(", .")),
        }
    }
}

/// Reads every file named, and of a folder every file with the ending of a certificate.
///
/// # Errors
/// When one cannot be read or used.
pub(super) fn roots(paths: &[PathBuf]) -> Result<(EkRoots, Vec<TrustFile>), ConfigError> {
    let mut roots = EkRoots::default();
    for path in paths.iter().filter(|path| path.is_dir()) {
        only_ours(ROOTS, path)?;
    }
    let files = each_file(ROOTS, paths, &OF_ROOTS, |path, content| {
        only_ours(ROOTS, path)?;
        Ok(roots.add(&path.display().to_string(), content)?)
    })?;
    Ok((roots, files))
}

/// The files of revocation lists that are there: of a folder those with the ending of a list.
///
/// # Errors
/// When a folder cannot be read.
pub fn crl_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    Ok(listed(CRLS, paths, &OF_CRLS)?
        .into_iter()
        .filter_map(|(path, read)| read.then_some(path))
        .collect())
}

/// Reads revocation lists.
///
/// # Errors
/// When one cannot be read or used.
pub fn revocation(
    paths: &[PathBuf],
    required: bool,
    grace: Duration,
) -> Result<(Revocation, Vec<TrustFile>), ConfigError> {
    let mut revocation = Revocation::new(required, grace);
    let files = each_file(CRLS, paths, &OF_CRLS, |path, content| {
        Ok(revocation.add(&path.display().to_string(), content)?)
    })?;
    Ok((revocation, files))
}

fn each_file(
    key: &'static str,
    paths: &[PathBuf],
    endings: &[&str],
    mut add: impl FnMut(&Path, &[u8]) -> Result<usize, ConfigError>,
) -> Result<Vec<TrustFile>, ConfigError> {
    let mut files = Vec::new();
    for (path, is_read) in listed(key, paths, endings)? {
        let mut count = None;
        if is_read {
            let content = std::fs::read(&path).map_err(|error| unreadable(key, &path, &error))?;
            count = Some(add(&path, &content)?);
        }
        files.push(TrustFile { key, path, count });
    }
    Ok(files)
}

/// Every file that is named or in a folder that is, and whether it is one to be read.
fn listed(key: &'static str, paths: &[PathBuf], endings: &[&str]) -> Result<Vec<(PathBuf, bool)>, ConfigError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(folder(path, endings).map_err(|error| unreadable(key, path, &error))?);
        } else {
            files.push((path.clone(), true));
        }
    }
    Ok(files)
}

const ROOTS: &str = "attestation.tpm2.ek_roots";
const CRLS: &str = "attestation.tpm2.crls";

fn unreadable(key: &'static str, path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::TrustUnreadable {
        key,
        path: path.to_owned(),
        cause: error.to_string(),
    }
}

fn folder(path: &Path, endings: &[&str]) -> io::Result<Vec<(PathBuf, bool)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let ending = file
            .extension()
            .and_then(|ending| ending.to_str())
            .map(str::to_ascii_lowercase);
        let is_read = ending.is_some_and(|ending| endings.contains(&ending.as_str()));
        if file.is_file() {
            files.push((file, is_read));
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} files")));
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the public keys of those who may sign policies and baselines.
///
/// # Errors
/// When one cannot be read or used.
pub(super) fn operator_keys(paths: &[PathBuf]) -> Result<OperatorKeys, ConfigError> {
    let mut keys = OperatorKeys::default();
    for path in paths {
        let unusable = |cause: String| ConfigError::TrustUnreadable {
            key: "policy.operator_keys",
            path: path.clone(),
            cause,
        };
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        only_ours("policy.operator_keys", path)?;
        keys.add_pem(&pem).map_err(|error| unusable(error.to_string()))?;
    }
    Ok(keys)
}

/// Reads the inventory.
///
/// # Errors
/// When it cannot be read or used.
pub(super) fn inventory(path: &Path) -> Result<Inventory, ConfigError> {
    let content = std::fs::read(path).map_err(|error| ConfigError::TrustUnreadable {
        key: "attestation.tpm2.ek_inventory",
        path: path.to_owned(),
        cause: error.to_string(),
    })?;
    only_ours("attestation.tpm2.ek_inventory", path)?;
    let items = read_inventory(&content, Form::Csv).map_err(|source| ConfigError::Inventory {
        path: path.to_owned(),
        source,
    })?;
    Ok(items.into_iter().collect())
}

/// Refuses a file that is trusted as it stands where others than the server's user and root can change it. Revocation
/// lists carry their own signatures; whoever fetches them may be another user.
///
/// # Errors
/// [`ConfigError::Changeable`], or the file cannot be looked at.
pub(super) fn only_ours(key: &'static str, path: &Path) -> Result<(), ConfigError> {
    match foreign_file(path).map_err(|error| unreadable(key, path, &error))? {
        None => Ok(()),
        Some(Foreign { place, why }) => Err(ConfigError::Changeable {
            key,
            path: path.to_owned(),
            exposed: format!("{}: {why}", place.display()),
        }),
    }
}
