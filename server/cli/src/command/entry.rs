//! `hallmark entry`.

mod apply;
mod create;
mod declared;
mod matching;
mod read;
mod update;
mod write;

use clap::{Args, Subcommand, ValueEnum};
use hallmark_api::{entry::list_entries_request, types};
use hallmark_spiffe::{Selector, TrustDomain};

use super::Context;
use crate::{
    args::Destruction,
    client::Client,
    error::CliError,
    exit::Exit,
    lookup::{self, id_message},
    output::{ListWriter, say, show},
    view::entry::{EntryChange, EntryChanges, EntryList, EntryView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum EntryCommand {
    /// Register who may hold a SPIFFE ID
    #[command(after_help = "Examples:
  hallmark entry create --spiffe-id /web --node 3f9a --selector unix:user:www-data
  hallmark entry create --spiffe-id /nodes/edge --parent-id /spire/server --selector tpm2:class:discrete
  hallmark entry create --spiffe-id /db --parent-id /nodes/edge --selector unix:uid:999 --ttl 30m --dns db.internal")]
    Create(Box<create::Draft>),
    /// Change an entry: given options replace what it has, the rest stays
    #[command(after_help = "Examples:
  hallmark entry update 6f1c --ttl 30m --reason 'shorter, as agreed'
  hallmark entry update 6f1c --selector unix:uid:999 --selector unix:path:/usr/bin/web --dry-run")]
    Update(Box<update::Revision>),
    /// Apply a file of entries: show the difference, then create, update and, with --prune, delete
    #[command(after_help = "Examples:
  hallmark entry export > entries.yaml
  hallmark entry apply -f entries.yaml --dry-run
  hallmark entry apply -f entries.yaml --prune --yes --reason 'change 4711'

An entry of the file with an id is that entry; one without is known by its SPIFFE ID, parent and selectors.
Exits with 7 when a dry run finds something to change, and with 0 when there is nothing to do.")]
    Apply(apply::Application),
    /// Write the entries as a file that `entry apply` takes: YAML, or JSON with -o json
    #[command(after_help = "Examples:
  hallmark entry export > entries.yaml
  hallmark entry export --parent-id /nodes/edge -o json > edge.json")]
    Export(ListFilter),
    /// List entries
    #[command(after_help = "Examples:
  hallmark entry list
  hallmark entry list --parent-id /nodes/edge
  hallmark entry list --selector unix:uid:999 --match any -o json")]
    List(ListFilter),
    /// Show an entry
    Show {
        /// Its id, or the start of it
        entry: String,
    },
    /// Delete entries; their SVIDs are no longer renewed
    #[command(after_help = "Examples:
  hallmark entry delete 6f1c --dry-run
  hallmark entry delete 6f1c 82ab --yes")]
    Delete {
        /// Their ids, or the starts of them
        #[arg(required = true)]
        entries: Vec<String>,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
        #[command(flatten)]
        how: Destruction,
    },
    /// Show which entries match a workload, a node, or a workload on that node
    #[command(after_help = "Examples:
  hallmark entry match --selector unix:uid:999 --selector unix:gid:999
  hallmark entry match --node 3f9a
  hallmark entry match --node 3f9a --selector unix:uid:999

Exits with 6 when nothing matches.")]
    Match(matching::Question),
}

#[derive(Debug, Args)]
pub(crate) struct ListFilter {
    /// Only entries for this SPIFFE ID
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Only entries below this parent
    #[arg(long, value_name = "ID")]
    parent_id: Option<String>,
    /// Only entries with these selectors (repeat for more)
    #[arg(long, value_name = "TYPE:VALUE")]
    selector: Vec<String>,
    /// Only entries that federate with these trust domains (repeat for more)
    #[arg(long, value_name = "TRUST DOMAIN")]
    federates_with: Vec<String>,
    /// How an entry's selectors and trust domains compare with those given
    #[arg(long = "match", value_enum, default_value_t = MatchOn::Superset)]
    match_on: MatchOn,
    /// Only entries with this hint
    #[arg(long)]
    hint: Option<String>,
    /// Only entries for downstream servers
    #[arg(long)]
    downstream: bool,
}

/// How a set found compares with the set given.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MatchOn {
    /// The same
    Exact,
    /// Nothing beyond what is given
    Subset,
    /// At least what is given
    Superset,
    /// At least one of what is given
    Any,
}

pub(crate) async fn run(context: &Context, command: EntryCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        EntryCommand::Create(draft) => create::run(context, &client, *draft).await,
        EntryCommand::List(filter) => {
            let mut pages = client.entry_pages(Some(filter_message(&client, filter).await?));
            let mut list = ListWriter::<EntryView, _>::new(context.format);
            while let Some(page) = pages.next().await? {
                if !list.write(&EntryList::new(page)?.0)? {
                    return Ok(Exit::Done);
                }
            }
            list.end()?;
            Ok(Exit::Done)
        }
        EntryCommand::Show { entry } => {
            show(context.format, &EntryView::new(lookup::entry(&client, &entry).await?)?)?;
            Ok(Exit::Done)
        }
        EntryCommand::Delete { entries, reason, how } => delete(context, &client, &entries, &reason, how).await,
        EntryCommand::Update(revision) => update::run(context, &client, *revision).await,
        EntryCommand::Apply(application) => apply::run(context, &client, application).await,
        EntryCommand::Export(filter) => {
            let entries = client
                .list_entries(Some(filter_message(&client, filter).await?))
                .await?;
            show(context.format, &declared::Declared::of(entries)?)?;
            Ok(Exit::Done)
        }
        EntryCommand::Match(question) => matching::run(context, &client, question).await,
    }
}

