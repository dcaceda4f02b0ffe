//! Everything that is in force.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use hallmark_spiffe::Selector;
use hallmark_verify::ima::ImaKeys;

use crate::appraisal_result::AppraisalResult;
use crate::baseline::{Baseline, BaselineState};
use crate::facts::MachineFacts;
use crate::ima::{DigestList, ImaSummary};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::selectors::{self, found, sha256_hex};
use crate::{applies, boot, builtin, ima, tpm};

/// The rules of the server's configuration, policies and baselines: what machines are held against.
///
/// The configuration's rules hold for every machine. Of the policies, every one applies that is for the machine, and all
/// that apply must hold. A policy on a dry run only reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// The configuration's rules.
    pub rules: Rules,
    /// EKs whose vendors revoked their certificates: SHA-256 of the SPKI, lower-case hex.
    pub revoked: BTreeSet<String>,
    /// EKs whose stored certificates do not read back, so that nobody can say that they are not revoked, and what is damaged.
    pub unreadable: BTreeMap<String, String>,
    policies: BTreeMap<String, Policy>,
    baselines: BTreeMap<String, Baseline>,
    lists: BTreeMap<String, DigestList>,
    /// SHA-256 of each list.
    list_marks: BTreeMap<String, String>,
    ima_keys: ImaKeys,
    /// SHA-256 of each policy's rules for lines of IMA lists, with the lists that they name.
    marks: BTreeMap<String, String>,
}

impl From<Rules> for PolicySet {
    fn from(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }
}

impl PolicySet {
    /// Puts a policy in force, in the place of the one with its name. Whether it may replace it is
    /// [`require_newer`](crate::signed::require_newer)'s to say.
    pub fn apply(&mut self, policy: Policy) -> Option<Policy> {
        let replaced = self.policies.insert(policy.name.clone(), policy);
        self.gather();
        replaced
    }

    /// Takes a policy out of force.
    pub fn withdraw(&mut self, name: &str) -> Option<Policy> {
        let withdrawn = self.policies.remove(name);
        self.gather();
        withdrawn
    }

    /// What follows from policies and lists.
    fn gather(&mut self) {
        self.ima_keys = ImaKeys::default();
        for keys in self.policies.values().filter_map(|it| it.ima.as_ref()?.keys.as_ref()) {
            self.ima_keys.extend(keys);
        }
        let rules = self.policies.values().filter_map(|it| Some((it, it.ima.as_ref()?)));
        let marks = rules.map(|(policy, rules)| (policy.name.clone(), rules.mark(&self.list_marks)));
        self.marks = marks.collect();
    }

    /// What tells a policy's rules for lines from all others.
    pub(crate) fn mark(&self, policy: &str) -> &str {
        self.marks.get(policy).map_or("", String::as_str)
    }

