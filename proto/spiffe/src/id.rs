//! The SPIFFE ID.

use std::{cmp::Ordering, fmt, hash::Hash, str::FromStr, sync::Arc};

use hallmark_reason::{Coded, ReasonCode};

use crate::TrustDomain;

const SCHEME: &str = "spiffe://";

/// A SPIFFE ID (SPIFFE-ID, section 2): `spiffe://` trust domain, then a path of zero or more segments.
///
/// Compared byte by byte, the path with its case (ID-16, ID-17). Cloning is cheap.
#[derive(Clone)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// The longest id, in bytes with its scheme (ID-13, ID-14).
    pub const MAX_LEN: usize = 2048;

    /// Reads a full id such as `spiffe://example.org/web`.
    ///
    /// # Errors
    /// An [`IdError`] that names the rule broken; nothing is repaired on the way (no lower-casing, no
    /// percent-decoding, no trailing slash dropped).
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() > Self::MAX_LEN {
            return Err(IdError::TooLong { len: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdError::Scheme)?;
        let (name, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let trust_domain = TrustDomain::parse(name)?;
        check_path(path)?;
        Ok(Self {
            text: text.into(),
            trust_domain,
        })
    }

    /// Builds an id from its two parts. `path` is empty, or `/` and segments: `/a/b`.
    ///
    /// # Errors
    /// When the path breaks a rule of section 2.2 or the whole id is longer than 2048 bytes.
    pub fn new(trust_domain: &TrustDomain, path: &str) -> Result<Self, IdError> {
        check_path(path)?;
        let len = SCHEME.len() + trust_domain.as_str().len() + path.len();
        if len > Self::MAX_LEN {
            return Err(IdError::TooLong { len });
        }
        let text = format!("{SCHEME}{trust_domain}{path}").into();
        Ok(Self {
            text,
            trust_domain: trust_domain.clone(),
        })
    }

    /// The id without a path; it needs no check, as a trust domain is already checked.
    pub(crate) fn of_trust_domain(trust_domain: &TrustDomain) -> Self {
        Self {
            text: format!("{SCHEME}{trust_domain}").into(),
            trust_domain: trust_domain.clone(),
        }
    }

    /// The trust domain that the id belongs to.
    #[must_use]
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The same id, which holds `name` in the place of its own copy of the trust domain's name, where the two are equal: of
    /// many ids that were read one by one, each has a copy.
    #[must_use]
    pub fn with_shared_name(self, name: &TrustDomain) -> Self {
        if self.trust_domain != *name {
            return self;
        }
        Self {
            trust_domain: name.clone(),
            ..self
        }
    }

    /// The path with its leading slash, or an empty string.
    #[must_use]
    pub fn path(&self) -> &str {
        let start = SCHEME.len() + self.trust_domain.as_str().len();
        self.text.get(start..).unwrap_or_default()
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the id belongs to `trust_domain`.
    #[must_use]
    pub fn is_member_of(&self, trust_domain: &TrustDomain) -> bool {
        self.trust_domain == *trust_domain
    }

    /// Whether the path is `/spire` or lies below it: names kept for the infrastructure itself.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.path() == "/spire" || self.path().starts_with("/spire/")
    }
}

/// Section 2.2: segments of `[A-Za-z0-9._-]`, none empty, none `.` or `..`, no trailing slash.
fn check_path(path: &str) -> Result<(), IdError> {
    if path.is_empty() {
        return Ok(());
    }
    let segments = path.strip_prefix('/').ok_or(IdError::NoLeadingSlash)?;
    if path.ends_with('/') {
        return Err(IdError::TrailingSlash);
    }
    segments.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), IdError> {
    if segment.is_empty() {
        return Err(IdError::EmptySegment);
    }
    if segment == "." || segment == ".." {
        return Err(IdError::DotSegment);
    }
    match segment.chars().find(|c| !is_path_char(*c)) {
        Some(found) => Err(IdError::PathChar { found }),
        None => Ok(()),
    }
}

const fn is_path_char(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_')
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for SpiffeId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SpiffeId {}

impl PartialOrd for SpiffeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SpiffeId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for SpiffeId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// So that maps keyed by a `SpiffeId` can be asked with a plain string.
impl std::borrow::Borrow<str> for SpiffeId {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

/// Why a text is no SPIFFE ID or no trust domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// It does not start with `spiffe://` (ID-01).
    #[error("a SPIFFE ID starts with spiffe://")]
    Scheme,
    /// The trust domain name is empty (ID-02).
    #[error("the trust domain name is empty")]
    TrustDomainMissing,
    /// The trust domain name is longer than 255 bytes (ID-15).
    #[error("the trust domain name is too long")]
    TrustDomainTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside `[a-z0-9._-]` in the trust domain name (ID-03 to ID-08).
    #[error("the trust domain name has the character {found:?}")]
    TrustDomainChar {
        /// The first such character.
        found: char,
    },
    /// The id is longer than 2048 bytes (ID-13, ID-14).
    #[error("the SPIFFE ID is too long")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A path, given by itself, that does not start with a slash.
    #[error("the path does not start with a slash")]
    NoLeadingSlash,
    /// The id ends with a slash (ID-11).
    #[error("the SPIFFE ID ends with a slash")]
    TrailingSlash,
    /// Two slashes follow each other (ID-10).
    #[error("the path has an empty segment")]
    EmptySegment,
    /// A segment is `.` or `..` (ID-10).
    #[error("the path has a segment that is only dots")]
    DotSegment,
    /// A character outside `[A-Za-z0-9._-]` in the path (ID-03, ID-09, ID-12).
    #[error("the path has the character {found:?}")]
    PathChar {
        /// The first such character.
        found: char,
    },
}

impl Coded for IdError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Scheme => ReasonCode::new("HM-ID-0001"),
            Self::TrustDomainMissing => ReasonCode::new("HM-ID-0002"),
            Self::TrustDomainTooLong { .. } => ReasonCode::new("HM-ID-0003"),
            Self::TrustDomainChar { .. } => ReasonCode::new("HM-ID-0004"),
            Self::TooLong { .. } => ReasonCode::new("HM-ID-0005"),
            Self::NoLeadingSlash => ReasonCode::new("HM-ID-0006"),
            Self::TrailingSlash => ReasonCode::new("HM-ID-0007"),
            Self::EmptySegment => ReasonCode::new("HM-ID-0008"),
            Self::DotSegment => ReasonCode::new("HM-ID-0009"),
            Self::PathChar { .. } => ReasonCode::new("HM-ID-0010"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::TrustDomainTooLong { len } => Some(format!("{len} bytes, at most {} allowed", TrustDomain::MAX_LEN)),
            Self::TooLong { len } => Some(format!("{len} bytes, at most {} allowed", SpiffeId::MAX_LEN)),
            Self::TrustDomainChar { found } => Some(format!("found {found:?}, allowed are a-z 0-9 . - _")),
            Self::PathChar { found } => Some(format!("found {found:?}, allowed are A-Z a-z 0-9 . - _")),
            _ => None,
        }
    }

    fn precise_cause(&self) -> Option<String> {
        let cause = match self {
            Self::TrustDomainChar { found: ':' } => {
                "a port, or a whole SPIFFE ID where only the trust domain's name belongs"
            }
            Self::TrustDomainChar { found: '@' } => "a user name before the trust domain",
            Self::TrustDomainChar { found } if found.is_ascii_uppercase() => "trust domain names are lower case",
            Self::TrustDomainChar { found: '%' } | Self::PathChar { found: '%' } => {
                "percent-encoding is not part of SPIFFE IDs"
            }
            Self::PathChar { found: '?' | '#' } => "a query or fragment, as of a web address",
            _ => return None,
        };
        Some(cause.into())
    }
}
