//! What is logged.

use std::{fmt, str::FromStr};

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The names of levels, from nothing to everything.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
/// Parts that speak with whoever connects, and warn of what they hear: a stranger could fill the log. What is wrong with a
/// connection, this project's own parts tell, at a bounded rate.
const HEARING_STRANGERS: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tonic"];
/// A part that counts as an error each mechanism of a token for which it has no name.
const NAMING_MECHANISMS: &str = "cryptoki::mechanism";
/// More of them nobody writes.
const MAX_TARGETS: usize = 64;

/// A level, or levels by part of the program: `info`, `debug`, `warn,hallmark_server::attest=debug`. What no part is named
/// for has the level that stands alone, or else `info`.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: String,
    targets: Targets,
}

/// What is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not a log level: off, error, warn, info, debug or trace, or PART=LEVEL as in \"info,hyper=warn\"")]
pub struct FilterError {
    part: String,
}

impl Filter {
    /// Warnings and errors of every part.
    #[must_use]
    pub fn warnings() -> Self {
        Self {
            text: "warn".to_owned(),
            targets: Targets::new().with_default(LevelFilter::WARN),
        }
    }

    /// Leaves out a part of the program, unless the filter names it.
    #[must_use]
    pub fn without(mut self, target: &str) -> Self {
        if self.targets.iter().all(|(named, _)| named != target) {
            self.targets = self.targets.with_target(target, LevelFilter::OFF);
        }
        self
    }

    pub(super) fn targets(&self) -> Targets {
        let is_brief = matches!(
            self.targets.default_level(),
            Some(LevelFilter::INFO | LevelFilter::WARN)
        );
        let is_named = |part: &str| self.targets.iter().any(|(named, _)| named == part);
        let quiet = HEARING_STRANGERS.iter().filter(|part| is_brief && !is_named(part));
        let mut targets = self.targets.clone();
        targets.extend(quiet.map(|part| ((*part).to_owned(), LevelFilter::ERROR)));
        if is_brief && !is_named(NAMING_MECHANISMS) {
            targets.extend([(NAMING_MECHANISMS.to_owned(), LevelFilter::OFF)]);
        }
        targets
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            text: "info".to_owned(),
            targets: Targets::new().with_default(LevelFilter::INFO),
        }
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut targets = Targets::new().with_default(LevelFilter::INFO);
        for (count, part) in text.split(',').map(str::trim).enumerate() {
            let fault = || FilterError {
                part: part.chars().take(64).collect(),
            };
            if count >= MAX_TARGETS {
                return Err(fault());
            }
            targets = match part.split_once('=') {
                None => targets.with_default(level(part).ok_or_else(fault)?),
                Some((target, name)) if is_target(target) => {
                    targets.with_target(target, level(name).ok_or_else(fault)?)
                }
                Some(_) => return Err(fault()),
            };
        }
        let text = text.to_owned();
        Ok(Self { text, targets })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    let named = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    named.map(|(_, level)| *level)
}

fn is_target(target: &str) -> bool {
    !target.is_empty()
        && target
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_are_taken_by_name_alone_and_for_parts_of_the_program() {
        let filter: Filter = "warn, hallmark_server::attest=DEBUG,hyper=off".parse().unwrap();
        let enabled = |target, level| filter.targets().would_enable(target, &level);
        assert!(enabled("hallmark_server", Level::WARN) && !enabled("hallmark_server", Level::INFO));
        assert!(enabled("hallmark_server::attest", Level::DEBUG) && !enabled("hyper", Level::ERROR));
        for text in ["off", "error", "warn", "info", "debug", "trace", "Info", "a=info"] {
            assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_would_log_nothing_is_refused_by_name() {
        for text in [
            "verbose",
            "",
            "info,",
            "2",
            "a=verbose",
            "=info",
            "a=",
            "a b=info",
            "a[b]=info",
            "loud,,=",
        ] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
        let told = "info,verbose".parse::<Filter>().unwrap_err().to_string();
        assert!(
            told.starts_with("\"verbose\" is not a log level: off, error,"),
            "{told}"
        );
    }

    #[test]
    fn a_part_that_is_named_leaves_the_others_as_they_are() {
        let filter: Filter = "hallmark_sever=debug".parse().unwrap();
        assert!(filter.targets().would_enable("hallmark_server", &Level::INFO));
    }

    #[test]
    fn what_strangers_make_libraries_warn_of_is_told_where_it_is_asked_for() {
        let warns = |text: &str| {
            let filter: Filter = text.parse().unwrap();
            filter.targets().would_enable("h2::proto::ping_pong", &Level::WARN)
        };
        assert!(!warns("info") && !warns("warn") && !warns("hallmark_server=debug"));
        assert!(warns("debug") && warns("trace") && warns("info,h2=warn") && warns("info,h2::proto=warn"));
        let errors = Filter::default().targets();
        assert!(errors.would_enable("h2", &Level::ERROR) && errors.would_enable("hallmark_server", &Level::INFO));
    }

    #[test]
    fn a_part_is_left_out_unless_it_is_named() {
        let quiet = |text: &str| {
            let filter = text.parse::<Filter>().unwrap().without("tss_esapi");
            !filter.targets().would_enable("tss_esapi", &Level::ERROR)
        };
        assert!(quiet("trace") && !quiet("info,tss_esapi=error"));
    }
}
