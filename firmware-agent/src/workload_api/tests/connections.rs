//! Connections: whose they are, how many there may be, and what hostile ones get.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tonic::Code;

use super::lab::*;
use crate::workload_api::Bounds;

const SOCKET: &str = "HALLMARK_TEST_WORKLOAD_SOCKET";

/// Not a test: a process that connects, hands its end to a grandchild, and ends when told.
#[test]
#[ignore = "the body of a child process of another test"]
#[expect(clippy::zombie_processes, reason = "the grandchild is meant to outlive this process")]
fn as_an_opener() {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return;
    };
    let stream = UnixStream::connect(socket).unwrap();
    // The grandchild lives on with the connection, and ends when the agent closes it.
    Command::new("cat")
        .stdin(OwnedFd::from(stream))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

/// How many connections of the socket the kernel knows.
fn connected(path: &std::path::Path) -> usize {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    // A connected server end carries the path; state 03 is "connected".
    table
        .lines()
        .filter(|line| line.ends_with(path.to_str().unwrap()) && line.contains(" 03 "))
        .count()
}

fn within_a_second(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(2), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_process_that_connected_ends_the_connection() {
    let lab = Lab::start(|_| vec![]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "workload_api::tests::connections::as_an_opener",
            "--ignored",
            "--nocapture",
        ])
        .env(SOCKET, lab.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    within_a_second("the child connects", || connected(&lab.socket()) == 1);
    // Real time: the agent would have closed it by now; nothing tells that it never will.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(
        connected(&lab.socket()),
        1,
        "the connection is kept while the process lives"
    );
    child.stdin.take().unwrap().write_all(&[1]).unwrap();
    child.wait().unwrap();
    within_a_second("the agent closes what another process holds", || {
        connected(&lab.socket()) == 0
    });
}

#[tokio::test]
async fn connections_and_calls_are_bounded_and_come_back() {
    let bounds = Bounds {
        connections_per_uid: 2,
        streams_per_uid: 3,
        ..Bounds::default()
    };
    let lab = Lab::bounded(|authority| vec![authority.entry("a", 1)], bounds);
    let (mut one, two) = (lab.client().await, lab.client().await);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(svids(&mut one).await.unwrap());
    }
    let status = svids(&mut two.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("hallmark-reason").unwrap(), "HM-WL-0014");

    let mut third = UnixStream::connect(lab.socket()).unwrap();
    third.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let closed = tokio::task::spawn_blocking(move || third.read(&mut [0; 64]))
        .await
        .unwrap();
    assert!(matches!(closed, Ok(0)), "a third connection is closed: {closed:?}");

    open.clear();
    let start = Instant::now();
    while svids(&mut one).await.is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "closed calls give their places back"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(two);
}

/// One HTTP/2 frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A FetchX509SVID as gRPC's C core sends it, with any request body.
pub(super) fn raw_call(authority: &str, body: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("workload.spiffe.io", "true"),
    ] {
        // A literal with incremental indexing, name and value plain.
        block.push(0x40);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &block),
        frame(0, 1, 1, body),
    ]
    .concat()
}

/// Sends octets and reads frames until one of the call's has come that ends it or carries data.
async fn exchange(lab: &Lab, sent: Vec<u8>) -> Vec<(u8, u8, Vec<u8>)> {
    let socket = lab.socket();
    tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(&sent).unwrap();
        let mut frames = Vec::new();
        loop {
            let mut header = [0; 9];
            if stream.read_exact(&mut header).is_err() {
                return frames;
            }
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).unwrap();
            let (kind, flags) = (header[3], header[4]);
            frames.push((kind, flags, payload));
            if kind == 0 || (kind == 1 && flags & 1 != 0) || kind == 3 || kind == 7 {
                return frames;
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_socket_path_as_authority_is_served_like_localhost() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    for authority in ["localhost", "tmp%2Fhallmark%2Fagent.sock", ""] {
        let frames = exchange(&lab, raw_call(authority, &[0; 5])).await;
        let (kind, _, payload) = frames.last().unwrap();
        assert_eq!(*kind, 0, "data for {authority:?}: {frames:?}");
        let id = b"spiffe://example.org/a";
        assert!(payload.windows(id.len()).any(|window| window == id), "{authority:?}");
    }
}

#[tokio::test]
async fn the_server_announces_the_limits_that_the_filter_relies_on() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    let frames = exchange(&lab, raw_call("localhost", &[0; 5])).await;
    let settings: BTreeMap<u16, u32> = (frames.iter())
        .filter(|(kind, flags, _)| (*kind, *flags) == (4, 0))
        .flat_map(|(_, _, payload)| payload.chunks(6))
        .map(|s| {
            (
                u16::from_be_bytes([s[0], s[1]]),
                u32::from_be_bytes([s[2], s[3], s[4], s[5]]),
            )
        })
        .collect();
    assert_eq!(settings.get(&3), Some(&256), "MAX_CONCURRENT_STREAMS: {settings:?}");
    assert_eq!(settings.get(&1).unwrap_or(&4096), &4096, "HEADER_TABLE_SIZE");
    assert_eq!(settings.get(&5).unwrap_or(&16_384), &16_384, "MAX_FRAME_SIZE");
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_server_goes_on() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    for authority in ["localhost", "tmp%2Fagent.sock"] {
        let bodies: [&[u8]; 5] = [
            &[],
            &[0; 4],
            &[1, 0, 0, 0, 0],
            &[0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 0, 1, 0xff],
        ];
        for body in bodies {
            let frames = exchange(&lab, raw_call(authority, body)).await;
            let (kind, flags, _) = frames.last().unwrap();
            assert_eq!(
                (*kind, flags & 1),
                (1, 1),
                "a status without data for {body:?}: {frames:?}"
            );
        }
    }
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0xff; 100]] {
        exchange(&lab, noise.to_vec()).await;
    }
    let mut flood = raw_call("tmp%2Fagent.sock", &[0; 5]);
    flood.extend(frame(1, 0, 3, &[0x82]));
    flood.extend(frame(9, 0, 3, &[0x82]).repeat(1000));
    exchange(&lab, flood).await;
    assert!(svids(&mut lab.client().await).await.is_ok());
}
