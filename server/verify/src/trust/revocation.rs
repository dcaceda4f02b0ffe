//! Certificate revocation lists of TPM vendors.
//!
//! Reading and applying them is webpki's (RFC 5280 section 5: no delta lists, no indirect lists, no lists of some reasons
//! only). A list counts for a certificate if it is its issuer's, signed by the key that signed the certificate, in a path
//! that holds. Added here is what becomes of old lists: what a list revokes stays revoked, but that something is not in
//! it counts only while the list is fresh.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hallmark_der::SectionKind;
use rustls_pki_types::UnixTime;
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::TrustError;
use crate::fingerprint::sha256;
use hallmark_der as der;

/// Largest file of lists, in bytes.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// How far the issuer's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The lists at hand, and what it means where there is none.
#[derive(Debug, Clone, Default)]
pub struct Revocation {
    /// The newest of each issuer, by what the lists say of themselves.
    lists: Vec<Arc<List>>,
    /// The newest but one: what counts where the newest is not signed as it must be. Anybody can write a list with a high
    /// number; it shall not put the vendor's own out of force.
    behind: Vec<Arc<List>>,
    /// Every certificate of a path, but the root's, must be covered by a fresh list.
    pub required: bool,
    /// How long a list is fresh beyond the time at which its issuer meant to replace it.
    pub grace: Duration,
}

#[derive(Debug)]
struct List {
    sha256: [u8; 32],
    crl: CertRevocationList<'static>,
    issuer: String,
    /// Big-endian, without zeros in front. A list without a number is older than any with one.
    number: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
}

impl List {
    fn is_older_than(&self, other: &Self) -> bool {
        let age = |list: &Self| (list.number.len(), list.number.clone(), list.this_update);
        age(self) < age(other)
    }

    /// One that was made in times to come says nothing of now.
    fn is_fresh(&self, grace: Duration, now: u64) -> bool {
        let made = u64::try_from(self.this_update).unwrap_or(0);
        if made > now.saturating_add(CLOCK_SKEW.as_secs()) {
            return false;
        }
        let until = self.next_update.and_then(|until| u64::try_from(until).ok());
        until.is_some_and(|until| now <= until.saturating_add(grace.as_secs()))
    }
}

impl Revocation {
    /// No list yet.
    #[must_use]
    pub const fn new(required: bool, grace: Duration) -> Self {
        Self {
            lists: Vec::new(),
            behind: Vec::new(),
            required,
            grace,
        }
    }

    /// Adds the lists of one file, in any form that [`hallmark_der::objects`] reads. Of two lists of one issuer the newer
    /// stays. Gives how many there are in the file. `name` is the file's name, for the error.
    ///
    /// # Errors
    /// [`TrustError::RevocationList`] when one of them cannot be used; nothing of the file is added.
    pub fn add(&mut self, name: &str, file: &[u8]) -> Result<usize, TrustError> {
        let unfit = |reason: String| TrustError::RevocationList {
            file: name.to_owned(),
            reason,
        };
        if file.len() > MAX_FILE_BYTES {
            return Err(unfit(format!(
                "{} bytes, at most {MAX_FILE_BYTES} are read",
                file.len()
            )));
        }
        let ders = hallmark_der::objects(file, SectionKind::Crl).map_err(|error| unfit(error.to_string()))?;
        let lists: Result<Vec<_>, _> = ders.iter().map(|der| read(der)).collect();
        for list in lists.map_err(unfit)? {
            self.put(Arc::new(list));
        }
        Ok(ders.len())
    }

    /// Whether it became the newest of its issuer.
    fn put(&mut self, list: Arc<List>) -> bool {
        let Some(held) = of_issuer(&mut self.lists, &list) else {
            self.lists.push(list);
            return true;
        };
        if held.sha256 == list.sha256 {
            return true;
        }
        let is_newest = !list.is_older_than(held);
        let second = if is_newest { std::mem::replace(held, list) } else { list };
        match of_issuer(&mut self.behind, &second) {
            Some(held) if second.is_older_than(held) => {}
            Some(held) => *held = second,
            None => self.behind.push(second),
        }
        is_newest
    }

    /// Keeps, of each issuer, the list that was held where the new one is older. Gives the issuers of those.
    pub fn keep_newer(&mut self, held: &Self) -> Vec<String> {
        let offered = self.lists.clone();
        let mut kept = Vec::new();
        for list in held.lists.iter().chain(&held.behind) {
            let Some(new) = offered.iter().find(|new| new.crl.issuer() == list.crl.issuer()) else {
                continue;
            };
            if self.put(Arc::clone(list)) && new.is_older_than(list) {
                kept.push(list.issuer.clone());
            }
        }
        kept
    }

