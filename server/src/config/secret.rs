//! Secrets by reference.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use zeroize::{Zeroize as _, Zeroizing};

use super::ConfigError;

/// No PIN or password is longer.
const MAX_SECRET_BYTES: u64 = 4096;

/// Reads the secret that `reference` (`file:/path` or `credential:NAME`) names; `credentials` is where systemd
/// put its credentials. One line ending at its end does not belong to it.
///
/// # Errors
/// When the reference has another form, or the file cannot be read, is empty, too large or no text.
pub(super) fn resolve(
    key: &'static str,
    reference: &str,
    credentials: Option<&Path>,
) -> Result<SecretString, ConfigError> {
    let path = if let Some(path) = reference.strip_prefix("file:") {
        PathBuf::from(path)
    } else if let Some(name) = reference.strip_prefix("credential:") {
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !plain {
            return Err(ConfigError::SecretReference { key });
        }
        let folder = credentials.ok_or_else(|| ConfigError::NoCredentials {
            key,
            name: name.to_owned(),
        })?;
        folder.join(name)
    } else {
        return Err(ConfigError::SecretReference { key });
    };
    let unreadable = |cause: &str| ConfigError::SecretUnreadable {
        key,
        path: path.clone(),
        cause: cause.to_owned(),
    };
    let content = read(&path).map_err(|error| unreadable(&error.to_string()))?;
    let secret = std::str::from_utf8(&content).map_err(|_| unreadable("it is not UTF-8 text"))?;
    let secret = secret.strip_suffix('\n').unwrap_or(secret);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(unreadable("it is empty"));
    }
    Ok(SecretString::from(secret.to_owned()))
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // Room from the start: a buffer that grew would leave copies behind.
    let mut content = Vec::with_capacity(usize::try_from(MAX_SECRET_BYTES + 1).unwrap_or(0));
    let read = File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut content);
    if let Err(error) = read {
        content.zeroize();
        return Err(error);
    }
    if u64::try_from(content.len()).is_ok_and(|len| len > MAX_SECRET_BYTES) {
        content.zeroize();
        return Err(std::io::Error::other(format!(
            "it is larger than {MAX_SECRET_BYTES} bytes"
        )));
    }
    Ok(Zeroizing::new(content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_reason::Coded as _;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_secret_comes_from_a_file_or_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pin"), "1234\n").unwrap();
        let file = format!("file:{}/pin", folder.path().display());
        assert_eq!(resolve("hsm.pin", &file, None).unwrap().expose_secret(), "1234");
        let credential = resolve("hsm.pin", "credential:pin", Some(folder.path())).unwrap();
        assert_eq!(credential.expose_secret(), "1234");
    }

    #[test]
    fn what_is_no_reference_is_refused_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("large"), [b'1'; 4097]).unwrap();
        let file = |name: &str| format!("file:{}/{name}", folder.path().display());
        for (reference, code) in [
            ("1234".to_owned(), "HM-CONF-0007"),
            ("credential:../pin".to_owned(), "HM-CONF-0007"),
            ("credential:pin".to_owned(), "HM-CONF-0009"),
            (file("absent"), "HM-CONF-0008"),
            (file("empty"), "HM-CONF-0008"),
            (file("large"), "HM-CONF-0008"),
        ] {
            let error = resolve("hsm.pin", &reference, None).unwrap_err();
            assert_eq!(error.code().as_str(), code, "{reference}");
            assert!(!format!("{error:?} {error}").contains("1234"), "{reference}");
        }
    }
}
