//! The name of a trust domain.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{IdError, SpiffeId};

/// A trust domain name (SPIFFE-ID, section 2.1): 1 to 255 bytes of `[a-z0-9._-]`.
///
/// The name means nothing by itself: one that looks like an IP address or a DNS name is treated as
/// any other (ID-08). Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The longest name, in bytes (ID-15).
    pub const MAX_LEN: usize = 255;

    /// Reads a bare name such as `example.org` (no scheme, no path).
    ///
    /// # Errors
    /// When the name is empty, too long, or has a byte outside `[a-z0-9._-]`: often an upper-case
    /// letter, a port, or a full SPIFFE ID where only its name belongs.
    pub fn parse(name: &str) -> Result<Self, IdError> {
        if name.is_empty() {
            return Err(IdError::TrustDomainMissing);
        }
        if name.len() > Self::MAX_LEN {
            return Err(IdError::TrustDomainTooLong { len: name.len() });
        }
        match name.chars().find(|c| !is_name_char(*c)) {
            Some(found) => Err(IdError::TrustDomainChar { found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trust domain's own SPIFFE ID, which has no path: the id of its signing authority.
    #[must_use]
    pub fn id(&self) -> SpiffeId {
        SpiffeId::of_trust_domain(self)
    }
}

const fn is_name_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for TrustDomain {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::parse(name)
    }
}
