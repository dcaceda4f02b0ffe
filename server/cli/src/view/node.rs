//! Nodes as a list shows them.

use hallmark_api::{
    admin::{ChangeNodeResponse, Node, NodeApproval},
    types,
};
use hallmark_spiffe::x509::SerialHex;
use serde::Serialize;

use crate::{
    error::CliError,
    lookup::message_id,
    output::Show,
    table::columns,
    timestamp::{rfc3339, told},
};

/// A node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeView {
    /// Empty for a line of the inventory that names an EK by its Name.
    id: String,
    /// `pre-registered`, `pending`, `active`, `suspended`, `banned`, `retired`, or `expired` for an active one that did
    /// not renew.
    state: String,
    /// The reason code for which it may not have anything; empty where it is trusted or never attested.
    untrusted_reason: String,
    attestation_type: String,
    svid_serial: String,
    svid_expires_at: Option<String>,
    can_reattest: bool,
    agent_version: String,
    selectors: Vec<String>,
    ek: String,
    /// Further EKs that the inventory lists as the same machine's.
    other_eks: Vec<String>,
    since: Option<String>,
    owner: String,
    serial: String,
    approvals: Vec<ApprovalView>,
    approvals_needed: u32,
    #[serde(skip)]
    expires: i64,
}

/// An operator's approval that counts.
#[derive(Debug, Serialize)]
pub(crate) struct ApprovalView {
    uid: u32,
    at: Option<String>,
    lapses_at: Option<String>,
}

impl From<NodeApproval> for ApprovalView {
    fn from(approval: NodeApproval) -> Self {
        Self {
            uid: approval.uid,
            at: rfc3339(approval.at),
            lapses_at: rfc3339(approval.lapses_at),
        }
    }
}

impl ApprovalView {
    /// For people.
    pub(crate) fn told(&self) -> String {
        let lapses = self.lapses_at.as_deref().unwrap_or("-");
        format!("uid {} (until {lapses})", self.uid)
    }
}

impl NodeView {
    /// A node that was let in at least once.
    pub(crate) fn new(agent: types::Agent, node: &Node, now: i64) -> Result<Self, CliError> {
        // One whose SVID was taken away, as by a suspension, has none that could expire.
        let has_svid = agent.x509svid_expires_at > 0;
        let did_not_renew = node.state == "active" && has_svid && agent.x509svid_expires_at <= now;
        Ok(Self {
            id: message_id(agent.id)?.to_string(),
            state: if did_not_renew {
                "expired".into()
            } else {
                node.state.clone()
            },
            attestation_type: agent.attestation_type,
            svid_serial: serial_hex(agent.x509svid_serial_number),
            svid_expires_at: rfc3339(agent.x509svid_expires_at),
            can_reattest: agent.can_reattest,
            agent_version: agent.agent_version,
            selectors: selector_texts(agent.selectors),
            expires: agent.x509svid_expires_at,
            ..Self::unseen(node.clone())
        })
    }

    /// A node that was never let in.
    pub(crate) fn unseen(node: Node) -> Self {
        Self {
            id: node.id,
            state: node.state,
            untrusted_reason: node.untrusted_reason,
            attestation_type: "tpm2".into(),
            svid_serial: String::new(),
            svid_expires_at: None,
            can_reattest: true,
            agent_version: String::new(),
            selectors: Vec::new(),
            ek: node.ek,
            other_eks: node.other_eks,
            since: rfc3339(node.since),
            owner: node.owner,
            serial: node.serial,
            approvals: node.approvals.into_iter().map(Into::into).collect(),
            approvals_needed: node.approvals_needed,
            expires: 0,
        }
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
        let rows: Vec<[String; 7]> = self
            .0
            .iter()
            .map(|node| {
                let name = if node.id.is_empty() { &node.ek } else { &node.id };
                let short: String = name.rsplit('/').next().unwrap_or_default().chars().take(12).collect();
                [
                    short,
                    with_approvals(&node.state, node.approvals.len(), node.approvals_needed),
                    told_trust(node),
                    node.attestation_type.clone(),
                    told(node.expires, now),
                    dash(&node.agent_version),
                    dash(&node.owner),
                ]
            })
            .collect();
        columns(
            ["NODE", "STATE", "TRUST", "TYPE", "SVID EXPIRES", "AGENT", "OWNER"],
            &rows,
        )
    }
}

/// Whether the rules trust what it proved; of one that was never let in there is nothing to say.
fn told_trust(node: &NodeView) -> String {
    match node.untrusted_reason.as_str() {
        "" if node.svid_serial.is_empty() => dash(""),
        "" => "yes".into(),
        code => format!("no: {code}"),
    }
}

/// A visible sign for an empty cell.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// A state, and where approvals are needed how many there are.
fn with_approvals(state: &str, given: usize, needed: u32) -> String {
    match needed {
        0 => state.to_owned(),
        _ => format!("{state} ({given} of {needed} approvals)"),
    }
}

/// SPIRE's message has it in decimal; everywhere else it is hex.
fn serial_hex(decimal: String) -> String {
    match decimal.parse::<u128>() {
        Ok(serial) => SerialHex(&serial.to_be_bytes()).to_string(),
        Err(_) => decimal,
    }
}

/// What a command that changes nodes did, or would do.
#[derive(Debug, Serialize)]
pub(crate) struct NodeChange {
    id: String,
    /// The command.
    action: &'static str,
    dry_run: bool,
    from: String,
    /// Null for a node that is forgotten.
    to: Option<String>,
    approvals: u32,
    approvals_needed: u32,
}

impl NodeChange {
    pub(crate) fn new(changed: ChangeNodeResponse, action: &'static str, dry_run: bool) -> Self {
        Self {
            id: changed.id,
            action,
            dry_run,
            from: changed.from,
            to: Some(changed.to).filter(|to| !to.is_empty()),
            approvals: changed.approvals,
            approvals_needed: changed.approvals_needed,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct NodeChanges(pub(crate) Vec<NodeChange>);

impl Show for NodeChanges {
    fn table(&self, _: i64) -> String {
        self.0.iter().map(NodeChange::told).collect()
    }
}

impl NodeChange {
    fn told(&self) -> String {
        let verb = if self.dry_run { "would " } else { "" };
        let given = usize::try_from(self.approvals).unwrap_or(usize::MAX);
        let to = self.to.as_deref().unwrap_or("forgotten");
        let to = with_approvals(to, given, self.approvals_needed);
        format!("{verb}{} {}: {} -> {to}\n", self.action, self.id, self.from)
    }
}
