//! `hallmark entry update`.

use clap::Args;
use hallmark_api::types;
use hallmark_spiffe::TrustDomain;
use hallmark_state::EntryDraft;

use super::{Context, create::parse_expiry, read, selectors, write};
use crate::{args::Change, client::Client, duration::parse_ttl, error::CliError, exit::Exit, lookup};

/// What is given replaces what the entry has; what is left out stays.
#[derive(Debug, Args)]
pub(crate) struct Revision {
    /// The entry: its id, or the start of it
    entry: String,
    /// What may be held: spiffe://td/path, td:/path or /path
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Below whom: an agent, a node alias or another entry's SPIFFE ID
    #[arg(long, value_name = "ID", conflicts_with = "node")]
    parent_id: Option<String>,
    /// The same, for a node: its id or the start of its EK's hash
    #[arg(long)]
    node: Option<String>,
    /// All of the entry's selectors from now on (repeat for more)
    #[arg(long, value_name = "TYPE:VALUE")]
    selector: Vec<String>,
    /// Lifetime of X509-SVIDs; 0 for the server's default
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<i32>,
    /// Lifetime of JWT-SVIDs; 0 for the server's default
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    jwt_ttl: Option<i32>,
    /// All of the certificate's DNS names from now on (repeat for more; "" for none)
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// A label by which a holder of several SVIDs tells them apart ("" for none)
    #[arg(long)]
    hint: Option<String>,
    /// All trust domains whose bundles the holder gets too (repeat for more; "" for none)
    #[arg(long, value_name = "TRUST DOMAIN")]
    federates_with: Vec<String>,
    /// From when on the entry gives nothing, for example 2027-01-31T12:00:00Z; 0 for never
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    expires_at: Option<i64>,
    /// Whether the holder may administer the server
    #[arg(long, value_name = "BOOL")]
    admin: Option<bool>,
    /// Whether the holder may run a server below this one
    #[arg(long, value_name = "BOOL")]
    downstream: Option<bool>,
    /// Whether the agent stores the SVID with a plugin instead of serving it
    #[arg(long, value_name = "BOOL")]
    store_svid: Option<bool>,
    /// Whether agents fetch the X509-SVID only when a workload asks
    #[arg(long, value_name = "BOOL")]
    no_prefetch: Option<bool>,
    /// Whether JWT-SVIDs carry a jti
    #[arg(long, value_name = "BOOL")]
    jti: Option<bool>,
    /// Take over an entry that an administrator over TLS wrote, as it is with these changes: from now on it counts on the
    /// way to roles
    #[arg(long)]
    confirm: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    change: Change,
}

pub(super) async fn run(context: &Context, client: &Client, revision: Revision) -> Result<Exit, CliError> {
    let (change, confirm, reason) = (revision.change, revision.confirm, revision.reason.clone());
    let before = lookup::entry(client, &revision.entry).await?;
    let mut draft = read::draft(&before)?;
    let mask = apply(client, revision, &mut draft).await?;
    let mut around = write::Surroundings::of(client).await?;
    let warnings = around.warnings(&draft).await?;
    let message = write::message(&draft, before.id.clone());
    // The server takes an entry for the operator's own once it is written whole.
    let mask = (!confirm).then_some(mask);
    let entry = if change.dry_run {
        let changes = write::Changes {
            updates: vec![message.clone()],
            mask,
            ..Default::default()
        };
        write::require_taken(client, changes).await?;
        types::Entry {
            created_at: before.created_at,
            revision_number: before.revision_number.saturating_add(1),
            ..message
        }
    } else {
        write::update(client, message, mask, &reason).await?
    };
    write::told(context, "update", change, entry, warnings)
}

/// Writes what was given into the draft; gives the mask of it.
async fn apply(client: &Client, revision: Revision, draft: &mut EntryDraft) -> Result<types::EntryMask, CliError> {
    let mut mask = types::EntryMask::default();
    if let Some(text) = &revision.spiffe_id {
        draft.spiffe_id = lookup::spiffe_id(client, text).await?;
        mask.spiffe_id = true;
    }
    let parent = match (&revision.node, &revision.parent_id) {
        (Some(node), _) => Some(lookup::node(client, node).await?),
        (None, Some(parent)) => Some(lookup::spiffe_id(client, parent).await?),
        (None, None) => None,
    };
    mask.parent_id = put(&mut draft.parent_id, parent);
    if !revision.selector.is_empty() {
        draft.selectors = selectors(&revision.selector)?;
        mask.selectors = true;
    }
    if !revision.federates_with.is_empty() {
        let names = revision.federates_with.iter().filter(|name| !name.is_empty());
        draft.federates_with = names.map(|name| TrustDomain::parse(name)).collect::<Result<_, _>>()?;
        mask.federates_with = true;
    }
    if !revision.dns.is_empty() {
        draft.dns_names = revision.dns.into_iter().filter(|name| !name.is_empty()).collect();
        mask.dns_names = true;
    }
    mask.x509_svid_ttl = put(&mut draft.x509_svid_ttl, revision.ttl);
    mask.jwt_svid_ttl = put(&mut draft.jwt_svid_ttl, revision.jwt_ttl);
    mask.hint = put(&mut draft.hint, revision.hint);
    mask.expires_at = put(&mut draft.expires_at, revision.expires_at);
    mask.admin = put(&mut draft.admin, revision.admin);
    mask.downstream = put(&mut draft.downstream, revision.downstream);
    mask.store_svid = put(&mut draft.store_svid, revision.store_svid);
    let prefetch = put(&mut draft.disable_x509_svid_prefetch, revision.no_prefetch);
    let jti = put(&mut draft.jwt_svid_include_jti, revision.jti);
    mask.additional_attributes = prefetch || jti;
    if mask == types::EntryMask::default() && !revision.confirm {
        return Err(CliError::NothingToChange);
    }
    Ok(mask)
}

fn put<T>(field: &mut T, given: Option<T>) -> bool {
    match given {
        Some(value) => {
            *field = value;
            true
        }
        None => false,
    }
}
