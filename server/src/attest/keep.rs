//! What an attestation proved, as it is kept: to go on from, to judge again, to be looked at years later.

use std::collections::BTreeMap;

use hallmark_evidence::{LogDigest, LogKind, Source};
use hallmark_policy::{Appraisal, ImaSummary, MachineFacts};
use hallmark_spiffe::SpiffeId;
use hallmark_store::{LogPart, NewEvidence, NodeEvidence, Store};
use hallmark_verify::history::{SessionId, Sessions};
use hallmark_verify::{BoundEvidence, HeldLogs, VerifiedEvidence, VerifyError};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{NodeClass, Refusal};
use crate::kept::{Held, undecodable};

/// What is held of the machine's logs, as far as the announced ones go on from it. Of another boot nothing is held.
///
/// # Errors
/// The store's.
pub(super) async fn held_logs(
    store: &dyn Store,
    node: &SpiffeId,
    held: Option<&Held>,
    bound: &BoundEvidence,
) -> Result<Beginnings, Refusal> {
    let clock = bound.clock_info();
    let of_boot = |held: &&Held| {
        (held.sighting.reset_count, held.sighting.restart_count) == (clock.reset_count, clock.restart_count)
    };
    let Some(held) = held.filter(of_boot) else {
        return Ok(Beginnings::default());
    };
    let unable = |error| Refusal::of(NodeClass::Unable, &error);
    let continued = |kind| bound.logs().iter().any(|log| log.kind == kind && log.offset > 0);
    let wanted: Vec<u8> = [LogKind::Tcg, LogKind::Systemd]
        .into_iter()
        .filter(|kind| continued(*kind))
        .map(LogKind::number)
        .collect();
    let mut logs = HeldLogs {
        ima: held.ima.clone().map(|replay| (held.length(LogKind::Ima), replay)),
        ..HeldLogs::default()
    };
    if !wanted.is_empty() {
        for (kind, bytes) in store.logs(node, &wanted).await.map_err(unable)? {
            if kind == LogKind::Tcg.number() {
                logs.tcg = bytes;
            } else {
                logs.systemd = bytes;
            }
        }
    }
    let mut files = None;
    if continued(LogKind::Ima) {
        let kept = store.evidence(node).await.map_err(unable)?;
        let facts = kept.map(|kept| serde_json::from_str::<MachineFacts>(&kept.facts));
        let facts = facts.transpose().map_err(|error| unable(undecodable(node, &error)))?;
        files = facts.and_then(|facts| facts.ima);
    }
    Ok(Beginnings { logs, files })
}

/// What is held of a machine's logs, of the same boot.
#[derive(Debug, Default)]
pub(super) struct Beginnings {
    /// The boot logs' bytes, and where the IMA list's replay stands.
    pub(super) logs: HeldLogs,
    /// What the IMA list's lines before said.
    pub(super) files: Option<ImaSummary>,
}

/// Evidence as the store takes it, and as memory follows.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) new: NewEvidence,
    pub(super) held: Held,
}

impl Keeping {
    /// Of evidence that was judged, with the logs that were `announced` for it. `before` is what was held of the node.
    pub(super) fn of(
        node: &SpiffeId,
        appraisal: &Appraisal,
        announced: &[LogDigest],
        before: Option<&Held>,
        session: SessionId,
        judged_at: i64,
    ) -> Result<Self, Refusal> {
        let evidence = appraisal.evidence();
        let sighting = appraisal.facts().sighting;
        let mut sessions = before.map_or_else(Sessions::default, |before| before.sessions.clone());
        sessions.observe(session, sighting).map_err(VerifyError::from)?;
        let same_run = before.is_some_and(|before| before.sighting.is_same_run(&sighting));
        let logs: Vec<LogPart> = announced.iter().map(|log| part(evidence, log)).collect();
        let mut lengths = before
            .filter(|_| same_run)
            .map_or_else(BTreeMap::new, |before| before.lengths().clone());
        for (log, announced) in logs.iter().zip(announced) {
            let new = u64::try_from(log.data.len()).unwrap_or(u64::MAX);
            lengths.insert(announced.kind, log.offset.saturating_add(new));
        }
        let kept_replay = before.filter(|_| same_run).and_then(|before| before.ima.clone());
        let ima = evidence.ima().map(|files| files.replay().clone()).or(kept_replay);
        let source = Source::Attestation {
            node: node.as_str().to_owned(),
            judged_at: rfc3339(judged_at),
            verdict: if appraisal.is_trusted() { "accepted" } else { "refused" }.to_owned(),
        };
        let file = evidence.to_file(source, rfc3339(judged_at)).to_json();
        let file = file.map_err(|error| Refusal::of(NodeClass::Unable, &error))?;
        let evidence = NodeEvidence {
            node: node.clone(),
            judged_at,
            sighting: json(&sessions),
            file: String::from_utf8_lossy(&file).into_owned(),
            facts: json(appraisal.facts()),
            judgement: appraisal.judgement().to_json(),
            ima: ima.as_ref().map_or_else(String::new, json),
            earlier: String::new(),
        };
        Ok(Self {
            held: Held::new(sighting, sessions, ima, lengths),
            new: NewEvidence {
                evidence,
                drops_logs: !same_run,
                logs,
            },
        })
    }
}

/// The bytes that an announced log brought, as far as they are proven.
fn part(evidence: &VerifiedEvidence, log: &LogDigest) -> LogPart {
    let (tcg, systemd) = evidence.boot_logs();
    let from = |whole: &[u8]| {
        let offset = usize::try_from(log.offset).unwrap_or(usize::MAX);
        whole.get(offset..).unwrap_or_default().to_vec()
    };
    let data = match log.kind {
        LogKind::Tcg => from(tcg),
        LogKind::Systemd => from(systemd),
        _ => evidence.ima().map_or_else(Vec::new, |files| {
            let proven = usize::try_from(files.proven_bytes()).unwrap_or(usize::MAX);
            files.data().get(..proven).unwrap_or_default().to_vec()
        }),
    };
    LogPart {
        kind: log.kind.number(),
        offset: log.offset,
        data,
    }
}

fn json<T: Serialize>(value: &T) -> String {
    // Numbers, texts and lists always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

fn rfc3339(unix: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
