//! Attacks 72 and 73: a few addresses that hold much and say little. An honest machine gets in all the same, at once.

use crate::scene::{Site, lay_out, run, site_with};
use hallmark_api::agent::AttestAgentRequest;
use hallmark_api::agent::agent_client::AgentClient;
use hallmark_api::bundle::{GetBundleRequest, bundle_client::BundleClient};
use hallmark_attacks::{SoftwareIdentity, Wire, anonymous_client, attest, open, tcp_from};
use hallmark_kit::Lab;
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine, VendorCa};
use http_body_util::StreamBody;
use hyper::body::Frame;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tower::ServiceExt as _;

/// What an honest machine is promised.
const PROMISED: Duration = Duration::from_secs(2);
const ATTEST: &str = "/spire.api.server.agent.v1.Agent/AttestAgent";
const BUNDLE: &str = "/spire.api.server.bundle.v1.Bundle/GetBundle";

/// 127.0.0.2 and following.
fn strangers(count: u8) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|number| IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + number)))
}

/// Takes as many open files as the system allows; how many those are.
fn open_files() -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limits.maximum,
        ..limits
    };
    setrlimit(Resource::Nofile, all).unwrap();
    limits.maximum.unwrap_or(u64::MAX)
}

/// A server with the limits that it has where nobody changes them, but for these.
fn limited(changes: &[(&str, i64)], body: impl AsyncFnOnce(&mut Site)) {
    open_files();
    let configure = |lab: &mut Lab, _: &VendorCa, _: &Path| {
        let defaults = [
            ("attestations_per_second_per_ip", 10),
            ("signing_per_second_per_ip", 500),
            ("connections_per_ip", 512),
        ];
        for (key, value) in defaults.iter().chain(changes) {
            lab.server().set("limits", key, (*value).into());
        }
    };
    site_with(VendorCa::new(), configure, body);
}

/// Where no machine has been before.
fn newcomer() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 1, high, low))
}

/// How long an honest machine takes to connect and attest from an address.
async fn get_in(site: &Site, source: IpAddr) -> Duration {
    let start = Instant::now();
    let machine = SoftwareMachine::new(&site.vendor);
    let wire = Wire::connect_from(source, &site.address).await.unwrap();
    attest(&wire, &machine).await.unwrap();
    start.elapsed()
}

/// What a stranger holds; dropped, it lets go.
type Held = Box<dyn Send>;
type Stranger<'a> = Pin<Box<dyn Future<Output = Held> + Send + 'a>>;

/// Twenty addresses do `what` at once; as long as they hold on, an honest machine gets in within what it is promised.
async fn besieged<'a>(site: &'a Site, what: &str, hold: impl Fn(IpAddr, &'a Site) -> Stranger<'a>) {
    // Where all machines are slow, the promise is not the server's to break.
    let undisturbed = get_in(site, newcomer()).await;
    let limit = PROMISED.max(undisturbed * 20);
    let mut held = Vec::new();
    for address in strangers(20) {
        held.push(hold(address, site).await);
    }
    for _ in 0..12 {
        let taken = timeout(limit * 4, get_in(site, newcomer())).await;
        let is_in_time = taken.as_ref().is_ok_and(|taken| *taken < limit);
        assert!(is_in_time, "{what}: {taken:?} > {limit:?}");
        // Real time: longer, in all, than any of the server's deadlines for them but the one for a challenge.
        sleep(Duration::from_millis(300)).await;
    }
    drop(held);
}

/// A stream that is opened and on which nothing is said.
async fn silent_stream(wire: Wire) -> Held {
    let (requests, queue) = tokio::sync::mpsc::channel::<AttestAgentRequest>(1);
    let queue = tokio_stream::wrappers::ReceiverStream::new(queue);
    let answers = AgentClient::new(wire.channel()).attest_agent(queue).await.unwrap();
    Box::new((requests, answers, wire))
}

