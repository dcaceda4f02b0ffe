//! Verdicts, as they are recorded.

use std::{net::SocketAddr, sync::Arc};

use hallmark_evidence::EkCertificateChain;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{Approvals, NodeState};
use hallmark_store::{
    Agent, Change, Committed, EkCertificate, NewEvidence, NodeSvid, Outcome, Record, RecordKind, RecordRange,
    StoreError,
};
use hallmark_verify::RefusalClass;

use super::{
    Facts, NodeClass, Refusal,
    keep::Keeping,
    tpm2::{Judged, TYPE},
};
use crate::{
    agents::{ChangeError, Decision},
    errors::log_store_failure,
    issue::Intended,
    kept::Held,
    lifecycle,
    state::Server,
};

/// Whom a verdict is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    name: String,
    remote: SocketAddr,
    ek_sha256: [u8; 32],
    /// The EK certificate that is to be kept, whatever the verdict is.
    certificate: Option<EkCertificate>,
    is_revoked: bool,
}

impl Subject {
    /// Nobody yet: only an address.
    pub(super) fn unknown(remote: SocketAddr) -> Self {
        Self {
            name: format!("address:{}", remote.ip().to_canonical()),
            remote,
            ek_sha256: [0; 32],
            certificate: None,
            is_revoked: false,
        }
    }

    /// The node that the claim is about; that it is this node is what the verdict says.
    pub(super) fn is(&mut self, id: &SpiffeId, ek_sha256: [u8; 32]) {
        id.as_str().clone_into(&mut self.name);
        self.ek_sha256 = ek_sha256;
    }

    /// It has proven to hold the key of this EK certificate, which is new.
    pub(super) fn has(&mut self, certificate: Option<EkCertificateChain>) {
        self.certificate = certificate.map(|chain| EkCertificate {
            ek_sha256: self.ek_sha256,
            certificate: chain.to_json(),
        });
    }

    /// Its vendor has revoked this certificate of the EK.
    pub(super) fn has_revoked(&mut self, certificate: Option<EkCertificateChain>) {
        self.is_revoked = certificate.is_some();
        self.has(certificate);
    }

    /// Whether the EK has another certificate now, and whether its vendor has revoked that.
    pub(crate) fn news(&self) -> Option<(&[u8; 32], bool)> {
        self.certificate.as_ref().map(|new| (&new.ek_sha256, self.is_revoked))
    }

    fn kept(&self) -> Option<Change> {
        let certificate = self.certificate.clone().map(Box::new);
        certificate.map(Change::PutEkCertificate)
    }
}

/// Records a refusal and logs it. A store that fails changes nothing for the node: it stays refused.
///
/// What was `proven` all the same is kept, and takes the trust from what the node was given before: it is no longer the
/// machine that got it.
pub(super) async fn record_refused(server: &Server, subject: &Subject, refusal: &Refusal, proven: Option<Box<Judged>>) {
    let (text, compared) = (shortened(&refusal.text), refusal.compared.as_deref().map(shortened));
    tracing::warn!(
        code = %refusal.code,
        subject = %subject.name,
        remote = %subject.remote,
        compared,
        "attestation refused: {text}"
    );
    // Where the server could not do its part there is no verdict on the node.
    let outcome = if refusal.class == NodeClass::Unable {
        Outcome::Failed
    } else {
        Outcome::Refused
    };
    let is_verdict = outcome == Outcome::Refused;
    let told = if is_verdict { "refused" } else { "failed" };
    server.metrics.verdict(told, Some(refusal.class.code()));
    if is_verdict {
        server.counters.refused.add(1);
    }
    let detail = serde_json::json!({
        "remote": subject.remote.to_string(),
        "type": TYPE,
        "text": text,
        "compared": compared,
    });
    let record = Record {
        at: server.clock.unix(),
        kind: RecordKind::Verdict,
        subject: subject.name.clone(),
        outcome,
        code: refusal.code.to_string(),
        detail: detail.to_string(),
    };
    let recorded = match proven {
        None => {
            let changes = [Change::Record(record)].into_iter().chain(subject.kept());
            server.store.commit(changes.collect()).await.map(|_| ())
        }
        Some(judged) => distrust(server, subject, refusal, record, *judged).await,
    };
    if let Err(error) = recorded {
        log_store_failure(&error);
    }
}

