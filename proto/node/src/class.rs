//! What kind of TPM it is.

/// The kind of TPM: as its EK certificate tells it, or as operators state it. It says how the TPM is built, not that it is
/// good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TpmClass {
    /// A chip of its own.
    Discrete,
    /// Firmware inside the CPU or chipset (Intel PTT, AMD fTPM, Qualcomm, Microsoft Pluton).
    Firmware,
    /// Part of a cloud or hypervisor vendor's platform.
    Virtual,
    /// A software TPM for development; whoever runs it can copy its keys.
    Simulator,
    /// No verified certificate says anything; the EK was enrolled by the inventory.
    Unknown,
}

impl TpmClass {
    /// Lower-case name, as in configuration and selectors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discrete => "discrete",
            Self::Firmware => "firmware",
            Self::Virtual => "virtual",
            Self::Simulator => "simulator",
            Self::Unknown => "unknown",
        }
    }

    /// The class of a name that [`as_str`](Self::as_str) gives; `None` for any other.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Discrete,
            Self::Firmware,
            Self::Virtual,
            Self::Simulator,
            Self::Unknown,
        ]
        .into_iter()
        .find(|class| class.as_str() == name)
    }
}

impl std::fmt::Display for TpmClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_round() {
        for name in ["discrete", "firmware", "virtual", "simulator", "unknown"] {
            assert_eq!(TpmClass::from_name(name).map(TpmClass::as_str), Some(name));
        }
        assert_eq!(TpmClass::from_name("Discrete"), None);
    }
}
