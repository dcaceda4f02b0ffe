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
    /// Basic system, behind an initrd without systemd, which measures no phase.
    PlainSysinit,
    /// The system is up, behind such an initrd.
    PlainReady,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Stub,
        Self::EnterInitrd,
        Self::LeaveInitrd,
        Self::Sysinit,
        Self::Ready,
        Self::PlainSysinit,
        Self::PlainReady,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::EnterInitrd => "enter-initrd",
            Self::LeaveInitrd => "leave-initrd",
            Self::Sysinit => "sysinit",
            Self::Ready => "ready",
            Self::PlainSysinit => "plain-sysinit",
            Self::PlainReady => "plain-ready",
        }
    }

    /// What has been measured when this phase is reached.
    pub(super) fn words(self) -> impl Iterator<Item = &'static str> {
        let words: &[&str] = match self {
            Self::Stub => &[],
            Self::EnterInitrd => &["enter-initrd"],
            Self::LeaveInitrd => &["enter-initrd", "leave-initrd"],
            Self::Sysinit => &["enter-initrd", "leave-initrd", "sysinit"],
            Self::Ready => &["enter-initrd", "leave-initrd", "sysinit", "ready"],
            Self::PlainSysinit => &["sysinit"],
            Self::PlainReady => &["sysinit", "ready"],
        };
        words.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An initrd without systemd leaves its two phases out, and nothing else (systemd issue 36947).
    #[test]
    fn a_plain_initrd_measures_no_phase() {
        let words = |phase: Phase| phase.words().collect::<Vec<_>>();
        assert_eq!(
            words(Phase::Ready),
            ["enter-initrd", "leave-initrd", "sysinit", "ready"]
        );
        assert_eq!(words(Phase::PlainReady), ["sysinit", "ready"]);
        assert_eq!(words(Phase::Sysinit), ["enter-initrd", "leave-initrd", "sysinit"]);
        assert_eq!(words(Phase::PlainSysinit), ["sysinit"]);
        assert!(words(Phase::Stub).is_empty());
    }
}
