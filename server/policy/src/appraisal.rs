//! The verdict.

use crate::reason::Reason;
use crate::rules::Rules;
use crate::selectors::{hex, selectors};
use hallmark_reason::ReasonCode;
use hallmark_spiffe::Selector;
use hallmark_verify::{EnrolledBy, TpmClass, VerifiedEvidence};
use std::collections::BTreeSet;

/// Evidence with the verdict on it. Only [`appraise`] makes one.
#[derive(Debug)]
pub struct Appraisal {
    evidence: VerifiedEvidence,
    reasons: Vec<Reason>,
    selectors: BTreeSet<Selector>,
}

impl Appraisal {
    /// Whether every rule held.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.refusal().is_none()
    }

    /// The first rule that did not hold.
    #[must_use]
    pub fn refusal(&self) -> Option<&Reason> {
        self.reasons.iter().find(|reason| !reason.holds)
    }

    /// What each rule found, in the order of the rules.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The node's selectors: facts that the evidence proves.
    #[must_use]
    pub const fn selectors(&self) -> &BTreeSet<Selector> {
        &self.selectors
    }

    /// What was judged.
    #[must_use]
    pub const fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }
}

/// Holds evidence against the rules.
#[must_use]
pub fn appraise(evidence: VerifiedEvidence, rules: &Rules) -> Appraisal {
    let reasons = vec![
        enrolment(&evidence, rules),
        class(&evidence, rules),
        ek(&evidence, rules),
        manufacturer(&evidence, rules),
        model(&evidence, rules),
        firmware(&evidence, rules),
    ];
    let selectors = selectors(&evidence);
    Appraisal {
        evidence,
        reasons,
        selectors,
    }
}

fn enrolment(evidence: &VerifiedEvidence, rules: &Rules) -> Reason {
    let listed = evidence.inventory().is_some();
    let holds = listed || !rules.require_inventory;
    let text = match (evidence.enrolled_by(), listed) {
        (EnrolledBy::Certificate, true) => "the EK certificate leads to a pinned root and the inventory lists the EK",
        (EnrolledBy::Certificate, false) if holds => "the EK certificate leads to a pinned root",
        (EnrolledBy::Certificate, false) => "the inventory, which is required, does not list the EK",
        (EnrolledBy::Inventory, _) => "the inventory lists the EK",
    };
    let compared = format!(
        "required an inventory line for EK {}, found none",
        hex(evidence.ek_sha256())
    );
    Reason::of(ReasonCode::new("HM-POLICY-0001"), holds, text.into(), Some(compared))
}

/// The class of its certificate and the one that the inventory states: each that there is must be allowed. A TPM that
/// has neither may be of any real kind. The inventory, which alone can have enrolled it, vouches that it is no simulator,
/// not for more: where one of the real kinds is not allowed, leaving the certificate out must not help it in.
fn class(evidence: &VerifiedEvidence, rules: &Rules) -> Reason {
    let proven = evidence.certificate().map(|_| evidence.class());
    let stated = evidence.inventory().and_then(|line| line.class);
    let allows = |class: &TpmClass| rules.allowed_classes.contains(class);
    let (class, holds) = match (proven, stated) {
        (None, None) => (
            TpmClass::Unknown,
            allows(&TpmClass::Unknown) || REAL_CLASSES.iter().all(allows),
        ),
        (Some(class), None) | (None, Some(class)) => (class, allows(&class)),
        (Some(proven), Some(stated)) if allows(&proven) => (stated, allows(&stated)),
        (Some(proven), Some(_)) => (proven, false),
    };
    let text = match (proven.or(stated), holds) {
        (None, true) => "the TPM has no verified certificate, so no class; the inventory vouches for it".to_owned(),
        (None, false) => {
            "the TPM has no verified certificate, and its line in the inventory states no class; some are not allowed"
                .to_owned()
        }
        (Some(_), true) => format!("TPMs of class {class} are allowed"),
        (Some(_), false) => format!("TPMs of class {class} are not allowed"),
    };
    let allowed: Vec<_> = rules.allowed_classes.iter().map(|class| class.as_str()).collect();
    let compared = format!("allowed {}, this TPM is {class}", allowed.join(", "));
    Reason::of(ReasonCode::new("HM-POLICY-0002"), holds, text, Some(compared))
}

/// What a TPM can be, other than a simulator.
const REAL_CLASSES: [TpmClass; 3] = [TpmClass::Discrete, TpmClass::Firmware, TpmClass::Virtual];

fn ek(evidence: &VerifiedEvidence, rules: &Rules) -> Reason {
    let denied = rules.denied_eks.contains(evidence.ek_sha256());
    denied_or_not(
        ReasonCode::new("HM-POLICY-0003"),
        "EK",
        &hex(evidence.ek_sha256()),
        denied,
    )
}

fn manufacturer(evidence: &VerifiedEvidence, rules: &Rules) -> Reason {
    let proven = evidence
        .certificate()
        .map(|certificate| certificate.attributes.manufacturer.as_str());
    let stated = evidence.inventory().and_then(|line| line.manufacturer.as_deref());
    named(
        ReasonCode::new("HM-POLICY-0004"),
        "TPM manufacturer",
        &rules.denied_manufacturers,
        [proven, stated],
    )
}

fn model(evidence: &VerifiedEvidence, rules: &Rules) -> Reason {
    let proven = evidence
        .certificate()
        .map(|certificate| certificate.attributes.model.as_str());
    let stated = evidence.inventory().and_then(|line| line.model.as_deref());
    named(
        ReasonCode::new("HM-POLICY-0005"),
        "TPM model",
        &rules.denied_models,
        [proven, stated],
    )
}

/// Denied by the certificate's name or by the inventory's; and where some are denied and neither says a name, too: a
/// denied TPM must not get in by leaving its certificate out.
fn named(code: ReasonCode, what: &str, denied: &BTreeSet<String>, known: [Option<&str>; 2]) -> Reason {
    let mut known = known.into_iter().flatten();
    let Some(first) = known.next() else {
        if denied.is_empty() {
            return denied_or_not(code, what, "", false);
        }
        let text = format!("the {what} is not known, and some are denied");
        let list: Vec<_> = denied.iter().map(String::as_str).collect();
        let compared = format!(
            "denied {}, this TPM has no verified certificate that names one",
            list.join(", ")
        );
        return Reason::of(code, false, text, Some(compared));
    };
    let name = std::iter::once(first).chain(known).find(|name| names(denied, name));
    denied_or_not(code, what, name.unwrap_or(first), name.is_some())
}

fn firmware(evidence: &VerifiedEvidence, rules: &Rules) -> Reason {
    let version = evidence.firmware_version();
    let denied = rules.denied_firmware.contains(&version);
    denied_or_not(
        ReasonCode::new("HM-POLICY-0006"),
        "TPM firmware",
        &format!("{version:016x}"),
        denied,
    )
}

/// Vendors write the hex of their id, and their models, in either case: a denial means both.
fn names(denied: &BTreeSet<String>, name: &str) -> bool {
    denied.iter().any(|other| other.eq_ignore_ascii_case(name))
}

fn denied_or_not(code: ReasonCode, what: &str, value: &str, denied: bool) -> Reason {
    let value = if value.is_empty() { "(unknown)" } else { value };
    let text = if denied {
        format!("the {what} {value} is denied")
    } else {
        format!("the {what} {value} is not denied")
    };
    Reason::of(code, !denied, text, Some(format!("denied {value}, this TPM has it")))
}
