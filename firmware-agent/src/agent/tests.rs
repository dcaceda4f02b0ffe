//! The tasks between a server that can be held and workloads at a real socket: what is in memory is served whatever the
//! server does, and what is not is asked for, once.

mod jwt;
mod server;

use std::{sync::Arc, time::Duration};

use hallmark_api::{types, workload::X509BundlesRequest};
use hallmark_spiffe::{Bundle, TrustDomain};
use hallmark_workload::{UnixAttestor, UnixConfig, Users};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};
use tonic::{Code, Status, transport::Endpoint};

use super::{report::Report, *};
use crate::{
    cache::{self, Snapshot},
    connect,
    server_client::ServerClient,
    workload_api::{
        Bounds, Listener, WorkloadApi,
        tests::lab::{Client, ids, next, our_uid, svids, with_header},
    },
};
use server::{CONTENT, ISSUE, SYNC, Server};

/// Longer than any one thing takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// The tasks that ask the server, and the Workload API in front of them.
struct Lab {
    server: Arc<Server>,
    reports: mpsc::Receiver<Report>,
    socket: String,
    _folder: tempfile::TempDir,
    credentials: watch::Sender<Option<Credential>>,
    _tasks: (Running<()>, Running<()>, Running<()>),
}

impl Lab {
    async fn start(entries: Vec<types::Entry>) -> Self {
        let server = Server::start().await;
        server.set_entries(entries);
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let (publisher, cache) = cache::channel(Snapshot::empty(trust_domain.clone()));
        let (address, of) = (server.address, trust_domain.clone());
        let credential = Credential {
            serial: "1".into(),
            bundle: Bundle {
                x509_authorities: vec![server.authority.der.to_vec()],
                ..Bundle::empty(trust_domain.clone())
            },
            connect: Arc::new(move |_| {
                let channel = connect::counted(move || TcpStream::connect(address));
                Ok(ServerClient::over(of.clone(), channel))
            }),
        };
        let (credentials, credential) = watch::channel(Some(credential));
        let (handle, reports) = reports();
        let (channel, issue, demand) = channel_and_issue(
            Workloads::new(trust_domain, publisher),
            credential,
            handle,
            &Arc::default(),
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workload.sock");
        let attestor = UnixAttestor::new(UnixConfig::default());
        let listener = Listener::bind_for(&path, &attestor).unwrap();
        let mut ready = cache.subscribe();
        let api = WorkloadApi::new(cache, demand, attestor, Users::of_this_machine(), Bounds::default());
        let serving = Running::start("Workload API", api.serve(listener, std::future::pending()));
        timeout(LIMIT, ready.wait_for(|snapshot| snapshot.ready))
            .await
            .unwrap()
            .unwrap();
        Self {
            server,
            reports,
            socket: format!("unix://{}", path.display()),
            _folder: folder,
            credentials,
            _tasks: (channel, issue, serving),
        }
    }

    /// Waits until a workload is served just these, with or without what is asked for on its behalf.
    async fn serves(&self, expected: &[&str]) {
        let served = async {
            loop {
                let heard = self.crowd(1).await.join_all().await.pop().unwrap();
                if heard.unwrap_or_default() == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(LIMIT, served).await.unwrap();
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(self.socket.clone()).unwrap();
        Client::new(endpoint.connect().await.unwrap())
    }

    /// What a workload is served at once: from memory.
    async fn at_once(&self) -> Vec<String> {
        let mut client = self.client().await;
        let mut stream = timeout(Duration::from_secs(2), svids(&mut client))
            .await
            .unwrap()
            .unwrap();
        ids(&next(&mut stream).await.unwrap())
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Workloads that ask at the same time, and what each hears.
    async fn crowd(&self, count: usize) -> JoinSet<Result<Vec<String>, Status>> {
        let mut crowd = JoinSet::new();
        for _ in 0..count {
            let mut client = self.client().await;
            crowd.spawn(async move {
                let mut stream = svids(&mut client).await?;
                Ok(ids(&next(&mut stream).await?).into_iter().map(str::to_owned).collect())
            });
        }
        crowd
    }
}

/// An entry of everybody with our uid.
fn entry(name: &str) -> types::Entry {
    let selectors = our_uid().into_iter().map(|selector| types::Selector {
        r#type: selector.kind().into(),
        value: selector.value().into(),
    });
    types::Entry {
        id: name.into(),
        spiffe_id: Some(types::Spiffeid {
            trust_domain: "example.org".into(),
            path: format!("/{name}"),
        }),
        selectors: selectors.collect(),
        ..types::Entry::default()
    }
}

/// One whose SVID is not issued before somebody asks for it.
fn on_demand(name: &str) -> types::Entry {
    types::Entry {
        additional_attributes: Some(types::entry::AdditionalAttributes {
            disable_x509_svid_prefetch: true,
            ..Default::default()
        }),
        ..entry(name)
    }
}

#[tokio::test]
async fn what_is_in_memory_is_served_while_the_server_answers_no_sync() {
    let lab = Lab::start(vec![entry("a")]).await;
    lab.server.hold(SYNC);
    lab.server.counts(SYNC, lab.server.count(SYNC) + 1).await;
    assert_eq!(lab.at_once().await, ["a"]);
    assert_eq!(lab.server.count(ISSUE), 1, "nothing was asked for");
    // The control: the server was held indeed, and the tasks go on once it answers.
    lab.server.set_entries(vec![entry("a"), entry("b")]);
    let mut client = lab.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["a"]);
    lab.server.release(SYNC);
    let both = timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(ids(&both), ["a", "b"]);
}

#[tokio::test]
async fn what_is_in_memory_is_served_while_the_server_answers_no_renewal() {
    let lab = Lab::start(Vec::new()).await;
    lab.server.set_life(Duration::from_secs(10));
    lab.server.set_entries(vec![entry("a"), on_demand("b")]);
    let mut client = lab.client().await;
    let mut bundles = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    timeout(LIMIT, bundles.message()).await.unwrap().unwrap();
    lab.server.counts(ISSUE, 1).await;
    // The renewal, at half of its life.
    lab.server.hold(ISSUE);
    lab.server.set_life(Duration::from_secs(3600));
    lab.server.counts(ISSUE, 2).await;
    let mut stream = timeout(Duration::from_secs(2), svids(&mut client))
        .await
        .unwrap()
        .unwrap();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(ids(&first), ["a"]);
    // Nor does that call hold up the one for what this workload asks for beside it.
    lab.server.counts(ISSUE, 3).await;
    lab.server.release(ISSUE);
    let mut last = first.clone();
    while last.svids.len() < 2 || last.svids.first() == first.svids.first() {
        last = timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_svid_that_is_not_prefetched_is_issued_when_workloads_ask_and_once_for_all_of_them() {
    let lab = Lab::start(vec![on_demand("a")]).await;
    lab.server.counts(SYNC, 2).await;
    assert_eq!(lab.server.count(ISSUE), 0, "nobody has asked");
    lab.server.hold(ISSUE);
    // Whatever becomes of the next sync.
    lab.server.hold(SYNC);
    let crowd = lab.crowd(50).await;
    lab.server.counts(ISSUE, 1).await;
    lab.server.release(ISSUE);
    let heard = timeout(LIMIT, crowd.join_all()).await.unwrap();
    assert!(
        heard.iter().all(|heard| heard.as_deref().unwrap() == ["a"]),
        "{heard:?}"
    );
    assert_eq!(lab.server.count(ISSUE), 1);
}

/// What is at hand comes first; what is not follows on the same stream.
#[tokio::test]
async fn a_workload_gets_what_is_there_at_once_and_the_rest_when_it_is_issued() {
    let lab = Lab::start(vec![entry("a"), on_demand("b")]).await;
    lab.server.hold(ISSUE);
    let mut client = lab.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["a"]);
    lab.server.counts(ISSUE, 2).await;
    lab.server.release(ISSUE);
    let both = timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(ids(&both), ["a", "b"]);
}

#[tokio::test]
async fn an_entry_that_is_new_is_found_when_workloads_ask_and_once_for_all_of_them() {
    let lab = Lab::start(Vec::new()).await;
    lab.server.counts(SYNC, 1).await;
    lab.server.hold(SYNC);
    lab.server.set_entries(vec![entry("a")]);
    let before = lab.server.count(SYNC);
    let crowd = lab.crowd(50).await;
    lab.server.counts(SYNC, before + 1).await;
    lab.server.release(SYNC);
    let heard = timeout(LIMIT, crowd.join_all()).await.unwrap();
    assert!(
        heard.iter().all(|heard| heard.as_deref().unwrap() == ["a"]),
        "{heard:?}"
    );
    // Who came after the one began is served by another.
    assert!(
        lab.server.count(SYNC) <= before + 2,
        "{}",
        lab.server.count(SYNC) - before
    );
    assert_eq!(lab.server.count(ISSUE), 1);
}

/// A stranger that asks again and again makes the agent ask the server no oftener than once a second.
#[tokio::test]
async fn who_asks_in_vain_hears_that_nothing_was_issued_and_the_server_is_asked_seldom() {
    let lab = Lab::start(Vec::new()).await;
    let (before, begun) = (lab.server.count(SYNC), std::time::Instant::now());
    for _ in 0..3 {
        for heard in timeout(LIMIT, lab.crowd(20).await.join_all()).await.unwrap() {
            let status = heard.unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::PermissionDenied, "no identity issued")
            );
        }
    }
    let syncs = lab.server.count(SYNC) - before;
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!((1..=seconds + 2).contains(&syncs), "{syncs} in {seconds} s");
}

#[tokio::test]
async fn while_the_server_is_away_workloads_hear_what_is_known() {
    let lab = Lab::start(Vec::new()).await;
    lab.server.hold(SYNC);
    lab.server.hold(ISSUE);
    let heard = timeout(LIMIT, lab.crowd(1).await.join_all()).await.unwrap();
    assert_eq!(
        heard.first().unwrap().as_ref().unwrap_err().code(),
        Code::PermissionDenied
    );
    drop(lab);
    let lab = Lab::start(vec![on_demand("a")]).await;
    lab.server.hold(ISSUE);
    let heard = timeout(LIMIT, lab.crowd(1).await.join_all()).await.unwrap();
    let status = heard.first().unwrap().as_ref().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("hallmark-reason").unwrap(), "HM-WL-0013");
    // The control.
    lab.server.release(ISSUE);
    let heard = timeout(LIMIT, lab.crowd(1).await.join_all()).await.unwrap();
    assert_eq!(heard.first().unwrap().as_deref().unwrap(), ["a"]);
}

#[tokio::test]
async fn a_connection_that_ends_is_made_again_without_the_others_noticing() {
    let mut lab = Lab::start(vec![entry("a")]).await;
    let mut client = lab.client().await;
    let mut stream = svids(&mut client).await.unwrap();
    next(&mut stream).await.unwrap();
    let before = lab.server.cut();
    assert_eq!(before, 1);
    assert_eq!(lab.at_once().await, ["a"]);
    lab.server.set_entries(vec![entry("a"), entry("b")]);
    let both = timeout(LIMIT, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(ids(&both), ["a", "b"]);
    assert!(lab.server.connections() > before);
    while let Ok(report) = lab.reports.try_recv() {
        assert!(matches!(report, Report::Used(..)), "{report:?}");
    }
}

/// As a server does whose store was restored, and whose operators then did their changes again, others than before.
fn restored(name: &str) -> types::Entry {
    let mut entry = entry(name);
    entry
        .selectors
        .iter_mut()
        .for_each(|selector| selector.value = "uid:4000000000".into());
    entry
}

#[tokio::test]
async fn the_same_version_with_other_content_is_taken_where_content_is_told() {
    let lab = Lab::start(vec![entry("a"), entry("b")]).await;
    assert_eq!(lab.at_once().await, ["a", "b"]);
    lab.server.set_entries(vec![restored("a"), entry("b")]);
    lab.serves(&["b"]).await;
    lab.server.set_entries(vec![entry("a"), restored("b")]);
    lab.serves(&["a"]).await;
}

#[tokio::test]
async fn versions_that_another_connection_told_say_nothing() {
    let lab = Lab::start(Vec::new()).await;
    lab.server
        .tells_versions
        .store(true, std::sync::atomic::Ordering::SeqCst);
    lab.server.set_entries(vec![entry("a"), entry("b")]);
    lab.serves(&["a", "b"]).await;
    // On one connection content is told once.
    let (asked, syncs) = (lab.server.count(CONTENT), lab.server.count(SYNC));
    lab.server.counts(SYNC, syncs + 3).await;
    assert_eq!(
        (lab.server.count(CONTENT), lab.server.connections()),
        (asked, 1),
        "the control"
    );
    lab.server.set_entries(vec![restored("a"), entry("b")]);
    lab.server.cut();
    lab.serves(&["b"]).await;
    // Another attestation brings another connection, while the one before may live on.
    lab.server.set_entries(vec![entry("a"), restored("b")]);
    lab.credentials.send_modify(|credential| {
        if let Some(credential) = credential {
            credential.serial = "2".into();
        }
    });
    lab.serves(&["a"]).await;
}

/// Whatever is wrong with the entries, an authority that comes or goes counts.
#[tokio::test]
async fn a_bundle_is_taken_over_though_the_entries_cannot_be() {
    use std::sync::atomic::Ordering::SeqCst;

    let lab = Lab::start(vec![entry("a")]).await;
    let mut client = lab.client().await;
    let mut bundles = client
        .fetch_x509_bundles(with_header(X509BundlesRequest {}))
        .await
        .unwrap()
        .into_inner();
    let mut bundle = async || {
        let message = timeout(LIMIT, bundles.message()).await.unwrap().unwrap().unwrap();
        message.bundles["spiffe://example.org"].len()
    };
    let one = bundle().await;
    lab.server.tells_nothing.store(true, SeqCst);
    lab.server.set_entries(vec![entry("a"), entry("b")]);
    let further = crate::workload_api::tests::lab::Authority::new();
    let both = one + further.der.len();
    lab.server.further.lock().unwrap().push(further);
    assert_eq!(bundle().await, both);
    assert_eq!(lab.at_once().await, ["a"]);
    lab.server.tells_nothing.store(false, SeqCst);
    lab.serves(&["a", "b"]).await;
}

#[tokio::test]
async fn a_task_that_ends_ends_the_agent_with_its_name() {
    let agent = |attestation: Running<Result<(), AgentError>>| Agent {
        attestation,
        channel: Running::start(Task::Channel.name(), std::future::pending()),
        issue: Running::start(Task::Issue.name(), std::future::pending()),
        demand: Demand::none(),
        condition: Arc::default(),
    };
    let name = Task::Attestation.name();
    let ended = agent(Running::start(name, async { panic!("on purpose") }))
        .ended()
        .await;
    assert!(
        matches!(
            ended,
            AgentError::TaskEnded {
                task: "attestation",
                ..
            }
        ),
        "{ended:?}"
    );
    let ended = agent(Running::start(name, async { Ok(()) })).ended().await;
    assert!(
        matches!(
            ended,
            AgentError::TaskEnded {
                task: "attestation",
                ..
            }
        ),
        "{ended:?}"
    );
    let banned = AgentError::Banned {
        message: "x".into(),
        node: None,
    };
    let reason = banned.clone();
    let mut last = agent(Running::start(name, async { Err(reason) }));
    assert_eq!(last.ended().await, banned);
    last.stop().await;
    let mut going = agent(Running::start(name, std::future::pending()));
    assert!(
        timeout(Duration::from_millis(50), going.ended()).await.is_err(),
        "the control"
    );
    going.stop().await;
}
