//! `hallmark record`.

use clap::{Subcommand, ValueEnum};
use hallmark_api::admin::ListRecordsRequest;

use super::Context;
use crate::{client::Client, error::CliError, exit::Exit, lookup, output::show, view::record::RecordList};

#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// List the newest records, the newest last: verdicts, what operators did and why, issued SVIDs
    #[command(after_help = "Examples:
  hallmark record list
  hallmark record list 3f9a --kind verdict
  hallmark record list policy:edge
  hallmark record list --kind admin -o json")]
    List {
        /// Only about this: a node, also one that was never let in (its id, or its EK's hash in full); `policy:NAME`,
        /// `address:IP`
        subject: Option<String>,
        /// Only of this kind
        #[arg(long, value_enum)]
        kind: Option<Kind>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// On machines: at attestations, and when the rules changed
    Verdict,
    /// What operators did
    Admin,
    /// SVIDs, before and after they were signed
    Svid,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Admin => "admin",
            Self::Svid => "svid",
        }
    }
}

pub(crate) async fn run(context: &Context, command: RecordCommand) -> Result<Exit, CliError> {
    let RecordCommand::List { subject, kind, limit } = command;
    let client = context.connect().await?;
    let subject = match subject {
        Some(subject) => whole(&client, subject).await?,
        None => String::new(),
    };
    let request = ListRecordsRequest {
        after: 0,
        limit,
        kind: kind.map_or_else(String::new, |kind| kind.name().to_owned()),
        subject,
        newest_first: true,
    };
    let mut records = client.admin().list_records(request).await?.into_inner().records;
    records.reverse();
    show(context.format, &RecordList::new(records))?;
    Ok(Exit::Done)
}

/// A subject as records name it. A machine that was refused from the first has records, and is no node that others know.
async fn whole(client: &Client, subject: String) -> Result<String, CliError> {
    if subject.contains(':') {
        return Ok(subject);
    }
    match lookup::node(client, &subject).await {
        Ok(id) => Ok(id.to_string()),
        Err(CliError::NoMatch { .. }) if subject.len() == 64 => {
            let trust_domain = client.trust_domain().await?;
            Ok(format!("spiffe://{trust_domain}/spire/agent/tpm2/{subject}"))
        }
        Err(error) => Err(error),
    }
}
