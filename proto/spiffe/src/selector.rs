//! Selectors: verified facts about a node or a workload.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

use hallmark_reason::{Coded, ReasonCode};

/// One verified fact, as `type:value`: `unix:uid:0` has the type `unix` and the value `uid:0`. In the order of types, then of
/// values. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// `type:value`, in one piece: servers hold hundreds of thousands. The type has no colon.
    text: Arc<str>,
}

impl Selector {
    /// The longest type, in bytes.
    pub const MAX_KIND_LEN: usize = 255;
    /// The longest value, in bytes: twice the longest path that Linux has, with room for its label.
    pub const MAX_VALUE_LEN: usize = 8192;

    /// Builds a selector from its type and value.
    ///
    /// # Errors
    /// When either is empty or too long, or the type has a colon (it would read back as another selector).
    pub fn new(kind: &str, value: &str) -> Result<Self, SelectorError> {
        if kind.is_empty() {
            return Err(SelectorError::KindMissing);
        }
        if kind.contains(':') {
            return Err(SelectorError::KindColon { kind: kind.into() });
        }
        if value.is_empty() {
            return Err(SelectorError::ValueMissing { kind: kind.into() });
        }
        for (len, max) in [(kind.len(), Self::MAX_KIND_LEN), (value.len(), Self::MAX_VALUE_LEN)] {
            if len > max {
                return Err(SelectorError::TooLong { len, max });
            }
        }
        Ok(Self {
            text: format!("{kind}:{value}").into(),
        })
    }

    /// Reads `type:value`, split at the first colon.
    ///
    /// # Errors
    /// When there is no colon, or a part breaks a rule of [`Selector::new`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let (kind, value) = text.split_once(':').ok_or_else(|| SelectorError::NoColon {
            found: text.chars().take(64).collect(),
        })?;
        Self::new(kind, value)
    }

    /// The part before the first colon: who found the fact (`unix`, `tpm2`).
    #[must_use]
    pub fn kind(&self) -> &str {
        self.parts().0
    }

    /// The fact itself.
    #[must_use]
    pub fn value(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.text.split_once(':').unwrap_or_default()
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

/// Why something is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// No colon between type and value.
    #[error("a selector is written type:value")]
    NoColon {
        /// The beginning of what was given.
        found: String,
    },
    /// The type is empty.
    #[error("the selector has no type")]
    KindMissing,
    /// The type has a colon.
    #[error("the selector type {kind:?} has a colon")]
    KindColon {
        /// The type given.
        kind: String,
    },
    /// The value is empty.
    #[error("the selector of type {kind:?} has no value")]
    ValueMissing {
        /// The type given.
        kind: String,
    },
    /// Type or value is longer than its limit.
    #[error("the selector is too long")]
    TooLong {
        /// Length of the part, in bytes.
        len: usize,
        /// Its limit, in bytes.
        max: usize,
    },
}

impl Coded for SelectorError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::NoColon { .. } => ReasonCode::new("HM-ID-0020"),
            Self::KindMissing => ReasonCode::new("HM-ID-0021"),
            Self::KindColon { .. } => ReasonCode::new("HM-ID-0022"),
            Self::ValueMissing { .. } => ReasonCode::new("HM-ID-0023"),
            Self::TooLong { .. } => ReasonCode::new("HM-ID-0024"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::NoColon { found } => Some(format!("expected type:value, found {found:?}")),
            Self::TooLong { len, max } => Some(format!("{len} bytes, at most {max} allowed")),
            Self::KindMissing | Self::KindColon { .. } | Self::ValueMissing { .. } => None,
        }
    }
}