    /// How many lists there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// The SHA-256 of each list that can count, with its issuer.
    pub fn digests(&self) -> impl Iterator<Item = (&str, &[u8; 32])> {
        let lists = self.lists.iter().chain(&self.behind);
        lists.map(|list| (list.issuer.as_str(), &list.sha256))
    }

    /// The issuers of the lists that are not fresh at `now`.
    #[must_use]
    pub fn stale(&self, now: SystemTime) -> Vec<&str> {
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let stale = self
            .lists
            .iter()
            .filter(|list| !list.is_fresh(self.grace, now.as_secs()));
        stale.map(|list| list.issuer.as_str()).collect()
    }

    /// When lists begin and cease to be fresh, in Unix seconds.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> {
        let skew = i64::try_from(CLOCK_SKEW.as_secs()).unwrap_or_default();
        let grace = i64::try_from(self.grace.as_secs()).unwrap_or(i64::MAX);
        let lists = self.lists.iter().chain(&self.behind);
        lists.flat_map(move |list| {
            let end = list.next_update.map(|end| end.saturating_add(grace));
            [Some(list.this_update.saturating_sub(skew)), end].into_iter().flatten()
        })
    }

    /// The newest list of each issuer, and then these again with one of them replaced by the one behind it. Each is a
    /// choice under which a path may be looked at: the first that is signed as it must be counts.
    pub(crate) fn choices(&self) -> impl Iterator<Item = Choice<'_>> {
        let replaced = self.behind.iter().map(|list| Some(list.as_ref()));
        std::iter::once(None).chain(replaced).map(|instead| Choice {
            revocation: self,
            instead,
        })
    }
}

/// One list of each issuer.
pub(crate) struct Choice<'a> {
    revocation: &'a Revocation,
    instead: Option<&'a List>,
}

impl<'a> Choice<'a> {
    /// For what they revoke.
    pub(crate) fn all(&self) -> Vec<&'a CertRevocationList<'static>> {
        self.lists().map(|list| &list.crl).collect()
    }

    /// Those that are fresh.
    pub(crate) fn fresh(&self, now: u64) -> Vec<&'a CertRevocationList<'static>> {
        let grace = self.revocation.grace;
        let fresh = self.lists().filter(|list| list.is_fresh(grace, now));
        fresh.map(|list| &list.crl).collect()
    }

    fn lists(&self) -> impl Iterator<Item = &'a List> {
        let instead = self.instead;
        self.revocation.lists.iter().map(move |newest| {
            let replaced = instead.filter(|list| list.crl.issuer() == newest.crl.issuer());
            replaced.unwrap_or(newest)
        })
    }
}

fn of_issuer<'a>(lists: &'a mut [Arc<List>], list: &List) -> Option<&'a mut Arc<List>> {
    lists.iter_mut().find(|held| held.crl.issuer() == list.crl.issuer())
}

/// How webpki is to look at lists: at every certificate of the path, and at no list's own end, which is looked at here.
pub(crate) fn options<'a>(lists: &'a [&'a CertRevocationList<'a>], must_know: bool) -> Option<RevocationOptions<'a>> {
    let unknown = if must_know {
        UnknownStatusPolicy::Deny
    } else {
        UnknownStatusPolicy::Allow
    };
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        options
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(unknown)
            .with_expiration_policy(ExpirationPolicy::Ignore)
            .build(),
    )
}

fn read(bytes: &[u8]) -> Result<List, String> {
    der::check(bytes).map_err(|fault| format!("not DER: {fault}"))?;
    let crl = OwnedCertRevocationList::from_der(bytes).map_err(|error| format!("not a usable list: {error}"))?;
    let (_, parsed) = CertificateRevocationList::from_der(bytes).map_err(|error| format!("not a list: {error}"))?;
    let number = parsed
        .crl_number()
        .map(|number| number.to_bytes_be())
        .unwrap_or_default();
    Ok(List {
        sha256: sha256(bytes),
        crl: CertRevocationList::from(crl),
        issuer: parsed.issuer().to_string(),
        number,
        this_update: parsed.last_update().timestamp(),
        next_update: parsed.next_update().map(|time| time.timestamp()),
    })
}
