//! `hallmark node`.

use clap::Subcommand;
use hallmark_api::{
    admin::GetNodeRequest,
    agent::{BanAgentRequest, DeleteAgentRequest, GetAgentRequest, list_agents_request},
};

use super::Context;
use crate::{
    args::Destruction,
    client::Client,
    command::entry::{MatchOn, selector_match},
    error::CliError,
    exit::Exit,
    lookup::{self, id_message},
    output::show,
    timestamp::now,
    view::{
        node::{NodeChange, NodeList, NodeView},
        proof::ProofView,
    },
};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the attested machines
    #[command(after_help = "Examples:
  hallmark node list
  hallmark node list --selector tpm2:class:discrete
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
    },
    /// Show a machine and the chain of proof behind its identity
    #[command(after_help = NODE_HELP)]
    Show {
        /// The node
        node: String,
    },
    /// Ban a machine: it loses its identity and cannot attest again until it is evicted
    #[command(after_help = NODE_HELP)]
    Ban {
        /// The node
        node: String,
        #[command(flatten)]
        how: Destruction,
    },
    /// Evict a machine: the server forgets it; it may attest again
    #[command(after_help = NODE_HELP)]
    Evict {
        /// The node
        node: String,
        #[command(flatten)]
        how: Destruction,
    },
}

const NODE_HELP: &str = "\
A node is named by its id or by the start of its EK's hash:
  hallmark node show spiffe://example.org/spire/agent/tpm2/3f9a…
  hallmark node show /spire/agent/tpm2/3f9a…
  hallmark node show 3f9a";

pub(crate) async fn run(context: &Context, command: NodeCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        NodeCommand::List {
            selector,
            match_on,
            banned,
        } => {
            let filter = list_agents_request::Filter {
                by_selector_match: selector_match(&selector, match_on)?,
                by_banned: banned.then_some(true),
                ..Default::default()
            };
            let agents = client.list_agents(Some(filter)).await?;
            let nodes = agents
                .into_iter()
                .map(|agent| NodeView::new(agent, now()))
                .collect::<Result<_, _>>()?;
            show(context.format, &NodeList(nodes))?;
            Ok(Exit::Done)
        }
        NodeCommand::Show { node } => {
            let id = lookup::node(&client, &node).await?.to_string();
            let proof = client.admin().get_node(GetNodeRequest { id }).await?.into_inner();
            show(context.format, &ProofView::from(proof))?;
            Ok(Exit::Done)
        }
        NodeCommand::Ban { node, how } => take_away(context, &client, &node, how, "ban").await,
        NodeCommand::Evict { node, how } => take_away(context, &client, &node, how, "evict").await,
    }
}

async fn take_away(
    context: &Context,
    client: &Client,
    node: &str,
    how: Destruction,
    action: &'static str,
) -> Result<Exit, CliError> {
    let id = Some(id_message(&lookup::node(client, node).await?));
    // Asked first, so that a dry run and the question speak of a node that is there.
    let request = GetAgentRequest {
        id: id.clone(),
        output_mask: None,
    };
    let agent = NodeView::new(client.agents().get_agent(request).await?.into_inner(), now())?;
    if how.is_confirmed(&format!("{action} {}?", agent.id()))? {
        match action {
            "ban" => client.agents().ban_agent(BanAgentRequest { id }).await?,
            _ => client.agents().delete_agent(DeleteAgentRequest { id }).await?,
        };
    }
    let change = NodeChange {
        id: agent.id().into(),
        action,
        dry_run: how.change.dry_run,
    };
    show(context.format, &change)?;
    Ok(how.change.exit())
}
