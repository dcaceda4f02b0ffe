//! The job: nodes that are behind the rules are judged again, a page at a time.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use hallmark_policy::AppraisalChange;
use hallmark_reason::Coded as _;
use hallmark_spiffe::SpiffeId;
use hallmark_state::decide::reappraise_page;
use hallmark_store::StoreError;

use super::{Appraiser, PolicyFileError, judge::PAGE};
use crate::journal::{Failed, Unreadable};

/// How often the job looks whether a verdict has gone stale, and makes up for what failed.
const EVERY: Duration = Duration::from_secs(60);
/// How often, where nodes are known that cannot be judged.
const AGAIN: Duration = Duration::from_secs(15);
/// What is told of nodes that nobody in particular had judged.
const BEHIND: &str = "nodes that were not judged when the rules changed";
/// And of those whose verdict had an end.
const STALE: &str = "the age of quotes";

/// What became of nodes that were judged, or would become of them.
#[derive(Debug, Default)]
pub struct Judged {
    /// The nodes whose verdict or selectors changed.
    pub changes: Vec<AppraisalChange>,
    /// How many could not be judged, since what is kept of them does not read back.
    pub unreadable: usize,
}

/// What became of a page: the changes, and the nodes of which what is kept does not read back.
type Page = (Vec<AppraisalChange>, Vec<(SpiffeId, StoreError)>);

impl Appraiser {
    /// Judges every node that is behind the rules in force now, or whose verdict has gone stale. `cause` is what it is put on record
    /// with. A node of which what is kept does not read back is told, stays behind, and gets nothing signed.
    ///
    /// # Errors
    /// The store's. The nodes before have had theirs; the others stay behind.
    pub async fn judge_behind(&self, cause: &str) -> Result<Judged, PolicyFileError> {
        let _turn = self.turn.lock().await;
        let (mut all, mut unreadable) = (Judged::default(), BTreeSet::new());
        // Who changes the rules meanwhile sees to what follows from that.
        let target = self.journal.state().rules().revision;
        loop {
            let page = {
                let (state, now) = (self.journal.state(), self.journal.clock().unix());
                if !state.any_judged_before(target) && state.next_stale().is_none_or(|stale| now < stale) {
                    return Ok(all);
                }
                let behind = state.nodes_behind(now, PAGE.saturating_add(unreadable.len()));
                let page = behind.into_iter().filter(|id| !unreadable.contains(id)).take(PAGE);
                page.collect::<Vec<SpiffeId>>()
            };
            if page.is_empty() {
                return Ok(all);
            }
            let (changes, damaged) = self.judge_and_record(page, cause).await?;
            all.changes.extend(changes);
            all.unreadable = all.unreadable.saturating_add(damaged.len());
            unreadable.extend(damaged.into_iter().map(|(node, _)| node));
        }
    }

    /// Judges one node, if it is behind: it is about to get something signed, or to use a role.
    ///
    /// # Errors
    /// The store's; or what is kept of the node does not read back.
    pub async fn judge_one(&self, node: &SpiffeId) -> Result<(), PolicyFileError> {
        let is_behind = {
            let (state, now) = (self.journal.state(), self.journal.clock().unix());
            let rules = state.rules().revision;
            state.node(node).is_some_and(|node| !node.is_appraised_by(rules, now))
        };
        if !is_behind {
            return Ok(());
        }
        let (_, damaged) = self.judge_and_record(vec![node.clone()], BEHIND).await?;
        match damaged.first() {
            Some((node, error)) => Err(Unreadable::of(node, error).into()),
            None => Ok(()),
        }
    }

    async fn judge_and_record(&self, page: Vec<SpiffeId>, cause: &str) -> Result<Page, PolicyFileError> {
        let (rules, set) = {
            let state = self.journal.state();
            (state.rules().revision, Arc::clone(&state.rules().set))
        };
        // Reading, decoding and judging of one half goes on while the other half waits for the store.
        let mut first = page;
        let second = first.split_off(first.len().div_ceil(2));
        let (first, second) = tokio::try_join!(self.judge_page(&set, first), self.judge_page(&set, second))?;
        let (mut judged, mut damaged) = (first.judged, first.unreadable);
        judged.extend(second.judged);
        damaged.extend(second.unreadable);
        let unreadable = self.journal.unreadable();
        damaged.iter().for_each(|(node, error)| unreadable.note(node, error));
        let decided = self.journal.decide("server", |view| {
            Ok::<_, Infallible>(reappraise_page(view, &judged, rules, cause))
        });
        match decided.await {
            Ok(done) => {
                judged.iter().for_each(|it| unreadable.forget(&it.node));
                done.answer.iter().for_each(|change| tell(change, cause));
                Ok((done.answer, damaged))
            }
            Err(Failed::Store(error)) => Err(error.into()),
            Err(Failed::Refused(never)) => match never {},
        }
    }
}

fn tell(change: &AppraisalChange, cause: &str) {
    let node = &change.node;
    match change.result.refusal() {
        Some(reason) => {
            tracing::warn!(node, code = %reason.code, cause, "a node is no longer trusted: {}", reason.text);
        }
        None if !change.was_trusted => tracing::info!(node, cause, "a node is trusted again"),
        None => tracing::debug!(node, cause, "a node's selectors changed"),
    }
}

/// Judges nodes again for ever: when the rules have changed, when a verdict has gone stale, and what failed before.
pub async fn keep_judging(appraiser: Arc<Appraiser>) {
    let (journal, mut unreadable) = (&appraiser.journal, 0);
    loop {
        let wait = {
            let stale = journal.state().next_stale();
            let left = stale.map(|at| at.saturating_sub(journal.clock().unix()));
            left.and_then(|left| u64::try_from(left).ok())
                .map_or(EVERY, Duration::from_secs)
        };
        // Who cannot be judged stays stale: that is looked at now and then only.
        let least = if unreadable > 0 {
            AGAIN
        } else {
            Duration::from_millis(500)
        };
        tokio::time::sleep(wait.clamp(least, EVERY)).await;
        let cause = if journal.state().count_behind() > 0 {
            BEHIND
        } else {
            STALE
        };
        match appraiser.judge_behind(cause).await {
            Ok(judged) => unreadable = judged.unreadable,
            Err(error) => tracing::error!(code = %error.code(), %error, "the nodes could not be judged again"),
        }
    }
}
