//! Leave to sign SVIDs for an agent's workloads.

use std::sync::Arc;

use hallmark_spiffe::SpiffeId;

use crate::{
    Entry, EntryId, Grant, GrantError, Key, Node, SvidTtl, View,
    grant::{authorise_entry, authorise_for},
};

/// What is granted for each entry, all of it from one view. The view's expectations are those of the intents: no SVID is
/// signed unless the node, the entries that lead to it, the rules and the authority are as they were when it was granted.
#[derive(Debug)]
pub struct Authorised {
    /// For each entry, in order.
    pub grants: Vec<Result<Grant, GrantError>>,
}

/// Leave for the agent to have the SPIFFE IDs of entries certified. `None` for an agent that gets nothing now: it is out, no
/// longer trusted, or not yet judged by the rules in force.
#[must_use]
pub fn authorise(view: &View<'_>, agent: &SpiffeId, entries: &[EntryId], ttl: SvidTtl, now: i64) -> Option<Authorised> {
    let node = standing(view, agent, now)?;
    let registry = view.unprotected().entries();
    let grant = |id: &EntryId| {
        let (grant, way) = authorise_entry(registry, &node.id, &node.selectors, id, ttl, now)?;
        way.into_iter().for_each(|entry| view.rests_on(Key::Entry(entry)));
        Ok(grant)
    };
    Some(Authorised {
        grants: entries.iter().map(grant).collect(),
    })
}

/// Leave for the agent to have a JWT-SVID of one entry's SPIFFE ID, as [`authorise`].
#[must_use]
pub fn authorise_jwt(
    view: &View<'_>,
    agent: &SpiffeId,
    entry: &EntryId,
    ttl: SvidTtl,
    now: i64,
) -> Option<Result<Grant, GrantError>> {
    let node = standing(view, agent, now)?;
    let registry = view.unprotected().entries();
    let ttl_of = |entry: &Entry| entry.jwt_svid_ttl;
    let granted = authorise_for(registry, &node.id, &node.selectors, entry, ttl, now, ttl_of).map(|(grant, way)| {
        way.into_iter().for_each(|entry| view.rests_on(Key::Entry(entry)));
        grant
    });
    Some(granted)
}

/// The agent, where it may have something signed now.
fn standing<'a>(view: &View<'a>, agent: &SpiffeId, now: i64) -> Option<&'a Arc<Node>> {
    let rules = view.rules().revision;
    let node = view
        .node(agent)
        .filter(|node| node.is_active() && node.is_appraised_by(rules, now))?;
    view.rests_on(Key::Authorities);
    Some(node)
}
