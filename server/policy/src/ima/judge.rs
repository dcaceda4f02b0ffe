//! Rules of policies over what was measured while the machine ran.

use hallmark_reason::ReasonCode;
use hallmark_verify::ima::{BootAggregate, SignatureVerdict};

use super::file::{LineKind, LineRef, MeasuredFile, Signed};
use super::list::DigestList;
use super::offence::Offence;
use super::summary::ImaSummary;
use crate::boot::listed;
use crate::facts::MachineFacts;
use crate::policy::{ImaRules, Violations};
use crate::reason::{EventRef, Finding, Reason};
use crate::set::PolicySet;

/// The most characters of a name that a reason shows.
const MAX_SHOWN: usize = 256;

/// What each rule of `policy` that is set finds, in their order: the list as a whole, then its lines.
pub(crate) fn judge(policy: &str, rules: &ImaRules, facts: &MachineFacts, set: &PolicySet) -> Vec<Reason> {
    let list = facts.ima.as_ref();
    let of_lines = rules.judges_lines();
    let rules_in_order = [
        rules.required.then(|| required(list)),
        Some(proven(list)),
        rules.boot_aggregate.then(|| boot_aggregate(list)),
        (rules.violations == Violations::Refuse).then(|| violations(list)),
        rules.lines_at_most.map(|most| lines_at_most(list, most)),
        rules.lists.as_ref().map(|names| {
            let known = names.iter().filter(|name| set.digest_list(name).is_some());
            lists_in_force(names, known.count())
        }),
        of_lines.then(|| kept_whole(list)),
        of_lines.then(|| LineRules::new(policy, rules, set).judge(list)),
    ];
    rules_in_order.into_iter().flatten().collect()
}

/// A rule over a list of which lines are proven; without one it does not hold.
fn over(list: Option<&ImaSummary>, expected: impl Into<String>, judge: impl FnOnce(&ImaSummary) -> Finding) -> Finding {
    let expected = expected.into();
    match list {
        Some(list) if list.proves_a_line() => Finding {
            expected: Some(expected),
            ..judge(list)
        },
        Some(_) => Finding::not_proven(expected, NO_LINE_PROVEN),
        None => Finding::not_proven(expected, NO_LIST),
    }
}

const NO_LIST: &str = "no IMA list came with the quote";
const NO_LINE_PROVEN: &str = "PCR 10 was never extended, so the quote proves no line of the IMA list";

fn required(list: Option<&ImaSummary>) -> Reason {
    const RULE: &str = "ima.required";
    if list.is_some_and(|list| !list.proves_a_line()) {
        let finding = Finding::not_proven("", NO_LINE_PROVEN).comparing("an IMA list in PCR 10", "PCR 10 is zero");
        return Reason::of(ReasonCode::new("HM-POLICY-0220"), RULE, finding);
    }
    let finding = match list {
        Some(list) => Finding::new(true, format!("the IMA list is proven: {} lines", list.lines)),
        None => Finding::not_proven("an IMA list", NO_LIST),
    };
    Reason::of(ReasonCode::new("HM-POLICY-0201"), RULE, finding)
}

fn proven(list: Option<&ImaSummary>) -> Reason {
    const EXPECTED: &str = "PCR 10 in every line";
    let finding = match list.and_then(|list| list.first_unproven.as_ref()) {
        Some(line) => Finding::new(false, "a line was measured into a register that does not prove it")
            .comparing(EXPECTED, format!("line {} in PCR {}", line.line, line.pcr))
            .at(Some(event(line))),
        None => over(list, EXPECTED, |_| {
            Finding::new(true, "register 10 proves every line").comparing("", "PCR 10")
        }),
    };
    Reason::of(ReasonCode::new("HM-POLICY-0202"), "ima", finding)
}

fn boot_aggregate(list: Option<&ImaSummary>) -> Reason {
    let finding = over(list, "a first line that is over the quoted PCR 0 to 9", |list| {
        let text = match list.boot_aggregate {
            BootAggregate::Matches => "the list's first line is over the quoted registers",
            BootAggregate::Differs => "the list's first line is over other registers: it is of another boot",
            BootAggregate::NotQuoted => "not proven: not all of PCR 0 to 9 were quoted in the first line's bank",
            BootAggregate::Absent => "not proven: the list does not begin with a boot_aggregate",
        };
        Finding::new(list.boot_aggregate == BootAggregate::Matches, text).comparing("", list.boot_aggregate.as_str())
    });
    Reason::of(ReasonCode::new("HM-POLICY-0203"), "ima.boot_aggregate", finding)
}

