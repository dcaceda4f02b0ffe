//! What an attestation brings, once it was judged: the verdict, the node's row, what is kept of its evidence, and the intent
//! to sign its SVID are one transaction.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::EkId;
use hallmark_spiffe::{Selector, SpiffeId};
use hallmark_tpm_wire::Name;

use super::{Admission, ApprovalRules, admit, provision::installed};
use crate::{
    Action, Appraised, Approvals, AttestationState, Change, Decision, EkCertificate, Event, InventorySnapshot,
    LinkError, NewEvidence, Node, NodeState, NodeSvid, TpmName, View, step,
};

/// What operators say, as far as a verdict rests on it.
#[derive(Debug, Clone)]
pub struct Basis {
    /// The revision of the rules.
    pub rules: u64,
    /// The revision of the configuration's trust.
    pub trust: u64,
    /// The inventory.
    pub inventory: Arc<InventorySnapshot>,
    /// The keys by which an inventory may know the machine.
    pub ek_ids: Vec<EkId>,
    /// SHA-256 of the EK's SPKI.
    pub ek_sha256: [u8; 32],
    /// The EKs that are listed with its own, in hex.
    pub other_eks: BTreeSet<String>,
}

impl Basis {
    /// Whether all of it is in force now.
    fn still_counts(&self, view: &View<'_>) -> bool {
        let _ = view.machines();
        view.rules().revision == self.rules
            && view.unprotected().trust_revision() == self.trust
            && self
                .inventory
                .says_same(&self.ek_ids, view.inventory_lines(&self.ek_ids))
            && self.other_eks == view.unprotected().listed_with(&self.ek_sha256)
    }
}

/// Evidence that was judged, as it is to be kept.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What was proven.
    pub new: Arc<NewEvidence>,
    /// How far it goes.
    pub state: Arc<AttestationState>,
    /// How far the evidence went when the challenge was made.
    pub before: Option<Arc<AttestationState>>,
    /// The certificate of the EK, where it is another one than before.
    pub certificate: Option<Arc<EkCertificate>>,
}

impl Evidence {
    fn changes(&self) -> impl Iterator<Item = Change> {
        let evidence = Change::put_evidence(Arc::clone(&self.new), Arc::clone(&self.state));
        let certificate = self.certificate.clone().map(Change::put_ek_certificate);
        [evidence].into_iter().chain(certificate)
    }

    /// Whether another attestation of the node was kept meanwhile that this one does not follow, or whose logs it does not
    /// go on from.
    fn is_overtaken(&self, view: &View<'_>, node: &SpiffeId) -> bool {
        let before = self.before.as_ref();
        let Some(newest) = view.attestation(node) else {
            return before.is_some();
        };
        let goes_on = self.new.drops_logs || before.is_some_and(|before| before.has_logs_of(newest));
        // A run of the agent that this attestation does not know of.
        let current = newest.runs.current();
        let same_run = current == self.state.runs.current() || before.is_some_and(|it| it.runs.current() == current);
        let run = self.state.runs.current();
        let follows = run.is_some_and(|run| newest.runs.require_follows(run, &self.state.quote_clock).is_ok());
        !goes_on || !same_run || !follows
    }
}

/// What was proven of a node.
#[derive(Debug, Clone)]
pub struct Proven<'a> {
    /// Its id.
    pub id: &'a SpiffeId,
    /// How it attested.
    pub attestation_type: &'a str,
    /// The Name of its AK.
    pub ak_name: &'a [u8],
    /// Its selectors.
    pub selectors: &'a BTreeSet<Selector>,
    /// What it proved, for people.
    pub facts: &'a str,
    /// What the verdict rests on.
    pub basis: &'a Basis,
    /// From when on, in Unix seconds, the verdict no longer counts.
    pub stale_at: Option<i64>,
    /// What is kept of it.
    pub evidence: &'a Evidence,
}

impl Proven<'_> {
    const fn appraised(&self) -> Appraised {
        Appraised {
            rules: self.basis.rules,
            stale_at: self.stale_at,
        }
    }
}

