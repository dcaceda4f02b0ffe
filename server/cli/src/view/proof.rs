//! What was proven of one node, link by link.

use hallmark_api::admin::{GetNodeResponse, Node};
use serde::Serialize;

use super::node::ApprovalView;
use crate::{
    output::Show,
    table::facts,
    timestamp::{rfc3339, told},
};

/// A node with its chain of proof.
#[derive(Debug, Serialize)]
pub(crate) struct ProofView {
    id: String,
    state: String,
    agent_version: String,
    attested_at: Option<String>,
    ek: Ek,
    ak: Ak,
    svid_key: SvidKey,
    quote: Quote,
    verdict: Verdict,
    svid: Svid,
    selectors: Vec<String>,
    lifecycle: LifecycleView,
    #[serde(skip)]
    times: Times,
}

/// Where the node stands in its life, and what the inventory says of it.
#[derive(Debug, Default, Serialize)]
struct LifecycleView {
    state: String,
    since: Option<String>,
    owner: String,
    serial: String,
    approvals: Vec<ApprovalView>,
    approvals_needed: u32,
    /// The code for which the rules in force do not trust what the node proved last; empty while they do.
    untrusted_reason: String,
}

impl From<Node> for LifecycleView {
    fn from(node: Node) -> Self {
        Self {
            state: node.state,
            since: rfc3339(node.since),
            owner: node.owner,
            serial: node.serial,
            approvals: node.approvals.into_iter().map(Into::into).collect(),
            approvals_needed: node.approvals_needed,
            untrusted_reason: node.untrusted_reason,
        }
    }
}

#[derive(Debug)]
struct Times {
    since: i64,
    attested: i64,
    ek_not_after: i64,
    svid_not_after: i64,
}

#[derive(Debug, Serialize)]
struct Ek {
    sha256: String,
    name: String,
    /// `certificate` or `inventory`: why the key is believed to be a TPM's.
    enrolled_by: String,
    class: String,
    manufacturer: String,
    model: String,
    firmware_version: String,
    certificate_issuer: String,
    certificate_serial: String,
    certificate_not_after: Option<String>,
}

#[derive(Debug, Serialize)]
struct Ak {
    name: String,
}

#[derive(Debug, Serialize)]
struct SvidKey {
    sha256: String,
}

#[derive(Debug, Serialize)]
struct Quote {
    nonce: String,
    binding: String,
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    pcrs: Vec<Pcr>,
}

#[derive(Debug, Serialize)]
struct Pcr {
    bank: String,
    pcr: u32,
    digest: String,
}

#[derive(Debug, Serialize)]
struct Verdict {
    outcome: String,
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    code: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct Svid {
    serial: String,
    not_after: Option<String>,
    authority_key_label: String,
}

impl ProofView {
    pub(crate) fn new(node: GetNodeResponse, stands: Option<Node>) -> Self {
        let since = stands.as_ref().map_or(0, |stands| stands.since);
        let pcrs = node.pcrs.into_iter();
        let reasons = node.reasons.into_iter();
        Self {
            id: node.id,
            state: node.state,
            agent_version: node.agent_version,
            attested_at: rfc3339(node.attested_at),
            ek: Ek {
                sha256: node.ek_sha256,
                name: node.ek_name,
                enrolled_by: node.enrolled_by,
                class: node.class,
                manufacturer: node.manufacturer,
                model: node.model,
                firmware_version: node.firmware_version,
                certificate_issuer: node.ek_issuer,
                certificate_serial: node.ek_serial,
                certificate_not_after: rfc3339(node.ek_not_after),
            },
            ak: Ak { name: node.ak_name },
            svid_key: SvidKey {
                sha256: node.svid_key_sha256,
            },
            quote: Quote {
                nonce: node.nonce,
                binding: node.binding,
                clock: node.clock,
                reset_count: node.reset_count,
                restart_count: node.restart_count,
                pcrs: pcrs
                    .map(|pcr| Pcr {
                        bank: pcr.bank,
                        pcr: pcr.pcr,
                        digest: pcr.digest,
                    })
                    .collect(),
            },
            verdict: Verdict {
                outcome: node.verdict,
                reasons: reasons
                    .map(|reason| Reason {
                        code: reason.code,
                        message: reason.message,
                    })
                    .collect(),
            },
            svid: Svid {
                serial: node.svid_serial,
                not_after: rfc3339(node.svid_not_after),
                authority_key_label: node.authority_key_label,
            },
            selectors: node.selectors,
            lifecycle: stands.map_or_else(LifecycleView::default, Into::into),
            times: Times {
                since,
                attested: node.attested_at,
                ek_not_after: node.ek_not_after,
                svid_not_after: node.svid_not_after,
            },
        }
    }
}

impl Show for ProofView {
    fn table(&self, now: i64) -> String {
        let time = |at| {
            if at == 0 { String::new() } else { told(at, now) }
        };
        let head = facts(&[
            ("node", self.id.clone()),
            ("state", self.state.clone()),
            ("since", time(self.times.since)),
            ("approvals", self.lifecycle.approved()),
            ("owner", self.lifecycle.owner.clone()),
            ("serial", self.lifecycle.serial.clone()),
            ("agent", self.agent_version.clone()),
            ("attested", time(self.times.attested)),
            ("trusted", self.lifecycle.trusted()),
        ]);
        if self.times.attested == 0 && self.quote.nonce.is_empty() {
            return format!("{head}\nIt has not attested: nothing is proven of it.\n");
        }
        let mut text = format!("{head}\nchain of proof\n");
        for (number, (title, link)) in (1..).zip(self.links(&time)) {
            text.push_str(&format!("  {number} {title}\n"));
            facts(&link)
                .lines()
                .for_each(|line| text.push_str(&format!("      {line}\n")));
        }
        text.push_str("\nselectors\n");
        self.selectors.iter().for_each(|selector| {
            text.push_str(&format!("  {}\n", hallmark_host::printable(selector)));
        });
        text
    }
}

impl LifecycleView {
    /// Said where the rules in force refuse what a node proved: the verdict below is of its last good attestation.
    fn trusted(&self) -> String {
        match self.untrusted_reason.as_str() {
            "" => String::new(),
            code => format!("no: {code} (hallmark node explain says why)"),
        }
    }

