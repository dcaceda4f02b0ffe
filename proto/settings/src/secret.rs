//! References to secrets: a settings file names a secret and never holds it.

use std::path::{Path, PathBuf};

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReference {
    /// `file:/path`.
    File(PathBuf),
    /// `credential:NAME`, a credential that systemd passes to the service.
    Credential(String),
}

/// A value that is not a reference to a secret. It may be the secret itself, so it is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reference to a secret: write \"file:/path\" or \"credential:NAME\"")]
pub struct NotAReference;

impl SecretReference {
    /// Reads a reference.
    ///
    /// # Errors
    /// [`NotAReference`] for another form, a relative path, or a credential's name that is a path.
    pub fn parse(text: &str) -> Result<Self, NotAReference> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::File(path)).ok_or(NotAReference);
        }
        let name = text.strip_prefix("credential:").ok_or(NotAReference)?;
        let is_plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        is_plain.then(|| Self::Credential(name.to_owned())).ok_or(NotAReference)
    }

    /// The secret's file; `credentials` is where systemd put the service's credentials.
    ///
    /// # Errors
    /// The credential's name, where there are no credentials.
    pub fn path(&self, credentials: Option<&Path>) -> Result<PathBuf, &str> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) => credentials.map(|folder| folder.join(name)).ok_or(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_a_file_or_a_credential() {
        let file = SecretReference::parse("file:/etc/pin").unwrap();
        assert_eq!(file.path(None), Ok(PathBuf::from("/etc/pin")));
        let credential = SecretReference::parse("credential:pin").unwrap();
        assert_eq!(credential.path(Some(Path::new("/run/c"))), Ok("/run/c/pin".into()));
        assert_eq!(credential.path(None), Err("pin"));
    }

    #[test]
    fn anything_else_is_refused_and_not_repeated() {
        for text in [
            "83521",
            "",
            "file:",
            "file:pin",
            "credential:",
            "credential:../83521",
            "credential:..",
            "env:X",
        ] {
            let error = SecretReference::parse(text).unwrap_err();
            assert!(!error.to_string().contains("83521"), "{text}");
        }
    }
}
