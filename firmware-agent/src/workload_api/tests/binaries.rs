//! Entries that ask for a binary.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hallmark_spiffe::Selector;
use hallmark_workload::{UnixConfig, Users};
use tonic::Code;

use super::connections::{frame, raw_call};
use super::lab::*;
use crate::cache::WorkloadEntry;
use crate::workload_api::Bounds;

const BOTH: UnixConfig = UnixConfig {
    path: true,
    sha256: true,
};

fn path_of(binary: &std::path::Path) -> Selector {
    Selector::parse(&format!("unix:path:{}", binary.display())).unwrap()
}

fn our_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// An entry for whoever has our uid and runs this binary.
fn entry_for(authority: &Authority, name: &str, binary: Selector) -> WorkloadEntry {
    let mut entry = authority.entry(name, 1);
    entry.selectors.insert(binary);
    entry
}

fn lab(entries: impl FnOnce(&Authority) -> Vec<WorkloadEntry>) -> Lab {
    Lab::with(entries, BOTH, Users::of_this_machine(), Bounds::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_speaks_for_itself_has_its_binary() {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &std::fs::read(our_binary()).unwrap());
    let digest = Selector::parse(&format!("unix:sha256:{}", hex::encode(digest))).unwrap();
    let lab = lab(|authority| {
        let mut both = entry_for(authority, "both", path_of(&our_binary()));
        both.selectors.insert(digest);
        vec![
            both,
            entry_for(authority, "other", path_of("/bin/sleep".as_ref())),
            authority.entry("uid", 2),
        ]
    });
    let mut client = lab.client().await;
    for _ in 0..3 {
        let mut stream = svids(&mut client).await.unwrap();
        assert_eq!(ids(&next(&mut stream).await.unwrap()), ["both", "uid"]);
    }
    // Many calls at once are one proof.
    let calls: Vec<_> = (0..20).map(|_| client.clone()).collect();
    let mut streams = Vec::new();
    for mut call in calls {
        streams.push(tokio::spawn(async move { svids(&mut call).await.unwrap() }));
    }
    for stream in streams {
        assert_eq!(ids(&next(&mut stream.await.unwrap()).await.unwrap()).len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_comes_later_is_proven_then() {
    let lab = lab(|authority| vec![authority.entry("uid", 1)]);
    let mut client = lab.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["uid"]);
    let mut ours = entry_for(&lab.authority, "path", path_of(&our_binary()));
    ours.created_at = 2;
    lab.publish(vec![lab.authority.entry("uid", 1), ours.clone()]);
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["uid", "path"]);
    // It is told anew what it may hold when only that is left, and when nothing is.
    lab.publish(vec![ours]);
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["path"]);
    lab.publish(vec![entry_for(&lab.authority, "other", path_of("/bin/sleep".as_ref()))]);
    assert_eq!(next(&mut stream).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_option_nobody_has_a_binary() {
    let lab = Lab::start(|authority| vec![entry_for(authority, "path", path_of(&our_binary()))]);
    let status = svids(&mut lab.client().await).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

/// A client that leaves PINGs unanswered. `before` and `after` are what it sends, with a wait between them.
async fn silent_call(lab: &Lab, reads: usize) -> Vec<(u8, u8, Vec<u8>)> {
    let socket = lab.socket();
    tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut call = raw_call("localhost", &[0; 5]);
        call.extend(frame(4, 1, 0, &[]));
        stream.write_all(&call).unwrap();
        let mut frames = Vec::new();
        while frames.len() < reads {
            let mut header = [0; 9];
            stream.read_exact(&mut header).unwrap();
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).unwrap();
            frames.push((header[3], header[4], payload));
        }
        frames
    })
    .await
    .unwrap()
}

/// Frames of these kinds, settings and window updates left out.
fn kinds(frames: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
    let kinds = frames.iter().map(|(kind, ..)| *kind);
    kinds.filter(|kind| !matches!(kind, 4 | 8)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_callers_whom_a_binary_could_help_are_asked() {
    let elsewhere: BTreeSet<Selector> = [path_of(&our_binary()), "unix:uid:54321".parse().unwrap()].into();
    let lab = lab(|authority| {
        let mut other = authority.entry("other", 1);
        other.selectors = elsewhere;
        vec![other, authority.entry("uid", 2)]
    });
    // Settings, their acknowledgement, headers and data come at once, and no PING before them.
    let start = Instant::now();
    let frames = silent_call(&lab, 4).await;
    assert_eq!(kinds(&frames), [1, 0], "{frames:?}");
    assert!(start.elapsed() < Duration::from_secs(5));

    // The control: where one could help, a PING comes before the answer, which is what the caller has without.
    let ours = entry_for(&lab.authority, "path", path_of(&our_binary()));
    lab.publish(vec![ours, lab.authority.entry("uid", 2)]);
    let frames = silent_call(&lab, 5).await;
    assert_eq!(kinds(&frames), [6, 1, 0], "{frames:?}");
    let payload = &frames.last().unwrap().2;
    let has = |text: &[u8]| payload.windows(text.len()).any(|window| window == text);
    assert!(has(b"spiffe://example.org/uid") && !has(b"spiffe://example.org/path"));
}
