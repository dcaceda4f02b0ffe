//! `hallmark entry match`.

use std::collections::BTreeSet;

use clap::Args;
use hallmark_api::entry::list_entries_request;

use super::{Context, MatchOn, selector_match, selectors};
use crate::{
    client::Client,
    error::CliError,
    exit::Exit,
    lookup,
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
    let process = selectors(&question.selector)?;
    let held: BTreeSet<String> = process.iter().map(ToString::to_string).collect();
    let mut entries = match &question.node {
        Some(node) => {
            let node = lookup::node(client, node).await?;
            client.served_entries(&node).await?
        }
        None => {
            let filter = list_entries_request::Filter {
                by_selectors: selector_match(&question.selector, MatchOn::Subset)?,
                ..Default::default()
            };
            client.list_entries(Some(filter)).await?
        }
    };
    let now = now();
    entries.retain(|entry| entry.expires_at == 0 || entry.expires_at > now);
    if question.node.is_some() && !held.is_empty() {
        entries.retain(|entry| {
            let mut selectors = entry.selectors.iter();
            selectors.all(|selector| held.contains(&format!("{}:{}", selector.r#type, selector.value)))
        });
    }
    let found = !entries.is_empty();
    show(context.format, &EntryList::new(entries)?)?;
    if !found {
        say("no entry matches");
    }
    Ok(if found { Exit::Done } else { Exit::NotFound })
}
