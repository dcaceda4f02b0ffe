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
                let named = (policy.name.clone(), policy.serial);
                self.apply(policy);
                named
            }
            FileKind::Baseline => {
                let baseline = Baseline::from_json(text)?;
                let named = (baseline.name.clone(), baseline.serial);
                self.add_baseline(baseline);
                named
            }
            FileKind::DigestList => {
                let list = DigestList::from_json(text)?;
                let named = (list.name.clone(), list.serial);
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

impl Coded for RuleFileError {
    fn code(&self) -> ReasonCode {
        self.inner().map_or(ReasonCode::new("HM-POLICY-0407"), Coded::code)
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::NotText => None,
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
