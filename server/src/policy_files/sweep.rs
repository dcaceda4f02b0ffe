//! Every node judged again by what it proved last.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use hallmark_node::NodeId;
use hallmark_policy::{
    AppraisalChange as Verdict, AppraisalResult, MachineFacts, PolicySet, Rules, Standing, reappraise,
};
use hallmark_spiffe::SpiffeId;
use hallmark_state::NodeState;
use hallmark_store::{Agent, Change, LINES, NodeFacts, Outcome, Record, RecordKind};
use hallmark_verify::history::QuoteClock;

use super::PolicyFileError;
use crate::{
    agents::{ChangeError, Decision},
    attest::recall,
    kept::undecodable,
    state::Server,
};

/// Nodes that are in memory at a time.
const PAGE: u32 = 256;
/// How often the age of quotes is looked at, where a policy limits it.
const EVERY: Duration = Duration::from_secs(60);
/// How often a node's lines are looked for that attests each time meanwhile.
const TRIES: usize = 8;
/// Changed nodes that are written at a time.
const AT_A_TIME: usize = 64;

/// What becomes of what policies find in lines of IMA lists that they had not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// The policies are in force: it is kept.
    Kept,
    /// The policies are only tried.
    Forgotten,
}

/// A node to be judged again.
struct Node {
    row: Arc<Agent>,
    facts: MachineFacts,
}

/// The nodes whose verdict or selectors change under `set`. Nothing is written.
///
/// # Errors
/// The store's; or what is kept of a node does not read back.
pub(super) async fn judge_all(server: &Arc<Server>, set: &Arc<PolicySet>) -> Result<Vec<Verdict>, PolicyFileError> {
    let (mut all, mut after) = (Vec::new(), None);
    while let Some(page) = page(server, set, Looks::Forgotten, &mut after).await? {
        all.extend(page.into_iter().map(|(_, verdict)| verdict));
    }
    Ok(all)
}

/// Judges every node by the rules in force and lets each have what follows. Gives the nodes that changed.
///
/// # Errors
/// As for `judge_all`; the nodes before have had theirs, and it stays due.
pub async fn sweep(server: &Arc<Server>, cause: &str) -> Result<Vec<Verdict>, PolicyFileError> {
    // Whoever finds it due later begins anew; what was done by then is found done.
    server.policy_files.sweep_is_due.store(true, Ordering::Release);
    let set = server.attestation.policies.load_full();
    let (mut all, mut after) = (Vec::new(), None);
    while let Some(page) = page(server, &set, Looks::Kept, &mut after).await? {
        // Together: changes that are on their way at the same time share a flush.
        let changes = page.into_iter().map(|(node, verdict)| async move {
            change(server, &node.row, node.facts.quote_clock, verdict, cause).await
        });
        let changed: Vec<_> = futures_util::stream::iter(changes)
            .buffered(AT_A_TIME)
            .try_collect()
            .await?;
        all.extend(changed);
    }
    server.policy_files.sweep_is_due.store(false, Ordering::Release);
    Ok(all)
}

/// Judges every node if a sweep did not come to its end: before a server serves anybody, and after a failure. `cause` is
/// what it is put on record with.
///
/// # Errors
/// As for [`sweep`].
pub async fn sweep_if_due(server: &Arc<Server>, cause: &str) -> Result<(), PolicyFileError> {
    let _turn = server.policy_files.files.lock().await;
    if server.policy_files.sweep_is_due.load(Ordering::Acquire) {
        sweep(server, cause).await?;
    }
    Ok(())
}

async fn change(
    server: &Server,
    row: &Agent,
    quote_clock: QuoteClock,
    verdict: Verdict,
    cause: &str,
) -> Result<Verdict, PolicyFileError> {
    let decide = |now: Option<&Agent>| -> Decision<()> {
        // Who proved something since was judged by that, and by these rules.
        match now.filter(|_| is_newest(server, &row.id, quote_clock)) {
            Some(now) => Decision::Put(Box::new(follow(now, &verdict))),
            None => Decision::Keep,
        }
    };
    let record = Change::Record(record(server, &verdict, cause));
    let changed = server.agents.change(&*server.store, &row.id, vec![record], decide);
    match changed.await {
        Ok(_) | Err(ChangeError::Refused(())) => {}
        Err(ChangeError::Store(error)) => return Err(error.into()),
    }
    tell(&verdict, cause);
    Ok(verdict)
}

fn is_newest(server: &Server, node: &SpiffeId, quote_clock: QuoteClock) -> bool {
    server
        .kept
        .find(node)
        .is_some_and(|newest| newest.quote_clock == quote_clock)
}

