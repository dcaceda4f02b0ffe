//! `SyncAuthorizedEntries`: an agent learns what it may serve, and fetches in full only what changed.
//!
//! First the server sends everything, if that fits one message; else the revisions of everything, in pages. Then the
//! agent asks for entries by id, as often as it likes, and ends the stream. What fits is a matter of count and of bytes.
//!
//! All of it is as it was when the stream's first request came: what changes or goes away meanwhile the next stream tells, and
//! for an entry that is gone nothing is signed. How much it can be is decided where entries are written ([`hallmark_state::EntryLoad`]).

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use hallmark_api::{
    entry::{EntryRevision, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse},
    types,
};
use hallmark_state::Entry;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::Status;

use crate::convert::{entry_message, next_page};

/// Entries, or revisions, in one message; fewer where they are large.
const PAGE: usize = 500;
/// The most ids in one request; agents send as many as a page has.
const MAX_IDS: usize = 10_000;
/// How long an agent may take for its next request.
const IDLE: Duration = Duration::from_secs(60);

type Answer = Result<SyncAuthorizedEntriesResponse, Status>;

/// Serves one stream. `authorised` is asked once, when the first request is valid; `standing`, whether the agent is still
/// one, before each later request is answered.
pub(super) fn serve<S>(
    authorised: impl FnOnce() -> Vec<Arc<Entry>> + Send + 'static,
    standing: impl Fn() -> Result<(), Status> + Send + Sync + 'static,
    requests: S,
) -> Pin<Box<dyn Stream<Item = Answer> + Send>>
where
    S: Stream<Item = Result<SyncAuthorizedEntriesRequest, Status>> + Send + Unpin + 'static,
{
    // One message is built ahead of the agent.
    let (answers, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        if let Err(status) = run(authorised, standing, requests, &answers).await {
            let _ = answers.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

async fn run<S>(
    authorised: impl FnOnce() -> Vec<Arc<Entry>>,
    standing: impl Fn() -> Result<(), Status>,
    mut requests: S,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), Status>
where
    S: Stream<Item = Result<SyncAuthorizedEntriesRequest, Status>> + Unpin,
{
    let Some(first) = next(&mut requests).await? else {
        return Ok(());
    };
    check_first(&first)?;
    let mask = first.output_mask;
    let mut entries = authorised();
    if let Some(entries) = in_one_message(&entries, mask.as_ref()) {
        let whole = SyncAuthorizedEntriesResponse {
            entries,
            ..Default::default()
        };
        let _ = answers.send(Ok(whole)).await;
        return Ok(());
    }
    entries.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    if !send_revisions(answers, &entries).await {
        return Ok(());
    }
    let by_id: HashMap<&str, &Arc<Entry>> = entries.iter().map(|entry| (entry.id.as_str(), entry)).collect();
    while let Some(request) = next(&mut requests).await? {
        check_next(&request, mask.as_ref())?;
        standing()?;
        // Ids that are not among those that were told are passed over.
        let wanted: Vec<Arc<Entry>> = request
            .ids
            .iter()
            .filter_map(|id| by_id.get(id.as_str()))
            .map(|entry| Arc::clone(entry))
            .collect();
        if !send_entries(answers, &wanted, mask.as_ref()).await {
            break;
        }
    }
    Ok(())
}

async fn next<S>(requests: &mut S) -> Result<Option<SyncAuthorizedEntriesRequest>, Status>
where
    S: Stream<Item = Result<SyncAuthorizedEntriesRequest, Status>> + Unpin,
{
    match tokio::time::timeout(IDLE, requests.next()).await {
        Ok(request) => request.transpose(),
        Err(_) => Err(Status::deadline_exceeded("no request for 60 seconds")),
    }
}

fn check_first(request: &SyncAuthorizedEntriesRequest) -> Result<(), Status> {
    if !request.ids.is_empty() {
        return Err(Status::invalid_argument(
            "specifying IDs on initial request is not supported",
        ));
    }
    if request.output_mask.as_ref().is_some_and(|mask| !mask.revision_number) {
        return Err(Status::invalid_argument("revision number cannot be masked"));
    }
    Ok(())
}

fn check_next(request: &SyncAuthorizedEntriesRequest, mask: Option<&types::EntryMask>) -> Result<(), Status> {
    if request.output_mask.as_ref().is_some_and(|new| Some(new) != mask) {
        return Err(Status::invalid_argument(
            "the output mask cannot change after the first request",
        ));
    }
    if request.ids.len() > MAX_IDS {
        return Err(Status::invalid_argument(format!(
            "{} ids in one request, at most {MAX_IDS} allowed",
            request.ids.len()
        )));
    }
    Ok(())
}

/// All entries, where they fit one message.
fn in_one_message(entries: &[Arc<Entry>], mask: Option<&types::EntryMask>) -> Option<Vec<types::Entry>> {
    let mut messages = entries.iter().map(|entry| entry_message(entry, mask)).peekable();
    let page = next_page(&mut messages, PAGE);
    messages.peek().is_none().then_some(page)
}

/// Sends entries in pages, at least one; whether the agent still listens.
async fn send_entries(answers: &mpsc::Sender<Answer>, entries: &[Arc<Entry>], mask: Option<&types::EntryMask>) -> bool {
    let message = |entry: &Entry| entry_message(entry, mask);
    let answer = |entries| SyncAuthorizedEntriesResponse {
        entries,
        ..Default::default()
    };
    send_pages(answers, entries, message, answer).await
}

async fn send_revisions(answers: &mpsc::Sender<Answer>, entries: &[Arc<Entry>]) -> bool {
    let revision = |entry: &Entry| EntryRevision {
        id: entry.id.as_str().to_owned(),
        revision_number: entry.revision,
        created_at: entry.created_at,
    };
    let answer = |entry_revisions| SyncAuthorizedEntriesResponse {
        entry_revisions,
        ..Default::default()
    };
    send_pages(answers, entries, revision, answer).await
}

async fn send_pages<T: Message>(
    answers: &mpsc::Sender<Answer>,
    entries: &[Arc<Entry>],
    message: impl Fn(&Entry) -> T,
    answer: impl Fn(Vec<T>) -> SyncAuthorizedEntriesResponse,
) -> bool {
    let mut rest = entries;
    loop {
        let page = next_page(&mut rest.iter().map(|entry| message(entry)).peekable(), PAGE);
        rest = rest.get(page.len()..).unwrap_or_default();
        let answer = SyncAuthorizedEntriesResponse {
            more: !rest.is_empty(),
            ..answer(page)
        };
        if answers.send(Ok(answer)).await.is_err() {
            return false;
        }
        if rest.is_empty() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
    use hallmark_state::{EntryDraft, EntryId};

    fn entries(count: usize) -> Vec<Arc<Entry>> {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let entry = |n: usize| {
            let id = |path: String| SpiffeId::new(&trust_domain, &path).unwrap();
            let selectors = vec![Selector::parse("unix:uid:0").unwrap()];
            let draft = EntryDraft::new(id(format!("/w/{n}")), id("/node".into()), selectors);
            let entry_id = EntryId::parse(&format!("e{n:05}")).unwrap();
            Arc::new(draft.validate(&trust_domain, |_| false, entry_id, 7).unwrap())
        };
        // Not in the order of their ids.
        (0..count).rev().map(entry).collect()
    }

    fn ids(ids: &[&str]) -> SyncAuthorizedEntriesRequest {
        SyncAuthorizedEntriesRequest {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            output_mask: None,
        }
    }

    fn masked(output_mask: types::EntryMask) -> SyncAuthorizedEntriesRequest {
        SyncAuthorizedEntriesRequest {
            output_mask: Some(output_mask),
            ids: Vec::new(),
        }
    }

    async fn talk(count: usize, requests: Vec<SyncAuthorizedEntriesRequest>) -> Vec<Answer> {
        let requests = tokio_stream::iter(requests.into_iter().map(Ok));
        serve(move || entries(count), || Ok(()), requests).collect().await
    }

    #[tokio::test]
    async fn what_fits_a_page_comes_whole_and_ends_the_stream() {
        for count in [0, 1, PAGE] {
            let answers = talk(count, vec![SyncAuthorizedEntriesRequest::default()]).await;
            assert_eq!(answers.len(), 1);
            let answer = answers[0].as_ref().unwrap();
            assert_eq!(
                (answer.entries.len(), answer.entry_revisions.len(), answer.more),
                (count, 0, false)
            );
        }
    }

    #[tokio::test]
    async fn more_than_a_page_comes_as_revisions_and_then_by_id() {
        let asked = ids(&["e00007", "unknown", "e00003"]);
        let answers = talk(
            2 * PAGE + 1,
            vec![SyncAuthorizedEntriesRequest::default(), asked, ids(&[])],
        )
        .await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let shape: Vec<_> = answers
            .iter()
            .map(|a| (a.entry_revisions.len(), a.entries.len(), a.more))
            .collect();
        assert_eq!(
            shape,
            [
                (PAGE, 0, true),
                (PAGE, 0, true),
                (1, 0, false),
                (0, 2, false),
                (0, 0, false)
            ]
        );
        let revisions: Vec<_> = answers.iter().flat_map(|a| &a.entry_revisions).collect();
        assert!(revisions.is_sorted_by_key(|revision| &revision.id));
        assert_eq!((revisions[0].id.as_str(), revisions[0].created_at), ("e00000", 7));
        assert_eq!(answers[3].entries[0].id, "e00007");
    }

    /// As a stock agent reads: whatever the entries are, no message is above its limit.
    #[tokio::test]
    async fn large_entries_come_in_messages_that_an_agent_reads() {
        let large = |count: usize| {
            let entries = entries(count).into_iter().map(|entry| {
                let names = (0..256).map(|n| format!("{n}.{}.example", "n".repeat(60)));
                let dns_names = names.map(|name| name.repeat(3)).collect();
                Arc::new(Entry {
                    dns_names,
                    ..Entry::clone(&entry)
                })
            });
            entries.collect::<Vec<_>>()
        };
        const READ: usize = 4 << 20;
        let all: Vec<String> = (0..100).map(|n| format!("e{n:05}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let requests = [SyncAuthorizedEntriesRequest::default(), ids(&all)];
        let requests = tokio_stream::iter(requests.map(Ok));
        let answers: Vec<Answer> = serve(move || large(100), || Ok(()), requests).collect().await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert!(answers.iter().all(|answer| answer.encoded_len() < READ));
        assert_eq!((answers[0].entry_revisions.len(), answers[0].more), (100, false));
        let told: Vec<_> = answers.iter().flat_map(|answer| &answer.entries).collect();
        assert_eq!(told.len(), 100);
        assert!(
            told.iter().map(|entry| entry.encoded_len()).sum::<usize>() > READ,
            "the control"
        );
        let pages = answers.iter().skip(1).map(|answer| answer.more).collect::<Vec<_>>();
        assert!(pages.len() > 4 && pages.iter().rev().skip(1).all(|more| *more) && pages.last() == Some(&false));
    }

    #[tokio::test]
    async fn long_requests_are_answered_in_pages() {
        let all: Vec<String> = (0..PAGE + 1).map(|n| format!("e{n:05}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let answers = talk(PAGE + 1, vec![SyncAuthorizedEntriesRequest::default(), ids(&all)]).await;
        let shape: Vec<_> = answers
            .iter()
            .map(|a| a.as_ref().map(|a| (a.entries.len(), a.more)).unwrap())
            .collect();
        assert_eq!(shape, [(0, true), (0, false), (PAGE, true), (1, false)]);
    }

    #[tokio::test]
    async fn the_first_mask_holds_and_must_keep_revisions() {
        let mask = types::EntryMask {
            revision_number: true,
            ..Default::default()
        };
        let answers = talk(1, vec![masked(mask)]).await;
        assert!(answers[0].as_ref().unwrap().entries[0].spiffe_id.is_none());
        let answers = talk(PAGE + 1, vec![masked(mask), ids(&["e00001"])]).await;
        assert!(answers[2].as_ref().unwrap().entries[0].spiffe_id.is_none());
        for refused in [masked(types::EntryMask::default()), ids(&["e00001"])] {
            let answers = talk(1, vec![refused]).await;
            assert_eq!(answers[0].as_ref().unwrap_err().code(), tonic::Code::InvalidArgument);
        }
        let other = masked(types::EntryMask { hint: true, ..mask });
        let answers = talk(PAGE + 1, vec![masked(mask), other]).await;
        assert_eq!(answers[2].as_ref().unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test]
    async fn an_agent_that_says_nothing_gets_nothing() {
        assert!(talk(1, Vec::new()).await.is_empty());
    }

    #[tokio::test]
    async fn an_agent_that_is_banned_meanwhile_gets_no_more() {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let banned_after_one = move || match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(Status::permission_denied("banned")),
        };
        let requests = [
            SyncAuthorizedEntriesRequest::default(),
            ids(&["e00001"]),
            ids(&["e00002"]),
        ];
        let requests = tokio_stream::iter(requests.map(Ok));
        let answers: Vec<_> = serve(|| entries(PAGE + 1), banned_after_one, requests).collect().await;
        assert_eq!(answers[2].as_ref().unwrap().entries.len(), 1);
        assert_eq!(answers[3].as_ref().unwrap_err().code(), tonic::Code::PermissionDenied);
        assert_eq!(answers.len(), 4);
    }
}
