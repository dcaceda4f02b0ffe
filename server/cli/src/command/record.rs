//! `hallmark record`, and `hallmark node watch`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hallmark_api::admin::{ListRecordsRequest, Record};
use hallmark_node::{EkId, NodeId};

use super::Context;
use crate::{
    client::Client,
    duration::parse_duration,
    error::CliError,
    exit::Exit,
    lookup,
    output::{Format, show},
    timestamp::{now, parse_rfc3339},
    view::record::{RecordList, RecordView},
};

/// Records in one answer of the server.
const PAGE: u32 = 1000;
/// How often `node watch` asks for what is new.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum RecordCommand {
    /// List the newest records, the newest last: verdicts, what operators did and why, installations, issued SVIDs
    #[command(after_help = "Examples:
  hallmark record list
  hallmark record list 3f9a --kind verdict
  hallmark record list policy:edge
  hallmark record list 8f14e45f --kind admin    who wrote this entry, and what it said before
  hallmark record list --kind admin --since 7d --limit 200 -o json
  hallmark record list --before 4711    the page before the one that began with record 4711")]
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        /// Only records before this one: pages towards the oldest
        #[arg(long, value_name = "RECORD")]
        before: Option<u64>,
    },
    /// Write all records, oldest first, a JSON object a line
    #[command(after_help = "Examples:
  hallmark record export > records.jsonl
  hallmark record export --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z > november.jsonl
  hallmark record export --after 4711    what came after record 4711; refused where the journal ends before it")]
    Export {
        #[command(flatten)]
        which: Which,
        /// Only records after this one: goes on where an export ended
        #[arg(long, value_name = "RECORD", default_value_t = 0, hide_default_value = true)]
        after: u64,
    },
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Only about this: a node, also one that was never let in (its id, or its EK's hash in full); an entry, also one that was
    /// deleted (its id, then in full); `policy:NAME`, `address:IP`
    subject: Option<String>,
    /// Only of this kind
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Only since then: a time (2026-11-29T12:00:00Z), or so long ago (30m, 7d)
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<i64>,
    /// Only before then, likewise
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    until: Option<i64>,
}

/// A point in time, or how long it is ago.
fn parse_since(text: &str) -> Result<i64, String> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(now()
            .saturating_sub(i64::try_from(ago.as_secs()).unwrap_or(i64::MAX))
            .max(1));
    }
    parse_rfc3339(text).map_err(|_| {
        format!(
            "invalid time {text:?}; a time is a date with a time of day and its zone, as in 2027-01-31T00:00:00Z or \
             2027-01-31T12:00:00+01:00, or how long it is ago, as in 30m or 7d"
        )
    })
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
    /// Steps of machines that are installed over the network
    Provision,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Admin => "admin",
            Self::Svid => "svid",
            Self::Provision => "provision",
        }
    }
}

impl Which {
    /// The request for a page of these records.
    async fn request(self, client: &Client) -> Result<ListRecordsRequest, CliError> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(CliError::Reversed { since, until });
        }
        let subject = match self.subject {
            Some(subject) => subject_of(client, subject).await?,
            None => String::new(),
        };
        Ok(ListRecordsRequest {
            kind: self.kind.map_or_else(String::new, |kind| kind.name().to_owned()),
            subject,
            since: self.since.unwrap_or(0),
            until: self.until.unwrap_or(0),
            ..ListRecordsRequest::default()
        })
    }
}

pub(crate) async fn run(context: &Context, command: RecordCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        RecordCommand::List { which, limit, before } => {
            let request = ListRecordsRequest {
                newest_first: true,
                after: before.unwrap_or(0),
                ..which.request(&client).await?
            };
            let (mut records, read) = newest(&client, request, limit).await;
            records.reverse();
            // What came before a failure is worth more than nothing.
            if read.is_ok() || !records.is_empty() {
                show(context.format, &RecordList::new(records))?;
            }
            read?;
        }
        RecordCommand::Export { which, after } => {
            let request = which.request(&client).await?;
            export(&client, ListRecordsRequest { after, ..request }).await?;
        }
    }
    Ok(Exit::Done)
}

/// The newest records that the request asks for, the newest first: as many pages as `limit` takes; and whether one of them
/// could not be read.
async fn newest(client: &Client, mut request: ListRecordsRequest, limit: u32) -> (Vec<Record>, Result<(), CliError>) {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let missing = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        request.limit = missing.min(PAGE);
        let (page, is_last) = match page(client, &request).await {
            Ok(page) => page,
            Err(error) => return (found, Err(error)),
        };
        request.after = page.last().map_or(0, |record| record.sequence);
        found.extend(page);
        // Before the very first there is nothing; 0 would mean the newest again.
        let is_enough = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        if is_last || is_enough || request.after <= 1 {
            return (found, Ok(()));
        }
    }
}

