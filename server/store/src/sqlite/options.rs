//! How a store is opened.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hallmark_spiffe::TrustDomain;

use super::{exclusive::resolve, rollback::Acceptance};
use crate::StoreError;

/// Where the store lies, whose it is, and its limits.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    path: PathBuf,
    trust_domain: TrustDomain,
    busy_timeout: Duration,
    size_limit: Option<u64>,
    acceptance: Option<Acceptance>,
}

impl SqliteOptions {
    /// The file at `path`, for `trust_domain`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, trust_domain: TrustDomain) -> Self {
        Self {
            path: path.into(),
            trust_domain,
            busy_timeout: Duration::from_secs(5),
            size_limit: None,
            acceptance: None,
        }
    }

    /// How long to wait for another program's lock. 5 s unless set.
    #[must_use]
    pub const fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// The database's largest size in bytes; reaching it counts as a full disk. No limit unless set.
    #[must_use]
    pub const fn size_limit(mut self, bytes: u64) -> Self {
        self.size_limit = Some(bytes);
        self
    }

    /// Opens a store also where its journal does not have all that the mark beside it says, and puts that on record: `by`
    /// accepts it for this reason.
    #[must_use]
    pub fn accept_rollback(mut self, by: impl Into<String>, reason: impl Into<String>) -> Self {
        self.acceptance = Some(Acceptance {
            by: by.into(),
            reason: reason.into(),
        });
        self
    }

    pub(super) const fn acceptance(&self) -> Option<&Acceptance> {
        self.acceptance.as_ref()
    }

    /// The same, for the file itself, whatever links lead to it; the file is made where it is missing.
    pub(super) fn resolved(&self) -> Result<Self, StoreError> {
        Ok(Self {
            path: resolve(&self.path)?,
            ..self.clone()
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub(super) const fn wait(&self) -> Duration {
        self.busy_timeout
    }

    pub(super) const fn limit(&self) -> Option<u64> {
        self.size_limit
    }
}
