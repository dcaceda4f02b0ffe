//! Who has to say yes before a node becomes active, and who did.

use std::time::Duration;

use super::LifecycleError;

/// How many operators must approve a new node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Approvers {
    /// None: a TPM that proves itself and keeps the rules is enough.
    #[default]
    None,
    /// One.
    One,
    /// Two different ones.
    Two,
}

impl Approvers {
    /// As a number.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// One operator's yes to one TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// The operator: the user id of the process on the admin socket.
    pub uid: u32,
    /// SHA-256 of the EK's SPKI that was approved.
    pub ek_sha256: [u8; 32],
    /// When, in Unix seconds.
    pub at: i64,
}

/// The approvals of a node; at most one of each operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approvals(Vec<Approval>);

impl Approvals {
    /// No more are kept: more than are ever needed.
    pub const MAX: usize = 16;

    /// The approvals as they were kept. Of an operator's several the newest counts, once.
    #[must_use]
    pub fn new(kept: impl IntoIterator<Item = Approval>) -> Self {
        let mut approvals = Self::default();
        for approval in kept {
            approvals.put(approval);
        }
        approvals
    }

    /// All, also those that no longer count.
    #[must_use]
    pub fn all(&self) -> &[Approval] {
        &self.0
    }

    /// Those that count at `now` for this EK: given for it, within `lifetime`, and not in the future.
    pub fn in_force(&self, ek_sha256: &[u8; 32], now: i64, lifetime: Duration) -> impl Iterator<Item = &Approval> {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let ek_sha256 = *ek_sha256;
        self.0.iter().filter(move |approval| {
            approval.ek_sha256 == ek_sha256 && approval.at <= now && now.saturating_sub(approval.at) < lifetime
        })
    }

    /// Adds an operator's approval; one of theirs that has lapsed gives way.
    ///
    /// # Errors
    /// When the same operator's approval is still in force, or there are too many.
    pub fn approve(&mut self, new: Approval, lifetime: Duration) -> Result<(), LifecycleError> {
        if let Some(old) = self
            .in_force(&new.ek_sha256, new.at, lifetime)
            .find(|approval| approval.uid == new.uid)
        {
            return Err(LifecycleError::SameOperator {
                uid: old.uid,
                at: old.at,
            });
        }
        let still: Vec<Approval> = self.in_force(&new.ek_sha256, new.at, lifetime).copied().collect();
        if still.len() >= Self::MAX {
            return Err(LifecycleError::TooManyApprovals { count: still.len() });
        }
        self.0 = still;
        self.put(new);
        Ok(())
    }

    fn put(&mut self, new: Approval) {
        self.0.retain(|approval| approval.uid != new.uid);
        self.0.push(new);
    }
}
