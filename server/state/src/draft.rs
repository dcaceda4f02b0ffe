//! What a caller asks to be registered, and the rules it must keep.

use std::{collections::BTreeSet, time::Duration};

use hallmark_reason::misleading;
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};

use crate::{Entry, EntryError, EntryId, entry_load::most_bytes};

/// An entry as a caller wrote it: ids and selectors have been read, nothing else has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDraft {
    /// What may be held.
    pub spiffe_id: SpiffeId,
    /// Below whom.
    pub parent_id: SpiffeId,
    /// The selectors, in the caller's order, perhaps repeated.
    pub selectors: Vec<Selector>,
    /// Seconds; 0 for the server's default.
    pub x509_svid_ttl: i32,
    /// Seconds; 0 for the server's default.
    pub jwt_svid_ttl: i32,
    /// Trust domains to federate with.
    pub federates_with: Vec<TrustDomain>,
    /// See [`Entry::admin`].
    pub admin: bool,
    /// See [`Entry::downstream`].
    pub downstream: bool,
    /// Unix seconds; 0 for never.
    pub expires_at: i64,
    /// DNS names for the X509-SVID.
    pub dns_names: Vec<String>,
    /// See [`Entry::store_svid`].
    pub store_svid: bool,
    /// See [`Entry::hint`].
    pub hint: String,
    /// See [`Entry::disable_x509_svid_prefetch`].
    pub disable_x509_svid_prefetch: bool,
    /// See [`Entry::jwt_svid_include_jti`].
    pub jwt_svid_include_jti: bool,
}

impl EntryDraft {
    /// The longest hint, in bytes (SPIFFE Workload API, section 8).
    pub const MAX_HINT_LEN: usize = 1024;
    /// The most selectors of one entry.
    pub const MAX_SELECTORS: usize = 256;
    /// The most DNS names of one entry.
    pub const MAX_DNS_NAMES: usize = 256;
    /// The most that one entry may take in a message, in bytes: agents and tools read messages of 4 MiB, and none of them can
    /// be helped with an entry that does not fit one.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// A draft with the three things that every entry has, and nothing more.
    #[must_use]
    pub const fn new(spiffe_id: SpiffeId, parent_id: SpiffeId, selectors: Vec<Selector>) -> Self {
        Self {
            spiffe_id,
            parent_id,
            selectors,
            x509_svid_ttl: 0,
            jwt_svid_ttl: 0,
            federates_with: Vec::new(),
            admin: false,
            downstream: false,
            expires_at: 0,
            dns_names: Vec::new(),
            store_svid: false,
            hint: String::new(),
            disable_x509_svid_prefetch: false,
            jwt_svid_include_jti: false,
        }
    }

