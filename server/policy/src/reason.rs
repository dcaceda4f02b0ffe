//! Why a verdict is what it is.

use std::collections::BTreeSet;

use hallmark_reason::ReasonCode;
use hallmark_verify::boot::BootEvent;
use serde::{Serialize, Serializer};

use crate::applies;

/// Events of this type extend no register.
pub(crate) const NO_ACTION: &str = "EV_NO_ACTION";

/// What one rule found. The code names the kind of rule; policy and rule name the very line that asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The kind of rule.
    #[serde(serialize_with = "code_text")]
    pub code: ReasonCode,
    /// Whether it held.
    pub holds: bool,
    /// Whether it only reports: its policy is on a dry run, and the verdict does not hang on it.
    pub dry_run: bool,
    /// The policy that asks for it; [`Reason::BUILT_IN`] for the rules of the server's configuration.
    pub policy: String,
    /// The policy's key, such as `boot.secure_boot`.
    pub rule: String,
    /// What was found, in the operator's words.
    pub text: String,
    /// What the rule asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What the evidence proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// Both values in one line, where the rule did not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared: Option<String>,
    /// The first event of the boot log, or line of the IMA list, that made the rule fail, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_event: Option<EventRef>,
}

/// An event of a boot log, or a line of an IMA list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventRef {
    /// Its position, from 0, as `tpm2_eventlog` counts.
    pub number: u32,
    /// The register that it extended.
    pub pcr: u8,
    /// Its type, such as `EV_EFI_VARIABLE_DRIVER_CONFIG`.
    pub kind: String,
    /// What it is about; for people, since most of it is not authenticated.
    pub text: String,
}

impl EventRef {
    /// What stands in [`EventRef::kind`] for a line of an IMA list.
    pub const IMA: &'static str = "IMA";

    /// The event, as reasons name it.
    #[must_use]
    pub fn of(event: &BootEvent) -> Self {
        Self {
            number: event.number,
            pcr: event.pcr,
            kind: event.kind.clone(),
            text: event.text.clone(),
        }
    }
}

impl std::fmt::Display for EventRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.kind == Self::IMA { "line" } else { "event" };
        write!(f, "{place} {} (PCR {}, {}", self.number, self.pcr, self.kind)?;
        if !self.text.is_empty() {
            write!(f, ", {}", self.text)?;
        }
        f.write_str(")")
    }
}

fn code_text<S: Serializer>(code: &ReasonCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(code.as_str())
}

impl Reason {
    /// What stands in [`Reason::policy`] for the rules of the server's configuration.
    pub const BUILT_IN: &'static str = "built-in";

    /// Whether the verdict is a refusal because of it.
    #[must_use]
    pub const fn refuses(&self) -> bool {
        !self.holds && !self.dry_run
    }

    pub(crate) fn of(code: ReasonCode, rule: &str, finding: Finding) -> Self {
        let Finding {
            holds,
            text,
            expected,
            actual,
            first_event,
        } = finding;
        let compared = match (&expected, &actual) {
            (Some(expected), Some(actual)) if !holds => Some(format!("expected {expected}, got {actual}")),
            _ => None,
        };
        Self {
            code,
            holds,
            dry_run: false,
            policy: Self::BUILT_IN.to_owned(),
            rule: rule.to_owned(),
            text,
            expected,
            actual,
            compared,
            first_event: first_event.filter(|_| !holds),
        }
    }

    /// The same, said by the line of a policy, which may apply for want of facts that are `unknown`.
    pub(crate) fn said_by(self, policy: &str, dry_run: bool, unknown: &BTreeSet<&'static str>) -> Self {
        let text = if self.holds || unknown.is_empty() {
            self.text
        } else {
            format!("{} (the policy applies since {})", self.text, applies::why(unknown))
        };
        Self {
            policy: policy.to_owned(),
            dry_run,
            text,
            ..self
        }
    }
}

/// What a rule found, before it is known who asked.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) holds: bool,
    pub(crate) text: String,
    pub(crate) expected: Option<String>,
    pub(crate) actual: Option<String>,
    pub(crate) first_event: Option<EventRef>,
}

impl Finding {
    pub(crate) fn new(holds: bool, text: impl Into<String>) -> Self {
        Self {
            holds,
            text: text.into(),
            expected: None,
            actual: None,
            first_event: None,
        }
    }

    pub(crate) fn comparing(self, expected: impl std::fmt::Display, actual: impl std::fmt::Display) -> Self {
        Self {
            expected: Some(expected.to_string()),
            actual: Some(actual.to_string()),
            ..self
        }
    }

    pub(crate) fn at(self, first_event: Option<EventRef>) -> Self {
        Self { first_event, ..self }
    }

    /// The fact that the rule is about is not proven. Such a rule never holds.
    pub(crate) fn not_proven(expected: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::new(false, format!("not proven: {why}")).comparing(expected, "nothing that is proven")
    }
}
