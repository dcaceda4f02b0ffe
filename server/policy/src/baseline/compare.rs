//! A machine held against a baseline.

use std::collections::BTreeSet;

use hallmark_verify::boot::{BootEvent, BootFacts};
use serde::Serialize;

use super::{Baseline, BaselineState, FactDifference, Origin, diff};
use crate::facts::{BootRecord, MachineFacts};
use crate::reason::{EventRef, NO_ACTION};
use crate::register;

/// What a machine has in common with a baseline, and where they part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The baseline.
    pub baseline: String,
    /// Whether the machine matches it: every register does, and it is not retired.
    pub matches: bool,
    /// Whether the baseline is retired.
    pub retired: bool,
    /// The registers that do not match, in the order of their numbers.
    pub registers: Vec<RegisterDifference>,
    /// The facts in which the machine differs from the baseline's most similar boot.
    pub facts: Vec<FactDifference>,
}

/// A register that does not match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegisterDifference {
    /// The register, as `sha256:7`.
    pub register: String,
    /// Its good values.
    pub expected: BTreeSet<String>,
    /// Its value; none if it was not quoted.
    pub actual: Option<String>,
    /// The first event of this machine's log that the baseline's most similar boot does not have at that place.
    pub first_event: Option<EventRef>,
    /// The event that stands there in the baseline's boot; none if its log for this register ends there.
    pub expected_event: Option<EventRef>,
}

impl Comparison {
    /// The event at which the machine's boot left the baseline: the first of all registers' first events.
    #[must_use]
    pub fn first_event(&self) -> Option<&EventRef> {
        let events = self
            .registers
            .iter()
            .filter_map(|register| register.first_event.as_ref());
        events.min_by_key(|event| event.number)
    }
}

/// For the operator, a line per difference; nothing if there is none.
impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.retired {
            writeln!(f, "the baseline {} is retired", self.baseline)?;
        }
        for fact in &self.facts {
            writeln!(f, "{fact}")?;
        }
        for register in &self.registers {
            writeln!(f, "{register}")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for RegisterDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(actual) = &self.actual else {
            return write!(f, "PCR {} was not quoted", self.register);
        };
        let expected: Vec<_> = self.expected.iter().map(String::as_str).collect();
        write!(
            f,
            "PCR {}: expected {}, got {actual}",
            self.register,
            expected.join(" or ")
        )?;
        match (&self.first_event, &self.expected_event) {
            (Some(event), Some(other)) => write!(f, "; first at {event}, where the baseline has {other}"),
            (Some(event), None) => write!(f, "; first at {event}, which the baseline does not have"),
            (None, Some(other)) => write!(f, "; the baseline's {other} is missing"),
            (None, None) => Ok(()),
        }
    }
}

impl Baseline {
    /// Holds a machine against this baseline.
    #[must_use]
    pub fn compare(&self, facts: &MachineFacts) -> Comparison {
        let nearest = facts.boot.as_ref().and_then(|boot| self.nearest(boot));
        let mut registers: Vec<_> = self
            .differing(facts)
            .map(|(register, expected)| difference(register, expected, facts, nearest))
            .collect();
        registers.sort_by_key(|it| register::named(&it.register).map(|(_, pcr)| pcr));
        let facts_differ = match (nearest, &facts.boot) {
            (Some(theirs), Some(ours)) => self.facts_differ(&theirs.facts, &ours.facts),
            _ => Vec::new(),
        };
        let retired = self.state == BaselineState::Retired;
        Comparison {
            baseline: self.name.clone(),
            matches: !retired && registers.is_empty(),
            retired,
            registers,
            facts: facts_differ,
        }
    }

    /// Holds another baseline against this one: its first boot, and of each register its first value.
    #[must_use]
    pub fn compare_with(&self, other: &Self) -> Comparison {
        let registers = other.registers.iter();
        let values = registers.filter_map(|(register, values)| Some((register.clone(), values.first()?.clone())));
        self.compare(&MachineFacts::of_boot(values.collect(), other.boots.first().cloned()))
    }

    /// The facts in which `ours` differs from `theirs`; of a prediction, those that it is about.
    fn facts_differ(&self, theirs: &BootFacts, ours: &BootFacts) -> Vec<FactDifference> {
        let mut differences = diff::differences(theirs, ours);
        if matches!(self.origin, Origin::Predicted(_)) {
            differences.retain(|difference| is_predicted(theirs, &difference.fact));
        }
        differences
    }

    /// The boot that shares the most events with `boot`; of several, the first.
    fn nearest(&self, boot: &BootRecord) -> Option<&BootRecord> {
        let shared = |theirs: &BootRecord| {
            theirs
                .events
                .iter()
                .zip(&boot.events)
                .filter(|(a, b)| same(a, b))
                .count()
        };
        let mut best: Option<(usize, &BootRecord)> = None;
        for theirs in &self.boots {
            let count = shared(theirs);
            if best.is_none_or(|(most, _)| count > most) {
                best = Some((count, theirs));
            }
        }
        best.map(|(_, boot)| boot)
    }
}

/// Whether a predicted boot says anything of this fact.
fn is_predicted(facts: &BootFacts, fact: &str) -> bool {
    match fact.split('.').next() {
        Some("secure_boot") => facts.secure_boot.is_some(),
        Some("command_line") => facts.command_line.is_some(),
        Some("uki_sections" | "phases") => !facts.uki_sections.is_empty(),
        _ => false,
    }
}

fn same(ours: &BootEvent, theirs: &BootEvent) -> bool {
    ours.pcr == theirs.pcr && ours.digest == theirs.digest
}

fn difference(
    name: &str,
    expected: &BTreeSet<String>,
    facts: &MachineFacts,
    nearest: Option<&BootRecord>,
) -> RegisterDifference {
    let pcr = register::named(name).map(|(_, pcr)| pcr);
    let (first_event, expected_event) = match (pcr, nearest, &facts.boot) {
        (Some(pcr), Some(theirs), Some(ours)) => part(pcr, &theirs.events, &ours.events),
        _ => (None, None),
    };
    RegisterDifference {
        register: name.to_owned(),
        expected: expected.clone(),
        actual: facts.pcrs.get(name).cloned(),
        first_event,
        expected_event,
    }
}

/// The first events of one register that differ: this machine's and the baseline's.
fn part(pcr: u8, theirs: &[BootEvent], ours: &[BootEvent]) -> (Option<EventRef>, Option<EventRef>) {
    let of_register =
        |event: &&BootEvent| event.pcr == pcr && event.kind != NO_ACTION && !register::is_os_separator(event);
    let mut theirs = theirs.iter().filter(of_register);
    let mut ours = ours.iter().filter(of_register);
    loop {
        match (ours.next(), theirs.next()) {
            (Some(our), Some(their)) if same(our, their) => {}
            (our, their) => return (our.map(EventRef::of), their.map(EventRef::of)),
        }
    }
}
