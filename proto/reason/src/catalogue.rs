//! The catalogue: what is known of each reason code.

use crate::ReasonCode;

/// What the catalogue says of one code. The texts are plain: no marks of any format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The code.
    pub code: ReasonCode,
    /// What it means.
    pub meaning: &'static str,
    /// The likely cause, where the meaning does not say all.
    pub likely_cause: Option<&'static str>,
    /// The next command or action, where there is one.
    pub next_step: Option<&'static str>,
}

/// Made from `reasons.toml` when the crate is built; sorted by code.
static CATALOGUE: &[Reason] = include!(concat!(env!("OUT_DIR"), "/catalogue.rs"));

/// Every code, sorted.
#[must_use]
pub fn catalogue() -> &'static [Reason] {
    CATALOGUE
}

/// What is known of a code such as `HM-VERIFY-0007`; `None` for a text that is not a code of this version.
#[must_use]
pub fn lookup(code: &str) -> Option<&'static Reason> {
    let index = CATALOGUE
        .binary_search_by(|reason| reason.code.as_str().cmp(code))
        .ok()?;
    CATALOGUE.get(index)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found() {
        assert!(catalogue().len() > 500, "{}", catalogue().len());
        for reason in catalogue() {
            assert_eq!(lookup(reason.code.as_str()), Some(reason));
        }
        for unknown in ["HM-POLICY-9999", "HM-POLICY", "", "code", "HM-POLICY-010"] {
            assert_eq!(lookup(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_texts_are_those_of_the_code_and_plain() {
        let reason = lookup("HM-POLICY-0102").unwrap();
        assert_eq!(reason.likely_cause, Some("it was switched off in the firmware setup"));
        assert_eq!(reason.next_step, Some("switch it on, reboot"));
        for reason in catalogue() {
            let texts = [Some(reason.meaning), reason.likely_cause, reason.next_step];
            for text in texts.into_iter().flatten() {
                assert!(!text.is_empty() && !text.contains('`'), "{}: {text}", reason.code);
            }
        }
    }
}
