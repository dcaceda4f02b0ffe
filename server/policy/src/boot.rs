//! Rules of policies over what was booted.

mod base;
mod consistent;
mod firmware;
mod kernel;
mod keys;
mod record;

use std::collections::BTreeSet;

use hallmark_spiffe::Selector;

use crate::facts::MachineFacts;
use crate::policy::BootRules;
use crate::reason::Reason;
use crate::selectors::found;
use crate::set::PolicySet;
use record::Record;

pub(crate) use record::listed;

/// What each rule that is set finds, in the order of the chain of trust: log, firmware, keys, images, kernel, registers.
pub(crate) fn judge(rules: &BootRules, facts: &MachineFacts, set: &PolicySet) -> Vec<Reason> {
    let record = Record::of(facts);
    let mut reasons = Vec::new();
    reasons.extend(rules.required.then(|| record.required()));
    reasons.extend(rules.consistent.then(|| consistent::judge(rules, &record)));
    reasons.extend(firmware::judge(rules, &record));
    reasons.extend(keys::judge(rules, &record, set));
    reasons.extend(kernel::judge(rules, &record));
    reasons.extend(base::judge(rules, facts, set));
    reasons
}

/// Selectors of type `boot` that what was booted earns.
pub(crate) fn selectors(facts: &MachineFacts) -> BTreeSet<Selector> {
    let record = Record::of(facts);
    let secure_boot = record.proven(&[7], |boot| boot.secure_boot).ok();
    let state = secure_boot.map(|on| if on { "on" } else { "off" });
    state
        .and_then(|state| found("boot", "secure-boot", state))
        .into_iter()
        .collect()
}
