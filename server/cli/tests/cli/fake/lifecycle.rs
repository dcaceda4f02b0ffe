//! `hallmark.admin.v1.Lifecycle`. States and the inventory follow the server's own rules.

use hallmark_api::admin::{
    ChangeNodeRequest, ChangeNodeResponse, ImportInventoryRequest, ImportInventoryResponse, InventoryItem,
    ListInventoryRequest, ListInventoryResponse, ListNodesRequest, ListNodesResponse, Node, NodeApproval,
    RemoveInventoryRequest, RemoveInventoryResponse, lifecycle_server::Lifecycle,
};
use hallmark_node::{EkId, Form, TpmClass, read_inventory};
use hallmark_reason::Report;
use hallmark_state::{Action, NodeState, Plan, RefusedStep, step};

use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::{FAR, Fake, NOW, State};

pub(super) fn id_of(ek_hash: &str) -> String {
    format!("spiffe://example.org/spire/agent/tpm2/{ek_hash}")
}

/// A node that waits for the second of two approvals.
pub(super) fn pending(ek_hash: &str) -> Node {
    Node {
        id: id_of(ek_hash),
        state: "pending".into(),
        since: NOW,
        ek: ek_hash.into(),
        owner: "edge".into(),
        approvals: vec![NodeApproval {
            uid: 1000,
            at: NOW,
            lapses_at: FAR,
        }],
        approvals_needed: 2,
        ..Node::default()
    }
}

impl State {
    pub(super) fn nodes(&self) -> Vec<Node> {
        let attested = self.agents.iter().map(|agent| {
            let path = agent.id.as_ref().unwrap().path.clone();
            Node {
                id: format!("spiffe://example.org{path}"),
                state: if agent.banned { "banned" } else { "active" }.into(),
                since: NOW,
                ek: path.rsplit('/').next().unwrap().into(),
                svid_expires_at: agent.x509svid_expires_at,
                ..Node::default()
            }
        });
        attested.chain(self.unseen.clone()).collect()
    }
}

#[tonic::async_trait]
impl Lifecycle for Fake {
    /// Two a page, whatever is asked for.
    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let request = request.into_inner();
        let nodes = self.state().nodes().into_iter().filter(|node| {
            (request.state.is_empty() || node.state == request.state)
                && (request.id.is_empty() || node.id == request.id)
                && node.id > request.page_token
        });
        let mut nodes: Vec<Node> = nodes.collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let next_page_token = if nodes.len() > 2 {
            nodes[1].id.clone()
        } else {
            String::new()
        };
        nodes.truncate(2);
        Ok(Response::new(ListNodesResponse { nodes, next_page_token }))
    }

    async fn change_node(&self, request: Request<ChangeNodeRequest>) -> Result<Response<ChangeNodeResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        let node = state.nodes().into_iter().find(|node| node.id == request.id);
        let node = node.ok_or_else(|| Status::not_found("HM-REG-0061: agent not found"))?;
        let action = Action::from_name(&request.action).unwrap();
        let to = step(NodeState::from_name(&node.state), action).map_err(|error| {
            let refused = RefusedStep {
                error: &error,
                node: &node.id,
            };
            Status::failed_precondition(Report(&refused).to_string())
        })?;
        if !request.dry_run {
            state.asked.push((request.action, request.reason));
            let same = |agent: &hallmark_api::types::Agent| node.id.ends_with(&agent.id.as_ref().unwrap().path);
            match to {
                None => state.agents.retain(|agent| !same(agent)),
                Some(to) => state
                    .agents
                    .iter_mut()
                    .filter(|agent| same(agent))
                    .for_each(|agent| agent.banned = to == NodeState::Banned),
            }
        }
        Ok(Response::new(ChangeNodeResponse {
            id: node.id,
            from: node.state,
            to: to.map_or("", NodeState::as_str).into(),
            approvals: if action == Action::Approve { 2 } else { 0 },
            approvals_needed: node.approvals_needed,
        }))
    }

    async fn import_inventory(
        &self,
        request: Request<Streaming<ImportInventoryRequest>>,
    ) -> Result<Response<ImportInventoryResponse>, Status> {
        let mut parts = request.into_inner();
        let first = parts.next().await.unwrap()?;
        let mut file = Vec::new();
        while let Some(part) = parts.next().await {
            file.extend_from_slice(&part?.data);
        }
        let form = if first.format == "json" { Form::Json } else { Form::Csv };
        let lines =
            read_inventory(&file, form).map_err(|error| Status::invalid_argument(Report(&error).to_string()))?;
        let mut state = self.state();
        let expired = lines.iter().filter(|line| !line.is_valid_at(NOW));
        let expired = expired.map(|line| line.ek.to_string()).collect();
        let plan = Plan::of(&state.inventory, lines, first.replace);
        if !first.dry_run {
            for line in plan.added.iter().chain(&plan.changed) {
                state.inventory.insert(line.ek, line.clone());
            }
            state.inventory.retain(|ek, _| !plan.removed.contains(ek));
        }
        Ok(Response::new(ImportInventoryResponse {
            added: plan.added.iter().map(|line| line.ek.to_string()).collect(),
            changed: plan.changed.iter().map(|line| line.ek.to_string()).collect(),
            unchanged: u64::try_from(plan.unchanged.len()).unwrap(),
            removed: plan.removed.iter().map(ToString::to_string).collect(),
            retired: Vec::new(),
            readmitted: Vec::new(),
            expired,
        }))
    }

    async fn list_inventory(
        &self,
        _: Request<ListInventoryRequest>,
    ) -> Result<Response<ListInventoryResponse>, Status> {
        let state = self.state();
        let items = state.inventory.values().map(|line| InventoryItem {
            ek: line.ek.to_string(),
            serial: line.serial.clone(),
            owner: line.owner.clone(),
            labels: line.labels.clone().into_iter().collect(),
            expires_at: line.expires.unwrap_or(0),
            class: line.class.map_or("", TpmClass::as_str).into(),
            manufacturer: line.manufacturer.clone().map_or_else(String::new, String::from),
            model: line.model.clone().map_or_else(String::new, String::from),
            state: "pre-registered".into(),
            other_eks: line.other_eks.iter().map(ToString::to_string).collect(),
        });
        let items = items.collect();
        Ok(Response::new(ListInventoryResponse {
            items,
            next_page_token: String::new(),
        }))
    }

    async fn remove_inventory(
        &self,
        request: Request<RemoveInventoryRequest>,
    ) -> Result<Response<RemoveInventoryResponse>, Status> {
        let removed = request.into_inner().eks;
        for ek in &removed {
            self.state().inventory.remove(&EkId::parse(ek).unwrap()).unwrap();
        }
        Ok(Response::new(RemoveInventoryResponse { removed }))
    }
}
