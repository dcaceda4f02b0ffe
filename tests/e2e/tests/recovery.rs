//! Crashes at any step, and the start that recovers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_kit::{AdminClient, Fault, TctiProxy};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc,
};
use std::time::Duration;
use trial::{
    DOMAIN, PATIENCE, Trial, agents, ask, ban, bundle, create, entry, entry_ids, evict, must_report, register, svids,
    token_keys, wait_for,
};

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// How many files lie below a folder.
fn files(folder: &Path) -> usize {
    let Ok(found) = std::fs::read_dir(folder) else { return 0 };
    found
        .flatten()
        .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
        .sum()
}

#[test]
fn a_first_start_that_is_killed_anywhere_leaves_one_authority_key() {
    let mut trial = Trial::laid_out(0);
    let server = trial.lab.server();
    let (tokens, store) = (server.token().tokens(), server.folder().join("data").join("server.db"));
    let empty = files(&tokens);
    let socket = server.admin_socket();
    let log = server.folder().join("server.log");
    let said = |words: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(words));
    // Each moment is one step further into the start; what the kills before left is taken up.
    let moments: [(&str, &dyn Fn() -> bool); 5] = [
        ("at once", &|| true),
        ("the socket is bound", &|| socket.exists()),
        ("the store is there", &|| store.exists()),
        ("a key begins to be in the token", &|| files(&tokens) > empty),
        // It may be the one that was in the token, whole, when the start before was killed.
        ("the key is there, and perhaps no certificate", &|| {
            ["authority key generated", "is taken up", "serving"]
                .iter()
                .any(|words| said(words))
        }),
    ];
    for (moment, reached) in moments {
        server.launch().unwrap();
        wait_for(moment, reached);
        server.process().unwrap().kill();
    }
    server.start().unwrap();
    // A key that the token was killed at is passed over, so the authority's may have a later number; it is the only one
    // that is used.
    let keys = token_keys(&socket);
    let used: Vec<_> = keys
        .iter()
        .filter(|(_, purpose)| purpose == "x509-authority, active")
        .collect();
    assert_eq!(used.len(), 1, "{keys:?}");
    assert!(used[0].0.starts_with(&format!("hallmark-x509-{DOMAIN}-")), "{keys:?}");
    assert!(keys.len() <= 2, "what a kill left is taken up: {keys:?}");
    let authorities = bundle(&socket);
    assert_eq!(authorities.len(), 1);
    server.process().unwrap().kill();
    server.start().unwrap();
    assert_eq!(bundle(&socket), authorities, "the same authority after a crash");
    assert_eq!(token_keys(&socket), keys);
}

#[test]
fn every_acknowledged_entry_outlives_the_server() {
    let mut trial = Trial::laid_out(0);
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    let agent = format!("spiffe://{DOMAIN}/spire/agent/tpm2/none");
    let mut acknowledged = BTreeSet::new();
    for round in 0..6 {
        let pid = trial.lab.server().pid().unwrap();
        let (reached, wait) = mpsc::channel();
        let killer = std::thread::spawn(move || {
            wait.recv().unwrap();
            kill(pid);
        });
        let before = acknowledged.len();
        ask(async {
            let mut admin = AdminClient::connect(&socket).await.unwrap();
            for number in 0.. {
                match create(&mut admin, entry(&agent, &format!("/round-{round}/{number}"))).await {
                    Ok(id) => assert!(acknowledged.insert(id)),
                    Err(_) => return,
                }
                // The kill falls somewhere into the entries that follow.
                if number == 3 + round * 4 {
                    reached.send(()).unwrap();
                }
            }
        });
        killer.join().unwrap();
        assert!(acknowledged.len() > before + 3, "entries were made in round {round}");
        trial.lab.server().process().unwrap().wait_exit(PATIENCE).unwrap();
        trial.lab.server().start().unwrap();
        let found = entry_ids(&socket);
        assert!(
            acknowledged.is_subset(&found),
            "round {round}: an acknowledged entry is gone"
        );
        // At most the one that was under way is there besides.
        assert!(found.len() <= acknowledged.len() + usize::try_from(round).unwrap() + 1);
    }
}

