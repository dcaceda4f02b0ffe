//! What the reference says of a reason code: the likely cause and the next step.
//!
//! `docs/reference/reason-codes.md` is the one list of the codes; this program brings it along, so that a rule that does not
//! hold has its advice where no server and no manual is at hand.

const REFERENCE: &str = include_str!("../../../docs/reference/reason-codes.md");

/// One row of the reference, without the code's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) likely_cause: &'static str,
    pub(crate) next_step: &'static str,
}

/// Of a code such as `HM-POLICY-0102`; `None` of one that this version does not know.
pub(crate) fn of(code: &str) -> Option<Advice> {
    let mut rows = REFERENCE.lines().filter_map(row);
    rows.find_map(|(listed, advice)| (listed == code).then_some(advice))
}

/// A report with the lines that it lacks: likely cause and next step, as the reference has them for its code.
pub(crate) fn complete(report: String, code: &str) -> String {
    let Some(advice) = of(code) else { return report };
    const CAUSE: &str = "\n  cause: ";
    const NEXT: &str = "\n  next: ";
    let (before, next) = match report.split_once(NEXT) {
        Some((before, next)) => (before, next.to_owned()),
        None => (report.as_str(), advice.next_step.replace('`', "")),
    };
    let cause = match before.contains(CAUSE) {
        true => String::new(),
        false => format!("{CAUSE}{}", advice.likely_cause.replace('`', "")),
    };
    format!("{before}{cause}{NEXT}{next}")
}

/// The code and the advice of a line `| CODE | meaning | cause | next |`.
fn row(line: &'static str) -> Option<(&'static str, Advice)> {
    let mut cells = line
        .strip_prefix("| HM-")
        .and(line.strip_prefix('|'))?
        .split('|')
        .map(str::trim);
    let (code, _meaning) = (cells.next()?, cells.next()?);
    let (likely_cause, next_step) = (cells.next()?, cells.next()?);
    let advice = Advice {
        likely_cause,
        next_step,
    };
    Some((code, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_code_has_advice() {
        let listed = REFERENCE.lines().filter(|line| line.starts_with("| HM-"));
        let mut count = 0;
        for line in listed {
            let code = line.split('|').nth(1).map(str::trim).unwrap_or_default();
            let advice = of(code);
            assert!(
                advice.is_some_and(|advice| !advice.likely_cause.is_empty() && !advice.next_step.is_empty()),
                "{line}"
            );
            count += 1;
        }
        assert!(count > 300, "{count}");
    }

    #[test]
    fn advice_is_that_of_the_code() {
        let advice = of("HM-POLICY-0102");
        assert_eq!(
            advice,
            Some(Advice {
                likely_cause: "it was switched off in the firmware setup",
                next_step: "switch it on, reboot",
            })
        );
        for unknown in ["HM-POLICY-9999", "HM-POLICY", "", "code", "HM-POLICY-010"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }
}
