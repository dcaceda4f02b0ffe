//! Which DNS names an administrator may have certified by hand.

use std::{fmt, str::FromStr};

use hallmark_spiffe::SpiffeId;

use crate::{EntryError, GrantError, Registry, draft::check_dns_names};

/// DNS names that may be minted, whatever entries say: single names, and `*.` before a name for all that are below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsNameRules(Vec<DnsNameRule>);

/// One of [`DnsNameRules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsNameRule(String);

impl FromStr for DnsNameRule {
    type Err = EntryError;

    /// # Errors
    /// When it is no DNS name, nor one behind `*.`.
    fn from_str(text: &str) -> Result<Self, EntryError> {
        check_dns_names(&[text.to_owned()])?;
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsNameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl DnsNameRule {
    /// Whether a name, in lower case, is this one or below it.
    fn allows(&self, name: &str) -> bool {
        match self.0.strip_prefix('*') {
            // The rule's own text, as a name, is a wildcard certificate's: it is below the same name.
            Some(below) => name.len() > below.len() && name.ends_with(below),
            None => name == self.0,
        }
    }
}

impl FromIterator<DnsNameRule> for DnsNameRules {
    fn from_iter<T: IntoIterator<Item = DnsNameRule>>(rules: T) -> Self {
        Self(rules.into_iter().collect())
    }
}

impl DnsNameRules {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names among `names` that neither a rule nor an entry allows for `id` at `now` (Unix seconds): the first of them is
    /// refused. Entries that have expired, or that an administrator wrote over TLS, allow none: nobody gives himself a name.
    ///
    /// # Errors
    /// [`GrantError::DnsNameNotAllowed`].
    pub fn check(&self, registry: &Registry, id: &SpiffeId, names: &[String], now: i64) -> Result<(), GrantError> {
        let given = |name: &str| {
            let mut entries = registry.of_id(id).filter(|it| !it.over_tls && !it.is_expired(now));
            entries.any(|entry| entry.dns_names.iter().any(|given| given.eq_ignore_ascii_case(name)))
        };
        let allowed = |name: &&String| {
            let lower = name.to_ascii_lowercase();
            self.0.iter().any(|rule| rule.allows(&lower)) || given(&lower)
        };
        match names.iter().find(|name| !allowed(name)) {
            None => Ok(()),
            Some(name) => Err(GrantError::DnsNameNotAllowed {
                id: id.clone(),
                name: name.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_spiffe::TrustDomain;

    fn allows(rule: &str, name: &str) -> bool {
        let rules: DnsNameRules = [rule.parse().unwrap()].into_iter().collect();
        let domain = TrustDomain::parse("example.org").unwrap();
        let id = SpiffeId::new(&domain, "/db").unwrap();
        rules.check(&Registry::new(&domain), &id, &[name.to_owned()], 0).is_ok()
    }

    #[test]
    fn a_rule_is_a_name_or_all_below_one() {
        assert!(allows("db.example", "db.example") && allows("DB.example", "db.EXAMPLE"));
        assert!(!allows("db.example", "a.db.example") && !allows("db.example", "xdb.example"));
        assert!(allows("*.db.example", "a.db.example") && allows("*.db.example", "a.b.db.example"));
        assert!(allows("*.db.example", "*.db.example") && allows("*.db.example", "*.a.db.example"));
        for other in ["db.example", "xdb.example", "*.example", "a.db.example.org"] {
            assert!(!allows("*.db.example", other), "{other}");
        }
        for wrong in ["", "*", "*.", "a..b", "a b", "*.*.a", "-a.b"] {
            assert!(wrong.parse::<DnsNameRule>().is_err(), "{wrong:?}");
        }
    }
}