async fn delete(
    context: &Context,
    client: &Client,
    wanted: &[String],
    reason: &str,
    how: Destruction,
) -> Result<Exit, CliError> {
    let mut found = Vec::new();
    for text in wanted {
        found.push(lookup::entry(client, text).await?);
    }
    let ids: Vec<String> = found.iter().map(|entry| entry.id.clone()).collect();
    let (mut failure, mut cut) = (None, None);
    if how.is_confirmed(&format!("delete {}?", ids.join(", ")))? {
        let answers = write::delete_all(client, ids.clone(), reason).await;
        cut = answers.cut.map(|cut| {
            let names: Vec<String> = ids.iter().map(|id| format!("delete {id}")).collect();
            let look = "hallmark entry list shows what is left; delete it again";
            cut.told(&names, answers.results.len(), look.to_owned())
        });
        found.truncate(answers.results.len());
        for (id, done) in ids.iter().zip(answers.results) {
            if let Err(error) = done {
                say(&format!("{id}: {}", error.report()));
                found.retain(|entry| entry.id != *id);
                failure = Some(error.exit());
            }
        }
    }
    let changes = found.into_iter().map(|entry| {
        Ok(EntryChange {
            action: "delete",
            dry_run: how.change.dry_run,
            entry: EntryView::new(entry)?,
            warnings: Vec::new(),
        })
    });
    show(context.format, &EntryChanges(changes.collect::<Result<_, CliError>>()?))?;
    cut.map_or(Ok(()), Err)?;
    Ok(failure.unwrap_or_else(|| how.change.exit()))
}

async fn filter_message(client: &Client, filter: ListFilter) -> Result<list_entries_request::Filter, CliError> {
    let mut message = list_entries_request::Filter {
        by_selectors: selector_match(&filter.selector, filter.match_on)?,
        by_hint: filter.hint,
        by_downstream: filter.downstream.then_some(true),
        ..Default::default()
    };
    if let Some(text) = filter.spiffe_id {
        message.by_spiffe_id = Some(id_message(&lookup::spiffe_id(client, &text).await?));
    }
    if let Some(text) = filter.parent_id {
        message.by_parent_id = Some(id_message(&lookup::spiffe_id(client, &text).await?));
    }
    if !filter.federates_with.is_empty() {
        for name in &filter.federates_with {
            TrustDomain::parse(name)?;
        }
        use types::federates_with_match::MatchBehavior;
        let behavior = match filter.match_on {
            MatchOn::Exact => MatchBehavior::MatchExact,
            MatchOn::Subset => MatchBehavior::MatchSubset,
            MatchOn::Superset => MatchBehavior::MatchSuperset,
            MatchOn::Any => MatchBehavior::MatchAny,
        };
        message.by_federates_with = Some(types::FederatesWithMatch {
            trust_domains: filter.federates_with,
            r#match: behavior.into(),
        });
    }
    Ok(message)
}

/// A filter over selectors; `None` when there are none to ask for.
pub(crate) fn selector_match(texts: &[String], match_on: MatchOn) -> Result<Option<types::SelectorMatch>, CliError> {
    use types::selector_match::MatchBehavior;
    if texts.is_empty() {
        return Ok(None);
    }
    let behavior = match match_on {
        MatchOn::Exact => MatchBehavior::MatchExact,
        MatchOn::Subset => MatchBehavior::MatchSubset,
        MatchOn::Superset => MatchBehavior::MatchSuperset,
        MatchOn::Any => MatchBehavior::MatchAny,
    };
    let selectors = selectors(texts)?.iter().map(selector_message).collect();
    Ok(Some(types::SelectorMatch {
        selectors,
        r#match: behavior.into(),
    }))
}

fn selectors(texts: &[String]) -> Result<Vec<Selector>, CliError> {
    texts.iter().map(|text| Ok(Selector::parse(text)?)).collect()
}

fn selector_message(selector: &Selector) -> types::Selector {
    types::Selector {
        r#type: selector.kind().into(),
        value: selector.value().into(),
    }
}
