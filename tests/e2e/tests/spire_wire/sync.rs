//! What agents learn of their entries.

use crate::site::{entry, site};
use hallmark_api::entry::entry_client::EntryClient;
use hallmark_api::entry::{GetAuthorizedEntriesRequest, SyncAuthorizedEntriesRequest};
use hallmark_api::types::EntryMask;
use std::collections::BTreeSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

/// What stock agents send first.
const AGENTS_MASK: fn() -> EntryMask = || EntryMask {
    spiffe_id: true,
    selectors: true,
    revision_number: true,
    hint: true,
    created_at: true,
    ..Default::default()
};

/// One dialogue of SyncAuthorizedEntries: how many entries came, and how many revisions.
async fn sync(agent: &Channel) -> (BTreeSet<String>, usize) {
    let (requests, queue) = tokio::sync::mpsc::channel(4);
    let first = SyncAuthorizedEntriesRequest {
        output_mask: Some(AGENTS_MASK()),
        ids: Vec::new(),
    };
    requests.send(first).await.unwrap();
    let mut client = EntryClient::new(agent.clone());
    let mut answers = client
        .sync_authorized_entries(ReceiverStream::new(queue))
        .await
        .unwrap()
        .into_inner();
    let (mut entries, mut revisions) = (BTreeSet::new(), Vec::new());
    loop {
        let page = answers.message().await.unwrap().unwrap();
        if revisions.is_empty() && page.entry_revisions.is_empty() {
            assert!(
                page.entries
                    .iter()
                    .all(|entry| entry.parent_id.is_none() && entry.spiffe_id.is_some())
            );
            entries.extend(page.entries.into_iter().map(|entry| entry.id));
            return (entries, 0);
        }
        assert!(page.entries.is_empty() && page.entry_revisions.len() <= 500);
        revisions.extend(page.entry_revisions.into_iter().map(|revision| revision.id));
        if !page.more {
            break;
        }
    }
    revisions.sort();
    for chunk in revisions.chunks(500) {
        // Ids that are unknown are passed over in silence.
        let ids = chunk.iter().cloned().chain(["zz-unknown".into()]).collect();
        requests
            .send(SyncAuthorizedEntriesRequest { output_mask: None, ids })
            .await
            .unwrap();
        loop {
            let page = answers.message().await.unwrap().unwrap();
            entries.extend(page.entries.into_iter().map(|entry| entry.id));
            if !page.more {
                break;
            }
        }
    }
    drop(requests);
    assert!(answers.message().await.unwrap().is_none());
    (entries, revisions.len())
}

#[test]
fn agents_learn_their_entries() {
    site(async |site| {
        let (agent, svid) = site.node().await;
        let parent = svid.id.unwrap().path;
        site.create(vec![entry("/elsewhere", "/another-node", 0)]).await;
        site.create((0..500).map(|uid| entry("/web", &parent, uid)).collect())
            .await;
        let (entries, revisions) = sync(&agent).await;
        assert_eq!((entries.len(), revisions), (500, 0), "in one answer");
        site.create((500..1234).map(|uid| entry("/web", &parent, uid)).collect())
            .await;
        let (entries, revisions) = sync(&agent).await;
        assert_eq!((entries.len(), revisions), (1234, 1234));
        let mut client = EntryClient::new(agent.clone());
        let whole = client
            .get_authorized_entries(GetAuthorizedEntriesRequest::default())
            .await
            .unwrap();
        let whole: BTreeSet<_> = whole.into_inner().entries.into_iter().map(|entry| entry.id).collect();
        assert_eq!(whole, entries, "both ways tell the same");
        // The first message must not name ids, and its mask must keep the revisions.
        for bad in [
            SyncAuthorizedEntriesRequest {
                output_mask: Some(AGENTS_MASK()),
                ids: vec!["x".into()],
            },
            SyncAuthorizedEntriesRequest {
                output_mask: Some(EntryMask::default()),
                ids: Vec::new(),
            },
        ] {
            let refused = match client.sync_authorized_entries(tokio_stream::iter([bad])).await {
                Ok(answers) => answers.into_inner().message().await.unwrap_err(),
                Err(status) => status,
            };
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    });
}