async fn distrust(
    server: &Server,
    subject: &Subject,
    refusal: &Refusal,
    record: Record,
    judged: Judged,
) -> Result<(), StoreError> {
    let (node, selectors) = (&judged.node, judged.appraisal.selectors());
    let Keeping { new, held } = judged.keeping;
    let (held, beside) = (Arc::new(held), Change::Record(record.clone()));
    let decide = |row: Option<&Agent>| {
        if row.is_some() && is_overtaken(server, node, judged.before.as_ref(), &new, &held) {
            return (Decision::Refuse(()), Vec::new());
        }
        let decision = row.map_or(Decision::Beside, |row| {
            Decision::Put(Box::new(Agent {
                distrust: refusal.code.to_string(),
                selectors: selectors.clone(),
                ..row.clone()
            }))
        });
        let kept = [beside, Change::PutEvidence(Box::new(new))].into_iter();
        (decision, kept.chain(subject.kept()).collect())
    };
    let committed = || server.kept.put(node, Arc::clone(&held));
    match server.agents.change_with(&*server.store, node, decide, committed).await {
        Ok(_) => Ok(()),
        // A newer quote is what the node is judged by; that this one came is on record.
        Err(ChangeError::Refused(())) => server.store.commit(vec![Change::Record(record)]).await.map(|_| ()),
        Err(ChangeError::Store(error)) => Err(error),
    }
}

/// Whether another attestation of the node was kept meanwhile that this one does not follow, or whose logs it does not
/// go on from.
fn is_overtaken(server: &Server, node: &SpiffeId, before: Option<&Arc<Held>>, new: &NewEvidence, held: &Held) -> bool {
    let Some(newest) = server.kept.find(node) else {
        return before.is_some();
    };
    let goes_on = new.drops_logs || before.is_some_and(|before| before.has_logs_of(&newest));
    // A run of the agent that this attestation does not know of.
    let current = newest.runs.current();
    let same_run = current == held.runs.current() || before.is_some_and(|it| it.runs.current() == current);
    let follows = held.runs.current().is_some_and(|run| {
        let runs = newest.runs_to_follow();
        runs.require_follows(run, &held.quote_clock).is_ok()
    });
    !goes_on || !same_run || !follows
}

