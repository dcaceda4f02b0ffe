//! Registers and baselines.

use std::collections::BTreeSet;

use hallmark_reason::ReasonCode;

use super::record::{credentials, listed};
use crate::baseline::{BaselineState, Comparison};
use crate::facts::MachineFacts;
use crate::policy::{BootRules, PcrRule};
use crate::reason::{EventRef, Finding, NO_ACTION, Reason};
use crate::register;
use crate::set::PolicySet;

pub(super) fn judge(rules: &BootRules, facts: &MachineFacts, set: &PolicySet) -> Vec<Reason> {
    let registers = rules.pcrs.iter().map(|(pcr, rule)| value(facts, *pcr, rule));
    let matching = rules.baselines.as_ref().map(|names| baselines(facts, names, set));
    registers.chain(matching).collect()
}

/// In every bank that was quoted the register holds a good value, systemd's separator aside; a value of another bank's length
/// says nothing.
fn value(facts: &MachineFacts, pcr: u8, rule: &PcrRule) -> Reason {
    let expected = match rule {
        PcrRule::Zero => "zero".to_owned(),
        PcrRule::OneOf(values) => listed(values),
    };
    let quoted: Vec<_> = facts.pcr(pcr).collect();
    let boot = facts.boot.as_ref().map(|boot| &boot.facts);
    let good = |name: &str, value: &str| match rule {
        PcrRule::Zero => register::is_untouched(name, value, boot),
        PcrRule::OneOf(values) => register::has_one_of(name, value, values, boot),
    };
    let said_by_bank = |value: &str| match rule {
        PcrRule::Zero => true,
        PcrRule::OneOf(values) => values.iter().any(|it| it.len() == value.len()),
    };
    let judged: Vec<_> = quoted.iter().filter(|(_, value)| said_by_bank(value)).collect();
    let finding = match (judged.iter().find(|(name, value)| !good(name, value)), judged.first()) {
        (None, None) => Finding::not_proven(
            expected,
            format!("PCR {pcr} was not quoted in a bank that the rule is about"),
        ),
        (None, Some((name, value))) => {
            Finding::new(true, format!("{name} holds what it should")).comparing(expected, value)
        }
        (Some((name, value)), _) => {
            let suspect = suspect(facts, pcr, rule);
            let text = match suspect
                .as_ref()
                .filter(|_| *rule == PcrRule::Zero)
                .and_then(|event| credentials(event.pcr, &event.text))
            {
                Some(credentials) => format!("{name} holds something else: {credentials}"),
                None => format!("{name} holds something else"),
            };
            Finding::new(false, text).comparing(expected, value).at(suspect)
        }
    };
    Reason::of(ReasonCode::new("HM-POLICY-0125"), &format!("boot.pcrs.{pcr}"), finding)
}

/// The event to look at: for a register that should be zero the first that extended it; else, since a value does not
/// tell which event is wrong, the last.
fn suspect(facts: &MachineFacts, pcr: u8, rule: &PcrRule) -> Option<EventRef> {
    let boot = facts.boot.as_ref()?;
    let mut events = boot
        .events
        .iter()
        .filter(|event| event.pcr == pcr && event.kind != NO_ACTION && !register::is_of_systemd(event, &boot.facts));
    let event = match rule {
        PcrRule::Zero => events.next(),
        PcrRule::OneOf(_) => events.next_back(),
    };
    event.map(EventRef::of)
}

/// Any one of the baselines matches.
fn baselines(facts: &MachineFacts, names: &BTreeSet<String>, set: &PolicySet) -> Reason {
    let expected = listed(names);
    let usable = names.iter().filter_map(|name| set.baseline(name));
    let usable: Vec<_> = usable
        .filter(|baseline| baseline.state == BaselineState::Active)
        .collect();
    let matched = usable.iter().find(|baseline| baseline.is_matched_by(facts));
    let finding = match matched {
        Some(baseline) => Finding::new(true, format!("the boot matches the baseline {}", baseline.name))
            .comparing(expected, &baseline.name),
        None if usable.is_empty() => return baseline_missing("boot.baselines", names),
        None => {
            let compared = usable.iter().map(|baseline| baseline.compare(facts));
            let nearest = compared.min_by_key(|comparison| comparison.registers.len());
            parting(expected, nearest)
        }
    };
    Reason::of(ReasonCode::new("HM-POLICY-0126"), "boot.baselines", finding)
}

/// The policy names baselines of which none is there to be held against: that is no matter of the machine's.
pub(super) fn baseline_missing(rule: &str, names: &BTreeSet<String>) -> Reason {
    let finding = Finding::new(false, "no baseline that the policy names is there")
        .comparing(listed(names), "none of these: never applied, withdrawn or retired");
    Reason::of(ReasonCode::new("HM-POLICY-0128"), rule, finding)
}

fn parting(expected: String, nearest: Option<Comparison>) -> Finding {
    let finding = Finding::new(false, "the boot matches none of the policy's baselines");
    let Some(nearest) = nearest else {
        return finding.comparing(expected, "none");
    };
    let registers: Vec<_> = nearest.registers.iter().map(|it| it.register.as_str()).collect();
    let actual = format!("{} differs from {}", registers.join(", "), nearest.baseline);
    finding.comparing(expected, actual).at(nearest.first_event().cloned())
}
