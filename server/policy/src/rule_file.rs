//! Policies, baselines and lists of digests as files: how one joins what is in force.

use hallmark_reason::{Coded, ReasonCode};

use crate::baseline::{Baseline, BaselineError};
use crate::ima::{DigestList, DigestListError};
use crate::policy::{Policy, PolicyError};
use crate::set::PolicySet;
use crate::signed::FileKind;

/// Why a file is not of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFileError {
    /// It is no text.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// Its serial number leaves none for later ones.
    #[error("the serial number is too large")]
    Serial {
        /// The number.
        found: u64,
    },
    /// It is no policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It is no baseline.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// It is no list of digests.
    #[error(transparent)]
    DigestList(#[from] DigestListError),
}

impl PolicySet {
    /// Puts what a file holds in force, in the place of what has its name, and gives that name and its serial number.
    /// `file` is the file's name, for errors.
    ///
    /// # Errors
    /// The file is not of its kind; then nothing was changed.
    pub fn add_file(&mut self, kind: FileKind, file: &str, content: &[u8]) -> Result<(String, u64), RuleFileError> {
        let text = std::str::from_utf8(content).map_err(|_| RuleFileError::NotText)?;
        Ok(match kind {
            FileKind::Policy => {
                let policy = Policy::from_toml(file, text)?;
                let named = named(&policy.name, policy.serial)?;
                self.apply(policy);
                named
            }
            FileKind::Baseline => {
                let baseline = Baseline::from_json(text)?;
                let named = named(&baseline.name, baseline.serial)?;
                self.add_baseline(baseline);
                named
            }
            FileKind::DigestList => {
                let list = DigestList::from_json(text)?;
                let named = named(&list.name, list.serial)?;
                self.add_digest_list(list);
                named
            }
        })
    }

    /// Takes what has this name out of force.
    pub fn remove_file(&mut self, kind: FileKind, name: &str) {
        match kind {
            FileKind::Policy => drop(self.withdraw(name)),
            FileKind::Baseline => drop(self.remove_baseline(name)),
            FileKind::DigestList => drop(self.remove_digest_list(name)),
        }
    }
}

/// The largest serial number: a later one has to fit, and whoever reads JSON has to read both exactly.
const MAX_SERIAL: u64 = 1 << 53;

fn named(name: &str, serial: u64) -> Result<(String, u64), RuleFileError> {
    match serial {
        0..MAX_SERIAL => Ok((name.to_owned(), serial)),
        found => Err(RuleFileError::Serial { found }),
    }
}

impl Coded for RuleFileError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Serial { .. } => ReasonCode::new("HM-POLICY-0435"),
            _ => self.inner().map_or(ReasonCode::new("HM-POLICY-0407"), Coded::code),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Serial { found } => Some(format!("expected less than {MAX_SERIAL}, got {found}")),
            _ => self.inner()?.compared(),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::NotText | Self::Serial { .. } => None,
            Self::Policy(error) => Some(error),
            Self::Baseline(error) => Some(error),
            Self::DigestList(error) => Some(error),
        }
    }
}

/// A text without the mark of UTF-8 that some editors write before it, and nobody sees.
pub(crate) fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_leaves_room_for_later_ones() {
        let policy =
            |serial: u64| format!("version = 1\nname = \"p\"\nserial = {serial}\n[boot]\nsecure_boot = true\n");
        for (serial, is_taken) in [
            (1, true),
            (MAX_SERIAL - 1, true),
            (MAX_SERIAL, false),
            (i64::MAX.unsigned_abs(), false),
        ] {
            let mut set = PolicySet::default();
            let added = set.add_file(FileKind::Policy, "p", policy(serial).as_bytes());
            assert_eq!(added.is_ok(), is_taken, "{serial}: {added:?}");
            if let Err(error) = added {
                assert_eq!(error.code().as_str(), "HM-POLICY-0435");
            }
        }
    }
}