/// A page of records, and whether it is the last one.
async fn page(client: &Client, request: &ListRecordsRequest) -> Result<(Vec<Record>, bool), CliError> {
    let page = client.admin().list_records(request.clone()).await?.into_inner();
    let is_full = page.records.len() >= usize::try_from(request.limit).unwrap_or(usize::MAX);
    Ok((page.records, !is_full && !page.more))
}

async fn export(client: &Client, mut request: ListRecordsRequest) -> Result<(), CliError> {
    request.limit = PAGE;
    loop {
        let (page, is_last) = page(client, &request).await?;
        if let Some(last) = page.last() {
            request.after = last.sequence;
        }
        let mut lines = String::new();
        for record in page {
            lines.push_str(&RecordView::from(record).line()?);
        }
        if !crate::output::write_on(&lines)? || is_last {
            return Ok(());
        }
    }
}

/// Tells what happens to nodes, or to one, until the program is ended.
pub(crate) async fn watch(context: &Context, client: &Client, node: Option<String>) -> Result<Exit, CliError> {
    let subject = match node {
        Some(node) => node_of(client, node).await?,
        None => String::new(),
    };
    let mut request = ListRecordsRequest {
        subject,
        newest_first: true,
        limit: 1,
        ..ListRecordsRequest::default()
    };
    let (newest, read) = newest(client, request.clone(), 1).await;
    read?;
    (request.newest_first, request.limit) = (false, PAGE);
    let mut seen = newest.first().map_or(0, |record| record.sequence);
    loop {
        let mut new: Vec<Record> = Vec::new();
        for kind in [Kind::Verdict, Kind::Admin, Kind::Provision] {
            let mut request = ListRecordsRequest {
                kind: kind.name().to_owned(),
                after: seen,
                ..request.clone()
            };
            loop {
                let (page, is_last) = page(client, &request).await?;
                request.after = page.last().map_or(request.after, |record| record.sequence);
                new.extend(page);
                if is_last {
                    break;
                }
            }
        }
        new.sort_by_key(|record| record.sequence);
        seen = new.last().map_or(seen, |record| record.sequence);
        new.retain(|record| record.subject.contains("/spire/agent/"));
        let mut text = String::new();
        for record in new {
            let view = RecordView::from(record);
            match context.format {
                Format::Table => text.push_str(&view.told()),
                Format::Json => text.push_str(&view.line()?),
                Format::Yaml => {
                    text.push_str("---\n");
                    text.push_str(&view.yaml()?);
                }
            }
        }
        if !text.is_empty() && !crate::output::write_on(&text)? {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A subject as records name it: a node, else an entry. Of an entry that is deleted the records stay, under its whole id.
async fn subject_of(client: &Client, subject: String) -> Result<String, CliError> {
    let of_node = node_of(client, subject.clone()).await;
    let Err(CliError::NoMatch { .. }) = of_node else {
        return of_node;
    };
    match lookup::entry(client, &subject).await {
        Ok(entry) => return Ok(entry.id),
        Err(CliError::NoMatch { .. }) => {}
        Err(error) => return Err(error),
    }
    let request = ListRecordsRequest {
        subject: subject.clone(),
        limit: 1,
        ..ListRecordsRequest::default()
    };
    match page(client, &request).await?.0.is_empty() {
        true => Err(CliError::NoMatch {
            prefix: subject,
            what: "record",
        }),
        false => Ok(subject),
    }
}

/// A node as records name it. A machine that was refused from the first has records, and is no node that others know.
async fn node_of(client: &Client, subject: String) -> Result<String, CliError> {
    if subject.contains(':') {
        return Ok(subject);
    }
    match lookup::node(client, &subject).await {
        Ok(id) => Ok(id.to_string()),
        Err(error @ CliError::NoMatch { .. }) => {
            let Ok(EkId::Spki(ek)) = EkId::parse(&subject) else {
                return Err(error);
            };
            let trust_domain = client.trust_domain().await?;
            let node = NodeId::new(&trust_domain, &ek).map_err(|_| error)?;
            Ok(node.to_string())
        }
        Err(error) => Err(error),
    }
}
