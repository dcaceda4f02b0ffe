//! The job: nodes that are behind the rules are judged again, a page at a time.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use hallmark_policy::AppraisalChange;
use hallmark_spiffe::SpiffeId;
use hallmark_state::decide::reappraise_page;

use super::{Appraiser, PolicyFileError, judge::PAGE};
use crate::journal::Failed;

/// How often the job looks whether a verdict has gone stale, and makes up for what failed.
const EVERY: Duration = Duration::from_secs(60);
/// What is told of nodes that nobody in particular had judged.
const BEHIND: &str = "nodes that were not judged when the rules changed";
/// And of those whose verdict had an end.
const STALE: &str = "the age of quotes";

impl Appraiser {
    /// Judges every node that is behind the rules in force now, or whose verdict has gone stale. `cause` is what it is put on record
    /// with. Gives the nodes whose verdict or selectors changed.
    ///
    /// # Errors
    /// The store's; or what is kept of a node does not read back. The nodes before have had theirs; the others stay behind, and
    /// get nothing signed.
    pub async fn judge_behind(&self, cause: &str) -> Result<Vec<AppraisalChange>, PolicyFileError> {
        let _turn = self.turn.lock().await;
        let (mut all, mut failed, mut unreadable) = (Vec::new(), None, BTreeSet::new());
        // Who changes the rules meanwhile sees to what follows from that.
        let target = self.journal.state().rules().revision;
        loop {
            let page = {
                let (state, now) = (self.journal.state(), self.journal.clock().unix());
                if !state.any_judged_before(target) && state.next_stale().is_none_or(|stale| now < stale) {
                    return failed.map_or(Ok(all), Err);
                }
                let behind = state.nodes_behind(now, PAGE.saturating_add(unreadable.len()));
                let page = behind.into_iter().filter(|id| !unreadable.contains(id)).take(PAGE);
                page.collect::<Vec<SpiffeId>>()
            };
            if page.is_empty() {
                return failed.map_or(Ok(all), Err);
            }
            match self.judge_and_record(page.clone(), cause).await {
                Ok(changed) => all.extend(changed),
                Err(error @ (PolicyFileError::Stopping | PolicyFileError::Store(_))) if page.len() == 1 => {
                    unreadable.extend(page);
                    failed = Some(error);
                }
                Err(PolicyFileError::Stopping) => return Err(PolicyFileError::Stopping),
                // One of them does not read back: the others are judged all the same.
                Err(_) => {
                    for node in page {
                        match self.judge_and_record(vec![node.clone()], cause).await {
                            Ok(changed) => all.extend(changed),
                            Err(error) => {
                                unreadable.insert(node);
                                failed = Some(error);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Judges one node, if it is behind: it is about to get something signed.
    ///
    /// # Errors
    /// As for [`judge_behind`](Self::judge_behind).
    pub async fn judge_one(&self, node: &SpiffeId) -> Result<(), PolicyFileError> {
        let is_behind = {
            let (state, now) = (self.journal.state(), self.journal.clock().unix());
            let rules = state.rules().revision;
            state.node(node).is_some_and(|node| !node.is_appraised_by(rules, now))
        };
        if is_behind {
            self.judge_and_record(vec![node.clone()], BEHIND).await?;
        }
        Ok(())
    }

    async fn judge_and_record(
        &self,
        page: Vec<SpiffeId>,
        cause: &str,
    ) -> Result<Vec<AppraisalChange>, PolicyFileError> {
        let (rules, set) = {
            let state = self.journal.state();
            (state.rules().revision, Arc::clone(&state.rules().set))
        };
        // Reading, decoding and judging of one half goes on while the other half waits for the store.
        let mut first = page;
        let second = first.split_off(first.len().div_ceil(2));
        let (mut judged, rest) = tokio::try_join!(self.judge_page(&set, first), self.judge_page(&set, second))?;
        judged.extend(rest);
        let decided = self.journal.decide("server", |view| {
            Ok::<_, Infallible>(reappraise_page(view, &judged, rules, cause))
        });
        match decided.await {
            Ok(done) => {
                done.answer.iter().for_each(|change| tell(change, cause));
                Ok(done.answer)
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
    let journal = &appraiser.journal;
    loop {
        let wait = {
            let stale = journal.state().next_stale();
            let left = stale.map(|at| at.saturating_sub(journal.clock().unix()));
            left.and_then(|left| u64::try_from(left).ok())
                .map_or(EVERY, Duration::from_secs)
        };
        let wait = wait.clamp(Duration::from_millis(500), EVERY);
        tokio::time::sleep(wait).await;
        let cause = if journal.state().count_behind() > 0 {
            BEHIND
        } else {
            STALE
        };
        if let Err(error) = appraiser.judge_behind(cause).await {
            tracing::error!(%error, "the nodes could not be judged again");
        }
    }
}
