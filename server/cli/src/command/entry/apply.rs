//! `hallmark entry apply`: from the entries that there are to those that a file says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use clap::Args;
use hallmark_api::types;
use hallmark_spiffe::{SelectorSet, SpiffeId};
use hallmark_state::{Entry, EntryDraft, EntryId};

use super::{
    Context,
    declared::Declared,
    read,
    write::{self, Answers, Cut},
};
use crate::{
    args::Destruction,
    client::Client,
    error::{CliError, ENTRIES_FILE},
    exit::Exit,
    output::{say, show, warn},
    timestamp::now,
    view::entry::{AppliedEntries, AppliedEntry, FieldChange},
};

/// Which file, and how far.
#[derive(Debug, Args)]
pub(crate) struct Application {
    /// The file: YAML or JSON, as `hallmark entry export` writes it; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Delete every entry that the file does not have
    #[arg(long)]
    prune: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    how: Destruction,
}

pub(super) async fn run(context: &Context, client: &Client, application: Application) -> Result<Exit, CliError> {
    let how = application.how;
    let declared = Declared::read(&application.file)?;
    let (plan, warnings) = plan(client, &application.file, &declared, application.prune).await?;
    warn(&warnings);
    let mut told = AppliedEntries {
        dry_run: how.change.dry_run,
        unchanged: plan.unchanged,
        warnings,
        changes: plan.changes(),
    };
    if !told.changes.is_empty() {
        let refused = write::refused(client, plan.as_asked()).await?;
        if let Some((_, first)) = refused.first() {
            let exit = first.exit();
            for (place, error) in &refused {
                let name = told.changes.get(*place).map(AppliedEntry::name).unwrap_or_default();
                say(&format!("{name}: {}", error.report()));
            }
            // All that the file asks for is done, or nothing of it.
            told.changes.clear();
            show(context.format, &told)?;
            return Ok(exit);
        }
    }
    if told.changes.is_empty() || how.change.dry_run {
        let exit = if told.changes.is_empty() {
            Exit::Done
        } else {
            Exit::WouldChange
        };
        show(context.format, &told)?;
        return Ok(exit);
    }
    if !plan.deletes.is_empty() {
        say(told.text(false).trim_end());
        how.is_confirmed(&format!("delete {} of {} entries?", plan.deletes.len(), plan.held))?;
    }
    let names: Vec<String> = told.changes.iter().map(AppliedEntry::name).collect();
    let (answers, cut) = carry_out(client, plan, &application.reason).await;
    let answered = answers.len();
    let mut exit = Exit::Done;
    let mut answers = names.iter().zip(answers);
    // What was not answered is not told as done.
    told.changes.truncate(answered);
    told.changes.retain(|_| match answers.next() {
        Some((name, Err(error))) => {
            say(&format!("{name}: {}", error.report()));
            exit = error.exit();
            false
        }
        _ => true,
    });
    show(context.format, &told)?;
    let again = || {
        format!(
            "hallmark entry apply -f {} --dry-run shows what is left; apply it again",
            application.file.display()
        )
    };
    cut.map_or(Ok(exit), |cut| Err(cut.told(&names, answered, again())))
}

/// What there is to do.
#[derive(Debug, Default)]
struct Plan {
    creates: Vec<types::Entry>,
    /// With what of them changes.
    updates: Vec<(types::Entry, Vec<FieldChange>)>,
    deletes: Vec<types::Entry>,
    unchanged: usize,
    /// How many entries there are now.
    held: usize,
}

impl Plan {
    /// What the server is asked about: the same as is carried out, in the order of [`Self::changes`].
    fn as_asked(&self) -> write::Changes {
        write::Changes {
            deletes: self.deletes.iter().map(|entry| entry.id.clone()).collect(),
            updates: self.updates.iter().map(|(entry, _)| entry.clone()).collect(),
            mask: None,
            creates: self.creates.clone(),
        }
    }

    fn changes(&self) -> Vec<AppliedEntry> {
        let whole = |action| move |entry: &types::Entry| AppliedEntry::new(action, entry, Vec::new());
        let updates = self
            .updates
            .iter()
            .map(|(entry, fields)| AppliedEntry::new("update", entry, fields.clone()));
        let deletes = self.deletes.iter().map(whole("delete"));
        let creates = self.creates.iter().map(whole("create"));
        deletes.chain(updates).chain(creates).collect()
    }
}

/// What makes two entries the same where a file gives no id.
type Likeness = (SpiffeId, SpiffeId, SelectorSet);

fn likeness(entry: &Entry) -> Likeness {
    (
        entry.spiffe_id.clone(),
        entry.parent_id.clone(),
        entry.selectors.clone(),
    )
}