/// The most characters of a reason that are kept: some quote what strangers sent, who could fill the disk with it.
const MAX_REASON: usize = 1000;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Makes the verdict, the node's row and the intent to sign its SVID durable together. The SVID before stays good until
/// this one is seen.
///
/// # Errors
/// When an operator took the node's place away or the rules changed meanwhile, another attestation was faster, or the
/// store does not take it.
pub(super) async fn record_accepted(
    server: &Server,
    subject: &Subject,
    judged: Judged,
    intended: &Intended,
    svid: NodeSvid,
    facts: &Facts,
) -> Result<RecordRange, Refusal> {
    let now = server.clock.unix();
    let facts = facts.to_json();
    let record = Record {
        at: now,
        kind: RecordKind::Verdict,
        subject: judged.node.as_str().to_owned(),
        outcome: Outcome::Accepted,
        code: String::new(),
        detail: detail(subject.remote, &facts),
    };
    let Judged {
        node,
        appraisal,
        basis,
        before,
        keeping: Keeping { new, held },
        _room,
    } = judged;
    let node = &node;
    let evidence = appraisal.evidence();
    let held = Arc::new(held);
    let decide = |row: Option<&Agent>| {
        // Whatever an operator did meanwhile comes first.
        if let Err(refusal) = lifecycle::admission(server, row, evidence.ek_sha256(), now) {
            return (Decision::Refuse(refusal), Vec::new());
        }
        // The rules or the inventory changed, an operator evicted the node, or it was faster itself: what was judged is no
        // longer what counts.
        let overtaken = match row {
            Some(_) => is_overtaken(server, node, before.as_ref(), &new, &held),
            None => before.is_some(),
        };
        if !basis.still_counts(server) || overtaken {
            let stale = Refusal::bare(NodeClass::Evidence(RefusalClass::Stale));
            return (Decision::Refuse(stale), Vec::new());
        }
        let mut beside = lifecycle::admitted(server, node, row, evidence.ek_sha256());
        beside.extend([Change::Record(record), Change::PutEvidence(Box::new(new))]);
        beside.extend(subject.kept());
        beside.extend(intended.intents(server).map(Change::SvidIntents));
        let row = Agent {
            id: node.clone(),
            attestation_type: TYPE.to_owned(),
            ek_sha256: Some(*evidence.ek_sha256()),
            ak_name: evidence.ak_name().as_bytes().to_vec(),
            current: row.and_then(|row| row.current),
            next: Some(svid),
            selectors: appraisal.selectors().clone(),
            state: NodeState::Active,
            since: row
                .filter(|row| row.state == NodeState::Active)
                .map_or(now, |row| row.since),
            approvals: Approvals::default(),
            distrust: String::new(),
            can_reattest: true,
            agent_version: row.map_or_else(String::new, |row| row.agent_version.clone()),
            facts,
            attested_at: now,
        };
        (Decision::Put(Box::new(row)), beside)
    };
    let committed = || server.kept.put(node, Arc::clone(&held));
    let siblings = lifecycle::siblings(server, evidence.ek_sha256());
    let changed = server
        .agents
        .change_among(&*server.store, node, &siblings, decide, committed);
    match changed.await {
        Ok(Committed { intents, .. }) => {
            server.counters.accepted.add(1);
            server.metrics.verdict("accepted", None);
            intents.ok_or_else(|| Refusal::bare(NodeClass::Unable))
        }
        Err(ChangeError::Refused(refusal)) => Err(refusal),
        Err(ChangeError::Store(error)) => Err(Refusal::of(NodeClass::Unable, &error)),
    }
}

/// The details of an accepted verdict; `facts` are JSON.
fn detail(remote: SocketAddr, facts: &str) -> String {
    format!(r#"{{"facts":{facts},"remote":"{remote}","type":"{TYPE}"}}"#)
}

/// Whether the node may still have the SVID that was signed meanwhile.
///
/// # Errors
/// When an operator took its place away, or new rules its trust.
pub(super) fn still_stands(server: &Server, node: &SpiffeId, svid: NodeSvid) -> Result<(), Refusal> {
    let row = server.agents.find(node);
    lifecycle::barred(row.as_deref())?;
    let is_its =
        |row: &Agent| row.state.is_served() && row.distrust.is_empty() && [row.current, row.next].contains(&Some(svid));
    if row.is_some_and(|row| is_its(&row)) {
        return Ok(());
    }
    Err(Refusal::bare(NodeClass::Evidence(RefusalClass::Stale)))
}

/// Takes an SVID that was not signed out of the node's row.
pub(super) async fn take_back(server: &Server, node: &SpiffeId, svid: NodeSvid) {
    let decide = |row: Option<&Agent>| match row {
        Some(row) if row.next == Some(svid) => Decision::Put(Box::new(Agent {
            next: None,
            ..row.clone()
        })),
        _ => Decision::Keep,
    };
    let changed = server.agents.change::<()>(&*server.store, node, Vec::new(), decide);
    if let Err(ChangeError::Store(error)) = changed.await {
        log_store_failure(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_sent_fills_no_record() {
        assert_eq!(
            shortened("the certificate names another key"),
            "the certificate names another key"
        );
        let long = shortened(&"1.2.840.é".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_REASON + 1);
        assert!(long.starts_with("1.2.840.é1.2") && long.ends_with('…'));
    }
}
