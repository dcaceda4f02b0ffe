//! What an attestation proved, as it is kept: to go on from, to judge again, to be looked at years later.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_evidence::{LogDigest, LogKind, Source, ima::ImaReplay};
use hallmark_policy::{Appraisal, ImaSummary, MachineFacts, MeasuredFile, PolicySet};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{AttestationState, LINES, LogPart, NewEvidence, NodeEvidence, journal::sha256};
use hallmark_store::StoreError;
use hallmark_verify::history::{AgentRunId, AgentRuns};
use hallmark_verify::{HeldLogs, ProvenLogs, VerifiedProof, VerifyError};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{NodeClass, Refusal, tpm2::SHORT_LOGS};
use crate::{
    appraise::{recall, undecodable},
    compute::Compute,
    journal::Journal,
};

/// What is held of the machine's logs, as far as the announced ones go on from it, and as `policies` need it. Of another
/// boot nothing is held.
///
/// # Errors
/// The store's.
pub(super) async fn prior_logs(
    journal: &Journal,
    compute: &Compute,
    node: &SpiffeId,
    held: Option<&AttestationState>,
    verified_proof: &VerifiedProof,
    policies: &PolicySet,
) -> Result<PriorLogs, Refusal> {
    let clock = verified_proof.clock_info();
    let of_boot = |held: &&AttestationState| {
        (held.quote_clock.reset_count, held.quote_clock.restart_count) == (clock.reset_count, clock.restart_count)
    };
    let Some(held) = held.filter(of_boot) else {
        return Ok(PriorLogs::default());
    };
    let (store, unable) = (journal.store(), |error| unreadable(journal, node, &error));
    let continued = |kind| {
        verified_proof
            .logs()
            .iter()
            .any(|log| log.kind == kind && log.offset > 0)
    };
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
    let (mut files, mut lines) = (None, Vec::new());
    let kept = match continued(LogKind::Ima) {
        true => store.evidence(node).await.map_err(unable)?,
        false => None,
    };
    if let Some(NodeEvidence { facts, .. }) = kept {
        let is_short = facts.len() <= SHORT_LOGS;
        let read = move || serde_json::from_str::<MachineFacts>(&facts);
        let read = compute.run_unless(is_short, read).await;
        let facts = read.map_err(|_| Refusal::bare(NodeClass::Unable))?;
        files = facts.map_err(|error| unable(undecodable(node, &error)))?.ima;
        if files.as_ref().is_some_and(|files| policies.needs_lines(files)) {
            let kept = store.logs(node, &[LINES]).await.map_err(unable)?.pop();
            lines = kept.map(|(_, lines)| lines).unwrap_or_default();
        }
    }
    Ok(PriorLogs { logs, files, lines })
}

/// The refusal where the store does not give what is kept of the node. Where that does not read back, the next challenge asks
/// for the logs from their beginning.
pub(super) fn unreadable(journal: &Journal, node: &SpiffeId, error: &StoreError) -> Refusal {
    if let StoreError::Undecodable { .. } = error {
        journal.unreadable().note(node, error);
    }
    Refusal::of(NodeClass::Unable, error)
}

/// What is held of a machine's logs, of the same boot.
#[derive(Debug, Default)]
pub(super) struct PriorLogs {
    /// The boot logs' bytes, and where the IMA list's replay stands.
    pub(super) logs: HeldLogs,
    /// What the IMA list's lines before said.
    pub(super) files: Option<ImaSummary>,
    /// Those lines, stored, if the policies need them.
    pub(super) lines: Vec<u8>,
}

impl PriorLogs {
    /// How many bytes have to be gone through again.
    pub(super) const fn bytes(&self) -> usize {
        self.logs.bytes() + self.lines.len()
    }

    /// What the IMA list's lines before said, with the lines if they are needed.
    ///
    /// # Errors
    /// The store holds others.
    pub(super) fn recalled(&mut self, node: &SpiffeId) -> Result<Option<ImaSummary>, StoreError> {
        let mut files = self.files.take();
        if let Some(files) = files.as_mut().filter(|_| !self.lines.is_empty()) {
            recall(node, files, &self.lines)?;
        }
        Ok(files)
    }
}

/// Evidence as the store takes it, and as memory follows.
#[derive(Debug)]
pub(super) struct EvidenceUpdate {
    pub(super) new: Arc<NewEvidence>,
    pub(super) held: Arc<AttestationState>,
}

