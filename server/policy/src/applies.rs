//! Which policies are for a machine.
//!
//! What a machine could keep back never takes it out of a policy: a fact that is not known counts as the one that the
//! policy names. It grants nothing either: `policy:<name>` is given where `applies_to` is proven alone.

use std::collections::BTreeSet;

use hallmark_node::{Maker, Model, TpmClass};
use hallmark_reason::ReasonCode;
use hallmark_spiffe::Selector;

use crate::facts::MachineFacts;
use crate::policy::Policy;
use crate::reason::{Finding, Reason};

/// Whether a machine has what a selector of `applies_to` names.
enum Fit {
    Yes,
    No,
    /// This fact of it is not known.
    Unknown(&'static str),
}

/// The facts that `applies_to` names and that are not known of the machine; `None` if the policy is not for it.
pub(crate) fn applies(policy: &Policy, facts: &MachineFacts) -> Option<BTreeSet<&'static str>> {
    let mut unknown = BTreeSet::new();
    for selector in &policy.applies_to {
        match fit(selector, facts) {
            Fit::Yes => {}
            Fit::No => return None,
            Fit::Unknown(fact) => {
                unknown.insert(fact);
            }
        }
    }
    Some(unknown)
}

/// That a policy applies for want of facts.
pub(crate) fn reason(policy: &Policy, unknown: &BTreeSet<&'static str>) -> Option<Reason> {
    if unknown.is_empty() {
        return None;
    }
    let wanted: Vec<_> = policy.applies_to.iter().map(ToString::to_string).collect();
    let finding = Finding::new(true, format!("the policy applies: {}", why(unknown)))
        .comparing(wanted.join(" and "), "not known, which counts as this");
    Some(Reason::of(ReasonCode::new("HM-POLICY-0011"), "applies_to", finding))
}

/// Why facts are not known, as a part of a sentence.
pub(crate) fn why(unknown: &BTreeSet<&'static str>) -> String {
    let facts: Vec<_> = unknown.iter().copied().collect();
    let verb = if facts.len() == 1 { "is" } else { "are" };
    format!(
        "the machine's {} {verb} not known: no EK certificate of it was ever verified, and the inventory does not state it",
        facts.join(" and ")
    )
}

fn fit(selector: &Selector, facts: &MachineFacts) -> Fit {
    let tpm = &facts.tpm;
    // Of evidence that no server judged nothing is known of the machine.
    let is_anonymous = tpm.ek_sha256.is_empty();
    let (name, wanted) = selector.value().split_once(':').unwrap_or((selector.value(), ""));
    let certificate = tpm.certificate.as_ref();
    let line = tpm.inventory.as_ref();
    match (selector.kind(), name) {
        ("inventory", _) if is_anonymous => Fit::Unknown("inventory line"),
        ("inventory", label) => yes_or_no(facts.labels.get(label).is_some_and(|value| value == wanted)),
        ("tpm2", "ek-hash") if is_anonymous => Fit::Unknown("EK"),
        ("tpm2", "ek-hash") => yes_or_no(tpm.ek_sha256 == wanted),
        ("tpm2", "class") => {
            let known = tpm.classes().into_iter().flatten();
            let known: Vec<_> = known.filter(|class| *class != TpmClass::Unknown).collect();
            match known.as_slice() {
                [] if wanted == TpmClass::Unknown.as_str() => Fit::Yes,
                [] => Fit::Unknown("class"),
                known => yes_or_no(known.iter().any(|class| class.as_str() == wanted)),
            }
        }
        ("tpm2", "manufacturer") => one_of(
            "manufacturer",
            wanted,
            [
                certificate.map(|it| it.manufacturer.as_str()),
                line.and_then(|it| it.manufacturer.as_ref().map(Maker::as_str)),
            ],
        ),
        ("tpm2", "model") => one_of(
            "model",
            wanted,
            [
                certificate.map(|it| it.model.as_str()),
                line.and_then(|it| it.model.as_ref().map(Model::as_str)),
            ],
        ),
        ("tpm2", "firmware") => one_of("firmware", wanted, [certificate.map(|it| it.version.as_str()), None]),
        // No policy file can name another; one that did would be for every machine.
        _ => Fit::Unknown("selector"),
    }
}

/// Vendors write their ids and models in either case. What the certificate says and what the inventory states both count.
fn one_of(fact: &'static str, wanted: &str, known: [Option<&str>; 2]) -> Fit {
    let mut known = known.into_iter().flatten().filter(|value| !value.is_empty()).peekable();
    if known.peek().is_none() {
        return Fit::Unknown(fact);
    }
    yes_or_no(known.any(|value| value.eq_ignore_ascii_case(wanted)))
}

const fn yes_or_no(fits: bool) -> Fit {
    if fits { Fit::Yes } else { Fit::No }
}