/// A call whose message comes a byte a second.
async fn slow_call(wire: Wire, method: &str) -> Held {
    let message = std::iter::once(vec![0, 0, 0, 4, 0]).chain(std::iter::repeat(vec![7]));
    let bytes = tokio_stream::iter(message)
        .throttle(Duration::from_secs(1))
        .map(|bytes| Ok::<_, Infallible>(Frame::data(bytes::Bytes::from(bytes))));
    let body = tonic::body::Body::new(StreamBody::new(bytes));
    let request = http::Request::post(format!("http://server{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let answer = tokio::spawn(wire.channel().oneshot(request));
    Box::new((answer, wire))
}

async fn tls(source: IpAddr, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = tcp_from(Some(source), address).await?;
    let name = ServerName::try_from("server").unwrap();
    TlsConnector::from(Arc::new(anonymous_client().unwrap()))
        .connect(name, tcp)
        .await
}

/// The HTTP/2 preface, empty settings, and the beginning of a header block that never ends.
const SLOW_HEADERS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x40\x01\0\0\0\0\x01\x83";

#[test]
fn attack_72_silent_streams_from_twenty_addresses_keep_nobody_out() {
    limited(&[], async |site| {
        let connect = async |source: IpAddr, site: &Site| Wire::connect_from(source, &site.address).await.unwrap();
        besieged(site, "silent streams", |source, site| {
            Box::pin(async move { silent_stream(connect(source, site).await).await })
        })
        .await;
        besieged(site, "a byte a second", |source, site| {
            Box::pin(async move { slow_call(connect(source, site).await, ATTEST).await })
        })
        .await;
        // An EK certificate is no secret: anybody can begin as a machine of this maker.
        besieged(site, "a first message, then silence", |source, site| {
            Box::pin(async move {
                let wire = connect(source, site).await;
                let machine = SoftwareMachine::new(&site.vendor);
                let begun = open(&wire, &machine.claim()).await.unwrap();
                Box::new((begun, wire)) as Held
            })
        })
        .await;
    });
}

#[test]
fn attack_72_half_open_connections_from_twenty_addresses_keep_nobody_out() {
    limited(&[], async |site| {
        besieged(site, "TCP alone", |source, site| {
            Box::pin(async move { Box::new(tcp_from(Some(source), &site.address).await.unwrap()) as Held })
        })
        .await;
        besieged(site, "half a hello", |source, site| {
            Box::pin(async move {
                let mut tcp = tcp_from(Some(source), &site.address).await.unwrap();
                tcp.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
                Box::new(tcp) as Held
            })
        })
        .await;
        besieged(site, "slow headers", |source, site| {
            Box::pin(async move {
                let mut tls = tls(source, &site.address).await.unwrap();
                tls.write_all(SLOW_HEADERS).await.unwrap();
                Box::new(tls) as Held
            })
        })
        .await;
        // What was held so is not held for long: a hello has to come within seconds.
        let mut silent = tcp_from(strangers(1).next(), &site.address).await.unwrap();
        let ended = timeout(Duration::from_secs(30), silent.read(&mut [0])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "{ended:?}");
    });
}

/// Twenty addresses begin as many attestations as there is room for, and answer none.
#[test]
fn attack_72_attestations_that_are_begun_and_left_keep_nobody_out() {
    limited(&[("attestations_per_second_per_ip", 0)], async |site| {
        let mut begun = Vec::new();
        // A connection has 32 calls at a time.
        for source in strangers(20).flat_map(|source| [source; 3]) {
            let wire = Wire::connect_from(source, &site.address).await.unwrap();
            let machine = SoftwareMachine::new(&site.vendor);
            for _ in 0..27 {
                begun.push(open(&wire, &machine.claim()).await);
            }
        }
        // Of 2048 a quarter is kept for addresses whose last attestation held: they have had the rest of it.
        assert!(get_in(site, newcomer()).await < PROMISED * 4);
        let mut ended = 0;
        for (attempt, _) in begun.iter_mut().flatten() {
            if let Ok(Err(status)) = timeout(Duration::from_millis(1), attempt.svid()).await {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                ended += 1;
            }
        }
        assert!(ended > 0, "room was made for it");
    });
}

/// A certificate of an issuer that the server does not know.
fn unknown_identity() -> Arc<SoftwareIdentity> {
    let (vendor, key) = (VendorCa::new(), SoftwareKey::svid());
    let mut draft = VendorCa::ca_draft(&VendorCa::root_name(), &VendorCa::root_name(), &key, None);
    draft.extensions.clear();
    SoftwareIdentity::new(vec![draft.sign(&vendor.root_key)], key)
}

#[test]
fn attack_73_strangers_do_not_fill_the_log() {
    const TIMES: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let vendor = VendorCa::new();
    let mut lab = lay_out(folder.path(), &vendor);
    lab.start_server().unwrap();
    let start = Instant::now();
    run(&mut lab, vendor, async |site| {
        let identity = unknown_identity();
        for _ in 0..TIMES {
            // Whether it is told before its first message or after, it is refused.
            drop(Wire::connect_as(&site.address, Arc::clone(&identity) as _).await);
        }
        // Acknowledgements of PINGs that the server never sent: the library that reads them warns of each.
        let mut tls = tls(newcomer(), &site.address).await.unwrap();
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        said.extend(b"\0\0\x08\x06\x01\0\0\0\0PINGing.".repeat(500));
        said.extend(b"\0\0\x08\x06\0\0\0\0\0PINGing.");
        tls.write_all(&said).await.unwrap();
        let mut heard = Vec::new();
        while !heard.windows(8).any(|part| part == b"PINGing.") {
            assert_ne!(tls.read_buf(&mut heard).await.unwrap(), 0, "all of it was read");
        }
        // Real time: those that were left out are told with the next line, a second later.
        sleep(Duration::from_millis(1100)).await;
        drop(Wire::connect_as(&site.address, identity as _).await);
        // Real time: the line is written after the connection has ended.
        sleep(Duration::from_millis(500)).await;
    });
    let (log, seconds) = (lab.server().log(), start.elapsed().as_secs());
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("client certificate refused"))
        .collect();
    let left_out: u64 = told
        .iter()
        .filter_map(|line| {
            line.split("left_out=")
                .nth(1)?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    let lines = u64::try_from(told.len()).unwrap();
    assert!(lines <= seconds + 2, "{lines} lines in {seconds} s");
    assert!(lines + left_out > TIMES / 2, "{lines} lines tell of {left_out} others");
    assert!(!log.contains("h2::"), "{log}");
}

/// Whether a stranger's connection lives on after so many PINGs at once, and how many streams it may have.
async fn pinged(site: &Site, times: usize) -> (bool, u32) {
    let mut tls = tls(newcomer(), &site.address).await.unwrap();
    let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    said.extend(b"\0\0\x08\x06\0\0\0\0\0PINGing.".repeat(times));
    let (mut reading, mut writing) = tokio::io::split(&mut tls);
    let (mut acknowledged, mut streams) = (0, 0);
    let hear = async {
        let mut head = [0; 9];
        while reading.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            reading.read_exact(&mut payload).await.unwrap();
            if (head[3], head[4]) == (4, 0) {
                // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, section 6.5.2).
                let setting = payload.chunks(6).find(|setting| setting.starts_with(&[0, 3])).unwrap();
                streams = u32::from_be_bytes(setting[2..].try_into().unwrap());
            }
            acknowledged += usize::from((head[3], head[4]) == (6, 1));
            if acknowledged == times {
                return true;
            }
        }
        false
    };
    // Whoever is cut off cannot write to the end.
    let (lives, _) = tokio::join!(hear, writing.write_all(&said));
    (lives, streams)
}

#[test]
fn attack_73_floods_on_open_connections_hold_little() {
    limited(&[("connections_per_ip", 8)], async |site| {
        assert_eq!(pinged(site, 900).await, (true, 32), "the control");
        let flood = timeout(Duration::from_secs(60), pinged(site, 100_000)).await.unwrap();
        assert!(!flood.0, "a flood of frames ends its connection");

        let bundle = async |source: IpAddr| {
            let wire = Wire::connect_from(source, &site.address).await.unwrap();
            let mut client = BundleClient::new(wire.channel());
            client.get_bundle(GetBundleRequest::default()).await.map(drop)
        };
        let source = newcomer();
        let mut held = Vec::new();
        for _ in 0..2 {
            let wire = Wire::connect_from(source, &site.address).await.unwrap();
            for _ in 0..4 {
                held.push(slow_call(wire.clone(), BUNDLE).await);
            }
        }
        let start = Instant::now();
        let refused = loop {
            match bundle(source).await {
                Err(status) => break status,
                // Not all of them have arrived yet.
                Ok(()) => assert!(start.elapsed() < Duration::from_secs(8), "nobody is refused"),
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().starts_with("HM-SRV-0114"), "{refused}");
        bundle(newcomer()).await.unwrap();
        // Nobody stays for longer than a stranger's call may take.
        let start = Instant::now();
        while bundle(source).await.is_err() {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the places are not given back"
            );
            sleep(Duration::from_millis(200)).await;
        }
        drop(held);
    });
}

/// Opens connections from an address until one is turned away, or there are so many.
async fn fill(site: &Site, source: IpAddr, most: usize) -> Vec<TlsStream<TcpStream>> {
    let mut held = Vec::new();
    while held.len() < most {
        match tls(source, &site.address).await {
            Ok(stream) => held.push(stream),
            Err(_) => break,
        }
    }
    held
}

#[test]
fn attack_73_connections_from_two_addresses_keep_no_third_out() {
    // Both ends of each connection are files of this process. Where it may have few, the share is smaller.
    let share = usize::try_from(open_files() / 16).unwrap().min(512);
    let limit = i64::try_from(share).unwrap();
    limited(&[("connections_per_ip", limit)], async |site| {
        let mut held = Vec::new();
        for source in strangers(2) {
            let own = fill(site, source, share + 88).await;
            assert_eq!(own.len(), share, "an address has its share and no more");
            held.push(own);
        }
        assert!(get_in(site, newcomer()).await < PROMISED * 4);
        held.clear();
    });
}

#[test]
fn attack_73_a_full_house_has_room_for_a_newcomer_and_for_machines_that_proved_themselves() {
    // A fleet behind one address is configured to have as many as there is room for.
    limited(&[("connections", 64), ("connections_per_ip", 0)], async |site| {
        let addresses: Vec<IpAddr> = strangers(60).collect();
        let known = newcomer();
        get_in(site, known).await;

        let mut two = Vec::new();
        for source in strangers(2) {
            two.extend(fill(site, source, 40).await);
        }
        assert!(two.len() >= 48, "{} have the strangers' room", two.len());
        assert!(get_in(site, newcomer()).await < PROMISED * 4);
        drop(two);

        // A house full of strangers of whom none has more than another.
        let mut many = Vec::new();
        for source in &addresses[..48] {
            let mut own = fill(site, *source, 1).await;
            // The places of the two are free once the server has noticed that they are gone.
            let deadline = Instant::now() + PROMISED * 4;
            while own.is_empty() && Instant::now() < deadline {
                sleep(Duration::from_millis(20)).await;
                own = fill(site, *source, 1).await;
            }
            many.extend(own);
        }
        assert!(
            tls(addresses[50], &site.address).await.is_err(),
            "the control: it is full"
        );
        assert!(get_in(site, known).await < PROMISED * 4);
        drop(many);
    });
}
