//! Certificate revocation lists of TPM vendors.
//!
//! Reading and applying them is webpki's (RFC 5280 section 5: no delta lists, no indirect lists, no lists of some reasons
//! only). A list counts for a certificate if it is its issuer's, signed by the key that signed the certificate, in a path
//! that holds. Added here is what becomes of old lists: what a list revokes stays revoked, but that something is not in
//! it counts only while the list is fresh.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::TrustError;
use crate::der;

/// Largest file of lists, in bytes.
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// How far the issuer's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The lists at hand, and what it means where there is none.
#[derive(Debug, Clone, Default)]
pub struct Revocation {
    lists: Vec<Arc<List>>,
    /// Every certificate of a path, but the root's, must be covered by a fresh list.
    pub required: bool,
    /// How long a list is fresh beyond the time at which its issuer meant to replace it.
    pub grace: Duration,
}

#[derive(Debug)]
struct List {
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
            required,
            grace,
        }
    }

    /// Adds the lists of one file: one in DER, or any number in PEM. Of two lists of one issuer the newer stays.
    /// `name` is the file's name, for the error.
    ///
    /// # Errors
    /// [`TrustError::RevocationList`] when one of them cannot be used; nothing of the file is added.
    pub fn add(&mut self, name: &str, file: &[u8]) -> Result<(), TrustError> {
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
        let ders = if file.first() == Some(&0x30) {
            vec![CertificateRevocationListDer::from(file)]
        } else {
            let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(file).collect();
            lists.map_err(|error| unfit(format!("not PEM: {error}")))?
        };
        if ders.is_empty() {
            return Err(unfit("no revocation list in it".to_owned()));
        }
        let lists: Result<Vec<_>, _> = ders.iter().map(|der| read(der)).collect();
        for list in lists.map_err(unfit)? {
            self.put(Arc::new(list));
        }
        Ok(())
    }

    fn put(&mut self, list: Arc<List>) -> bool {
        let same = self
            .lists
            .iter_mut()
            .find(|held| held.crl.issuer() == list.crl.issuer());
        match same {
            Some(held) if list.is_older_than(held) => return false,
            Some(held) => *held = list,
            None => self.lists.push(list),
        }
        true
    }

    /// Keeps, of each issuer, the list that was held where the new one is older. Gives the issuers of those.
    pub fn keep_newer(&mut self, held: &Self) -> Vec<String> {
        let before = self.lists.clone();
        let mut kept = Vec::new();
        for list in &held.lists {
            let replaced = before.iter().find(|new| new.crl.issuer() == list.crl.issuer());
            if replaced.is_some_and(|new| new.is_older_than(list)) && self.put(Arc::clone(list)) {
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

    /// All lists, for what they revoke.
    pub(crate) fn all(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().map(|list| &list.crl).collect()
    }

    /// Those lists that are fresh.
    pub(crate) fn fresh(&self, now: u64) -> Vec<&CertRevocationList<'static>> {
        let fresh = self.lists.iter().filter(|list| list.is_fresh(self.grace, now));
        fresh.map(|list| &list.crl).collect()
    }
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
        crl: CertRevocationList::from(crl),
        issuer: parsed.issuer().to_string(),
        number,
        this_update: parsed.last_update().timestamp(),
        next_update: parsed.next_update().map(|time| time.timestamp()),
    })
}
