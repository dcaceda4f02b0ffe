//! `hallmark entry create`.

use clap::Args;
use hallmark_spiffe::TrustDomain;
use hallmark_state::EntryDraft;

use super::{Context, selectors, write};
use crate::{
    args::Change, client::Client, duration::parse_ttl, error::CliError, exit::Exit, lookup, timestamp::parse_rfc3339,
};

#[derive(Debug, Args)]
pub(crate) struct Draft {
    /// What may be held: spiffe://td/path, td:/path or /path
    #[arg(long, value_name = "ID")]
    spiffe_id: String,
    /// Below whom: an agent, a node alias or another entry's SPIFFE ID
    #[arg(long, value_name = "ID", required_unless_present = "node", conflicts_with = "node")]
    parent_id: Option<String>,
    /// The same, for a node: its id or the start of its EK's hash
    #[arg(long)]
    node: Option<String>,
    /// What a process must be, all of it (repeat for more): unix:uid:1000, unix:path:/usr/bin/web
    #[arg(long, value_name = "TYPE:VALUE", required = true)]
    selector: Vec<String>,
    /// Lifetime of X509-SVIDs; the server's default when left out
    #[arg(long, value_name = "DURATION", default_value = "0", hide_default_value = true, value_parser = parse_ttl)]
    ttl: i32,
    /// Lifetime of JWT-SVIDs; the server's default when left out
    #[arg(long, value_name = "DURATION", default_value = "0", hide_default_value = true, value_parser = parse_ttl)]
    jwt_ttl: i32,
    /// A DNS name for the certificate (repeat for more)
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// A label by which a holder of several SVIDs tells them apart
    #[arg(long, default_value = "", hide_default_value = true)]
    hint: String,
    /// A trust domain whose bundle the holder gets too (repeat for more)
    #[arg(long, value_name = "TRUST DOMAIN")]
    federates_with: Vec<String>,
    /// From when on the entry gives nothing, for example 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "0", hide_default_value = true, value_parser = parse_expiry)]
    expires_at: i64,
    /// An id of your own for the entry
    #[arg(long, value_name = "ENTRY ID")]
    id: Option<String>,
    /// The holder may administer the server
    #[arg(long)]
    admin: bool,
    /// The holder may run a server below this one
    #[arg(long)]
    downstream: bool,
    /// The agent stores the SVID with a plugin instead of serving it
    #[arg(long)]
    store_svid: bool,
    /// Agents do not fetch the X509-SVID before a workload asks
    #[arg(long)]
    no_prefetch: bool,
    /// JWT-SVIDs carry a jti
    #[arg(long)]
    jti: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    change: Change,
}

pub(super) fn parse_expiry(text: &str) -> Result<i64, String> {
    if text == "0" { Ok(0) } else { parse_rfc3339(text) }
}

pub(super) async fn run(context: &Context, client: &Client, draft: Draft) -> Result<Exit, CliError> {
    let change = draft.change;
    let id = draft.id.clone();
    let reason = draft.reason.clone();
    let draft = read(client, draft).await?;
    let mut around = write::Surroundings::of(client).await?;
    let warnings = around.warnings(&draft).await?;
    let message = write::message(&draft, id.unwrap_or_default());
    let entry = if change.dry_run {
        let creates = vec![message.clone()];
        write::require_taken(
            client,
            write::Changes {
                creates,
                ..Default::default()
            },
        )
        .await?;
        message
    } else {
        write::create(client, message, &reason).await?
    };
    write::told(context, "create", change, entry, warnings)
}

async fn read(client: &Client, draft: Draft) -> Result<EntryDraft, CliError> {
    let spiffe_id = lookup::spiffe_id(client, &draft.spiffe_id).await?;
    let parent_id = match (&draft.node, &draft.parent_id) {
        (Some(node), _) => lookup::node(client, node).await?,
        (None, parent) => lookup::spiffe_id(client, parent.as_deref().unwrap_or_default()).await?,
    };
    let federates_with = draft.federates_with.iter().map(|name| TrustDomain::parse(name));
    Ok(EntryDraft {
        x509_svid_ttl: draft.ttl,
        jwt_svid_ttl: draft.jwt_ttl,
        federates_with: federates_with.collect::<Result<_, _>>()?,
        admin: draft.admin,
        downstream: draft.downstream,
        expires_at: draft.expires_at,
        dns_names: draft.dns,
        store_svid: draft.store_svid,
        hint: draft.hint,
        disable_x509_svid_prefetch: draft.no_prefetch,
        jwt_svid_include_jti: draft.jti,
        ..EntryDraft::new(spiffe_id, parent_id, selectors(&draft.selector)?)
    })
}
