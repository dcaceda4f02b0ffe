//! The authority's age, told in good time: nothing is issued once it has ended, and all SVIDs end with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hallmark_authority::Age;
use hallmark_host::log;
use hallmark_reason::{Coded, ReasonCode};
use tokio::time::sleep;

use super::error::date;
use crate::server::Server;

/// How often the authority is looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long one line of the log stands for an authority of one age.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How long one line of the log stands for SVIDs that are cut short.
const CUT_SHORT_AGAIN: Duration = Duration::from_secs(3600);

/// The authority is to be renewed.
#[derive(Debug, thiserror::Error)]
#[error("{}: it ends {}", self.passed(), date(*not_after))]
pub(crate) struct Ageing {
    age: Age,
    now: i64,
    not_after: i64,
}

impl Ageing {
    /// What is to be told of the authority of `server`; `None` while it is young, and once it has ended, which is a failure
    /// of its own.
    pub(crate) fn of(server: &Server) -> Option<Self> {
        let (age, now) = age(server);
        (age > Age::Young && age < Age::Ended).then(|| Self {
            age,
            now,
            not_after: server.authority.load().x509.not_after(),
        })
    }

    const fn passed(&self) -> &'static str {
        match self.age {
            Age::Young | Age::Half => "half of the authority's life has passed",
            Age::FiveSixths => "five sixths of the authority's life have passed",
            Age::LastLifetime | Age::Ended => "the authority ends within the lifetime of an SVID",
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

/// The age of the authority of `server`, and the time, Unix seconds.
pub(crate) fn age(server: &Server) -> (Age, i64) {
    let now = server.clock.unix();
    (server.authority.load().x509.age(server.lifetimes.usual(), now), now)
}

/// What the log was told.
#[derive(Debug, Default)]
struct Told {
    age: Option<(Age, Instant)>,
    cut_short: Option<(u64, Instant)>,
}

impl Told {
    fn look(&mut self, server: &Server) {
        let now = Instant::now();
        let (age, _) = age(server);
        let is_new = |(told, at): &(Age, Instant)| *told != age || now.duration_since(*at) >= AGAIN;
        if self.age.as_ref().is_none_or(is_new) {
            match Ageing::of(server) {
                Some(ageing) if age >= Age::LastLifetime => log::error(&ageing),
                Some(ageing) => log::warn(&ageing),
                None => {}
            }
            self.age = Some((age, now));
        }
        let all = server.metrics.cut_short();
        let (before, due) = match self.cut_short {
            Some((before, at)) => (before, now.duration_since(at) >= CUT_SHORT_AGAIN),
            None => (0, true),
        };
        if all > before && due {
            log::warn(&CutShort {
                count: all.saturating_sub(before),
                not_after: server.authority.load().x509.not_after(),
            });
            self.cut_short = Some((all, now));
        }
    }
}

/// Looks after the authority, for ever: tells its age, and takes certificates that have ended out of the bundle.
pub(crate) async fn keep_telling(server: Arc<Server>) {
    let mut told = Told::default();
    loop {
        match server.authority.load().without_ended(server.clock.unix()) {
            Ok(Some(rest)) => {
                tracing::info!(sequence = rest.bundle.sequence, "a certificate of the bundle has ended");
                server.authority.store(Arc::new(rest));
            }
            Ok(None) => {}
            Err(error) => log::error(&error),
        }
        told.look(&server);
        sleep(TICK).await;
    }
}
