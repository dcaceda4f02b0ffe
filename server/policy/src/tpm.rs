//! Rules of policies over the TPM and its quote.

use std::time::SystemTime;

use hallmark_reason::ReasonCode;

use crate::builtin;
use crate::facts::MachineFacts;
use crate::policy::TpmRules;
use crate::reason::{Finding, Reason};

/// What each rule that is set finds.
pub(crate) fn judge(rules: &TpmRules, facts: &MachineFacts, now: SystemTime) -> Vec<Reason> {
    let tpm = &facts.tpm;
    let rules_in_order = [
        rules.classes.as_ref().map(|it| builtin::class(tpm, it, "tpm.classes")),
        rules.denied_eks.as_ref().map(|it| builtin::denied_ek(tpm, it)),
        rules
            .denied_manufacturers
            .as_ref()
            .map(|it| builtin::denied_manufacturer(tpm, it)),
        rules.denied_models.as_ref().map(|it| builtin::denied_model(tpm, it)),
        rules
            .denied_firmware
            .as_ref()
            .map(|it| builtin::denied_firmware(tpm, it)),
        rules.firmware_at_least.map(|it| firmware_at_least(facts, it)),
        rules.clock_safe.map(|it| clock_safe(facts, it)),
        rules.max_quote_age.map(|it| max_quote_age(facts, it, now)),
    ];
    rules_in_order.into_iter().flatten().collect()
}

fn firmware_at_least(facts: &MachineFacts, least: u64) -> Reason {
    let version = facts.tpm.firmware_version;
    let holds = version >= least;
    let text = if holds {
        "the TPM's firmware is new enough"
    } else {
        "the TPM's firmware is too old"
    };
    let finding = Finding::new(holds, text).comparing(format!("{least:016x} or later"), format!("{version:016x}"));
    Reason::of(ReasonCode::new("HM-POLICY-0007"), "tpm.firmware_at_least", finding)
}

fn clock_safe(facts: &MachineFacts, wanted: bool) -> Reason {
    let safe = facts.quote_clock.safe;
    let text = if safe {
        "the TPM calls its clock safe"
    } else {
        "the TPM lost power before it saved its clock"
    };
    let finding = Finding::new(safe == wanted, text).comparing(format!("safe = {wanted}"), format!("safe = {safe}"));
    Reason::of(ReasonCode::new("HM-POLICY-0008"), "tpm.clock_safe", finding)
}

/// When the last quote becomes too old, in Unix seconds; `None` if it is, or never does.
pub(crate) fn too_old_at(rules: &TpmRules, facts: &MachineFacts, now: SystemTime) -> Option<i64> {
    let most = rules.max_quote_age?;
    let seen_at = facts.quote_clock.seen_at / 1000;
    facts.age(now).filter(|age| *age <= most)?;
    i64::try_from(seen_at.saturating_add(most).saturating_add(1)).ok()
}

fn max_quote_age(facts: &MachineFacts, most: u64, now: SystemTime) -> Reason {
    let expected = format!("at most {most} s");
    let finding = match facts.age(now) {
        None => Finding::not_proven(expected, "nobody saw when the quote was taken"),
        Some(age) if age <= most => {
            Finding::new(true, "the last quote is recent").comparing(expected, format!("{age} s"))
        }
        Some(age) => Finding::new(false, "the last quote is too old").comparing(expected, format!("{age} s")),
    };
    Reason::of(ReasonCode::new("HM-POLICY-0009"), "tpm.max_quote_age", finding)
}