/// The restore of docs/how-to/runbook.md, from a backup that was made while the server was busy.
#[test]
fn a_backup_under_load_is_restored_by_the_runbook() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    let (socket, data) = (
        trial.lab.server().admin_socket(),
        trial.lab.server().folder().join("data"),
    );
    trial.node().start().unwrap();
    wait_for("the node has attested", || !agents(&socket).is_empty());
    let path = agents(&socket)[0].id.clone().unwrap().path;
    let node = format!("spiffe://{DOMAIN}{path}");
    let banned = |socket: &Path| agents(socket).iter().any(|agent| agent.banned);
    trial.node().stop();
    assert!(!banned(&socket));
    ban(&socket, &node);
    let before = register(&socket, entry(&node, "/before")).unwrap();
    // Entries are made all the time.
    let (busy, made) = (AtomicBool::new(true), AtomicUsize::new(0));
    let copy = trial.folder.path().join("backup.db");
    let name = copy.display().to_string();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            ask(async {
                let mut admin = AdminClient::connect(&socket).await.unwrap();
                while busy.load(Ordering::Relaxed) {
                    let number = made.fetch_add(1, Ordering::Relaxed);
                    create(&mut admin, entry(&node, &format!("/busy/{number}")))
                        .await
                        .unwrap();
                }
            });
        });
        wait_for("the server is busy", || made.load(Ordering::Relaxed) > 20);
        let (exit, said) = trial.program(&["backup", &name]);
        busy.store(false, Ordering::Relaxed);
        assert_eq!(exit, Some(0), "{said}");
        assert!(
            said.contains("up to revision ") && said.contains("with the chain hash "),
            "{said}"
        );
    });
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let (exit, said) = trial.program(&["backup", &name]);
    assert!(exit == Some(1) && said.starts_with("HM-STORE-0037: "), "{said}");
    let after = register(&socket, entry(&node, "/after")).unwrap();
    trial.lab.server().stop();
    for name in ["server.db", "server.db-wal", "server.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    std::fs::copy(&copy, data.join("server.db")).unwrap();
    let (exit, said) = trial.program(&["doctor"]);
    assert!(
        exit == Some(1) && said.contains("FAIL  journal: HM-STORE-0029"),
        "{said}"
    );
    // It has not all that was recorded.
    let server = trial.lab.server();
    server.launch().unwrap();
    assert!(!server.process().unwrap().wait_exit(PATIENCE).unwrap().success());
    must_report(&server.log(), "HM-STORE-0029", &["accept-rollback"]);
    let (exit, said) = trial.program(&["store", "accept-rollback", "--reason", "the disk died"]);
    assert!(exit == Some(0) && said.starts_with("accepted, and on record"), "{said}");
    trial.lab.start_server().unwrap();
    let entries = entry_ids(&socket);
    assert!(entries.contains(&before) && !entries.contains(&after));
    assert!(banned(&socket), "a ban of before the backup stands");
    let records = hallmark_kit::hallmark(&socket, &["record", "list", "--kind", "admin"]).unwrap();
    let records = String::from_utf8(records.stdout).unwrap();
    assert!(
        records.contains("store-rollback-accepted") && records.contains("the disk died"),
        "{records}"
    );
    let (exit, said) = trial.program(&["doctor"]);
    assert!(exit == Some(0) && said.contains("ok    tables: "), "{said}");
}

