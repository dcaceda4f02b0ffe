//! Nodes as a list shows them.

use hallmark_api::types;
use serde::Serialize;

use crate::{
    error::CliError,
    lookup::message_id,
    output::Show,
    table::columns,
    timestamp::{rfc3339, told},
};

/// An attested node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    id: String,
    /// `active`, `expired` or `banned`.
    state: &'static str,
    attestation_type: String,
    svid_serial: String,
    svid_expires_at: Option<String>,
    can_reattest: bool,
    agent_version: String,
    selectors: Vec<String>,
    #[serde(skip)]
    expires: i64,
}

impl NodeView {
    pub(crate) fn new(agent: types::Agent, now: i64) -> Result<Self, CliError> {
        let state = match agent {
            _ if agent.banned => "banned",
            _ if agent.x509svid_expires_at <= now => "expired",
            _ => "active",
        };
        Ok(Self {
            id: message_id(agent.id)?.to_string(),
            state,
            attestation_type: agent.attestation_type,
            svid_serial: agent.x509svid_serial_number,
            svid_expires_at: rfc3339(agent.x509svid_expires_at),
            can_reattest: agent.can_reattest,
            agent_version: agent.agent_version,
            selectors: selector_texts(agent.selectors),
            expires: agent.x509svid_expires_at,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

/// Selectors as text, in order.
pub(crate) fn selector_texts(selectors: Vec<types::Selector>) -> Vec<String> {
    let mut texts: Vec<String> = selectors
        .into_iter()
        .map(|selector| format!("{}:{}", selector.r#type, selector.value))
        .collect();
    texts.sort();
    texts
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct NodeList(pub(crate) Vec<NodeView>);

impl Show for NodeList {
    fn table(&self, now: i64) -> String {
        let rows: Vec<[String; 5]> = self
            .0
            .iter()
            .map(|node| {
                let short: String = node
                    .id
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(12)
                    .collect();
                [
                    short,
                    node.state.into(),
                    node.attestation_type.clone(),
                    told(node.expires, now),
                    dash(&node.agent_version),
                ]
            })
            .collect();
        columns(["NODE", "STATE", "TYPE", "SVID EXPIRES", "AGENT"], &rows)
    }
}

/// A visible sign for an empty cell.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// What a command that changes nodes did, or would do.
#[derive(Debug, Serialize)]
pub(crate) struct NodeChange {
    pub(crate) id: String,
    /// `ban` or `evict`.
    pub(crate) action: &'static str,
    pub(crate) dry_run: bool,
}

impl Show for NodeChange {
    fn table(&self, _: i64) -> String {
        let verb = if self.dry_run { "would " } else { "" };
        format!("{verb}{} {}\n", self.action, self.id)
    }
}