fn violations(list: Option<&ImaSummary>) -> Reason {
    let finding = over(list, "no violation", |list| match &list.first_violation {
        None => Finding::new(true, "no file was written while it was measured").comparing("", "none"),
        Some(line) => Finding::new(
            false,
            "a file was written while it was measured, so its line measures nothing",
        )
        .comparing(
            "",
            format!(
                "{}, the first at line {}: {}",
                list.violations,
                line.line,
                shown(&line.name)
            ),
        )
        .at(Some(event(line))),
    });
    Reason::of(ReasonCode::new("HM-POLICY-0204"), "ima.violations", finding)
}

fn lines_at_most(list: Option<&ImaSummary>, most: u64) -> Reason {
    let finding = over(list, format!("at most {most} lines"), |list| {
        let holds = list.lines <= most;
        let text = if holds {
            "the list is short enough"
        } else {
            "the list is longer than it should be"
        };
        Finding::new(holds, text).comparing("", format!("{} lines", list.lines))
    });
    Reason::of(ReasonCode::new("HM-POLICY-0205"), "ima.lines_at_most", finding)
}

fn lists_in_force(names: &std::collections::BTreeSet<String>, known: usize) -> Reason {
    let named: Vec<_> = names.iter().map(String::as_str).collect();
    let text = if known > 0 {
        "the policy's lists of digests are in use"
    } else {
        "none of the policy's lists is in use"
    };
    let finding = Finding::new(known > 0, text).comparing(named.join(" or "), format!("{known} of them"));
    Reason::of(ReasonCode::new("HM-POLICY-0206"), "ima.lists", finding)
}

fn kept_whole(list: Option<&ImaSummary>) -> Reason {
    let finding = over(list, "every line kept", |list| match list.cut_at {
        None => Finding::new(true, "every line that measures something was kept")
            .comparing("", format!("{} lines", list.kept)),
        Some(line) => Finding::new(false, "the list has more lines than are kept and judged")
            .comparing("", format!("none from line {line}")),
    });
    Reason::of(ReasonCode::new("HM-POLICY-0207"), "ima", finding)
}

/// What a policy says that lines must be.
pub(crate) struct LineRules<'a> {
    policy: &'a str,
    rules: &'a ImaRules,
    lists: Vec<&'a DigestList>,
    mark: &'a str,
}

impl<'a> LineRules<'a> {
    pub(crate) fn new(policy: &'a str, rules: &'a ImaRules, set: &'a PolicySet) -> Self {
        let named = rules.lists.iter().flatten().filter_map(|name| set.digest_list(name));
        Self {
            policy,
            rules,
            lists: rules.allow.iter().chain(named).collect(),
            mark: set.mark(policy),
        }
    }

    /// Whether what was found in a list's lines is known, for all of them.
    pub(crate) fn have_looked(&self, list: &ImaSummary) -> bool {
        list.looked(self.policy, self.mark).is_some()
    }

    /// Looks at the lines that are new since the last look, as far as they are at hand.
    pub(crate) fn look(&self, list: &mut ImaSummary) {
        list.look(self.policy, self.mark, |file| self.offence(file).is_some());
    }

    fn judge(&self, list: Option<&ImaSummary>) -> Reason {
        let mut code = ReasonCode::new("HM-POLICY-0208");
        let finding = over(list, self.expected(), |list| {
            // Lines stand in their order: the first offender is the first event.
            let offender = match list.looked(self.policy, self.mark) {
                Some(looked) => Some(looked.offender.as_ref()),
                None => (list.away() == 0).then(|| list.files.iter().find(|file| self.offence(file).is_some())),
            };
            let (file, offence) = match offender.map(|file| file.map(|file| (file, self.offence(file)))) {
                Some(None) => {
                    return Finding::new(true, format!("each of {} lines is allowed", list.kept))
                        .comparing("", "every line allowed");
                }
                Some(Some((file, Some(offence)))) => (file, offence),
                None | Some(Some((_, None))) => {
                    code = ReasonCode::new("HM-POLICY-0219");
                    return Finding::new(false, "not proven: the list's lines are not at hand")
                        .comparing("", format!("{} of {} lines away", list.away(), list.kept));
                }
            };
            code = offence.code();
            let line = format!("line {}: {} {}", file.line, shown(&file.name), shown(&file.digest));
            let actual = match offence.detail() {
                Some(detail) => format!("{line}, {detail}"),
                None => line,
            };
            Finding::new(false, offence.text())
                .comparing("", actual)
                .at(Some(EventRef {
                    number: u32::try_from(file.line).unwrap_or(u32::MAX),
                    pcr: 10,
                    kind: EventRef::IMA.to_owned(),
                    text: shown(&file.name),
                }))
        });
        Reason::of(code, self.rule(), finding)
    }

