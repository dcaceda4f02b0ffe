//! Verdicts, as they are recorded.

use std::net::SocketAddr;

use hallmark_policy::Appraisal;
use hallmark_registry::{Approvals, NodeState};
use hallmark_spiffe::SpiffeId;
use hallmark_store::{Agent, Change, NodeSvid, Outcome, Record, RecordKind};

use super::{Facts, NodeClass, Refusal, tpm2::TYPE};
use crate::{
    agents::{ChangeError, Decision},
    errors::log_store_failure,
    issue::IssuedSvid,
    lifecycle,
    state::Server,
};

/// Whom a verdict is about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    name: String,
    remote: SocketAddr,
}

impl Subject {
    /// Nobody yet: only an address.
    pub(super) fn unknown(remote: SocketAddr) -> Self {
        Self {
            name: format!("address:{}", remote.ip().to_canonical()),
            remote,
        }
    }

    /// The node that the claim is about; that it is this node is what the verdict says.
    pub(super) fn is(&mut self, id: &SpiffeId) {
        id.as_str().clone_into(&mut self.name);
    }
}

/// Records a refusal and logs it. A store that fails changes nothing for the node: it stays refused.
pub(super) async fn record_refused(server: &Server, subject: &Subject, refusal: &Refusal) {
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
    if outcome == Outcome::Refused {
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
    if let Err(error) = server.store.commit(vec![Change::Record(record)]).await {
        log_store_failure(&error);
    }
}

/// The most characters of a reason that are kept: some quote what strangers sent, who could fill the disk with it.
const MAX_REASON: usize = 1000;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Makes the verdict and the node's row durable together. The SVID before stays good until this one is seen.
///
/// # Errors
/// When an operator took the node's place away meanwhile, or the store does not take it.
pub(super) async fn record_accepted(
    server: &Server,
    subject: &Subject,
    id: &SpiffeId,
    appraisal: &Appraisal,
    svid: &IssuedSvid,
    facts: &Facts,
) -> Result<(), Refusal> {
    let now = server.clock.unix();
    let detail = serde_json::json!({ "remote": subject.remote.to_string(), "type": TYPE, "facts": facts });
    let record = Record {
        at: now,
        kind: RecordKind::Verdict,
        subject: id.as_str().to_owned(),
        outcome: Outcome::Accepted,
        code: String::new(),
        detail: detail.to_string(),
    };
    let evidence = appraisal.evidence();
    let decide = |before: Option<&Agent>| {
        // Whatever an operator did meanwhile comes first.
        if let Err(refusal) = server.lifecycle.admission(before, evidence.ek_sha256(), now) {
            return Decision::Refuse(refusal);
        }
        Decision::Put(Box::new(Agent {
            id: id.clone(),
            attestation_type: TYPE.to_owned(),
            ek_sha256: Some(*evidence.ek_sha256()),
            ak_name: evidence.ak_name().as_bytes().to_vec(),
            current: before.and_then(|row| row.current),
            next: Some(NodeSvid {
                serial: svid.serial,
                expires_at: svid.expires_at,
            }),
            selectors: appraisal.selectors().clone(),
            state: NodeState::Active,
            since: before
                .filter(|row| row.state == NodeState::Active)
                .map_or(now, |row| row.since),
            approvals: Approvals::default(),
            can_reattest: true,
            agent_version: before.map_or_else(String::new, |row| row.agent_version.clone()),
            facts: facts.to_json(),
            attested_at: now,
        }))
    };
    match server
        .agents
        .change_with(&*server.store, id, |before| {
            let mut beside = lifecycle::admitted(server, id, before, evidence.ek_sha256());
            beside.push(Change::Record(record));
            (decide(before), beside)
        })
        .await
    {
        Ok(()) => {
            server.counters.accepted.add(1);
            Ok(())
        }
        Err(ChangeError::Refused(refusal)) => Err(refusal),
        Err(ChangeError::Store(error)) => Err(Refusal::of(NodeClass::Unable, &error)),
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
