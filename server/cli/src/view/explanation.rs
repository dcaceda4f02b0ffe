//! Why a machine is trusted or not, in words that an operator acts on.

use hallmark_api::admin::Node;
use hallmark_host::printable;
use hallmark_policy::MachineFacts;
use hallmark_reason::lookup;
use hallmark_verify::boot::BootFacts;
use serde::Serialize;
use serde_json::Value;

use crate::{error::CliError, kept::Kept, output::Show, table::facts, timestamp::rfc3339};

/// The code of a policy that names a baseline that is not there.
const NO_BASELINE: &str = "HM-POLICY-0128";

/// The codes of a node that the rules cannot judge, since what is stored of it does not read back.
const UNJUDGED: [&str; 2] = ["HM-SRV-0034", "HM-STORE-0039"];

/// The verdict, what it rests on, and what to do.
#[derive(Debug, Serialize)]
pub(crate) struct ExplanationView {
    id: String,
    /// Whether the node may have anything now.
    trusted: bool,
    /// Where it stands: `active`, `pending`, `suspended`, `banned`, `retired`.
    state: String,
    /// The reason code for which it is not trusted, by the rules or since they cannot judge it; empty while it is.
    code: String,
    /// When it proved what the rules are held against.
    judged_at: Option<String>,
    /// The rules in force that do not hold, in order.
    failed: Vec<Value>,
    /// The policies that apply since a fact that `applies_to` names is not known.
    unknown: Vec<Value>,
    /// How many rules hold.
    held: usize,
    facts: MachineFacts,
    #[serde(skip)]
    has_earlier: bool,
}

impl ExplanationView {
    pub(crate) fn new(node: Node, kept: &Kept) -> Result<Self, CliError> {
        let appraisal = kept.appraisal()?;
        let reasons = appraisal.get("reasons").and_then(Value::as_array);
        let (held, failed): (Vec<_>, Vec<_>) = reasons
            .into_iter()
            .flatten()
            .cloned()
            .partition(|reason| reason.get("holds") == Some(&Value::Bool(true)));
        let failed: Vec<_> = failed.into_iter().map(advised).collect();
        let is_unknown = |reason: &Value| reason.get("rule").and_then(Value::as_str) == Some("applies_to");
        let (unknown, held): (Vec<_>, Vec<_>) = held.into_iter().partition(is_unknown);
        let refusing = failed
            .iter()
            .find(|reason| !only_reports(reason))
            .and_then(|reason| reason.get("code")?.as_str());
        // Whatever the rules find in what still reads back, it gets nothing.
        let unjudged = UNJUDGED.contains(&&*node.untrusted_reason);
        let code = match (unjudged, refusing) {
            (false, Some(refusing)) => refusing,
            (false, None) if !kept.summary.untrusted_reason.is_empty() => &kept.summary.untrusted_reason,
            _ => &node.untrusted_reason,
        };
        let code = code.to_owned();
        Ok(Self {
            id: node.id,
            trusted: code.is_empty() && node.state == "active",
            state: node.state,
            code,
            judged_at: rfc3339(kept.summary.judged_at),
            failed,
            unknown: unknown.into_iter().map(advised).collect(),
            held: held.len(),
            facts: kept.facts()?,
            has_earlier: !kept.summary.earlier.is_empty(),
        })
    }

    fn verdict(&self) -> String {
        let refused = self.failed.iter().any(|reason| !only_reports(reason));
        let unjudged = UNJUDGED.contains(&&*self.code);
        let rules = match (self.code.is_empty(), refused) {
            _ if unjudged => format!("not trusted {}: what is stored of it does not read back", self.code),
            (true, _) => "trusted".to_owned(),
            (false, true) => format!("refused {}", self.code),
            (false, false) => format!(
                "refused {}: by the rules in force now it would hold; it has to attest again",
                self.code
            ),
        };
        match (self.state.as_str(), self.code.is_empty()) {
            ("active", _) => rules,
            (state, true) => format!("{state}; the rules would trust it"),
            (state, false) => format!("{state}; {rules}"),
        }
    }

    fn next(&self) -> String {
        let id = &self.id;
        let unjudged = UNJUDGED.iter().find(|code| **code == self.code);
        if let Some(next) = unjudged.and_then(|code| lookup(code)?.next_step) {
            return next.replace('`', "").replace("NODE", id);
        }
        match self.state.as_str() {
            "pending" => format!("hallmark node approve {id}"),
            "suspended" => format!("hallmark node resume {id}"),
            "banned" => format!("hallmark node unban {id}"),
            "retired" => "nothing: a retired machine does not come back".to_owned(),
            _ if self.code == NO_BASELINE => {
                "hallmark baseline list; apply the baseline that the policy names, or correct the policy".to_owned()
            }
            _ => {
                let other = if self.has_earlier {
                    "--earlier"
                } else {
                    "--baseline NAME"
                };
                format!(
                    "hallmark node diff {id} {other}; then put the machine right, or promote its boot:\n      \
                     hallmark baseline capture {id} --name NAME -o FILE"
                )
            }
        }
    }