/// Judges all nodes again from time to time while a policy limits the age of quotes, so that who falls silent loses trust;
/// and makes up for sweeps that failed.
pub async fn keep_judging(server: Arc<Server>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let limited = |set: &PolicySet| set.policies().any(|policy| policy.tpm.max_quote_age.is_some());
        let judged = if limited(&server.attestation.policies.load()) {
            // Not while a policy is being applied, which judges all nodes itself.
            let _turn = server.policy_files.files.lock().await;
            sweep(&server, "the age of quotes").await.map(drop)
        } else {
            sweep_if_due(&server, "nodes that were not judged when the rules changed").await
        };
        if let Err(error) = judged {
            tracing::error!(%error, "the nodes could not be judged again");
        }
    }
}

/// Puts it in force that the EKs of `revoked` (SHA-256 of the SPKI, hex) are revoked, and no others; judges every node
/// again if that is news, or is still due.
///
/// # Errors
/// As for [`sweep`].
pub async fn set_revoked(server: &Arc<Server>, revoked: BTreeSet<String>) -> Result<(), PolicyFileError> {
    let _turn = server.policy_files.files.lock().await;
    let mut set = PolicySet::clone(&server.attestation.policies.load());
    if set.revoked == revoked && !server.policy_files.sweep_is_due.load(Ordering::Acquire) {
        return Ok(());
    }
    set.revoked = revoked;
    server.attestation.policies.store(Arc::new(set));
    server.agents.settle().await;
    sweep(server, "the revocation lists").await.map(drop)
}

/// Puts the configuration's rules in force, and judges every node again if they are news.
///
/// # Errors
/// As for [`sweep`].
pub async fn set_rules(server: &Arc<Server>, rules: Rules) -> Result<(), PolicyFileError> {
    let _turn = server.policy_files.files.lock().await;
    let mut set = PolicySet::clone(&server.attestation.policies.load());
    if set.rules == rules {
        return Ok(());
    }
    set.rules = rules;
    server.attestation.policies.store(Arc::new(set));
    server.agents.settle().await;
    sweep(server, "the configuration").await.map(drop)
}

/// Judges every node again since operators list other EKs as one machine's: what is denied to one is denied to all. What
/// fails is made up for.
pub async fn judge_linked(server: &Arc<Server>) {
    let _turn = server.policy_files.files.lock().await;
    if let Err(error) = sweep(server, "the inventory").await {
        tracing::error!(%error, "the nodes could not be judged again");
    }
}

/// What the rules in force find in what a node proved last.
///
/// # Errors
/// As for [`sweep`].
pub async fn judge(
    server: &Arc<Server>,
    node: &SpiffeId,
    mut facts: MachineFacts,
) -> Result<AppraisalResult, PolicyFileError> {
    let set = server.attestation.policies.load_full();
    look(server, &set, node, &mut facts).await?;
    relink(server, node, &mut facts);
    let now = server.clock.now();
    compute(server, move || Ok(set.judge(&facts, now))).await
}

/// Operators may have listed other EKs as this machine's since it attested.
fn relink(server: &Server, node: &SpiffeId, facts: &mut MachineFacts) {
    if let Some(ek) = NodeId::ek_of(node) {
        facts.tpm.other_eks = server.lifecycle.listed_with(&ek);
    }
}

fn follow(row: &Agent, verdict: &Verdict) -> Agent {
    let refusal = verdict.result.refusal();
    Agent {
        distrust: refusal.map_or_else(String::new, |reason| reason.code.to_string()),
        selectors: verdict.result.selectors().clone(),
        ..row.clone()
    }
}

fn record(server: &Server, verdict: &Verdict, cause: &str) -> Record {
    let refusal = verdict.result.refusal();
    let detail = serde_json::json!({
        "cause": cause,
        "was_trusted": verdict.was_trusted,
        "reason": refusal,
    });
    Record {
        at: server.clock.unix(),
        kind: RecordKind::Verdict,
        subject: verdict.node.clone(),
        outcome: if refusal.is_some() {
            Outcome::Refused
        } else {
            Outcome::Accepted
        },
        code: refusal.map_or_else(String::new, |reason| reason.code.to_string()),
        detail: detail.to_string(),
    }
}

fn tell(verdict: &Verdict, cause: &str) {
    let node = &verdict.node;
    match verdict.result.refusal() {
        Some(reason) => {
            tracing::warn!(node, code = %reason.code, cause, "a node is no longer trusted: {}", reason.text);
        }
        None if !verdict.was_trusted => tracing::info!(node, cause, "a node is trusted again"),
        None => tracing::debug!(node, cause, "a node's selectors changed"),
    }
}

