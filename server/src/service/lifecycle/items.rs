//! The inventory's lines.

use std::ops::Bound::{Excluded, Unbounded};

use hallmark_api::admin::{
    InventoryItem as Message, ListInventoryRequest, ListInventoryResponse, RemoveInventoryRequest,
    RemoveInventoryResponse,
};
use hallmark_node::{EkId, InventoryItem, TpmClass};
use hallmark_reason::Report;

use tonic::Status;

use super::{failed, page_size};
use crate::{
    caller::{self, Caller},
    lifecycle,
    state::Server,
};

/// Most lines on a page: with the longest of labels an answer stays below gRPC's message size.
const PAGE: usize = 250;
/// Most lines in one removal.
const MAX_REMOVED: usize = 10_000;

/// A page of the inventory.
///
/// # Errors
/// `InvalidArgument` for a token that is none.
pub(super) fn list(server: &Server, request: &ListInventoryRequest) -> Result<ListInventoryResponse, Status> {
    let after = match request.page_token.as_str() {
        "" => Unbounded,
        token => Excluded(EkId::parse(token).map_err(|_| Status::invalid_argument("malformed page token"))?),
    };
    let size = page_size(request.page_size, PAGE);
    let known = server.lifecycle.inventory();
    let mut lines = known.lines().range((after, Unbounded));
    let page: Vec<&InventoryItem> = lines.by_ref().take(size).map(|(_, line)| line).collect();
    let next_page_token = match (page.last(), lines.next()) {
        (Some(last), Some(_)) => last.ek.to_string(),
        _ => String::new(),
    };
    Ok(ListInventoryResponse {
        items: page.into_iter().map(|line| message(server, line)).collect(),
        next_page_token,
    })
}

fn message(server: &Server, line: &InventoryItem) -> Message {
    Message {
        ek: line.ek.to_string(),
        serial: line.serial.clone(),
        owner: line.owner.clone(),
        labels: line.labels.clone().into_iter().collect(),
        expires_at: line.expires.unwrap_or(0),
        class: line.class.map_or("", TpmClass::as_str).to_owned(),
        manufacturer: line.manufacturer.clone().map_or_else(String::new, String::from),
        model: line.model.clone().map_or_else(String::new, String::from),
        state: state(server, line),
        other_eks: line.other_eks.iter().map(ToString::to_string).collect(),
    }
}

/// Where the machine stands; by a Name that was never proven only that it is listed is known.
fn state(server: &Server, line: &InventoryItem) -> String {
    let now = server.clock.unix();
    match lifecycle::node_of_line(server, line) {
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
    server: &Server,
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
    let removed = lifecycle::remove(server, &eks, by, caller::reason(&request.reason)?, request.dry_run).await;
    Ok(RemoveInventoryResponse {
        removed: removed
            .map_err(|error| failed(&error))?
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}