    /// Which approvals there are, where some are needed.
    fn approved(&self) -> String {
        if self.approvals_needed == 0 {
            return String::new();
        }
        let given: Vec<String> = self.approvals.iter().map(ApprovalView::told).collect();
        let count = format!("{} of {}", given.len(), self.approvals_needed);
        if given.is_empty() {
            count
        } else {
            format!("{count}: {}", given.join(", "))
        }
    }
}

type Link = (&'static str, Vec<(&'static str, String)>);

impl ProofView {
    fn links(&self, time: &impl Fn(i64) -> String) -> [Link; 6] {
        let ek = &self.ek;
        let quote = &self.quote;
        let pcrs = quote
            .pcrs
            .iter()
            .map(|pcr| format!("{}:{} {}", pcr.bank, pcr.pcr, pcr.digest));
        let mut quoted = vec![
            ("nonce", quote.nonce.clone()),
            ("binding", quote.binding.clone()),
            (
                "clock",
                format!(
                    "{} ms, {} resets, {} restarts",
                    quote.clock, quote.reset_count, quote.restart_count
                ),
            ),
        ];
        quoted.extend(pcrs.map(|value| ("pcr", value)));
        let reasons = self.verdict.reasons.iter();
        let mut verdict = vec![("outcome", self.verdict.outcome.clone())];
        verdict.extend(reasons.map(|reason| ("reason", format!("{} {}", reason.code, reason.message))));
        [
            (
                "the endorsement key is a TPM's",
                vec![
                    ("by", ek.enrolled_by.clone()),
                    ("sha256", ek.sha256.clone()),
                    ("name", ek.name.clone()),
                    ("class", ek.class.clone()),
                    ("maker", ek.manufacturer.clone()),
                    ("model", ek.model.clone()),
                    ("firmware", ek.firmware_version.clone()),
                    ("issuer", ek.certificate_issuer.clone()),
                    ("serial", ek.certificate_serial.clone()),
                    ("valid to", time(self.times.ek_not_after)),
                ],
            ),
            (
                "the attestation key lives in the same TPM (credential activated)",
                vec![("name", self.ak.name.clone())],
            ),
            (
                "the SVID key was made in that TPM (certified by the AK)",
                vec![("sha256", self.svid_key.sha256.clone())],
            ),
            ("what the machine booted (quoted by the AK)", quoted),
            ("the verdict on that attestation", verdict),
            (
                "the SVID, signed in the HSM",
                vec![
                    ("serial", self.svid.serial.clone()),
                    ("valid to", time(self.times.svid_not_after)),
                    ("signed by", self.svid.authority_key_label.clone()),
                ],
            ),
        ]
    }
}
