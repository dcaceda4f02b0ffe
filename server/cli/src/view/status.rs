//! One look at the server.

use hallmark_api::admin::GetStatusResponse;
use serde::Serialize;

use crate::{
    output::Show,
    table::{columns, facts},
    timestamp::{self, rfc3339},
};

/// The server as a whole.
#[derive(Debug, Serialize)]
pub(crate) struct StatusView {
    version: String,
    trust_domain: String,
    address: String,
    started_at: Option<String>,
    nodes: u64,
    nodes_banned: u64,
    nodes_pending: u64,
    nodes_suspended: u64,
    /// In service by their state, and given no SVIDs.
    nodes_untrusted: u64,
    nodes_active: u64,
    /// In service, and their SVID has run out.
    nodes_expired: u64,
    nodes_retired: u64,
    nodes_pre_registered: u64,
    /// Not yet judged by the rules in force.
    nodes_behind: u64,
    /// Of those, the ones that cannot be judged.
    nodes_unjudged: u64,
    entries: u64,
    verdicts_accepted: u64,
    verdicts_refused: u64,
    svids_issued: u64,
    bundle_sequence: u64,
    journal_revision: u64,
    journal_events: u64,
    store_bytes: u64,
    store_log_bytes: u64,
    authority: Authority,
    parts: Vec<Part>,
    #[serde(skip)]
    times: (i64, i64),
}

#[derive(Debug, Serialize)]
struct Authority {
    subject_key_id: String,
    expires_at: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Part {
    /// Whether it does its work, and will not for long unless somebody acts.
    pub(crate) fn is_warning(&self) -> bool {
        self.ok && !self.code.is_empty()
    }

    fn state(&self) -> &'static str {
        match (self.ok, self.is_warning()) {
            (false, _) => "FAILED",
            (true, true) => "WARN",
            (true, false) => "ok",
        }
    }
}

impl StatusView {
    pub(crate) fn is_well(&self) -> bool {
        self.parts.iter().all(|part| part.ok)
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// How many of each state, and what stands out of the active ones.
    fn nodes(&self) -> String {
        let of_active = told(&[
            (self.nodes_untrusted, "not trusted"),
            (self.nodes_expired, "with an expired SVID"),
        ]);
        let of_active = if of_active.is_empty() {
            String::new()
        } else {
            format!(" ({of_active})")
        };
        let others = told(&[
            (self.nodes_pre_registered, "pre-registered"),
            (self.nodes_pending, "pending"),
            (self.nodes_suspended, "suspended"),
            (self.nodes_banned, "banned"),
            (self.nodes_retired, "retired"),
            (self.nodes_behind, "not yet judged by the rules in force"),
            (self.nodes_unjudged, "of them with evidence that does not read back"),
        ]);
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(", {others}")
        };
        format!("{} active{of_active}{others}", self.nodes_active)
    }

    /// End of the authority's validity, Unix seconds; 0 when there is none.
    pub(crate) const fn authority_ends(&self) -> i64 {
        self.times.1
    }
}

/// Counts that are not 0, in words.
fn told(counts: &[(u64, &str)]) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    counts.join(", ")
}

impl From<GetStatusResponse> for StatusView {
    fn from(status: GetStatusResponse) -> Self {
        let parts = status.parts.into_iter();
        Self {
            version: status.version,
            trust_domain: status.trust_domain,
            address: status.address,
            started_at: rfc3339(status.started_at),
            nodes: status.agents,
            nodes_banned: status.agents_banned,
            nodes_pending: status.agents_pending,
            nodes_suspended: status.agents_suspended,
            nodes_untrusted: status.agents_untrusted,
            nodes_active: status.agents_active,
            nodes_expired: status.agents_expired,
            nodes_retired: status.agents_retired,
            nodes_pre_registered: status.agents_pre_registered,
            nodes_behind: status.agents_behind,
            nodes_unjudged: status.agents_unjudged,
            entries: status.entries,
            verdicts_accepted: status.verdicts_accepted,
            verdicts_refused: status.verdicts_refused,
            svids_issued: status.svids_issued,
            bundle_sequence: status.bundle_sequence,
            journal_revision: status.journal_revision,
            journal_events: status.journal_events,
            store_bytes: status.store_bytes,
            store_log_bytes: status.store_log_bytes,
            authority: Authority {
                subject_key_id: status.authority_subject_key_id,
                expires_at: rfc3339(status.authority_expires_at),
            },
            parts: parts
                .map(|part| Part {
                    name: part.name,
                    ok: part.ok,
                    code: part.code,
                    message: part.message,
                })
                .collect(),
            times: (status.started_at, status.authority_expires_at),
        }
    }
}

impl Show for StatusView {
    fn table(&self, now: i64) -> String {
        let head = facts(&[
            ("trust domain", self.trust_domain.clone()),
            ("version", self.version.clone()),
            ("address", self.address.clone()),
            ("started", timestamp::told(self.times.0, now)),
            ("nodes", self.nodes()),
            ("entries", self.entries.to_string()),
            (
                "verdicts",
                format!("{} accepted, {} refused", self.verdicts_accepted, self.verdicts_refused),
            ),
            ("SVIDs issued", self.svids_issued.to_string()),
            ("authority", self.authority.subject_key_id.clone()),
            ("expires", timestamp::told(self.times.1, now)),
            ("bundle", format!("sequence {}", self.bundle_sequence)),
            (
                "journal",
                format!("revision {}, {} events", self.journal_revision, self.journal_events),
            ),
            (
                "store",
                format!("{} bytes, {} bytes of log", self.store_bytes, self.store_log_bytes),
            ),
        ]);
        let rows: Vec<[String; 3]> = self
            .parts
            .iter()
            .map(|part| {
                [
                    part.name.clone(),
                    part.state().into(),
                    format!("{} {}", part.code, part.message).trim().into(),
                ]
            })
            .collect();
        format!("{head}\n{}", columns(["PART", "STATE", "REASON"], &rows))
    }
}