/// A node that was let in, and gets an SVID.
#[derive(Debug, Clone)]
pub struct Accepted<'a> {
    /// What was proven of it.
    pub proven: Proven<'a>,
    /// The SVID.
    pub svid: NodeSvid,
    /// The label of the authority's key that signs it.
    pub authority: &'a str,
    /// The verdict, and the intent to sign the SVID.
    pub events: Vec<Event>,
}

/// Why nothing of an attestation counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttestRefusal {
    /// The node is not let in.
    Admission(Admission),
    /// The rules or the inventory changed, an operator evicted the node, another attestation of it was faster, or its quote has
    /// become too old: what was judged is no longer what counts.
    Overtaken,
}

/// Makes the verdict, the node's row and the intent to sign its SVID one transaction. The SVID before stays good until this
/// one is seen.
///
/// # Errors
/// [`AttestRefusal`]: whatever an operator did meanwhile comes first.
pub fn accept(
    view: View<'_>,
    accepted: &Accepted<'_>,
    rules: &ApprovalRules,
    now: i64,
) -> Result<Decision, AttestRefusal> {
    let Proven {
        id, basis, evidence, ..
    } = &accepted.proven;
    let (id, ek) = (*id, &basis.ek_sha256);
    let before = view.node(id).map(|node| &**node);
    admit(&view, before, ek, rules, now).map_err(AttestRefusal::Admission)?;
    let follows = |node: &Node| !view.attestation(id).is_some_and(|proven| node.begins_anew(proven));
    let is_overtaken = match before {
        Some(node) if follows(node) => evidence.is_overtaken(&view, id),
        _ => evidence.before.is_some(),
    };
    let authority = view.authorities().active_authority();
    let signs = authority.is_some_and(|authority| authority.label == accepted.authority);
    let is_stale = accepted.proven.stale_at.is_some_and(|stale| stale <= now);
    if is_overtaken || is_stale || !signs || !basis.still_counts(&view) {
        return Err(AttestRefusal::Overtaken);
    }
    let from = view.standing(before, ek, now);
    let mut events = Vec::with_capacity(accepted.events.len() + 1);
    if let Ok(to) = step(from, Action::Admit)
        && to != from
    {
        events.push(Event::node_step(id, Action::Admit.act(), from, to, ""));
    }
    let reset_count = evidence.state.quote_clock.reset_count;
    let (installed, done) = installed(&view, ek, accepted.proven.selectors, reset_count, now).unzip();
    events.extend(done);
    // Last: by their numbers what came of the intents is put on record.
    events.extend(accepted.events.iter().cloned());
    let active = before.filter(|node| node.state == NodeState::Active);
    let node = Node {
        id: id.clone(),
        attestation_type: accepted.proven.attestation_type.to_owned(),
        ek_sha256: Some(*ek),
        ak_name: accepted.proven.ak_name.to_vec(),
        current: before.and_then(|node| node.current),
        next: Some(accepted.svid),
        selectors: accepted.proven.selectors.clone(),
        state: NodeState::Active,
        since: active.map_or(now, |node| node.since),
        approvals: Approvals::default(),
        untrusted_reason: String::new(),
        appraised: accepted.proven.appraised(),
        can_reattest: true,
        agent_version: before.map_or_else(String::new, |node| node.agent_version.clone()),
        facts: accepted.proven.facts.to_owned(),
        attested_at: now,
    };
    let changes = [Change::PutNode(Arc::new(node))].into_iter().chain(evidence.changes());
    let changes = changes.chain(installed).collect();
    Ok(view.decide(changes, events))
}

/// Keeps what was proven of a machine that the rules refuse, and takes the trust from what the node was given before: it is no
/// longer the machine that got it. `verdict` is put on record in any case; where a newer quote came, the node is judged by
/// that.
pub fn refuse(view: View<'_>, proven: &Proven<'_>, verdict: &Event) -> Decision {
    let events = vec![verdict.clone()];
    let before = view.node(proven.id);
    if before.is_some() && proven.evidence.is_overtaken(&view, proven.id) {
        return view.decide(Vec::new(), events);
    }
    // What was judged by other rules is judged anew by those in force: the rules' revision says so.
    let node = before.map(|before| {
        Change::PutNode(Arc::new(Node {
            untrusted_reason: verdict.code.to_string(),
            selectors: proven.selectors.clone(),
            appraised: proven.appraised(),
            ..Node::clone(before)
        }))
    });
    let changes = node.into_iter().chain(proven.evidence.changes()).collect();
    view.decide(changes, events)
}