#[test]
fn an_agent_killed_at_any_tpm_command_attests_at_its_next_start() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    let node = trial.node();
    let proxy = TctiProxy::start(node.tpm().port()).unwrap();
    node.set("tpm", "tcti", proxy.tcti().into());
    let state = node.folder().join("data").join("state.json");
    for command in [1_u32, 2, 4, 6, 8, 9, 10, 11, 12, 13] {
        let _ = std::fs::remove_file(&state);
        node.launch().unwrap();
        let pid = node.pid().unwrap();
        let mut seen = 0;
        // The TPM still does the command, and the answer finds nobody.
        proxy.set_rule(move |_, _| {
            seen += 1;
            if seen == command {
                kill(pid);
            }
            Fault::None
        });
        node.process().unwrap().wait_exit(PATIENCE).unwrap();
        proxy.clear_rule();
    }
    // What ten crashes left in a TPM without a resource manager is in nobody's way.
    node.start().unwrap();
    let (agent, workload_api) = (node.agent_id().unwrap(), node.workload_api());
    let socket = trial.lab.server().admin_socket();
    assert_eq!(agents(&socket).len(), 1, "one machine, one agent");
    register(&socket, entry(&agent, "/after")).unwrap();
    wait_for("an SVID", || !svids(&workload_api).is_empty());
    // And the start from a good state, killed at its commands.
    let node = trial.node();
    for command in [1_u32, 2, 3, 4] {
        node.process().unwrap().kill();
        node.launch().unwrap();
        let pid = node.pid().unwrap();
        let mut seen = 0;
        proxy.set_rule(move |_, _| {
            seen += 1;
            if seen == command {
                kill(pid);
            }
            Fault::None
        });
        node.process().unwrap().wait_exit(PATIENCE).unwrap();
        proxy.clear_rule();
    }
    node.start().unwrap();
    wait_for("an SVID again", || !svids(&workload_api).is_empty());
}

#[test]
fn renewing_agents_and_their_workloads_live_through_kills_of_either_side() {
    let mut trial = Trial::laid_out(2);
    let server = trial.lab.server();
    server.set("authority", "agent_ttl", "8s".into());
    server.set("authority", "x509_svid_ttl", "8s".into());
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    for node in trial.lab.nodes() {
        node.start().unwrap();
        register(&socket, entry(&node.agent_id().unwrap(), &format!("/{}", node.name()))).unwrap();
    }
    let places: Vec<_> = trial.lab.nodes().iter().map(|node| node.workload_api()).collect();
    for place in &places {
        wait_for("a first SVID", || !svids(place).is_empty());
    }
    // Moments all over a lifetime: before half-life, around renewal, and longer than the identity itself lives.
    for (round, pause) in [100_u64, 1_700, 3_100, 9_000].into_iter().enumerate() {
        trial.lab.server().process().unwrap().kill();
        if round % 2 == 1 {
            trial.node().process().unwrap().kill();
        }
        // Real time: the passing of the lifetime itself is what is tried here.
        std::thread::sleep(Duration::from_millis(pause));
        let before: Vec<_> = places.iter().map(|place| svids(place)).collect();
        trial.lab.server().start().unwrap();
        if round % 2 == 1 {
            trial.node().start().unwrap();
        }
        for (place, before) in places.iter().zip(&before) {
            wait_for("another SVID after the crash", || {
                let now = svids(place);
                !now.is_empty() && now.iter().all(|svid| !before.contains(svid))
            });
        }
        assert_eq!(agents(&socket).len(), 2, "no node is lost, and none comes twice");
    }
    for node in trial.lab.nodes() {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

#[test]
fn many_svids_under_way_when_the_server_dies_all_arrive() {
    const MANY: usize = 60;
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    let (agent, place) = (trial.node().agent_id().unwrap(), trial.node().workload_api());
    let socket = trial.lab.server().admin_socket();
    for number in 0..MANY {
        register(&socket, entry(&agent, &format!("/many/{number}"))).unwrap();
    }
    let issued = || {
        ask(async {
            let mut admin = AdminClient::connect(&socket).await.unwrap();
            let status = admin.admin.get_status(hallmark_api::admin::GetStatusRequest {}).await;
            status.unwrap().into_inner().svids_issued
        })
    };
    let before = issued();
    wait_for("the first of many", || issued() > before);
    trial.lab.server().process().unwrap().kill();
    trial.lab.server().start().unwrap();
    wait_for("all of them", || svids(&place).len() == MANY);
    let ids: BTreeSet<_> = svids(&place).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), MANY);
}

