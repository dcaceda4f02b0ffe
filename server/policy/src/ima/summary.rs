//! What is kept of a list.

use std::collections::BTreeMap;

use hallmark_evidence::ima::ImaReplay;
use hallmark_verify::ima::{BootAggregate, ImaKeys, MeasuredFiles};
use serde::{Deserialize, Serialize};

use super::file::{LineRef, MeasuredFile};

/// The most lines that are kept.
const MAX_FILES: u64 = 1_000_000;
/// The most bytes that they take, stored: names may be spelt longer than they are.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// After so many signatures that a known key did not make, no more are tried: each costs as much as a good one.
const MAX_BAD_SIGNATURES: usize = 16;

/// What a machine's kernel measured, as far as quotes proved it, in a form that is kept: new lines are added to it, and
/// rules that come later are held against it without the machine.
///
/// Kept of every line is its digest, name and signature. A signature that a known key made is replaced by that key's
/// digest, for it stays made. Violations are counted, and the first one is named. Kept are at most a million lines, and
/// 256 MiB of them besides signatures; a machine with more cannot be judged by its files.
///
/// The lines are no part of the summary's stored form: they are many and only ever added to, so they are kept beside it
/// and need not be at hand. Of those that are not, the summary knows what policies found in them.
///
/// A summary to which the rest of a list was added is the summary of the whole list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImaSummary {
    /// How many lines were proven.
    pub lines: u64,
    /// Whether the first line fitted the quoted registers.
    pub boot_aggregate: BootAggregate,
    /// How many lines measure nothing, since a file was written while it was read.
    pub violations: u64,
    /// The first of them.
    pub first_violation: Option<LineRef>,
    /// The first line that is said to have been measured into another register, so that nothing proves it.
    pub first_unproven: Option<LineRef>,
    /// The first line that was not kept, since there were too many.
    pub cut_at: Option<u64>,
    /// How many lines are kept: all but the first line, violations, and what is not proven.
    pub kept: u64,
    /// How many bytes they take, about, signatures aside.
    #[serde(default)]
    pub bytes: u64,
    /// What policies found in the kept lines, by the policy's name.
    pub looked: BTreeMap<String, Looked>,
    /// The kept lines that are at hand, which are the last ones.
    #[serde(skip)]
    pub files: Vec<MeasuredFile>,
}

/// What a policy's rules for lines found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Looked {
    /// Which rules, with the lists that they name: what they found holds for these alone.
    pub rules: String,
    /// In how many of the kept lines, from the first one on.
    pub kept: u64,
    /// The first line that the rules do not let pass.
    pub offender: Option<MeasuredFile>,
}

impl ImaSummary {
    /// What `files` prove together with the earlier lines that `held` was made of. None if `files` do not go on where
    /// `held` ends: then nothing can be said of the list as a whole.
    #[must_use]
    pub fn of(held: Option<Self>, files: &MeasuredFiles) -> Option<Self> {
        let mut summary = match files.boot_aggregate() {
            // The list from its first line.
            Some(boot_aggregate) => Self {
                lines: 0,
                boot_aggregate,
                violations: 0,
                first_violation: None,
                first_unproven: None,
                cut_at: None,
                kept: 0,
                bytes: 0,
                looked: BTreeMap::new(),
                files: Vec::new(),
            },
            None => held?,
        };
        summary.extend(files).then_some(summary)
    }

    /// Adds the lines of `files`, which go on where this summary ends. Gives whether they do; else nothing is added.
    pub fn extend(&mut self, files: &MeasuredFiles) -> bool {
        if files.lines_before() != self.lines {
            return false;
        }
        let mut is_first = self.lines == 0 && self.boot_aggregate != BootAggregate::Absent;
        for event in files.lines() {
            let line = self.lines;
            self.lines = self.lines.saturating_add(1);
            if event.pcr != u32::from(ImaReplay::PCR) {
                self.first_unproven.get_or_insert_with(|| LineRef::of(&event, line));
            } else if event.is_violation() {
                self.violations = self.violations.saturating_add(1);
                self.first_violation.get_or_insert_with(|| LineRef::of(&event, line));
            } else if is_first {
                is_first = false;
            } else if self.cut_at.is_none() {
                self.keep(MeasuredFile::of(&event, line));
            }
        }
        true
    }

    fn keep(&mut self, file: MeasuredFile) {
        let bytes = self.bytes.saturating_add(file.stored_size());
        if self.kept == MAX_FILES || bytes > MAX_BYTES {
            self.cut_at = Some(file.line);
            return;
        }
        self.kept += 1;
        self.bytes = bytes;
        self.files.push(file);
    }

    /// Whether the quote proves a line at all. It proves none where the register was never extended: IMA runs without this
    /// TPM then, whatever its list says.
    #[must_use]
    pub fn proves_a_line(&self) -> bool {
        self.boot_aggregate != BootAggregate::Absent || self.kept > 0 || self.violations > 0 || self.cut_at.is_some()
    }

    /// How many of the kept lines are not at hand.
    #[must_use]
    pub fn away(&self) -> u64 {
        self.kept
            .saturating_sub(u64::try_from(self.files.len()).unwrap_or(u64::MAX))
    }

    /// Puts the first kept lines, as they were stored, before those at hand. Gives whether all are at hand then.
    pub fn recall(&mut self, stored: Vec<MeasuredFile>) -> bool {
        let new = std::mem::replace(&mut self.files, stored);
        self.files.extend(new);
        self.away() == 0 && u64::try_from(self.files.len()) == Ok(self.kept)
    }

    /// What a policy with these rules found in every kept line.
    #[must_use]
    pub(crate) fn looked(&self, policy: &str, rules: &str) -> Option<&Looked> {
        let looked = self.looked.get(policy)?;
        (looked.rules == rules && looked.kept == self.kept).then_some(looked)
    }

    /// Has a policy's rules for lines look at the lines that they did not see yet; those must be at hand.
    pub(crate) fn look(&mut self, policy: &str, rules: &str, mut offends: impl FnMut(&MeasuredFile) -> bool) {
        let before = self.looked.remove(policy).filter(|looked| looked.rules == rules);
        let (seen, offender) = before.map_or((0, None), |looked| (looked.kept, looked.offender));
        let Some(from) = seen.checked_sub(self.away()) else {
            return;
        };
        let unseen = usize::try_from(from).ok().and_then(|from| self.files.get(from..));
        // Nothing behind the first offence is looked at: an offender's list costs no more than a good one.
        let offender = offender.or_else(|| unseen?.iter().find(|file| offends(file)).cloned());
        let looked = Looked {
            rules: rules.to_owned(),
            kept: self.kept,
            offender,
        };
        self.looked.insert(policy.to_owned(), looked);
    }

    /// Looks for the keys that made the signatures of the lines at hand, and keeps those keys in their place. What rules
    /// find does not change by it; only they need not look again.
    pub fn settle(&mut self, keys: &ImaKeys) {
        if keys.is_empty() {
            return;
        }
        let mut bad = 0;
        for file in &mut self.files {
            bad += usize::from(file.settle(keys));
            if bad == MAX_BAD_SIGNATURES {
                return;
            }
        }
    }
}