/// Keeps which TPM has the EK that was proven.
///
/// # Errors
/// The TPM is known by another EK, with the state of that EK's node; or the EK has shown more AKs than a TPM has.
pub fn prove_names(
    view: View<'_>,
    ek: &[u8; 32],
    names: &[Name],
    ak: &Name,
) -> Result<Decision, (LinkError, Option<NodeState>)> {
    let all: Vec<Name> = names.iter().chain([ak]).cloned().collect();
    let links = view.links_of(ek, &all);
    let is_gone = |other: &[u8; 32]| view.node_of_ek(other).is_none();
    let new = links.prove(ek, names, ak, is_gone).map_err(|error| {
        let state = match &error {
            LinkError::OtherEk { other, .. } => view.node_of_ek(other).map(|node| node.state),
            LinkError::TooManyNames { .. } => None,
        };
        (error, state)
    })?;
    let put = |name| Change::PutTpmName(TpmName { name, ek_sha256: *ek });
    Ok(view.decide(new.into_iter().map(put).collect(), Vec::new()))
}

/// Takes an SVID that was not signed out of the node's row.
pub fn take_back(view: View<'_>, id: &SpiffeId, svid: NodeSvid) -> Decision {
    let node = view.node(id).filter(|node| node.next == Some(svid));
    let change = node.map(|node| {
        Change::PutNode(Arc::new(Node {
            next: None,
            ..Node::clone(node)
        }))
    });
    view.decide(change.into_iter().collect(), Vec::new())
}

/// A node shows its newest SVID for the first time, and thereby gives up the one before. Nothing happens where that was done
/// already, or the SVID is none of the node's.
pub fn use_svid(view: View<'_>, id: &SpiffeId, serial: u128) -> Decision {
    let is_newest = |node: &&Arc<Node>| node.next.is_some_and(|next| next.serial == serial);
    let node = view.node(id).filter(is_newest);
    let change = node.map(|node| {
        Change::PutNode(Arc::new(Node {
            current: node.next,
            next: None,
            ..Node::clone(node)
        }))
    });
    view.decide(change.into_iter().collect(), Vec::new())
}

/// An agent tells its version. `None` for one that is no node's.
#[must_use]
pub fn report_version(view: View<'_>, id: &SpiffeId, version: &str) -> Option<Decision> {
    let node = view.node(id)?;
    let change = (node.agent_version != version).then(|| {
        Change::PutNode(Arc::new(Node {
            agent_version: version.to_owned(),
            ..Node::clone(node)
        }))
    });
    Some(view.decide(change.into_iter().collect(), Vec::new()))
}

/// The server's clock was ahead when quotes were seen after `time`, in milliseconds since the Unix epoch: their times say
/// nothing any more, and verdicts that have an end are made again without them. Gives how many quotes those are.
pub fn doubt_times(view: View<'_>, time: u64) -> (Decision, usize) {
    let (state, mut changes) = (view.unprotected(), Vec::new());
    for (node, quotes) in state.quotes_after(time) {
        let _ = view.attestation(node);
        changes.push(Change::PutQuoteTime {
            node: node.clone(),
            state: Arc::new(quotes.without_time()),
        });
    }
    let count = changes.len();
    let doubted = state.quotes_after(time).filter_map(|(node, _)| view.node(node));
    let have_end: Vec<_> = doubted.filter(|node| node.appraised.stale_at.is_some()).collect();
    changes.extend(have_end.into_iter().map(|node| Change::PutAppraised {
        node: node.id.clone(),
        appraised: Appraised::default(),
    }));
    (view.decide(changes, Vec::new()), count)
}