/// The next nodes behind `after` whose verdict or selectors change, with these; none when there are no more nodes.
async fn page(
    server: &Arc<Server>,
    set: &Arc<PolicySet>,
    looks: Looks,
    after: &mut Option<SpiffeId>,
) -> Result<Option<Vec<(Node, Verdict)>>, PolicyFileError> {
    let page = server.store.facts(after.as_ref(), PAGE).await?;
    let Some(last) = page.last() else { return Ok(None) };
    *after = Some(last.node.clone());
    // Only who was let in, and not put out, has something to lose; what others proved is kept for what comes next.
    let is_out = |row: &Agent| matches!(row.state, NodeState::Banned | NodeState::Retired);
    let nodes: Vec<(Arc<Agent>, NodeFacts)> = page
        .into_iter()
        .filter_map(|facts| Some((server.agents.find(&facts.node)?, facts)))
        .filter(|(row, _)| !is_out(row))
        .collect();
    let read = move || {
        let read = nodes.into_iter().map(|(row, kept)| {
            let facts = decoded(&kept.node, &kept.facts)?;
            Ok(Node { row, facts })
        });
        read.collect::<Result<Vec<_>, PolicyFileError>>()
    };
    let mut nodes = compute(server, read).await?;
    for node in &mut nodes {
        let looked = look(server, set, &node.row.id, &mut node.facts).await?;
        relink(server, &node.row.id, &mut node.facts);
        if looked && looks == Looks::Kept {
            keep(server, node).await?;
        }
    }
    let (set, now) = (Arc::clone(set), server.clock.now());
    let judge = move || {
        let changed = nodes.into_iter().filter_map(|node| {
            let standing = Standing {
                node: node.row.id.as_str(),
                facts: &node.facts,
                trusted: node.row.distrust.is_empty(),
                selectors: &node.row.selectors,
            };
            let verdict = reappraise(&set, [standing], now).next()?;
            Some((node, verdict))
        });
        Ok(changed.collect())
    };
    compute(server, judge).await.map(Some)
}

fn decoded(node: &SpiffeId, facts: &str) -> Result<MachineFacts, PolicyFileError> {
    Ok(serde_json::from_str(facts).map_err(|error| undecodable(node, &error))?)
}

/// Has policies that are new to a node look at the lines of its IMA list. No more than one node's are in memory. Gives
/// whether there was something to look at.
///
/// The node may attest meanwhile: then `facts` are the newer ones. One that is faster each time is not waited for; of its
/// lines nothing is proven.
async fn look(
    server: &Arc<Server>,
    set: &Arc<PolicySet>,
    node: &SpiffeId,
    facts: &mut MachineFacts,
) -> Result<bool, PolicyFileError> {
    for _ in 0..TRIES {
        let Some(mut files) = facts.ima.clone().filter(|files| set.needs_lines(files)) else {
            return Ok(false);
        };
        let (looking, id) = (Arc::clone(set), node.clone());
        let lines = server.store.logs(&id, &[LINES]).await?.pop();
        let looked = compute(server, move || {
            recall(&id, &mut files, &lines.map(|(_, lines)| lines).unwrap_or_default())?;
            looking.look(&mut files);
            files.files = Vec::new();
            Ok(files)
        });
        let failed = match looked.await {
            Ok(files) => {
                facts.ima = Some(files);
                return Ok(true);
            }
            Err(failed) => failed,
        };
        // Lines of another attestation than the facts; or what is kept does not read back.
        let kept = server.store.evidence(node).await?;
        let Some(newer) = kept.map(|kept| decoded(node, &kept.facts)).transpose()? else {
            return Ok(false);
        };
        if newer.quote_clock == facts.quote_clock {
            return Err(failed);
        }
        *facts = newer;
    }
    Ok(false)
}

/// Keeps what policies in force found in a node's lines, so that the next sweep need not look again.
async fn keep(server: &Server, node: &Node) -> Result<(), PolicyFileError> {
    let facts = serde_json::to_string(&node.facts).map_err(|error| undecodable(&node.row.id, &error))?;
    let new = NodeFacts {
        node: node.row.id.clone(),
        facts,
    };
    // What was proven since was looked at when it came.
    let decide = |_: Option<&Agent>| -> Decision<()> {
        if is_newest(server, &node.row.id, node.facts.quote_clock) {
            Decision::Beside
        } else {
            Decision::Keep
        }
    };
    let beside = vec![Change::PutFacts(Box::new(new))];
    match server.agents.change(&*server.store, &node.row.id, beside, decide).await {
        Ok(_) | Err(ChangeError::Refused(())) => Ok(()),
        Err(ChangeError::Store(error)) => Err(error.into()),
    }
}

async fn compute<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl FnOnce() -> Result<T, PolicyFileError> + Send + 'static,
) -> Result<T, PolicyFileError> {
    let done = server.compute.run(work).await;
    done.map_err(|_| PolicyFileError::Stopping)?
}