    fn line_rules(&self) -> impl Iterator<Item = ima::LineRules<'_>> {
        let rules = self.policies().filter_map(|it| Some((it, it.ima.as_ref()?)));
        let of_lines = rules.filter(|(_, rules)| rules.judges_lines());
        of_lines.map(|(policy, rules)| ima::LineRules::new(&policy.name, rules, self))
    }

    /// Whether a list cannot be judged without those of its lines that are away.
    #[must_use]
    pub fn needs_lines(&self, list: &ImaSummary) -> bool {
        list.away() > 0 && !self.line_rules().all(|rules| rules.have_looked(list))
    }

    /// Has every policy look at the lines that are new to it, so that they need not be at hand later. Only the lines at
    /// hand are looked at.
    pub fn look(&self, list: &mut ImaSummary) {
        list.looked.retain(|policy, _| self.policies.contains_key(policy));
        for rules in self.line_rules() {
            rules.look(list);
        }
    }

    /// Adds a baseline, or replaces the one with its name.
    pub fn add_baseline(&mut self, baseline: Baseline) -> Option<Baseline> {
        self.baselines.insert(baseline.name.clone(), baseline)
    }

    /// Removes a baseline. Policies that name it fail from then on.
    pub fn remove_baseline(&mut self, name: &str) -> Option<Baseline> {
        self.baselines.remove(name)
    }

    /// The policies, by name.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }

    /// The policy with this name.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.get(name)
    }

    /// The baselines, by name, retired ones too.
    pub fn baselines(&self) -> impl Iterator<Item = &Baseline> {
        self.baselines.values()
    }

    /// The baseline with this name.
    #[must_use]
    pub fn baseline(&self, name: &str) -> Option<&Baseline> {
        self.baselines.get(name)
    }

    /// Adds a list of digests, or replaces the one with its name.
    pub fn add_digest_list(&mut self, list: DigestList) -> Option<DigestList> {
        self.list_marks
            .insert(list.name.clone(), sha256_hex(list.to_json().as_bytes()));
        let replaced = self.lists.insert(list.name.clone(), list);
        self.gather();
        replaced
    }

    /// Removes a list of digests. What only it allows is refused from then on, by policies that name it.
    pub fn remove_digest_list(&mut self, name: &str) -> Option<DigestList> {
        self.list_marks.remove(name);
        let removed = self.lists.remove(name);
        self.gather();
        removed
    }

    /// The lists of digests, by name.
    pub fn digest_lists(&self) -> impl Iterator<Item = &DigestList> {
        self.lists.values()
    }

    /// The list of digests with this name.
    #[must_use]
    pub fn digest_list(&self, name: &str) -> Option<&DigestList> {
        self.lists.get(name)
    }

    /// Names of lists of digests that policies name and that do not exist, with the policy.
    #[must_use]
    pub fn dangling_digest_lists(&self) -> BTreeSet<(String, String)> {
        let named = self.policies().flat_map(|policy| {
            let names = policy.ima.iter().flat_map(|ima| ima.lists.iter().flatten());
            names.map(|name| (policy.name.clone(), name.clone()))
        });
        named.filter(|(_, name)| self.digest_list(name).is_none()).collect()
    }

    /// The keys of all policies, to look for those that signed files. Which of them count each policy says for itself.
    #[must_use]
    pub const fn ima_keys(&self) -> &ImaKeys {
        &self.ima_keys
    }

    /// Names of baselines that policies name and that do not exist or are retired, with the policy: each of these policies
    /// may refuse every machine.
    #[must_use]
    pub fn dangling_baselines(&self) -> BTreeSet<(String, String)> {
        let usable = |name: &String| self.baseline(name).is_some_and(|it| it.state == BaselineState::Active);
        let named = self.policies().flat_map(|policy| {
            let boot = policy.boot.iter();
            let names = boot.flat_map(|boot| boot.baselines.iter().flatten().chain(&boot.dbx_of_baseline));
            names.map(|name| (policy.name.clone(), name.clone()))
        });
        named.filter(|(_, name)| !usable(name)).collect()
    }

    /// Holds facts against everything that is in force.
    #[must_use]
    pub fn judge(&self, facts: &MachineFacts, now: SystemTime) -> AppraisalResult {
        let mut selectors = selectors::of_facts(facts);
        let mut reasons = builtin::judge(&facts.tpm, &self.rules);
        reasons.extend(builtin::revocation(&facts.tpm, &self.revoked));
        reasons.extend(builtin::unreadable_certificate(&facts.tpm, &self.unreadable));
        let mut earned = self.found_in_boot(facts);
        for policy in self.policies() {
            let Some(unknown) = applies::applies(policy, facts) else {
                continue;
            };
            let judged = self.judge_policy(policy, &unknown, facts, now);
            let is_meant = policy.applies_to.is_subset(&selectors);
            if is_meant && !policy.dry_run && judged.iter().all(|reason| reason.holds) {
                earned.extend(found("policy", "", &policy.name));
                earned.extend(policy.ima.as_ref().and_then(|_| found("ima", "policy", &policy.name)));
            }
            reasons.extend(judged);
        }
        selectors.extend(earned);
        AppraisalResult { reasons, selectors }
    }

    /// From when on, in Unix seconds, [`judge`](Self::judge) finds something else although neither facts nor rules change: a
    /// quote becomes too old. `None` for never.
    #[must_use]
    pub fn stale_at(&self, facts: &MachineFacts, now: SystemTime) -> Option<i64> {
        let applying = self
            .policies()
            .filter(|policy| applies::applies(policy, facts).is_some());
        let ends = applying.filter_map(|policy| tpm::too_old_at(&policy.tpm, facts, now));
        ends.min()
    }

    /// `unknown` are the facts for want of which the policy applies.
    fn judge_policy(
        &self,
        policy: &Policy,
        unknown: &BTreeSet<&'static str>,
        facts: &MachineFacts,
        now: SystemTime,
    ) -> Vec<Reason> {
        let mut reasons: Vec<_> = applies::reason(policy, unknown).into_iter().collect();
        if let Some(rules) = &policy.boot {
            reasons.extend(boot::judge(rules, facts, self));
        }
        if let Some(rules) = &policy.ima {
            reasons.extend(ima::judge(&policy.name, rules, facts, self));
        }
        reasons.extend(tpm::judge(&policy.tpm, facts, now));
        let said = reasons
            .into_iter()
            .map(|reason| reason.said_by(&policy.name, policy.dry_run, unknown));
        said.collect()
    }

    fn found_in_boot(&self, facts: &MachineFacts) -> BTreeSet<Selector> {
        let matching = self.baselines().filter(|baseline| baseline.is_matched_by(facts));
        let baselines = matching.filter_map(|baseline| found("boot", "baseline", &baseline.name));
        baselines.chain(boot::selectors(facts)).collect()
    }
}
