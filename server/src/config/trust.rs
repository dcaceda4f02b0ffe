//! EK roots and inventory, from their files.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hallmark_host::{Foreign, foreign_file};
use hallmark_policy::signed::OperatorKeys;
use hallmark_verify::{EkRoots, Inventory, Revocation};

use super::ConfigError;

/// The most files of a folder of roots.
const MAX_FILES: usize = 10_000;

/// Reads every file named, and of a folder every file with the ending of a certificate (`pem`, `crt`, `cer`, `der`).
///
/// # Errors
/// When one cannot be read or used.
pub(super) fn roots(paths: &[PathBuf]) -> Result<EkRoots, ConfigError> {
    let mut roots = EkRoots::default();
    for path in paths {
        let unreadable = |path: &Path, error: &io::Error| unreadable("attestation.tpm2.ek_roots", path, error);
        let files = if path.is_dir() {
            only_ours("attestation.tpm2.ek_roots", path)?;
            folder(path, &["pem", "crt", "cer", "der"]).map_err(|error| unreadable(path, &error))?
        } else {
            vec![path.clone()]
        };
        for file in files {
            let content = std::fs::read(&file).map_err(|error| unreadable(&file, &error))?;
            only_ours("attestation.tpm2.ek_roots", &file)?;
            roots.add(&file.display().to_string(), &content)?;
        }
    }
    Ok(roots)
}

/// The files of revocation lists that are there: of a folder those with the ending of a list (`crl`, `pem`, `der`).
///
/// # Errors
/// When a folder cannot be read.
pub fn crl_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let listed = folder(path, &["crl", "pem", "der"]);
            files.extend(listed.map_err(|error| unreadable(CRLS, path, &error))?);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Reads revocation lists.
///
/// # Errors
/// When one cannot be read or used.
pub fn revocation(paths: &[PathBuf], required: bool, grace: Duration) -> Result<Revocation, ConfigError> {
    let mut revocation = Revocation::new(required, grace);
    for file in crl_files(paths)? {
        let content = std::fs::read(&file).map_err(|error| unreadable(CRLS, &file, &error))?;
        revocation.add(&file.display().to_string(), &content)?;
    }
    Ok(revocation)
}

const CRLS: &str = "attestation.tpm2.crls";

fn unreadable(key: &'static str, path: &Path, error: &io::Error) -> ConfigError {
    ConfigError::TrustUnreadable {
        key,
        path: path.to_owned(),
        cause: error.to_string(),
    }
}

fn folder(path: &Path, endings: &[&str]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let ending = file
            .extension()
            .and_then(|ending| ending.to_str())
            .map(str::to_ascii_lowercase);
        if ending.is_some_and(|ending| endings.contains(&ending.as_str())) && file.is_file() {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(io::Error::other(format!("more than {MAX_FILES} certificate files")));
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
    Ok(Inventory::from_csv(&content)?)
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
