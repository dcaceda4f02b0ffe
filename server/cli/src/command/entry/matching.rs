//! `hallmark entry match`.

use std::collections::BTreeSet;

use clap::Args;
use hallmark_api::{agent::GetAgentRequest, types};
use hallmark_registry::{Entry, EntryDraft, EntryId, Registry};
use hallmark_spiffe::{Selector, SpiffeId};

use super::{Context, selectors};
use crate::{
    client::Client,
    error::CliError,
    exit::Exit,
    lookup::{self, id_message, message_id},
    output::{say, show},
    timestamp::now,
    view::entry::EntryList,
};

#[derive(Debug, Args)]
pub(crate) struct Question {
    /// What the process is (repeat for more): every selector of an entry must be among these
    #[arg(long, value_name = "TYPE:VALUE", required_unless_present = "node")]
    selector: Vec<String>,
    /// The node that it runs on: its id or the start of its EK's hash
    #[arg(long)]
    node: Option<String>,
}

pub(super) async fn run(context: &Context, client: &Client, question: Question) -> Result<Exit, CliError> {
    let process: BTreeSet<Selector> = selectors(&question.selector)?.into_iter().collect();
    let mut entries = client.list_entries(None).await?;
    let now = now();
    entries.retain(|entry| entry.expires_at == 0 || entry.expires_at > now);
    if let Some(node) = &question.node {
        let node = lookup::node(client, node).await?;
        let served = served_by(client, &node, &entries, now).await?;
        entries.retain(|entry| served.contains(&entry.id));
    }
    if !process.is_empty() {
        let held: BTreeSet<String> = process.iter().map(ToString::to_string).collect();
        entries.retain(|entry| {
            entry
                .selectors
                .iter()
                .all(|selector| held.contains(&format!("{}:{}", selector.r#type, selector.value)))
        });
    }
    let found = !entries.is_empty();
    show(context.format, &EntryList::new(entries)?)?;
    if !found {
        say("no entry matches");
    }
    Ok(if found { Exit::Done } else { Exit::NotFound })
}

/// The ids of the entries that the server would send to the node: asked of the same code that the server uses.
async fn served_by(
    client: &Client,
    node: &SpiffeId,
    entries: &[types::Entry],
    now: i64,
) -> Result<BTreeSet<String>, CliError> {
    let request = GetAgentRequest {
        id: Some(id_message(node)),
        output_mask: None,
    };
    let agent = client.agents().get_agent(request).await?.into_inner();
    let facts = agent
        .selectors
        .iter()
        .map(read_selector)
        .collect::<Result<BTreeSet<_>, _>>()?;
    let mut registry = Registry::new(node.trust_domain());
    for entry in entries {
        registry.insert(read_entry(entry)?);
    }
    Ok(registry
        .authorised(node, &facts, now)
        .into_iter()
        .map(|entry| entry.id.to_string())
        .collect())
}

fn read_entry(message: &types::Entry) -> Result<Entry, CliError> {
    let selectors = message.selectors.iter().map(read_selector).collect::<Result<_, _>>()?;
    let spiffe_id = message_id(message.spiffe_id.clone())?;
    let parent_id = message_id(message.parent_id.clone())?;
    let trust_domain = spiffe_id.trust_domain().clone();
    let draft = EntryDraft {
        expires_at: message.expires_at,
        ..EntryDraft::new(spiffe_id, parent_id, selectors)
    };
    Ok(draft.validate(
        &trust_domain,
        |_| true,
        EntryId::parse(&message.id)?,
        message.created_at,
    )?)
}

fn read_selector(message: &types::Selector) -> Result<Selector, CliError> {
    Ok(Selector::new(&message.r#type, &message.value)?)
}
