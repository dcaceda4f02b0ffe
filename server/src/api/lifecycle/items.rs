//! The inventory's lines.

use std::ops::Bound::{Excluded, Unbounded};

use hallmark_api::admin::{
    InventoryItem as InventoryMessage, ListInventoryRequest, ListInventoryResponse, RemoveInventoryRequest,
    RemoveInventoryResponse,
};
use hallmark_node::{EkId, InventoryItem, Maker, Model, TpmClass};
use hallmark_reason::Report;
use hallmark_state::State;
use tonic::Status;

use super::{failed, page_size};
use crate::{
    caller::{self, Caller},
    convert::next_page,
    journal::Journal,
    nodes::{self, Removal},
};

/// Most lines on a page; fewer where they are large.
const PAGE: usize = 250;
/// Most lines in one removal.
const MAX_REMOVED: usize = 10_000;

/// A page of the inventory.
///
/// # Errors
/// `InvalidArgument` for a token that is none.
pub(super) fn list(journal: &Journal, request: &ListInventoryRequest) -> Result<ListInventoryResponse, Status> {
    let after = match request.page_token.as_str() {
        "" => Unbounded,
        token => Excluded(EkId::parse(token).map_err(|_| Status::invalid_argument("malformed page token"))?),
    };
    let size = page_size(request.page_size, PAGE);
    let state = journal.state();
    let known = state.inventory();
    let lines = known.lines().range((after, Unbounded));
    let mut lines = lines
        .map(|(_, line)| message(&state, line, journal.clock().unix()))
        .peekable();
    let items = next_page(&mut lines, size);
    let next_page_token = match (items.last(), lines.peek()) {
        (Some(last), Some(_)) => last.ek.clone(),
        _ => String::new(),
    };
    Ok(ListInventoryResponse { items, next_page_token })
}

fn message(state: &State, line: &InventoryItem, now: i64) -> InventoryMessage {
    InventoryMessage {
        ek: line.ek.to_string(),
        serial: line.serial.clone(),
        owner: line.owner.clone(),
        labels: line.labels.clone().into_iter().collect(),
        expires_at: line.expires.unwrap_or(0),
        class: line.class.map_or("", TpmClass::as_str).to_owned(),
        manufacturer: line.manufacturer.as_ref().map_or("", Maker::as_str).to_owned(),
        model: line.model.as_ref().map_or("", Model::as_str).to_owned(),
        state: standing(state, line, now),
        other_eks: line.other_eks.iter().map(ToString::to_string).collect(),
    }
}

/// Where the machine stands; by a Name that was never proven only that it is listed is known.
fn standing(state: &State, line: &InventoryItem, now: i64) -> String {
    match state.node_of_line(line) {
        Some(row) => row.state.as_str().to_owned(),
        None if !line.is_valid_at(now) => "expired".to_owned(),
        None if line.eks().all(|ek| matches!(ek, EkId::Name(_))) => "listed".to_owned(),
        None => "pre-registered".to_owned(),
    }
}

/// Takes lines out.
///
/// # Errors
/// `InvalidArgument` for what is no EK, `NotFound` when one is not there.
pub(super) async fn remove(
    journal: &Journal,
    by: &Caller,
    request: RemoveInventoryRequest,
) -> Result<RemoveInventoryResponse, Status> {
    if request.eks.len() > MAX_REMOVED {
        return Err(Status::invalid_argument(format!("at most {MAX_REMOVED} lines at once")));
    }
    let eks = request
        .eks
        .iter()
        .map(|ek| EkId::parse(ek))
        .collect::<Result<Vec<_>, _>>();
    let eks = eks.map_err(|error| Status::invalid_argument(Report(&error).to_string()))?;
    let removal = Removal {
        eks: &eks,
        reason: caller::reason(&request.reason)?,
        dry_run: request.dry_run,
    };
    let removed = nodes::remove(journal, removal, &by.actor()).await;
    Ok(RemoveInventoryResponse {
        removed: removed
            .map_err(|error| failed(&error))?
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}
