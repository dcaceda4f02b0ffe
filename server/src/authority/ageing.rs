//! The authority's age, told in good time where no other one takes its place: nothing is issued once it has ended, and all SVIDs end
//! with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hallmark_authority::Age;
use hallmark_host::log;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_state::decide::X509AuthorityStep;
use tokio::time::sleep;

use super::{ActiveAuthority, AuthorityError, X509Keeper, bootstrap::check_clock, error::date};
use crate::metrics::Metrics;

/// How often the authority is looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long one line of the log stands for an authority of one age.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How long one line of the log stands for SVIDs that are cut short.
const CUT_SHORT_AGAIN: Duration = Duration::from_secs(3600);

/// The authority grows old, and the next step of its life was not taken.
#[derive(Debug, thiserror::Error)]
#[error("{}, and {}: it ends {}", self.passed(), self.missing(), date(*not_after))]
pub(crate) struct Ageing {
    age: Age,
    step: X509AuthorityStep,
    now: i64,
    not_after: i64,
}

impl Ageing {
    const fn passed(&self) -> &'static str {
        match self.age {
            Age::Young | Age::Half => "half of the authority's life has passed",
            Age::FiveSixths => "five sixths of the authority's life have passed",
            Age::LastLifetime | Age::Ended => "the authority ends within the lifetime of an SVID",
        }
    }
}

impl Ageing {
    const fn missing(&self) -> &'static str {
        match self.step {
            X509AuthorityStep::Prepare => "none is prepared",
            X509AuthorityStep::Activate { .. } => "the prepared one does not sign",
            X509AuthorityStep::Remove { .. } => "one that has ended is still there",
        }
    }
}

impl Coded for Ageing {
    fn code(&self) -> ReasonCode {
        match self.age {
            Age::Young | Age::Half => ReasonCode::new("HM-SRV-0026"),
            Age::FiveSixths => ReasonCode::new("HM-SRV-0027"),
            Age::LastLifetime | Age::Ended => ReasonCode::new("HM-SRV-0028"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(format!("now {}, ends {}", date(self.now), date(self.not_after)))
    }
}

/// SVIDs were issued for less than was granted.
#[derive(Debug, thiserror::Error)]
#[error("SVIDs are cut short, since none outlives the authority")]
struct CutShort {
    count: u64,
    not_after: i64,
}

impl Coded for CutShort {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0029")
    }

    fn compared(&self) -> Option<String> {
        Some(format!(
            "{} SVIDs, the authority ends {}",
            self.count,
            date(self.not_after)
        ))
    }
}

/// Tells how old the authority in force is.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityAge {
    authority: Arc<ArcSwap<ActiveAuthority>>,
    keeper: Arc<X509Keeper>,
    /// The longest that an SVID lives for which no entry says otherwise.
    usual: Duration,
}

impl AuthorityAge {
    /// Of this authority, which `keeper` has the next one follow, where SVIDs usually live for `usual` at most.
    pub(crate) const fn new(
        authority: Arc<ArcSwap<ActiveAuthority>>,
        keeper: Arc<X509Keeper>,
        usual: Duration,
    ) -> Self {
        Self {
            authority,
            keeper,
            usual,
        }
    }

    /// Its age, and how many seconds it has left. As long as the next authority is made and takes its place in time, it is young.
    pub(crate) fn age(&self) -> (Age, i64) {
        let (authority, now) = (self.authority.load(), self.keeper.clock().unix());
        let left = authority.x509.not_after().saturating_sub(now);
        let age = authority.x509.age(self.usual, now);
        let is_told = age == Age::Ended || self.keeper.overdue().is_some();
        (if is_told { age } else { Age::Young }, left)
    }

    /// What is to be told of it; `None` while it is young, and once it has ended, which is a failure of its own.
    pub(crate) fn ageing(&self) -> Option<Ageing> {
        let (age, left) = self.age();
        let not_after = self.authority.load().x509.not_after();
        let now = not_after.saturating_sub(left);
        let step = self.keeper.overdue().filter(|_| age > Age::Young && age < Age::Ended)?;
        Some(Ageing {
            age,
            step,
            now,
            not_after,
        })
    }

    /// Whether it can be used now.
    ///
    /// # Errors
    /// When its certificate has not begun or has ended.
    pub(crate) fn check(&self) -> Result<(), AuthorityError> {
        check_clock(&self.authority.load().x509, self.keeper.clock().unix())
    }
}

/// What the log was told.
#[derive(Debug, Default)]
struct Told {
    age: Option<(Age, Instant)>,
    cut_short: Option<(u64, Instant)>,
}

impl Told {
    fn look(&mut self, of: &AuthorityAge, cut_short: u64) {
        let now = Instant::now();
        let (age, _) = of.age();
        let is_new = |(told, at): &(Age, Instant)| *told != age || now.duration_since(*at) >= AGAIN;
        if self.age.as_ref().is_none_or(is_new) {
            match of.ageing() {
                Some(ageing) if age >= Age::LastLifetime => log::error(&ageing),
                Some(ageing) => log::warn(&ageing),
                None => {}
            }
            self.age = Some((age, now));
        }
        let (before, due) = match self.cut_short {
            Some((before, at)) => (before, now.duration_since(at) >= CUT_SHORT_AGAIN),
            None => (0, true),
        };
        if cut_short > before && due {
            log::warn(&CutShort {
                count: cut_short.saturating_sub(before),
                not_after: of.authority.load().x509.not_after(),
            });
            self.cut_short = Some((cut_short, now));
        }
    }
}

/// Tells the authority's age, for ever.
pub(crate) async fn keep_telling(of: AuthorityAge, metrics: Arc<Metrics>) {
    let mut told = Told::default();
    loop {
        told.look(&of, metrics.cut_short());
        sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_age_has_its_code_and_says_which_step_is_missing() {
        for (age, code, passed) in [
            (Age::Half, "HM-SRV-0026", "half of the authority's life has passed"),
            (
                Age::FiveSixths,
                "HM-SRV-0027",
                "five sixths of the authority's life have passed",
            ),
            (
                Age::LastLifetime,
                "HM-SRV-0028",
                "the authority ends within the lifetime of an SVID",
            ),
        ] {
            for (step, missing) in [
                (X509AuthorityStep::Prepare, "none is prepared"),
                (
                    X509AuthorityStep::Activate { key_id: "aa".into() },
                    "the prepared one does not sign",
                ),
            ] {
                let ageing = Ageing {
                    age,
                    step,
                    now: 5,
                    not_after: 10,
                };
                assert_eq!(ageing.code().as_str(), code);
                assert_eq!(
                    ageing.to_string(),
                    format!("{passed}, and {missing}: it ends 1970-01-01T00:00:10Z")
                );
            }
        }
    }
}