#[test]
fn a_ban_outlives_the_server_and_an_evicted_agent_comes_back_by_itself() {
    let mut trial = Trial::laid_out(2);
    trial.lab.start_server().unwrap();
    let socket = trial.lab.server().admin_socket();
    for node in trial.lab.nodes() {
        node.start().unwrap();
    }
    let ids: Vec<_> = trial.lab.nodes().iter().map(|node| node.agent_id().unwrap()).collect();
    ban(&socket, &ids[0]);
    let status = trial.node().process().unwrap().wait_exit(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(5), "verified and refused");
    must_report(&trial.node().log(), "HM-AGENT-0004", &["banned"]);

    trial.lab.server().process().unwrap().kill();
    trial.lab.server().start().unwrap();
    let banned: Vec<_> = agents(&socket).into_iter().map(|agent| agent.banned).collect();
    assert_eq!(banned.iter().filter(|banned| **banned).count(), 1);
    // Its state is gone, so this is a whole new attestation of the same machine.
    trial.node().launch().unwrap();
    let status = trial.node().process().unwrap().wait_exit(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(5), "still banned");

    let path = trial::id(&ids[1]).unwrap().path;
    let present = || {
        agents(&socket)
            .iter()
            .any(|agent| agent.id.as_ref().unwrap().path == path)
    };
    let place = trial.lab.node(1).unwrap().workload_api();
    evict(&socket, &ids[1]);
    wait_for("the evicted agent attests again", present);
    register(&socket, entry(&ids[1], "/back")).unwrap();
    wait_for("its workloads are served", || !svids(&place).is_empty());

    // A ban is lifted by an eviction: the positive control of the ban.
    evict(&socket, &ids[0]);
    trial.node().start().unwrap();
}

#[test]
fn a_token_taken_away_under_way_is_told_and_its_return_needs_no_restart() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    let (agent, place) = (trial.node().agent_id().unwrap(), trial.node().workload_api());
    let server = trial.lab.server();
    let (socket, pid) = (server.admin_socket(), server.pid());
    let tokens = server.token().tokens();
    let only = std::fs::read_dir(&tokens).unwrap().next().unwrap().unwrap().path();
    let away = trial.folder.path().join("away");
    std::fs::rename(&only, &away).unwrap();
    std::fs::create_dir(&only).unwrap();
    let state = || {
        ask(async {
            let mut admin = AdminClient::connect(&socket).await.unwrap();
            // Looking for keys makes the module look at its folder.
            let _ = admin
                .admin
                .list_hsm_keys(hallmark_api::admin::ListHsmKeysRequest {})
                .await;
            let status = admin
                .admin
                .get_hsm_status(hallmark_api::admin::GetHsmStatusRequest {})
                .await;
            status.unwrap().into_inner()
        })
    };
    assert!(
        state().ready,
        "the module answers from memory until something is to be signed"
    );
    // Entries are still taken; signing waits.
    register(&socket, entry(&agent, "/later")).unwrap();
    wait_for("the loss is told", || !state().ready);
    assert!(state().code.starts_with("HM-HSM-"), "{:?}", state());
    assert!(svids(&place).is_empty());
    std::fs::remove_dir_all(&only).unwrap();
    std::fs::rename(&away, &only).unwrap();
    wait_for("the token is used again", || state().ready);
    wait_for("the SVID is signed", || !svids(&place).is_empty());
    assert_eq!(trial.lab.server().pid(), pid, "without a restart");
    assert!(
        trial.lab.server().process().unwrap().wait_exit(Duration::ZERO).is_err(),
        "it runs"
    );
}
