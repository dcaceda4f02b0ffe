//! Secrets by reference.

use std::path::{Path, PathBuf};

use hallmark_host::{SecretError, read_secret};
use hallmark_settings::SecretReference;
use secrecy::SecretString;

use super::ConfigError;

/// No PIN or password is longer.
const MAX_SECRET_BYTES: u64 = 4096;

/// Reads the secret that `reference` names; `credentials` is where systemd put its credentials. One line ending at its end does not
/// belong to it.
///
/// # Errors
/// When the file cannot be read, is empty, too large or not text, or is not private.
pub(super) fn resolve(
    key: &'static str,
    reference: &SecretReference,
    credentials: Option<&Path>,
) -> Result<SecretString, ConfigError> {
    let path = file_of(key, reference, credentials)?;
    let unreadable = |cause: &str| ConfigError::SecretUnreadable {
        key,
        path: path.clone(),
        cause: cause.to_owned(),
    };
    let content = read_secret(&path, MAX_SECRET_BYTES).map_err(|error| match error {
        SecretError::Exposed { .. } => ConfigError::SecretExposed {
            key,
            path: path.clone(),
            exposed: error.to_string(),
        },
        error => unreadable(&error.to_string()),
    })?;
    let secret = std::str::from_utf8(&content).map_err(|_| unreadable("it is not UTF-8 text"))?;
    let secret = secret.strip_suffix('\n').unwrap_or(secret);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(unreadable("it is empty"));
    }
    Ok(SecretString::from(secret.to_owned()))
}

/// The file that `reference` names.
///
/// # Errors
/// It is a credential, and there are none.
pub(super) fn file_of(
    key: &'static str,
    reference: &SecretReference,
    credentials: Option<&Path>,
) -> Result<PathBuf, ConfigError> {
    reference.path(credentials).map_err(|name| ConfigError::NoCredentials {
        key,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::Coded as _;
    use secrecy::ExposeSecret as _;
    use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _};

    fn read(reference: &str, credentials: Option<&Path>) -> Result<SecretString, ConfigError> {
        resolve("hsm.pin", &SecretReference::parse(reference).unwrap(), credentials)
    }

    fn write_private(path: &Path, content: &[u8]) {
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
        file.unwrap().write_all(content).unwrap();
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("pin"), b"1234\n");
        let file = format!("file:{}/pin", folder.path().display());
        assert_eq!(read(&file, None).unwrap().expose_secret(), "1234");
        let credential = read("credential:pin", Some(folder.path())).unwrap();
        assert_eq!(credential.expose_secret(), "1234");
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_refused_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("empty"), b"\n");
        write_private(&folder.path().join("large"), &[b'1'; 4097]);
        std::fs::write(folder.path().join("open"), "1234").unwrap();
        let file = |name: &str| format!("file:{}/{name}", folder.path().display());
        for (reference, code) in [
            ("credential:pin".to_owned(), "HM-CONF-0009"),
            (file("absent"), "HM-CONF-0008"),
            (file("empty"), "HM-CONF-0008"),
            (file("large"), "HM-CONF-0008"),
            (file("open"), "HM-CONF-0012"),
        ] {
            let error = read(&reference, None).unwrap_err();
            assert_eq!(error.code().as_str(), code, "{reference}");
            assert!(!format!("{error:?} {error}").contains("1234"), "{reference}");
        }
    }
}
