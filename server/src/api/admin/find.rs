//! Finding things among many: so that nobody has to fetch all to find one.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use futures_util::Stream;
use hallmark_api::admin::{FindIdsRequest, FindIdsResponse, ListServedEntriesResponse};
use hallmark_node::EkId;
use hallmark_spiffe::SpiffeId;
use tonic::Status;

use crate::{
    api::entry::authorised,
    convert::{entry_message, next_page},
    journal::Journal,
    nodes::id_of_line,
};

/// Enough to tell some of several.
const MOST: usize = 6;
/// Entries in one message; fewer where they are large.
const PART: usize = 250;

/// A stream of the entries that a node serves.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<ListServedEntriesResponse, Status>> + Send>>;

/// Whole ids from the start of one.
///
/// # Errors
/// `InvalidArgument` for an unknown kind.
pub(super) fn ids(journal: &Journal, request: &FindIdsRequest) -> Result<FindIdsResponse, Status> {
    let prefix = request.prefix.as_str();
    let ids = match request.kind.as_str() {
        "entry" => entries(journal, prefix),
        "inventory" => lines(journal, &prefix.to_ascii_lowercase()),
        "node" => nodes(journal, prefix),
        "machine" => machines(journal, &prefix.to_ascii_lowercase()),
        other => {
            return Err(Status::invalid_argument(format!(
                "unknown kind {other:?}: node, entry, inventory, machine"
            )));
        }
    };
    Ok(FindIdsResponse { ids })
}

/// Entries. One that is named whole is found at once: commands name many.
fn entries(journal: &Journal, prefix: &str) -> Vec<String> {
    let state = journal.state();
    if let Some(entry) = state.entries().entry(prefix) {
        return vec![entry.id.to_string()];
    }
    let ids = state.entries().ids_from(prefix, MOST);
    ids.into_iter().map(ToString::to_string).collect()
}

/// EKs of the inventory's lines, likewise.
fn lines(journal: &Journal, prefix: &str) -> Vec<String> {
    let known = Arc::clone(journal.state().inventory());
    if let Ok(ek) = EkId::parse(prefix)
        && known.line(&ek).is_some()
    {
        return vec![ek.to_string()];
    }
    let keys = known.lines().values().flat_map(|line| line.eks());
    let keys = keys.map(|ek| ek.to_string());
    keys.filter(|ek| ek.starts_with(prefix)).take(MOST).collect()
}

/// Nodes, those included that only the inventory knows: by the start of the last part of their id.
fn nodes(journal: &Journal, prefix: &str) -> Vec<String> {
    let is_it = |id: &SpiffeId| {
        let last = id.path().rsplit('/').next().unwrap_or_default();
        last.starts_with(prefix)
    };
    let (state, now) = (journal.state(), journal.clock().unix());
    let listed = state.inventory().lines().values().filter(|line| line.is_valid_at(now));
    let listed = listed.filter_map(|line| id_of_line(&state, line));
    let mut found: BTreeSet<String> = BTreeSet::new();
    for id in state.nodes().map(|node| node.id.clone()).chain(listed) {
        if is_it(&id) {
            found.insert(id.to_string());
        }
    }
    found.into_iter().take(MOST).collect()
}

/// EKs of all machines: of nodes, of the inventory's lines, and of those to which an image is assigned.
fn machines(journal: &Journal, prefix: &str) -> Vec<String> {
    let state = journal.state();
    let of_nodes = state.nodes().filter_map(|node| node.ek_sha256).map(EkId::Spki);
    let of_lines = state.inventory().lines().values().flat_map(|line| line.eks());
    let of_images = state.image_assignments().keys().copied();
    let keys = of_nodes.chain(of_lines).chain(of_images).map(|ek| ek.to_string());
    let found: BTreeSet<String> = keys.filter(|ek| ek.starts_with(prefix)).collect();
    found.into_iter().take(MOST).collect()
}

/// The entries that a node serves now, by the code that its agent is answered with.
///
/// # Errors
/// `InvalidArgument` for what is no id, `NotFound` for a node that has no identity.
pub(super) fn served(journal: &Journal, node: &str) -> Result<Parts, Status> {
    let id = SpiffeId::parse(node).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
    if !journal.node(&id).is_some_and(|row| row.was_admitted()) {
        return Err(Status::not_found("agent not found"));
    }
    let entries = authorised(journal, &id);
    let mut entries = entries.into_iter().map(|entry| entry_message(&entry, None)).peekable();
    let parts = std::iter::from_fn(move || {
        entries.peek()?;
        let entries = next_page(&mut entries, PART);
        Some(Ok(ListServedEntriesResponse { entries }))
    });
    Ok(Box::pin(futures_util::stream::iter(parts)))
}
