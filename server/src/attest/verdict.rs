//! Verdicts, as they are recorded.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use hallmark_evidence::EkCertificateChain;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    AttestedFacts, Change, Committed, EkCertificate, Event, Node, NodeSvid, Outcome, What,
    decide::{self, Accepted, AttestRefusal, Evidence, Proven},
};
use hallmark_verify::RefusalClass;

use super::{
    Attestor, NodeClass, Refusal, admission,
    tpm2::{Judged, TYPE},
};
use crate::{
    issue::Intended,
    journal::{Failed, Journal, log_store_failure},
};

/// Who judges, in the records.
const BY: &str = "attestation";

/// Whom a verdict is about.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    name: String,
    remote: SocketAddr,
    ek_sha256: [u8; 32],
    /// The EK certificate that is to be kept, whatever the verdict is.
    certificate: Option<Arc<EkCertificate>>,
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
        self.certificate = certificate.map(|chain| {
            Arc::new(EkCertificate {
                ek_sha256: self.ek_sha256,
                certificate: chain.to_json(),
            })
        });
    }

    /// Its vendor has revoked this certificate of the EK.
    pub(super) fn has_revoked(&mut self, certificate: Option<EkCertificateChain>) {
        self.is_revoked = certificate.is_some();
        self.has(certificate);
    }

    /// Whether the EK has another certificate now, and whether its vendor has revoked that.
    pub(super) fn news(&self) -> Option<(&[u8; 32], bool)> {
        self.certificate.as_ref().map(|new| (&new.ek_sha256, self.is_revoked))
    }
}

/// Records a refusal and logs it. A store that fails changes nothing for the node: it stays refused.
///
/// What was `proven` all the same is kept, and takes the trust from what the node was given before: it is no longer the
/// machine that got it.
pub(super) async fn record_refused(
    attestor: &Attestor,
    subject: &Subject,
    refusal: &Refusal,
    proven: Option<Box<Judged>>,
) {
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
    attestor.metrics.verdict(told, Some(refusal.class.code()));
    if is_verdict {
        attestor.metrics.counters.refused.add(1);
    }
    let verdict = Event {
        subject: subject.name.as_str().into(),
        outcome,
        code: refusal.code.as_str().into(),
        what: What::Refused {
            remote: subject.remote,
            attestation_type: TYPE.to_owned(),
            text,
            compared,
            evidence_sha256: proven.as_ref().and_then(|judged| judged.update.held.evidence_sha256),
        },
    };
    let decided = attestor.journal.decide(BY, |view| {
        let decision = match &proven {
            None => {
                let changes = subject.certificate.clone().map(Change::put_ek_certificate);
                view.decide(changes.into_iter().collect(), vec![verdict.clone()])
            }
            Some(judged) => {
                let evidence = judged.evidence(subject);
                decide::refuse(view, &judged.proven(&evidence, ""), &verdict)
            }
        };
        Ok::<_, Infallible>((decision, ()))
    });
    match decided.await {
        Ok(_) => {
            let unreadable = attestor.journal.unreadable();
            proven.iter().for_each(|judged| unreadable.forget(&judged.node));
            if let Some((ek, _)) = subject.news() {
                attestor.journal.unreadable_certificates().forget(ek);
            }
        }
        Err(Failed::Store(error)) => log_store_failure(&error),
        Err(Failed::Refused(never)) => match never {},
    }
}

/// The certificate that the subject has proven to hold takes the place of one that does not read back, before the rules judge the
/// machine: by them the old one was not verified.
///
/// # Errors
/// The store's; then the old one stays.
pub(super) async fn replace_certificate(attestor: &Attestor, subject: &Subject) -> Result<(), Refusal> {
    let new = subject.certificate.clone().map(Change::put_ek_certificate);
    let changes: Vec<Change> = new.into_iter().collect();
    let decided = attestor.journal.decide(BY, |view| {
        Ok::<_, Infallible>((view.decide(changes.clone(), Vec::new()), ()))
    });
    match decided.await {
        Ok(_) => attestor.journal.unreadable_certificates().forget(&subject.ek_sha256),
        Err(Failed::Store(error)) => return Err(Refusal::of(NodeClass::Unable, &error)),
        Err(Failed::Refused(never)) => match never {},
    }
    let held = attestor.appraiser.hold_against_nodes().await;
    held.map(drop).map_err(|error| Refusal::of(NodeClass::Unable, &error))
}

