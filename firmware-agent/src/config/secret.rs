//! Secrets by reference.

use std::path::Path;

use hallmark_host::read_secret;
use hallmark_settings::SecretReference;
use hallmark_tpm::{Authorization, MAX_AUTHORIZATION};

use super::ConfigError;

/// Reads the authorization value that `reference` names; `credentials` is where systemd put its credentials. One line ending at
/// its end does not belong to it.
///
/// # Errors
/// When the file cannot be read, is empty or too long, or is not private.
pub(super) fn authorization(
    key: &'static str,
    reference: &SecretReference,
    credentials: Option<&Path>,
) -> Result<Authorization, ConfigError> {
    let path = reference.path(credentials).map_err(|name| ConfigError::NoCredentials {
        key,
        name: name.to_owned(),
    })?;
    let unusable = |cause: String| ConfigError::Secret {
        key,
        path: path.clone(),
        cause,
    };
    let limit = u64::try_from(MAX_AUTHORIZATION.saturating_add("\r\n".len())).unwrap_or(u64::MAX);
    let content = read_secret(&path, limit).map_err(|error| unusable(error.to_string()))?;
    let value = content.strip_suffix(b"\n").unwrap_or(&content);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    Authorization::new(value).ok_or_else(|| {
        unusable(format!(
            "a value has 1 to {MAX_AUTHORIZATION} bytes, this one {}",
            value.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, os::unix::fs::OpenOptionsExt as _};

    use hallmark_reason::Coded as _;

    use super::*;

    fn read(reference: &str, credentials: Option<&Path>) -> Result<Authorization, ConfigError> {
        authorization(
            "tpm.endorsement_auth",
            &SecretReference::parse(reference).unwrap(),
            credentials,
        )
    }

    fn write(path: &Path, mode: u32, content: &[u8]) {
        let file = File::options().write(true).create_new(true).mode(mode).open(path);
        file.unwrap().write_all(content).unwrap();
    }

    #[test]
    fn a_value_comes_from_a_private_file_or_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("value"), 0o600, b"secret\n");
        let file = format!("file:{}/value", folder.path().display());
        assert_eq!(read(&file, None).unwrap(), Authorization::new(b"secret").unwrap());
        assert_eq!(
            read("credential:value", Some(folder.path())).unwrap(),
            Authorization::new(b"secret").unwrap()
        );
    }

    #[test]
    fn a_value_that_cannot_be_used_is_refused_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("empty"), 0o600, b"\n");
        write(&folder.path().join("long"), 0o600, &[b'7'; 65]);
        write(&folder.path().join("longer"), 0o600, &[b'7'; 4096]);
        write(&folder.path().join("open"), 0o644, b"7777");
        let file = |name: &str| format!("file:{}/{name}", folder.path().display());
        for (reference, code) in [
            ("credential:value".to_owned(), "HM-CONF-0109"),
            (file("absent"), "HM-CONF-0108"),
            (file("empty"), "HM-CONF-0108"),
            (file("long"), "HM-CONF-0108"),
            (file("longer"), "HM-CONF-0108"),
            (file("open"), "HM-CONF-0108"),
        ] {
            let error = read(&reference, None).unwrap_err();
            assert_eq!(error.code().as_str(), code, "{reference}");
            let told = format!("{error:?} {error} {:?}", error.compared());
            assert!(!told.contains("7777"), "{told}");
        }
    }
}
