//! Phases of a boot, which systemd-pcrphase measures into PCR 11.

use serde::Serialize;

/// How far a machine has come when it is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Nothing follows what the stub measured: no systemd measures its phases.
    Stub,
    /// In the initrd.
    EnterInitrd,
    /// On the way out of the initrd.
    LeaveInitrd,
    /// Basic system, before logins.
    Sysinit,
    /// The system is up.
    Ready,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Stub,
        Self::EnterInitrd,
        Self::LeaveInitrd,
        Self::Sysinit,
        Self::Ready,
    ];

    /// Its name, which systemd measures as it is.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::EnterInitrd => "enter-initrd",
            Self::LeaveInitrd => "leave-initrd",
            Self::Sysinit => "sysinit",
            Self::Ready => "ready",
        }
    }

    /// What has been measured when this phase is reached.
    pub(super) fn words(self) -> impl Iterator<Item = &'static str> {
        let reached = Self::ALL.into_iter().skip(1).filter(move |phase| *phase <= self);
        reached.map(Self::name)
    }
}