async fn plan(client: &Client, file: &Path, declared: &Declared, prune: bool) -> Result<(Plan, Vec<String>), CliError> {
    let mut around = write::Surroundings::of(client).await?;
    let mut held: BTreeMap<String, (types::Entry, Entry)> = BTreeMap::new();
    let mut by_likeness: BTreeMap<Likeness, String> = BTreeMap::new();
    for message in client.list_entries(None).await? {
        let entry = read::entry(&message)?;
        by_likeness.insert(likeness(&entry), message.id.clone());
        held.insert(message.id.clone(), (message, entry));
    }
    let mut drafts = Vec::new();
    for (place, one) in declared.entries.iter().enumerate() {
        let draft = one.draft(around.trust_domain(), file, place + 1)?;
        // What the file makes may be a parent of what the file makes.
        around.assume(&draft.spiffe_id);
        drafts.push((one.id.clone(), draft));
    }
    let mut plan = Plan {
        held: held.len(),
        ..Plan::default()
    };
    let (mut warnings, mut named, mut wanted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (place, (id, draft)) in drafts.into_iter().enumerate() {
        let checked_id = EntryId::parse(id.as_deref().unwrap_or("chosen-by-the-server"))?;
        // The form in which entries compare; all else is asked of the server.
        let entry = draft
            .clone()
            .validate(around.trust_domain(), |_| true, checked_id, now())?;
        let id = id.or_else(|| by_likeness.get(&likeness(&entry)).cloned());
        let is_new_id = id.as_ref().is_none_or(|id| named.insert(id.clone()));
        if !wanted.insert(likeness(&entry)) || !is_new_id {
            return Err(CliError::Unfit {
                what: ENTRIES_FILE,
                file: file.to_owned(),
                detail: format!("entry {}, for {}, stands twice", place + 1, entry.spiffe_id),
            });
        }
        match id.as_ref().and_then(|id| held.get(id)) {
            Some((message, before)) => {
                let fields = changes(&EntryDraft::from(before), &EntryDraft::from(&entry));
                if fields.is_empty() {
                    plan.unchanged += 1;
                    continue;
                }
                plan.updates.push((write::message(&draft, message.id.clone()), fields));
            }
            None => plan.creates.push(write::message(&draft, id.unwrap_or_default())),
        }
        for warning in around.warnings(&draft).await? {
            warnings.push(format!("entry {}: {warning}", place + 1));
        }
    }
    if prune {
        let gone = held.into_values().filter(|(message, _)| !named.contains(&message.id));
        plan.deletes = gone.map(|(message, _)| message).collect();
    }
    Ok((plan, warnings))
}

/// The fields in which two drafts differ.
fn changes(before: &EntryDraft, after: &EntryDraft) -> Vec<FieldChange> {
    let list = |items: Vec<String>| items.join(" ");
    let fields = |draft: &EntryDraft| {
        [
            ("spiffe_id", draft.spiffe_id.to_string()),
            ("parent_id", draft.parent_id.to_string()),
            (
                "selectors",
                list(draft.selectors.iter().map(ToString::to_string).collect()),
            ),
            ("x509_svid_ttl", draft.x509_svid_ttl.to_string()),
            ("jwt_svid_ttl", draft.jwt_svid_ttl.to_string()),
            (
                "federates_with",
                list(draft.federates_with.iter().map(ToString::to_string).collect()),
            ),
            ("dns_names", list(draft.dns_names.clone())),
            ("hint", draft.hint.clone()),
            ("admin", draft.admin.to_string()),
            ("downstream", draft.downstream.to_string()),
            ("store_svid", draft.store_svid.to_string()),
            (
                "disable_x509_svid_prefetch",
                draft.disable_x509_svid_prefetch.to_string(),
            ),
            ("jwt_svid_include_jti", draft.jwt_svid_include_jti.to_string()),
            (
                "expires_at",
                crate::timestamp::rfc3339(draft.expires_at).unwrap_or_default(),
            ),
        ]
    };
    let pairs = fields(before).into_iter().zip(fields(after));
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((field, from), (_, to))| FieldChange { field, from, to })
        .collect()
}

/// What became of changes, in the order of [`Plan::changes`]; and what ended them before the last.
type CarriedOut = (Vec<Result<(), CliError>>, Option<Cut>);

/// Deletes, updates and creates. Each stands for itself: what the server took when it was asked, it may refuse since somebody
/// changed something meanwhile. What succeeded stays: applied again, the file does the rest.
async fn carry_out(client: &Client, plan: Plan, reason: &str) -> CarriedOut {
    let ids = plan.deletes.iter().map(|entry| entry.id.clone()).collect();
    let Answers { results: mut all, cut } = write::delete_all(client, ids, reason).await;
    if cut.is_some() {
        return (all, cut);
    }
    let updates = plan.updates.into_iter().map(|(entry, _)| entry).collect();
    let Answers { results, cut } = write::update_all(client, updates, None, reason).await;
    all.extend(results.into_iter().map(|done| done.map(drop)));
    if cut.is_some() {
        return (all, cut);
    }
    let Answers { results, cut } = write::create_all(client, plan.creates, reason).await;
    all.extend(results.into_iter().map(|done| done.map(drop)));
    (all, cut)
}
