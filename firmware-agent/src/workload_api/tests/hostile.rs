//! What one local user can take from the agent, and from everybody else.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use hallmark_reason::Coded as _;
use hallmark_workload::{Peer, UnixAttestor, UnixConfig};
use tonic::Code;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use super::connections::{frame, raw_call};
use super::lab::*;
use crate::agent::Demand;
use crate::workload_api::Bounds;
use crate::workload_api::answers::{Answers, Asked};
use crate::workload_api::caller::Caller;
use crate::workload_api::concurrency::User;
use crate::workload_api::per_user_queue::PerUserQueue;
use crate::workload_api::speaker::Speaker;

/// Reflection is open to everybody without the security metadata; a stream of it costs as much as any other.
#[tokio::test]
async fn reflection_streams_are_bounded_like_calls() {
    let bounds = Bounds {
        streams_per_uid: 3,
        ..Bounds::default()
    };
    let lab = Lab::bounded(|authority| vec![authority.entry("a", 1)], bounds);
    let mut client = ServerReflectionClient::new(lab.channel().await);
    let mut open = Vec::new();
    for _ in 0..3 {
        let (asks, requests) = tokio::sync::mpsc::channel::<ServerReflectionRequest>(1);
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        open.push((asks, client.server_reflection_info(requests).await.unwrap()));
    }
    let requests = tokio_stream::pending::<ServerReflectionRequest>();
    let status = client.server_reflection_info(requests).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("hallmark-reason").unwrap(), "HM-WL-0014");
    assert!(
        svids(&mut lab.client().await).await.is_err(),
        "the bound is one for both"
    );

    open.clear();
    let start = std::time::Instant::now();
    while svids(&mut lab.client().await).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "permits come back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Calls whose requests are announced, begun and never ended: what the server lets a client send unread is what such a
/// connection costs in memory.
#[tokio::test]
async fn a_connection_cannot_fill_the_agents_memory_with_requests() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    let socket = lab.socket();
    let granted = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // A request of 16 KiB is announced; four octets less than all of it come.
        let body = [&[0, 0, 0, 0x40, 0][..], &[0; 16_000]].concat();
        let mut sent = raw_call("localhost", &[]);
        let unended = sent.len() - 9;
        sent.truncate(unended);
        sent.extend(frame(0, 0, 1, &body));
        stream.write_all(&sent).unwrap();
        let (mut connection, mut call) = (65_535_u32, 65_535_u32);
        loop {
            let mut header = [0; 9];
            match stream.read_exact(&mut header) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (connection, call),
                other => other.unwrap(),
            }
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).unwrap();
            match (header[3], header[8]) {
                (4, _) => {
                    for setting in payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                        call = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    }
                }
                (8, 0) => connection += u32::from_be_bytes(payload.try_into().unwrap()),
                _ => {}
            }
        }
    })
    .await
    .unwrap();
    // What was read may be sent anew, and no more.
    assert!(granted.0 <= 65_535 + 16_005, "{granted:?}");
    assert!((16_389..=32_768).contains(&granted.1), "{granted:?}");
    assert!(svids(&mut lab.client().await).await.is_ok(), "the control is served");
}

/// A user that has a binary read, or makes the agent read one again by touching it, and hangs up: the queue is its own,
/// and empties when it leaves.
#[tokio::test]
async fn callers_that_hang_up_while_a_binary_is_read_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let attestor = Arc::new(UnixAttestor::new(UnixConfig {
        path: true,
        sha256: false,
    }));
    let queue = Arc::new(PerUserQueue::default());
    let user = User {
        id: rustix::process::geteuid().as_raw(),
        root: false,
    };
    let authority = Authority::new();
    let mut entry = authority.entry("a", 1);
    entry.selectors.insert("unix:path:/some/binary".parse().unwrap());
    let (snapshot, answers) = (snapshot(&authority, vec![entry]), Answers::new(Demand::none()));
    let connect = || {
        let client = UnixStream::connect(folder.path().join("socket")).unwrap();
        let peer = Peer::of(listener.accept().unwrap().0).unwrap();
        let speaker = Arc::new(Speaker::new(peer.pid()));
        let (attestor, queue) = (Arc::clone(&attestor), Arc::clone(&queue));
        (client, Caller::new(peer, user, attestor, queue, Some(speaker)))
    };
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let busy = Arc::clone(&queue);
    let reading = tokio::spawn(async move {
        let read = move || {
            begun.send(()).unwrap();
            released.recv().ok();
        };
        busy.read(user.id, read).await
    });
    has_begun.await.unwrap();
    for _ in 0..50 {
        let (_client, caller) = connect();
        let answer = caller.answer(&answers, Asked::Svids, &snapshot);
        let waited = tokio::time::timeout(Duration::from_millis(2), answer).await;
        assert!(waited.is_err(), "its user's turn is taken");
    }
    assert_eq!(Arc::strong_count(&attestor), 1, "no work is queued for who is gone");
    drop(release);
    reading.await.unwrap().unwrap();
    let (_client, caller) = connect();
    // It gets its turn, and then does not answer.
    let refused = caller.answer(&answers, Asked::Svids, &snapshot).await.unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-WL-0007");
}
