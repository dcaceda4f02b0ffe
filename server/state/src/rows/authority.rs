//! The trust domain's own authorities, as they are kept, and the keys of servers below this one.

use hallmark_spiffe::SpiffeId;

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
    /// No longer signs, and what it signed is to be replaced: agents are told so.
    Tainted,
}

impl AuthorityState {
    /// The state's name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Old => "old",
            Self::Tainted => "tainted",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn from_name(text: &str) -> Option<Self> {
        [Self::Prepared, Self::Active, Self::Old, Self::Tainted]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A certificate of an X.509 authority, and the label of its key in the token. An authority that was renewed has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The key's label in the token.
    pub label: String,
    /// Its certificate, DER; unique.
    pub certificate: Vec<u8>,
    /// What stands above it, DER: each has signed the one before, the first of them this certificate, and the last is the root, which
    /// the bundle has. None: it is self-signed, and its certificate is in the bundle.
    pub upstream: Vec<Vec<u8>>,
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// Where it stands.
    pub state: AuthorityState,
}

/// A key that a server below this one signs JWT-SVIDs with, as it published it: the bundle has it, and nothing here signs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedJwtKey {
    /// What tokens name it by (`kid`); unique in the bundle, printable ASCII.
    pub key_id: String,
    /// The public key, a DER SubjectPublicKeyInfo; unique in the bundle.
    pub public_key: Vec<u8>,
    /// Who published it: the SPIFFE ID of an entry with `downstream`.
    pub publisher: SpiffeId,
    /// The agent that the publisher's SVID was issued through.
    pub agent: SpiffeId,
    /// When it was published, in Unix seconds.
    pub published_at: i64,
    /// When the last token that it signs ends, in Unix seconds.
    pub expires_at: i64,
}

/// A key that signs JWT-SVIDs: its public half, and the label of its private half in the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKey {
    /// What tokens name it by (`kid`); unique, printable ASCII.
    pub key_id: String,
    /// The key's label in the token.
    pub label: String,
    /// The public key, a DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// When the last token that it signs ends, in Unix seconds.
    pub expires_at: i64,
    /// Where it stands.
    pub state: AuthorityState,
}
