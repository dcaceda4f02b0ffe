//! What is kept of a list.

use std::collections::HashSet;

use hallmark_evidence::ima::ImaReplay;
use hallmark_verify::ima::{BootAggregate, ImaKeys, MeasuredFiles};
use serde::{Deserialize, Serialize};

use super::file::{LineRef, MeasuredFile};

/// The most lines that are kept, each different from the others.
const MAX_FILES: usize = 1_000_000;
/// After so many signatures that a known key did not make, no more are tried: each costs as much as a good one.
const MAX_BAD_SIGNATURES: usize = 16;

/// What a machine's kernel measured, as far as quotes proved it, in a form that is kept: new lines are added to it, and
/// rules that come later are held against it without the machine.
///
/// Kept is every different line once, in the order of the list: its digest, name and signature. A signature that a known
/// key made is replaced by that key's digest, for it stays made. Violations are counted, and the first one is named. What
/// is kept takes no more than twice the list's bytes, and at most a million lines; a machine with more cannot be judged
/// by its files.
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
    /// What was measured, without the first line.
    pub files: Vec<MeasuredFile>,
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
        let mut new = Vec::new();
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
            } else {
                new.push(MeasuredFile::of(&event, line));
            }
        }
        self.keep(new);
        true
    }

    /// Adds what is not kept yet.
    fn keep(&mut self, new: Vec<MeasuredFile>) {
        // Few lines are new, as a rule, and many are kept: only those of the same name need a closer look.
        let new_names = new.iter().map(|file| file.name.as_str());
        let names: HashSet<&str> = if self.files.is_empty() {
            HashSet::new()
        } else {
            new_names.collect()
        };
        let alike = self.files.iter().filter(|file| names.contains(file.name.as_str()));
        let mut seen: HashSet<_> = alike.map(MeasuredFile::identity).collect();
        let is_new: Vec<bool> = new.iter().map(|file| seen.insert(file.identity())).collect();
        for file in new
            .into_iter()
            .zip(is_new)
            .filter_map(|(file, is_new)| is_new.then_some(file))
        {
            if self.files.len() < MAX_FILES {
                self.files.push(file);
            } else {
                self.cut_at.get_or_insert(file.line);
            }
        }
    }

    /// Looks for the keys that made the signatures that are still kept, and keeps those keys in their place. What rules
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
