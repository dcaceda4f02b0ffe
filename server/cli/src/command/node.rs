//! `hallmark node`.

use std::collections::BTreeMap;

use clap::{Subcommand, ValueEnum};
use hallmark_api::{
    admin::{ChangeNodeRequest, GetNodeRequest, Node},
    agent::list_agents_request,
};

use super::{Context, baseline::named};
use hallmark_policy::Baseline;

use crate::{
    args::{Change, Destruction},
    client::Client,
    command::entry::{MatchOn, selector_match},
    error::CliError,
    exit::Exit,
    kept::Kept,
    lookup,
    output::{say, show},
    timestamp::now,
    view::{
        difference::DifferenceView,
        explanation::ExplanationView,
        node::{NodeChange, NodeChanges, NodeList, NodeView},
        proof::ProofView,
    },
};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List machines, also those that wait for approval or were never seen
    #[command(after_help = "Examples:
  hallmark node list
  hallmark node list --selector tpm2:class:discrete
  hallmark node list --state pending
  hallmark node list --banned -o json")]
    List {
        /// Only nodes with these selectors (repeat for more)
        #[arg(long, value_name = "TYPE:VALUE")]
        selector: Vec<String>,
        /// How a node's selectors compare with those given
        #[arg(long = "match", value_enum, default_value_t = MatchOn::Superset)]
        match_on: MatchOn,
        /// Only banned nodes
        #[arg(long)]
        banned: bool,
        /// Only nodes of this state
        #[arg(long, value_enum, value_name = "STATE", conflicts_with = "banned")]
        state: Option<State>,
    },
    /// Show a machine and the chain of proof behind its identity
    #[command(after_help = NODE_HELP)]
    Show {
        /// The node
        node: String,
    },
    /// Explain why a machine is trusted or not, and what it booted
    #[command(after_help = NODE_HELP)]
    Explain {
        /// The node
        node: String,
    },
    /// Show how a machine's boot differs from a baseline, or from its previous boot
    #[command(after_help = "Examples:
  hallmark node diff 3f9a --baseline edge-2026-11
  hallmark node diff 3f9a --earlier")]
    Diff {
        /// The node
        node: String,
        /// A baseline: a file, or the name of one that was applied
        #[arg(
            long,
            value_name = "BASELINE",
            required_unless_present = "earlier",
            conflicts_with = "earlier"
        )]
        baseline: Option<String>,
        /// The boot before
        #[arg(long)]
        earlier: bool,
    },
    /// Approve machines that wait or that the inventory lists: they get an identity at their next attestation
    #[command(after_help = NODE_HELP)]
    Approve {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Change,
    },
    /// Suspend machines: they lose their identity until they are resumed
    #[command(after_help = NODE_HELP)]
    Suspend {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Destruction,
    },
    /// Resume suspended machines: they attest again
    #[command(after_help = NODE_HELP)]
    Resume {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Change,
    },
    /// Ban machines: they lose their identity and cannot attest again until they are unbanned or evicted
    #[command(after_help = NODE_HELP)]
    Ban {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Destruction,
    },
    /// Lift bans: the machines may attest again as new ones
    #[command(after_help = NODE_HELP)]
    Unban {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Change,
    },
    /// Retire machines: they never come back by themselves, not even after an eviction
    #[command(after_help = NODE_HELP)]
    Retire {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Destruction,
    },
    /// Evict machines: the server forgets them; they may attest again
    #[command(after_help = NODE_HELP)]
    Evict {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        how: Destruction,
    },
    /// Print what happens to machines as it happens: verdicts, operators' actions and installations; until Ctrl-C
    #[command(after_help = "Examples:
  hallmark node watch
  hallmark node watch 3f9a -o json")]
    Watch {
        /// Only of this node
        node: Option<String>,
    },
}

/// Which nodes, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The nodes
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// The inventory lists it; it was never seen
    PreRegistered,
    /// It waits for approval, or for its next attestation
    Pending,
    /// It holds an identity or may
    Active,
    /// Out for a time
    Suspended,
    /// Out until it is unbanned or evicted
    Banned,
    /// Out for good
    Retired,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::PreRegistered => "pre-registered",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Banned => "banned",
            Self::Retired => "retired",
        }
    }
}

const NODE_HELP: &str = "\
A node is named by its id or by the start of its EK's hash:
  hallmark node show spiffe://example.org/spire/agent/tpm2/3f9a…
  hallmark node show /spire/agent/tpm2/3f9a…
  hallmark node show 3f9a";

/// The boot before, as a baseline to hold this one against.
fn earlier(kept: &Kept, id: &str) -> Result<Baseline, CliError> {
    let facts = kept.earlier()?.ok_or_else(|| CliError::Missing {
        message: "nothing is kept of a boot before the last one".to_owned(),
    })?;
    let made_at = i64::try_from(facts.quote_clock.seen_at / 1000).unwrap_or_default();
    Ok(Baseline::capture("the-boot-before", 1, made_at, id, &facts, None)?)
}

