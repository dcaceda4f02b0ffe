//! What must hold of the X.509 authorities.

use hallmark_state::{Authority, AuthorityState, Change, Record, What};

use super::{Checker, Law, Violation, broken};

impl Checker {
    /// What a record does to the authorities, held against what was before it.
    pub(super) fn authorities_stand(&mut self, record: &Record) -> Result<(), Violation> {
        for change in &record.transaction.changes {
            match change {
                Change::PutAuthority(after) if after.state == AuthorityState::Active => self.was_published(after)?,
                Change::PutAuthority(new) if new.state == AuthorityState::Prepared => {
                    self.is_the_only_one(new, record.transaction.at)?;
                }
                Change::DeleteAuthority { certificate } if is_end(record) => {
                    self.counts.authorities_ended += 1;
                    self.leaves_nothing(certificate, record.transaction.at)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn was_published(&mut self, after: &Authority) -> Result<(), Violation> {
        let mut all = self.truth.authorities().iter();
        let Some(active) = self.truth.active_authority() else {
            return Ok(());
        };
        self.counts.rotations += usize::from(active.certificate != after.certificate);
        let is_known = all.any(|it| it.certificate == after.certificate);
        if is_known {
            return Ok(());
        }
        let found = format!("{} signs, and was in no bundle before", after.label);
        broken(Law::PublishedBeforeItSigns, found)
    }

    /// What an authority signed has ended with it, by the clock of who takes it away.
    fn leaves_nothing(&self, certificate: &[u8], at: i64) -> Result<(), Violation> {
        let gone = self.truth.authorities().iter().find(|it| it.certificate == certificate);
        let label = gone.map(|it| it.label.as_str());
        let mut valid = self
            .intents
            .values()
            .filter(|intent| intent.authority.as_deref() == label && intent.expires_at > at);
        match valid.next() {
            None => Ok(()),
            Some(intent) => {
                let found = format!(
                    "{} is valid until {}, and its authority left at {at}",
                    intent.subject, intent.expires_at
                );
                broken(Law::NothingLosesItsAuthority, found)
            }
        }
    }

    /// Beside a new one there is none that is to sign next, and has not ended by the clock of who made the new one.
    fn is_the_only_one(&self, new: &Authority, at: i64) -> Result<(), Violation> {
        let is_prepared = |it: &&Authority| {
            let is_other = it.certificate != new.certificate && it.state == AuthorityState::Prepared;
            is_other && it.facts().is_none_or(|facts| at < facts.not_after)
        };
        let mut all = self.truth.authorities().iter().map(|it| &**it);
        match all.find(is_prepared) {
            None => Ok(()),
            Some(other) => broken(Law::OneSigns, format!("{} and {} are prepared", other.label, new.label)),
        }
    }

    /// One signs at a time.
    pub(super) fn one_signs(&self) -> Result<(), Violation> {
        let all = self.truth.authorities().iter();
        let active = all.filter(|it| it.state == AuthorityState::Active).count();
        if active > 1 {
            return broken(Law::OneSigns, format!("{active} authorities sign"));
        }
        Ok(())
    }
}

/// Whether the record says that an authority's end has come; an operator takes away what is still valid.
fn is_end(record: &Record) -> bool {
    let mut events = record.transaction.events.iter();
    events.any(|event| matches!(&event.what, What::Authority { act, .. } if act.ends_with("-end")))
}