    /// Checks every rule and makes a new entry, created `now` (Unix seconds) with the id `id`.
    /// `bundle_known` says whether the server has the bundle of a trust domain.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn validate(
        self,
        trust_domain: &TrustDomain,
        bundle_known: impl Fn(&TrustDomain) -> bool,
        id: EntryId,
        now: i64,
    ) -> Result<Entry, EntryError> {
        self.check(trust_domain, bundle_known)?;
        Ok(self.into_entry(id, 0, now))
    }

    /// Checks every rule and makes the next revision of `existing`, whose id and time of creation stay.
    ///
    /// # Errors
    /// The first rule broken.
    pub fn revise(
        self,
        existing: &Entry,
        trust_domain: &TrustDomain,
        bundle_known: impl Fn(&TrustDomain) -> bool,
    ) -> Result<Entry, EntryError> {
        self.check(trust_domain, bundle_known)?;
        let revision = existing.revision.saturating_add(1);
        let entry = self.into_entry(existing.id.clone(), revision, existing.created_at);
        Ok(Entry {
            over_tls: existing.over_tls,
            ..entry
        })
    }

    /// Checks every rule.
    pub(crate) fn check(
        &self,
        trust_domain: &TrustDomain,
        bundle_known: impl Fn(&TrustDomain) -> bool,
    ) -> Result<(), EntryError> {
        let bytes = self.most_bytes();
        if bytes > Self::MAX_BYTES {
            return Err(EntryError::TooLarge { bytes });
        }
        check_spiffe_id(&self.spiffe_id, trust_domain)?;
        if !self.parent_id.is_member_of(trust_domain) {
            return Err(EntryError::ForeignParent {
                trust_domain: trust_domain.clone(),
                found: self.parent_id.clone(),
            });
        }
        self.check_selectors()?;
        for seconds in [self.x509_svid_ttl, self.jwt_svid_ttl] {
            if seconds < 0 {
                return Err(EntryError::NegativeTtl { seconds });
            }
        }
        if self.expires_at < 0 {
            return Err(EntryError::NegativeExpiry { at: self.expires_at });
        }
        if self.hint.len() > Self::MAX_HINT_LEN {
            return Err(EntryError::HintTooLong { len: self.hint.len() });
        }
        if let Some(found) = misleading(&self.hint) {
            return Err(EntryError::HintCharacter { found });
        }
        check_dns_names(&self.dns_names)?;
        for foreign in &self.federates_with {
            if foreign == trust_domain {
                return Err(EntryError::FederatesWithItself);
            }
            if !bundle_known(foreign) {
                return Err(EntryError::BundleUnknown {
                    trust_domain: foreign.clone(),
                });
            }
        }
        Ok(())
    }

    fn most_bytes(&self) -> usize {
        let ids = [&self.spiffe_id, &self.parent_id];
        most_bytes(ids, &self.selectors, &self.dns_names, &self.federates_with, &self.hint)
    }

    fn check_selectors(&self) -> Result<(), EntryError> {
        let first = self.selectors.first().ok_or(EntryError::NoSelectors)?;
        if self.selectors.len() > Self::MAX_SELECTORS {
            return Err(EntryError::TooManySelectors {
                count: self.selectors.len(),
            });
        }
        if !self.store_svid {
            return Ok(());
        }
        if let Some(other) = self.selectors.iter().find(|selector| selector.kind() != first.kind()) {
            return Err(EntryError::StoredWithTwoKinds {
                first: first.kind().into(),
                other: other.kind().into(),
            });
        }
        if self.disable_x509_svid_prefetch {
            Err(EntryError::StoredWithoutPrefetch)
        } else {
            Ok(())
        }
    }

    fn into_entry(self, id: EntryId, revision: i64, created_at: i64) -> Entry {
        let seconds = |ttl: i32| Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        Entry {
            id,
            spiffe_id: self.spiffe_id,
            parent_id: self.parent_id,
            selectors: self.selectors.into_iter().collect(),
            x509_svid_ttl: seconds(self.x509_svid_ttl),
            jwt_svid_ttl: seconds(self.jwt_svid_ttl),
            federates_with: self.federates_with.into_iter().collect(),
            admin: self.admin,
            downstream: self.downstream,
            expires_at: (self.expires_at != 0).then_some(self.expires_at),
            dns_names: self.dns_names,
            revision,
            store_svid: self.store_svid,
            hint: self.hint,
            created_at,
            disable_x509_svid_prefetch: self.disable_x509_svid_prefetch,
            jwt_svid_include_jti: self.jwt_svid_include_jti,
            over_tls: false,
        }
    }
}

/// The draft that would make this entry again: what an update starts from before it changes single fields.
impl From<&Entry> for EntryDraft {
    fn from(entry: &Entry) -> Self {
        let seconds = |ttl: Duration| i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX);
        Self {
            spiffe_id: entry.spiffe_id.clone(),
            parent_id: entry.parent_id.clone(),
            selectors: entry.selectors.iter().cloned().collect(),
            x509_svid_ttl: seconds(entry.x509_svid_ttl),
            jwt_svid_ttl: seconds(entry.jwt_svid_ttl),
            federates_with: entry.federates_with.iter().cloned().collect(),
            admin: entry.admin,
            downstream: entry.downstream,
            expires_at: entry.expires_at.unwrap_or(0),
            dns_names: entry.dns_names.clone(),
            store_svid: entry.store_svid,
            hint: entry.hint.clone(),
            disable_x509_svid_prefetch: entry.disable_x509_svid_prefetch,
            jwt_svid_include_jti: entry.jwt_svid_include_jti,
        }
    }
}

/// An id that may be given to a workload: of this trust domain, with a path, and not one of those kept for
/// servers and agents.
pub(crate) fn check_spiffe_id(id: &SpiffeId, trust_domain: &TrustDomain) -> Result<(), EntryError> {
    if !id.is_member_of(trust_domain) {
        return Err(EntryError::ForeignId {
            trust_domain: trust_domain.clone(),
            found: id.clone(),
        });
    }
    if id.path().is_empty() {
        return Err(EntryError::IdWithoutPath);
    }
    if id.is_reserved() {
        return Err(EntryError::ReservedId { found: id.clone() });
    }
    Ok(())
}

/// RFC 1123, section 2.1: labels of letters, digits and inner hyphens, at most 63 bytes each and 253 in all.
/// A leftmost label `*` is allowed above at least one other (RFC 6125, section 6.4.3).
pub(crate) fn check_dns_names(names: &[String]) -> Result<(), EntryError> {
    if names.len() > EntryDraft::MAX_DNS_NAMES {
        return Err(EntryError::TooManyDnsNames { count: names.len() });
    }
    let mut seen = BTreeSet::new();
    for name in names {
        let labels = name.strip_prefix("*.").unwrap_or(name);
        if name.len() > 253 || !labels.split('.').all(is_label) {
            let name = name.chars().take(254).collect();
            return Err(EntryError::DnsName { name });
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(EntryError::DnsNameTwice { name: name.clone() });
        }
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !label.is_empty()
        && label.len() <= 63
        && label.chars().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