pub(crate) async fn run(context: &Context, command: NodeCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let give = |how: Change| Destruction { change: how, yes: true };
    match command {
        NodeCommand::List {
            selector,
            match_on,
            banned,
            state,
        } => {
            let state = if banned { Some(State::Banned) } else { state };
            list(context, &client, &selector, match_on, state).await
        }
        NodeCommand::Show { node } => {
            let id = lookup::node(&client, &node).await?.to_string();
            let stands = client.node(&id).await?;
            let proof = client.admin().get_node(GetNodeRequest { id }).await?.into_inner();
            show(context.format, &ProofView::new(proof, stands))?;
            Ok(Exit::Done)
        }
        NodeCommand::Explain { node } => {
            let id = lookup::node(&client, &node).await?.to_string();
            let (stands, kept) = (client.node(&id).await?, Kept::of(&client, &id).await?);
            let stands = stands.unwrap_or_else(|| Node {
                id,
                state: "evicted".into(),
                ..Node::default()
            });
            show(context.format, &ExplanationView::new(stands, &kept)?)?;
            Ok(Exit::Done)
        }
        NodeCommand::Diff { node, baseline, .. } => {
            let id = lookup::node(&client, &node).await?.to_string();
            let kept = Kept::of(&client, &id).await?;
            let other = match baseline {
                Some(name) => named(context, &name).await?,
                None => earlier(&kept, &id)?,
            };
            show(context.format, &DifferenceView::new(other.compare(&kept.facts()?)))?;
            Ok(Exit::Done)
        }
        NodeCommand::Approve { which, how } => change(context, &client, which, give(how), "approve").await,
        NodeCommand::Suspend { which, how } => change(context, &client, which, how, "suspend").await,
        NodeCommand::Resume { which, how } => change(context, &client, which, give(how), "resume").await,
        NodeCommand::Ban { which, how } => change(context, &client, which, how, "ban").await,
        NodeCommand::Unban { which, how } => change(context, &client, which, give(how), "unban").await,
        NodeCommand::Retire { which, how } => change(context, &client, which, how, "retire").await,
        NodeCommand::Watch { node } => super::record::watch(context, &client, node).await,
        NodeCommand::Evict { which, how } => change(context, &client, which, how, "evict").await,
    }
}

async fn list(
    context: &Context,
    client: &Client,
    selector: &[String],
    match_on: MatchOn,
    state: Option<State>,
) -> Result<Exit, CliError> {
    let by_selector_match = selector_match(selector, match_on)?;
    let mut stands: BTreeMap<String, Node> = BTreeMap::new();
    let mut unseen = Vec::new();
    for node in client.list_nodes(state.map_or("", State::name)).await? {
        if node.id.is_empty() {
            unseen.push(node);
        } else {
            stands.insert(node.id.clone(), node);
        }
    }
    let asked = by_selector_match.is_some();
    let filter = list_agents_request::Filter {
        by_selector_match,
        ..Default::default()
    };
    let mut nodes = Vec::new();
    for agent in client.list_agents(Some(filter)).await? {
        let id = lookup::message_id(agent.id.clone())?.to_string();
        if let Some(node) = stands.remove(&id) {
            nodes.push(NodeView::new(agent, &node, now())?);
        }
    }
    // Who was never let in has no selectors.
    if !asked {
        nodes.extend(stands.into_values().chain(unseen).map(NodeView::unseen));
    }
    show(context.format, &NodeList(nodes))?;
    Ok(Exit::Done)
}

async fn change(
    context: &Context,
    client: &Client,
    which: Which,
    how: Destruction,
    action: &'static str,
) -> Result<Exit, CliError> {
    let mut ids = Vec::new();
    for node in &which.nodes {
        let id = lookup::node(client, node).await?.to_string();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let ask = |id: &String, dry_run| ChangeNodeRequest {
        id: id.clone(),
        action: action.to_owned(),
        reason: which.reason.clone(),
        dry_run,
    };
    // All are rehearsed first, so that the question speaks of what can be done, and none is changed where one cannot be.
    let mut changed = Vec::new();
    for id in &ids {
        changed.push(client.lifecycle().change_node(ask(id, true)).await?.into_inner());
    }
    let mut failed = None;
    if how.is_confirmed(&format!("{action} {}?", ids.join(", ")))? {
        changed.clear();
        for id in &ids {
            match client.lifecycle().change_node(ask(id, false)).await {
                Ok(done) => changed.push(done.into_inner()),
                Err(status) => {
                    let error = CliError::of_change(status, "hallmark node list");
                    say(&format!("{id}: {}", error.report()));
                    failed = Some(error.exit());
                }
            }
        }
    }
    let changes = changed.into_iter();
    let changes = changes.map(|done| NodeChange::new(done, action, how.change.dry_run));
    show(context.format, &NodeChanges(changes.collect()))?;
    Ok(failed.unwrap_or_else(|| how.change.exit()))
}