impl EvidenceUpdate {
    /// Of evidence that was judged, with the logs that were `announced` for it, which it gives away. `before` is what was
    /// held of the node.
    pub(super) fn of(
        node: &SpiffeId,
        appraisal: &mut Appraisal,
        announced: &[LogDigest],
        before: Option<&AttestationState>,
        run: AgentRunId,
        judged_at: i64,
    ) -> Result<Self, Refusal> {
        let quote_clock = appraisal.facts().quote_clock;
        let mut runs = before.map_or_else(AgentRuns::default, |before| before.runs.clone());
        runs.observe(run, quote_clock).map_err(VerifyError::from)?;
        let same_run = before.is_some_and(|before| before.quote_clock.is_same_run(&quote_clock));
        let logs = KeptLogs::of(appraisal, announced, before.filter(|_| same_run));
        let source = Source::Attestation {
            node: node.as_str().to_owned(),
            judged_at: rfc3339(judged_at),
            verdict: if appraisal.is_trusted() { "accepted" } else { "refused" }.to_owned(),
        };
        let file = appraisal.evidence().to_file(source, rfc3339(judged_at)).to_json();
        let file = file.map_err(|error| Refusal::of(NodeClass::Unable, &error))?;
        let sha256 = sha256(&file);
        let evidence = NodeEvidence {
            node: node.clone(),
            judged_at,
            runs: json(&runs),
            file: String::from_utf8_lossy(&file).into_owned(),
            facts: json(appraisal.facts()),
            ima: logs.ima.as_ref().map_or_else(String::new, json),
            earlier: String::new(),
        };
        Ok(Self {
            held: Arc::new(
                AttestationState::new(quote_clock, runs, logs.ima, logs.lines, logs.lengths).of_evidence(sha256),
            ),
            new: Arc::new(NewEvidence {
                evidence,
                drops_logs: !same_run,
                logs: logs.parts,
            }),
        })
    }

    /// The same, where no log was gone on from although some are kept: those that did not come anew go.
    pub(super) fn without_other_logs(mut self) -> Self {
        let new = Arc::make_mut(&mut self.new);
        for kind in LogKind::ALL.map(LogKind::number).into_iter().chain([LINES]) {
            if new.logs.iter().all(|part| part.kind != kind) {
                new.logs.push(LogPart {
                    kind,
                    offset: 0,
                    data: Vec::new(),
                });
            }
        }
        self
    }
}

/// The logs: what is written of them, and how far they are held then.
struct KeptLogs {
    parts: Vec<LogPart>,
    lengths: BTreeMap<LogKind, u64>,
    ima: Option<ImaReplay>,
    lines: u64,
}

impl KeptLogs {
    /// `before` is what was held of the same run of the machine.
    fn of(appraisal: &mut Appraisal, announced: &[LogDigest], before: Option<&AttestationState>) -> Self {
        let away = appraisal.facts().ima.as_ref().map_or(0, ImaSummary::away);
        let (proven, lines) = appraisal.take_logs();
        let lines = MeasuredFile::to_lines(lines);
        let mut kept = Self {
            parts: parts(proven, announced),
            lengths: before.map_or_else(BTreeMap::new, |before| before.lengths().clone()),
            ima: appraisal.evidence().ima().map(|files| files.replay().clone()),
            lines: 0,
        };
        for (log, announced) in kept.parts.iter().zip(announced) {
            kept.lengths.insert(announced.kind, end(log));
        }
        if appraisal.facts().ima.is_some() {
            let lines = LogPart {
                kind: LINES,
                // Where all are at hand they take the place of those that were kept.
                offset: before.filter(|_| away > 0).map_or(0, |before| before.lines),
                data: lines,
            };
            kept.lines = end(&lines);
            kept.parts.push(lines);
        } else if kept.lengths.remove(&LogKind::Ima).is_some() {
            // No list is proven: the next quote brings it anew, from its first line.
            kept.ima = None;
            kept.parts.retain(|part| part.kind != LogKind::Ima.number());
            kept.parts.extend([LogKind::Ima.number(), LINES].map(|kind| LogPart {
                kind,
                offset: 0,
                data: Vec::new(),
            }));
        }
        kept
    }
}

/// What each announced log brought, as far as it is proven.
fn parts(mut proven: ProvenLogs, announced: &[LogDigest]) -> Vec<LogPart> {
    let part = |log: &LogDigest| {
        let new = |whole: &mut Vec<u8>| {
            let offset = usize::try_from(log.offset).unwrap_or(usize::MAX).min(whole.len());
            whole.split_off(offset)
        };
        LogPart {
            kind: log.kind.number(),
            offset: log.offset,
            data: match log.kind {
                LogKind::Tcg => new(&mut proven.tcg),
                LogKind::Systemd => new(&mut proven.systemd),
                _ => std::mem::take(&mut proven.ima),
            },
        }
    };
    announced.iter().map(part).collect()
}

fn end(part: &LogPart) -> u64 {
    part.offset
        .saturating_add(u64::try_from(part.data.len()).unwrap_or(u64::MAX))
}

fn json<T: Serialize>(value: &T) -> String {
    // Numbers, texts and lists always have a JSON form.
    serde_json::to_string(value).unwrap_or_default()
}

fn rfc3339(unix: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}
