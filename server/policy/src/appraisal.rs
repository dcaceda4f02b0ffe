//! The verdict.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hallmark_spiffe::Selector;
use hallmark_verify::{ProvenLogs, VerifiedEvidence};

use crate::appraisal_result::AppraisalResult;
use crate::facts::{Listed, MachineFacts};
use crate::ima::{ImaSummary, MeasuredFile};
use crate::reason::Reason;
use crate::set::PolicySet;

/// Evidence with the verdict on it. Only [`appraise`] makes one.
#[derive(Debug)]
pub struct Appraisal {
    evidence: VerifiedEvidence,
    facts: MachineFacts,
    result: AppraisalResult,
}

impl Appraisal {
    /// Whether every rule held that does not only report.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.result.is_trusted()
    }

    /// The first rule that refuses.
    #[must_use]
    pub fn refusal(&self) -> Option<&Reason> {
        self.result.refusal()
    }

    /// What each rule found, in the order of the rules.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        self.result.reasons()
    }

    /// The node's selectors: facts that the evidence proves, baselines that it matches, policies that it fulfils.
    #[must_use]
    pub const fn selectors(&self) -> &BTreeSet<Selector> {
        self.result.selectors()
    }

    /// What was judged.
    #[must_use]
    pub const fn evidence(&self) -> &VerifiedEvidence {
        &self.evidence
    }

    /// The facts that the rules were held against; kept, they can be judged again.
    #[must_use]
    pub const fn facts(&self) -> &MachineFacts {
        &self.facts
    }

    /// Gives away what is kept apart from the facts: the logs' bytes, and the lines of an IMA list that are at hand.
    pub fn take_logs(&mut self) -> (ProvenLogs, Vec<MeasuredFile>) {
        let ima = self.facts.ima.as_mut();
        let lines = ima.map(|ima| std::mem::take(&mut ima.files)).unwrap_or_default();
        (self.evidence.take_logs(), lines)
    }

    /// What the rules found.
    #[must_use]
    pub const fn result(&self) -> &AppraisalResult {
        &self.result
    }
}

/// Holds evidence, seen at `now`, against everything that is in force. `listed` is what operators say of the
/// machine.
#[must_use]
pub fn appraise(evidence: VerifiedEvidence, listed: Listed, set: &PolicySet, now: SystemTime) -> Appraisal {
    appraise_following(None, evidence, listed, set, now)
}

/// The same of evidence that brings only the new part of an IMA list: `held` is what is kept of the lines before, from
/// evidence of the same boot (the same resetCount and restartCount). Without it the list counts as not proven. Its lines
/// need not be at hand unless the set [needs](PolicySet::needs_lines) them.
#[must_use]
pub fn appraise_following(
    held: Option<ImaSummary>,
    evidence: VerifiedEvidence,
    listed: Listed,
    set: &PolicySet,
    now: SystemTime,
) -> Appraisal {
    let mut facts = MachineFacts {
        labels: listed.labels,
        ..MachineFacts::following(held, &evidence, now)
    };
    facts.tpm.other_eks = listed.other_eks;
    if let Some(ima) = &mut facts.ima {
        ima.settle(set.ima_keys());
        set.look(ima);
    }
    let result = set.judge(&facts, now);
    Appraisal {
        evidence,
        facts,
        result,
    }
}