    fn what_was_booted(&self) -> String {
        let Some(boot) = &self.facts.boot else {
            return facts(&[("boot", "not proven: no boot log came with the quote".to_owned())]);
        };
        let boot = &boot.facts;
        let switch = |on: Option<bool>| match on {
            Some(true) => "on".to_owned(),
            Some(false) => "off".to_owned(),
            None => "not measured".to_owned(),
        };
        let sections = boot.uki_sections.keys().cloned().collect::<Vec<_>>().join(" ");
        let authorities = boot.authorities.iter().map(|it| it.subject.clone());
        let files = self.facts.ima.as_ref().map_or_else(
            || "no list was proven".to_owned(),
            |ima| format!("{} lines, {} violations", ima.lines, ima.violations),
        );
        facts(&[
            ("events", boot.event_count.to_string()),
            ("secure boot", switch(boot.secure_boot)),
            ("signed by", authorities.collect::<Vec<_>>().join(", ")),
            ("revoked hashes", boot.dbx_hashes.len().to_string()),
            (
                "command line",
                boot.command_line
                    .clone()
                    .unwrap_or_else(|| "the log has only its digest".to_owned()),
            ),
            ("image sections", sections),
            ("phases", phases(boot)),
            ("files", files),
        ])
    }
}

impl Show for ExplanationView {
    fn table(&self, _now: i64) -> String {
        let mut text = facts(&[
            ("node", self.id.clone()),
            ("verdict", self.verdict()),
            ("proven", self.judged_at.clone().unwrap_or_default()),
            ("rules", format!("{} hold, {} do not", self.held, self.failed.len())),
        ]);
        for reason in self.unknown.iter().chain(&self.failed) {
            text.push('\n');
            text.push_str(&failed(reason));
        }
        text.push('\n');
        text.push_str(&self.what_was_booted());
        if !self.trusted {
            text.push_str(&format!("\nnext: {}\n", self.next()));
        }
        text
    }
}

/// The phases, and whether a log has them.
fn phases(boot: &BootFacts) -> String {
    let phases = boot.phases.join(" ");
    match boot.phases_unlogged {
        true => format!("{phases} (by PCR 11 alone: systemd before 255 keeps no log of them)"),
        false => phases,
    }
}

/// With the cause and the next step of a rule that does not hold, as `evidence verify` tells it.
fn advised(mut reason: Value) -> Value {
    let known = reason.get("code").and_then(Value::as_str).and_then(lookup);
    if let (Some(known), Some(told)) = (known, reason.as_object_mut()) {
        let texts = [("likely_cause", known.likely_cause), ("next_step", known.next_step)];
        told.extend(
            texts
                .into_iter()
                .filter_map(|(key, text)| Some((key.to_owned(), text?.into()))),
        );
    }
    reason
}

/// A rule of a policy on a dry run.
fn only_reports(reason: &Value) -> bool {
    reason.get("dry_run") == Some(&Value::Bool(true))
}

fn failed(reason: &Value) -> String {
    let text = |key: &str| reason.get(key).and_then(Value::as_str).unwrap_or_default();
    let event = reason
        .get("first_event")
        .filter(|event| event.is_object())
        .map_or_else(String::new, |event| {
            let part = |key: &str| {
                event.get(key).map_or_else(String::new, |value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            };
            format!(
                "{} (PCR {}, {}) {}",
                part("number"),
                part("pcr"),
                part("kind"),
                part("text")
            )
        });
    let mode = if only_reports(reason) {
        " (dry run: it refuses nobody)"
    } else {
        ""
    };
    let head = printable(&format!("{}: {}{mode}", text("code"), text("text")));
    let rest = facts(&[
        ("  policy", format!("{}, {}", text("policy"), text("rule"))),
        ("  expected", text("expected").to_owned()),
        ("  proven", text("actual").to_owned()),
        ("  first event", event),
        ("  cause", text("likely_cause").to_owned()),
        ("  next", text("next_step").to_owned()),
    ]);
    format!("{head}\n{rest}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hallmark_api::admin::EvidenceSummary;
    use hallmark_policy::TpmFacts;
    use hallmark_verify::history::QuoteClock;
    use serde_json::json;

    use super::*;

    fn explained(untrusted_reason: &str, state: &str) -> ExplanationView {
        let facts = MachineFacts {
            tpm: TpmFacts {
                ek_sha256: "00".into(),
                class: "virtual".into(),
                enrolled_by: "inventory".into(),
                inventory: None,
                certificate: None,
                firmware_version: 4,
                other_eks: BTreeSet::new(),
            },
            quote_clock: QuoteClock {
                reset_count: 1,
                restart_count: 2,
                clock: 3,
                safe: true,
                firmware_version: 4,
                seen_at: 5,
            },
            pcrs: BTreeMap::new(),
            boot: None,
            ima: None,
            labels: BTreeMap::new(),
        };
        let kept = Kept::of_summary(EvidenceSummary {
            judged_at: 1,
            facts: serde_json::to_string(&facts).unwrap(),
            appraisal: json!({ "reasons": [] }).to_string(),
            ..EvidenceSummary::default()
        });
        let node = Node {
            id: "spiffe://example.org/spire/agent/tpm2/00".into(),
            state: state.into(),
            untrusted_reason: untrusted_reason.into(),
            ..Node::default()
        };
        ExplanationView::new(node, &kept).unwrap()
    }

    #[test]
    fn a_node_that_cannot_be_judged_is_not_trusted() {
        let control = explained("", "active");
        assert!(control.trusted && control.verdict() == "trusted", "{control:?}");
        for (code, state, next) in [
            ("HM-SRV-0034", "active", "none needed: the agent attests again"),
            (
                "HM-STORE-0039",
                "banned",
                "hallmark record list spiffe://example.org/spire/agent/tpm2/00 --kind admin",
            ),
        ] {
            let told = explained(code, state);
            assert!(!told.trusted && told.code == code, "{told:?}");
            assert!(
                told.verdict()
                    .contains(&format!("not trusted {code}: what is stored of it does not read back")),
                "{}",
                told.verdict()
            );
            assert!(told.table(0).contains(&format!("next: {next}")), "{}", told.table(0));
        }
    }
}
