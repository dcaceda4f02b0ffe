//! Patterns for command lines and paths.

use serde::{Deserialize, Serialize};

/// A pattern that a text must match from its first to its last character: `*` stands for any run of characters, also
/// none and also spaces and slashes; `?` for any one character; `\` takes the next character as it is. Everything else
/// stands for itself.
///
/// Matching takes at most (length of the pattern) x (length of the text) steps: there is nothing to backtrack into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Exactly(char),
    AnyOne,
    AnyRun,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GlobError {
    /// It ends where a character must follow.
    #[error("a pattern cannot end with a single `\\`")]
    DanglingEscape,
    /// It is longer than [`Glob::MAX_LEN`].
    #[error("a pattern has at most 4096 bytes")]
    TooLong,
}

impl Glob {
    /// The longest pattern, in bytes: twice the longest kernel command line.
    pub const MAX_LEN: usize = 4096;

    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is too long or ends within an escape.
    pub fn parse(source: &str) -> Result<Self, GlobError> {
        if source.len() > Self::MAX_LEN {
            return Err(GlobError::TooLong);
        }
        let mut parts = Vec::new();
        let mut chars = source.chars();
        while let Some(next) = chars.next() {
            let part = match next {
                '*' => Part::AnyRun,
                '?' => Part::AnyOne,
                '\\' => Part::Exactly(chars.next().ok_or(GlobError::DanglingEscape)?),
                other => Part::Exactly(other),
            };
            if part != Part::AnyRun || parts.last() != Some(&Part::AnyRun) {
                parts.push(part);
            }
        }
        Ok(Self {
            source: source.to_owned(),
            parts,
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The one text that fits, if the pattern has no `*` and no `?`.
    #[must_use]
    pub fn literal(&self) -> Option<String> {
        let exactly = |part: &Part| match part {
            Part::Exactly(character) => Some(*character),
            Part::AnyOne | Part::AnyRun => None,
        };
        self.parts.iter().map(exactly).collect()
    }

    /// Whether the whole of `text` fits.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        // The last `*` met, and the text that it has not yet swallowed: on a mismatch it takes one character more. What
        // stood before it fits already and need not be tried again.
        let mut parts = self.parts.as_slice();
        let mut rest = text.chars();
        let mut star = None;
        loop {
            let here = rest.clone();
            match (parts.split_first(), rest.next()) {
                (Some((Part::AnyRun, behind)), _) => {
                    star = Some((behind, here.clone()));
                    (parts, rest) = (behind, here);
                }
                (Some((Part::AnyOne, behind)), Some(_)) => parts = behind,
                (Some((Part::Exactly(wanted), behind)), Some(actual)) if *wanted == actual => parts = behind,
                (None, None) => return true,
                _ => {
                    let Some((behind, mut from)) = star.take() else {
                        return false;
                    };
                    if from.next().is_none() {
                        return false;
                    }
                    star = Some((behind, from.clone()));
                    (parts, rest) = (behind, from);
                }
            }
        }
    }
}

impl TryFrom<String> for Glob {
    type Error = GlobError;

    fn try_from(source: String) -> Result<Self, GlobError> {
        Self::parse(&source)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.source
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn a_pattern_is_anchored_at_both_ends() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "a b/c", true),
            ("quiet", "quiet", true),
            ("quiet", "quiet init=/bin/sh", false),
            ("quiet", "not quiet", false),
            ("root=* ro", "root=/dev/sda1 ro", true),
            ("root=* ro", "root=/dev/sda1 ro init=/bin/sh", false),
            ("root=UUID=???? ro", "root=UUID=abcd ro", true),
            ("root=UUID=???? ro", "root=UUID=abc ro", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*a", "bab", false),
            ("*ab", "aab", true),
            ("/var/log/*", "/var/log/syslog", true),
            ("/var/log/*", "/var/logs", false),
            ("/var/log/*", "/x/var/log/y", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\b", r"a\b", true),
            ("é?", "éü", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
        assert_eq!(Glob::parse(r"a\*b").unwrap().literal().as_deref(), Some("a*b"));
        assert_eq!(Glob::parse("a*b").unwrap().literal(), None);
        assert_eq!(Glob::parse("a\\"), Err(GlobError::DanglingEscape));
        assert_eq!(Glob::parse(&"a".repeat(4097)), Err(GlobError::TooLong));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test measures time")]
    fn attack_42_a_hostile_text_costs_no_more_than_its_length_times_the_patterns() {
        let pattern = Glob::parse(&"a*".repeat(2000)).unwrap();
        let text = "a".repeat(1999) + "b" + &"a".repeat(100_000);
        let start = Instant::now();
        assert!(pattern.matches(&text));
        assert!(
            !Glob::parse(&("a*".repeat(2000) + "b"))
                .unwrap()
                .matches(&"a".repeat(100_000))
        );
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    /// The definition, tried in every way.
    fn slow(parts: &[Part], text: &[char]) -> bool {
        match (parts.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((Part::AnyRun, behind)), _) => (0..=text.len()).any(|taken| slow(behind, &text[taken..])),
            (Some((Part::AnyOne, behind)), Some((_, rest))) => slow(behind, rest),
            (Some((Part::Exactly(wanted), behind)), Some((actual, rest))) => wanted == actual && slow(behind, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_its_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let glob = Glob::parse(&pattern).unwrap();
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), slow(&glob.parts, &chars));
        }
    }
}
