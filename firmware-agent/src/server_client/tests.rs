//! Servers that are not what they should be. Both ends are in this process, so the clock can be stopped.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use hallmark_api::entry::EntryRevision;
use hallmark_reason::Coded as _;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::{
    body::{Body, Frame},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::*;

/// One body: messages, and then an end or silence.
struct Said {
    messages: Box<dyn FnMut() -> Option<Bytes> + Send>,
    ends: bool,
}

impl Body for Said {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = (self.messages)() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if !self.ends {
            return Poll::Pending;
        }
        self.ends = false;
        let done = HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        Poll::Ready(Some(Ok(Frame::trailers(done))))
    }
}

fn framed(message: &impl prost::Message) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0);
    out.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut out).unwrap();
    out.freeze()
}

/// A client of a server that answers each call with what `say` makes.
fn client(say: impl Fn() -> Said + Clone + Send + Sync + 'static) -> ServerClient {
    let channel = connect::counted(move || {
        let say = say.clone();
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let service = service_fn(move |_| {
            let mut response = Response::new(say());
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(theirs), service),
        );
        async move { Ok(ours) }
    });
    ServerClient::over(TrustDomain::parse("example.org").unwrap(), channel)
}

fn once(message: Bytes, ends: bool) -> impl Fn() -> Said + Clone {
    move || {
        let mut message = Some(message.clone());
        Said {
            messages: Box::new(move || message.take()),
            ends,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_headers_and_nothing_else_does_not_hold_the_agent() {
    let silent = client(|| Said {
        messages: Box::new(|| None),
        ends: false,
    });
    let timely = |result: Result<(), AgentError>, begun: Instant| {
        assert!(matches!(result, Err(AgentError::Call { .. })), "{result:?}");
        assert!(begun.elapsed() < CALL + Duration::from_secs(1));
    };
    let begun = Instant::now();
    timely(silent.post_status().await, begun);
    let begun = Instant::now();
    timely(silent.bundle().await.map(drop), begun);
    let begun = Instant::now();
    timely(silent.new_svids(Vec::new()).await.map(drop), begun);
    let begun = Instant::now();
    timely(silent.sync(&Versions::default()).await.map(drop), begun);

    let control = client(once(Bytes::from_static(&[0; 5]), true));
    control.post_status().await.unwrap();
    assert!(control.new_svids(Vec::new()).await.unwrap().is_empty());
    assert!(matches!(control.bundle().await, Err(AgentError::Bundle { .. })));
}

/// A page of entries, or of revisions, that announces another page.
fn page(entries: bool, from: usize, more: bool) -> SyncAuthorizedEntriesResponse {
    let ids = (from..from + 1000).map(|number| number.to_string());
    let mut page = SyncAuthorizedEntriesResponse {
        more,
        ..SyncAuthorizedEntriesResponse::default()
    };
    if entries {
        page.entries = ids
            .map(|id| types::Entry {
                id,
                ..types::Entry::default()
            })
            .collect();
    } else {
        page.entry_revisions = ids
            .map(|id| EntryRevision {
                id,
                ..EntryRevision::default()
            })
            .collect();
    }
    page
}

/// A server that sends so many pages of a thousand.
fn pages(entries: bool, last: usize) -> impl Fn() -> Said + Clone {
    move || {
        let mut sent = 0;
        Said {
            messages: Box::new(move || {
                sent += 1;
                (sent <= last).then(|| framed(&page(entries, sent * 1000, sent < last)))
            }),
            ends: true,
        }
    }
}

fn known(of: std::ops::Range<usize>, client: &ServerClient) -> Versions {
    let known = KnownEntry {
        version: (0, 0),
        bytes: 10,
    };
    Versions {
        connection: client.newest.number(),
        of: of.map(|number| (number.to_string(), known)).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_end_is_refused() {
    for entries in [true, false] {
        let refused = client(pages(entries, usize::MAX)).sync(&Versions::default()).await;
        assert!(matches!(refused, Err(AgentError::Protocol(_))), "{refused:?}");
        // The control is long, but comes to an end; where versions are told, all of them are known on this connection.
        let client = client(pages(entries, 20));
        let _ = client.sync(&Versions::default()).await;
        let have = known(0..30_000, &client);
        let listing = client.sync(&have).await.unwrap();
        assert_eq!((listing.ids.len(), listing.told.is_empty()), (20_000, !entries));
        assert_eq!((listing.named, listing.beyond), (20_000, 0));
        assert!(listing.connection.is_some() && listing.connection == have.connection);
    }
}

/// What there is room for is taken, and the rest is told.
#[tokio::test(start_paused = true)]
async fn of_too_many_entries_as_many_as_there_is_room_for_are_taken() {
    let listing = client(pages(true, 103)).sync(&Versions::default()).await.unwrap();
    assert_eq!((listing.ids.len(), listing.told.len()), (100_000, 100_000));
    assert_eq!((listing.named, listing.beyond), (103_000, 3000));
    let told = listing.not_taken().unwrap();
    assert_eq!(told.code().as_str(), "HM-AGENT-0034");
    assert_eq!(
        told.compared().unwrap(),
        "103000 entries, at most 100000 of 128 MiB are taken"
    );
    let listing = client(pages(true, 3)).sync(&Versions::default()).await.unwrap();
    assert!(listing.not_taken().is_none(), "the control");

    // Where versions come first: what the agent has stays, wherever it stands in the list, and what is gone goes.
    let client = client(pages(false, 103));
    let _ = client.sync(&Versions::default()).await;
    let have = known(4_000..104_000, &client);
    let listing = client.sync(&have).await.unwrap();
    assert_eq!((listing.named, listing.beyond), (103_000, 3000));
    assert!(listing.ids.iter().all(|id| have.of.contains_key(id)));
    assert!(
        listing.ids.contains("103999") && !listing.ids.contains("104000"),
        "{}",
        listing.ids.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_huge_entries_is_refused() {
    let huge = |last: usize| {
        move || {
            let mut sent = 0;
            Said {
                messages: Box::new(move || {
                    sent += 1;
                    let entry = types::Entry {
                        id: sent.to_string(),
                        hint: "h".repeat(3 << 20),
                        ..types::Entry::default()
                    };
                    (sent <= last).then(|| {
                        framed(&SyncAuthorizedEntriesResponse {
                            entries: vec![entry],
                            more: sent < last,
                            ..SyncAuthorizedEntriesResponse::default()
                        })
                    })
                }),
                ends: true,
            }
        }
    };
    let refused = client(huge(usize::MAX)).sync(&Versions::default()).await;
    assert!(matches!(refused, Err(AgentError::Protocol(_))), "{refused:?}");
    let listing = client(huge(10)).sync(&Versions::default()).await.unwrap();
    assert_eq!((listing.told.len(), listing.beyond), (10, 0), "the control");
    let listing = client(huge(50)).sync(&Versions::default()).await.unwrap();
    assert_eq!((listing.told.len(), listing.beyond), (42, 8));
}
