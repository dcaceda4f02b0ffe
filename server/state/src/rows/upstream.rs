//! What authorities above this server's say of the trust domain.

/// Where a root of the authority above stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamRootState {
    /// In the bundle: the authority above says that it is to be trusted.
    Current,
    /// In the bundle, since an authority of this server hangs on it; the authority above does not say it any more.
    Old,
    /// In the bundle, and what hangs on it is to be replaced: agents are told so.
    Tainted,
    /// Not in the bundle, whatever the authority above says: an operator has taken it out.
    Revoked,
}

impl UpstreamRootState {
    /// The state's name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Old => "old",
            Self::Tainted => "tainted",
            Self::Revoked => "revoked",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(text: &str) -> Option<Self> {
        [Self::Current, Self::Old, Self::Tainted, Self::Revoked]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A root of the authority above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRoot {
    /// The certificate, DER; unique.
    pub certificate: Vec<u8>,
    /// When it was first said, in Unix seconds.
    pub added_at: i64,
    /// Where it stands.
    pub state: UpstreamRootState,
}

/// A key that JWT-SVIDs of the trust domain are verified with, as the authority above says it. Nothing here signs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamJwtKey {
    /// What tokens name it by (`kid`); printable ASCII.
    pub key_id: String,
    /// The public key, a DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// When the last token that it signs ends, in Unix seconds; 0 where that is not said.
    pub expires_at: i64,
    /// Whether what it signed is to be replaced.
    pub tainted: bool,
}

/// All that the authority above says of the trust domain. Empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamBundle {
    /// Its roots, oldest first.
    pub roots: Vec<UpstreamRoot>,
    /// Its keys for JWT-SVIDs, without those of this server.
    pub jwt_keys: Vec<UpstreamJwtKey>,
}