    /// The key that says what lines must be: the first one that is there.
    const fn rule(&self) -> &'static str {
        let rules = self.rules;
        match (&rules.allow, &rules.lists) {
            (Some(_), _) => "ima.allow",
            (None, Some(_)) => "ima.lists",
            (None, None) => "ima.keys",
        }
    }

    fn expected(&self) -> String {
        let rules = self.rules;
        let ways = [
            (!self.lists.is_empty()).then_some("a listed digest"),
            rules.keys.as_ref().map(|_| "a signature of one of the keys"),
            rules.exclude.as_ref().map(|_| "an excluded path"),
        ];
        let ways: Vec<_> = ways.into_iter().flatten().collect();
        if ways.is_empty() {
            "nothing".to_owned()
        } else {
            ways.join(" or ")
        }
    }

    fn offence(&self, file: &MeasuredFile) -> Option<Offence> {
        if self.is_listed(file) || self.is_signed(file) || self.is_excluded(file) {
            return None;
        }
        Some(match file.kind {
            LineKind::Buffer => Offence::Buffer,
            LineKind::Unclear => Offence::Unclear,
            LineKind::File if !file.has_strong_digest() => Offence::Weak,
            LineKind::File => return self.unvouched(file),
        })
    }

    fn is_listed(&self, file: &MeasuredFile) -> bool {
        let allows = |list: &&DigestList| {
            list.allows(&file.name, &file.digest) || self.rules.any_path && list.knows(&file.digest)
        };
        // Lists have strong digests only.
        file.kind != LineKind::Unclear && self.lists.iter().any(allows)
    }

    /// Whether a key of the policy is known to have signed it. One that would have to be tried is tried last.
    fn is_signed(&self, file: &MeasuredFile) -> bool {
        let (Some(keys), Some(Signed::By { key })) = (&self.rules.keys, &file.signed) else {
            return false;
        };
        keys.iter().any(|it| it.sha256() == key)
    }

    fn is_excluded(&self, file: &MeasuredFile) -> bool {
        let patterns = match file.kind {
            LineKind::File => &self.rules.exclude,
            LineKind::Buffer => &self.rules.buffers,
            LineKind::Unclear => &None,
        };
        let fits = |file: &MeasuredFile| patterns.iter().flatten().any(|pattern| pattern.matches(&file.name));
        file.has_plain_name() && fits(file)
    }

    /// What is wrong with a file of which neither lists nor patterns say anything.
    fn unvouched(&self, file: &MeasuredFile) -> Option<Offence> {
        if let (Some(keys), Some(signed)) = (&self.rules.keys, &file.signed) {
            return match signed {
                Signed::Fault(fault) => Some(Offence::Fault(*fault)),
                Signed::By { key } => Some(Offence::ForeignKey(key.clone())),
                Signed::Open(signature) => match keys.verify(signature) {
                    SignatureVerdict::Valid(_) => None,
                    SignatureVerdict::UnknownKey => Some(Offence::UnknownKey(signature.key_id)),
                    SignatureVerdict::Bad => Some(Offence::BadSignature(signature.key_id)),
                },
            };
        }
        let digests = self.lists.iter().find_map(|list| list.digests_of(&file.name));
        Some(match digests {
            Some(digests) => Offence::OtherDigest(listed(digests)),
            None if self.lists.is_empty() => Offence::Unsigned,
            None => Offence::Unknown,
        })
    }
}

fn event(line: &LineRef) -> EventRef {
    EventRef {
        number: u32::try_from(line.line).unwrap_or(u32::MAX),
        pcr: u8::try_from(line.pcr).unwrap_or(u8::MAX),
        kind: EventRef::IMA.to_owned(),
        text: shown(&line.name),
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