impl Judged {
    /// What is kept of it.
    fn evidence(&self, subject: &Subject) -> Evidence {
        Evidence {
            new: Arc::clone(&self.update.new),
            state: Arc::clone(&self.update.held),
            before: self.before.clone(),
            certificate: subject.certificate.clone(),
        }
    }

    fn proven<'a>(&'a self, evidence: &'a Evidence, facts: &'a str) -> Proven<'a> {
        Proven {
            id: &self.node,
            attestation_type: TYPE,
            ak_name: self.appraisal.evidence().ak_name().as_bytes(),
            selectors: self.appraisal.selectors(),
            facts,
            basis: &self.basis,
            stale_at: self.stale_at,
            evidence,
        }
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

/// Makes the verdict, the node's row and the intent to sign its SVID durable together. The SVID before stays good until
/// this one is seen.
///
/// # Errors
/// When an operator took the node's place away or the rules changed meanwhile, another attestation was faster, or the
/// store does not take it.
pub(super) async fn record_accepted(
    attestor: &Attestor,
    subject: &Subject,
    judged: &Judged,
    intended: &Intended,
    svid: NodeSvid,
    facts: AttestedFacts,
) -> Result<Committed, Refusal> {
    let facts_json = facts.to_json();
    let verdict = Event {
        subject: judged.node.as_str().into(),
        outcome: Outcome::Accepted,
        code: "".into(),
        what: What::Accepted {
            remote: subject.remote,
            attestation_type: TYPE.to_owned(),
            facts: facts.into(),
            evidence_sha256: judged.update.held.evidence_sha256,
        },
    };
    // Last, so that their numbers are the last ones.
    let intents = intended.intents(Some(judged.node.as_str()));
    let evidence = judged.evidence(subject);
    let accepted = Accepted {
        proven: judged.proven(&evidence, &facts_json),
        svid,
        authority: intended.authority(),
        events: [verdict].into_iter().chain(intents).collect(),
    };
    let rules = &attestor.settings.approval;
    let decided = attestor.journal.decide(BY, |view| {
        decide::accept(view, &accepted, rules, attestor.journal.clock().unix()).map(|decision| (decision, ()))
    });
    match decided.await {
        Ok(done) => {
            attestor.metrics.counters.accepted.add(1);
            attestor.metrics.verdict("accepted", None);
            attestor.journal.unreadable().forget(&judged.node);
            Ok(done.committed)
        }
        Err(Failed::Refused(AttestRefusal::Overtaken)) => Err(Refusal::bare(NodeClass::Evidence(RefusalClass::Stale))),
        Err(Failed::Refused(AttestRefusal::Admission(error))) => {
            Err(admission::refusal(attestor.journal.trust_domain(), error))
        }
        Err(Failed::Store(error)) => Err(Refusal::of(NodeClass::Unable, &error)),
    }
}

/// Whether the node may still have the SVID that was signed meanwhile.
///
/// # Errors
/// When an operator took its place away, or new rules its trust.
pub(super) fn still_stands(journal: &Journal, node: &SpiffeId, svid: NodeSvid) -> Result<(), Refusal> {
    let row = journal.node(node);
    decide::require_not_blocked(row.as_deref()).map_err(|error| admission::refusal(journal.trust_domain(), error))?;
    let is_its = |row: &Node| row.is_active() && [row.current, row.next].contains(&Some(svid));
    if row.is_some_and(|row| is_its(&row)) {
        return Ok(());
    }
    Err(Refusal::bare(NodeClass::Evidence(RefusalClass::Stale)))
}

/// Takes an SVID that was not signed out of the node's row.
pub(super) async fn take_back(journal: &Journal, node: &SpiffeId, svid: NodeSvid) {
    let decided = journal.decide(BY, |view| {
        Ok::<_, Infallible>((decide::take_back(view, node, svid), ()))
    });
    if let Err(Failed::Store(error)) = decided.await {
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
