//! The trust domain's own X.509 authorities, as they are kept.

/// Where an authority stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorityState {
    /// In the bundle, not signing yet.
    Prepared,
    /// Signs.
    Active,
    /// No longer signs; stays in the bundle while what it signed is valid.
    Old,
}

impl AuthorityState {
    /// The state's name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Old => "old",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(text: &str) -> Option<Self> {
        [Self::Prepared, Self::Active, Self::Old]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A certificate of an X.509 authority, and the label of its key in the token. An authority that was renewed has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The key's label in the token.
    pub label: String,
    /// The self-signed certificate, DER; unique.
    pub certificate: Vec<u8>,
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// Where it stands.
    pub state: AuthorityState,
}
