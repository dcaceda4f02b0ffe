//! A hallmark-server below another one: its authority is signed above, and workloads of both verify each other by the one root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_api::bundle::GetBundleRequest;
use hallmark_api::types::Entry;
use hallmark_kit::{AdminClient, Node, NodeOptions, Server, SwtpmOptions, binary};
use hallmark_spiffe::{
    TrustDomain,
    x509::{SigningFacts, verify_chain},
};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;
use trial::{DOMAIN, Trial, ask, bundle, entry, register, svids, wait_for};

const DONE: i32 = 0;

/// What `hallmark` says to this server's operator.
fn operator(server: &Server, words: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(binary("hallmark").unwrap())
        .args(words)
        .env("HALLMARK_ADMIN_SOCKET", server.admin_socket())
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(said).unwrap())
}

fn must(server: &Server, words: &[&str]) -> String {
    let (code, said) = operator(server, words);
    assert_eq!(code, Some(DONE), "{words:?}: {said}\n{}", server.log());
    said
}

fn jwt_keys(socket: &Path) -> BTreeSet<String> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let bundle = admin.bundle.get_bundle(GetBundleRequest { output_mask: None }).await;
        let keys = bundle.unwrap().into_inner().jwt_authorities;
        keys.into_iter().map(|key| key.key_id).collect()
    })
}

/// Certificates that stand one after the other.
fn split(mut der: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let [0x30, 0x82, high, low, ..] = der {
        let (one, rest) = der.split_at(4 + usize::from(*high) * 256 + usize::from(*low));
        all.push(one.to_vec());
        der = rest;
    }
    assert!(der.is_empty(), "all of it was read");
    all
}

/// The chain of the SVID with this path that the agent behind the socket serves.
fn chain(workload_api: &Path, path: &str) -> Option<Vec<Vec<u8>>> {
    let id = format!("spiffe://{DOMAIN}{path}");
    let found = svids(workload_api).into_iter().find(|(it, _)| *it == id);
    found.map(|(_, der)| split(&der))
}

fn verify(chain: &[Vec<u8>], roots: &[Vec<u8>]) -> String {
    let refs = |all: &'_ [Vec<u8>]| -> Vec<Vec<u8>> { all.to_vec() };
    let (chain, roots) = (refs(chain), refs(roots));
    let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
    let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
    let trust_domain = TrustDomain::parse(DOMAIN).unwrap();
    verify_chain(&chain, &roots, &trust_domain, SystemTime::now())
        .unwrap()
        .to_string()
}

/// The server below, with a token of its own, and the Workload API that its SVID for the server above comes from.
fn below(trial: &mut Trial, workload_api: &Path) -> Server {
    let roots = [trial.lab.ek_authority().root(), trial.lab.ek_authority().issuer()];
    let mut below = Server::lay_out(&trial.folder.path().join("b"), DOMAIN, &roots).unwrap();
    let address = trial.lab.server().address();
    let (host, port) = address.rsplit_once(':').unwrap();
    below.set("upstream", "kind", "spire".into());
    below.set("upstream.spire", "server_address", host.to_owned().into());
    below.set("upstream.spire", "server_port", port.parse::<i64>().unwrap().into());
    let socket = workload_api.display().to_string();
    below.set("upstream.spire", "workload_api_socket", socket.into());
    below
}

#[test]
fn a_server_below_another_one_shares_its_root_and_goes_on_while_that_is_away() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    let agent = trial.node().agent_id().unwrap();
    let above = trial.lab.server().admin_socket();
    let api_above = trial.node().workload_api();
    let mut server = below(&mut trial, &api_above);

    // Without the role above it does not start, and makes no root of its own.
    assert!(server.start().is_err());
    assert!(server.log().contains("HM-SRV-0048"), "{}", server.log());
    let downstream = Entry {
        downstream: true,
        ..entry(&agent, "/site-b/server")
    };
    register(&above, downstream).unwrap();
    wait_for("the SVID for the server above", || {
        chain(&api_above, "/site-b/server").is_some()
    });
    server
        .start()
        .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));

    // One root; and the JWT keys of both in both bundles.
    let root = bundle(&above);
    assert_eq!(bundle(&server.admin_socket()), root);
    let shown = must(&server, &["authority", "x509", "show", "--output", "json"]);
    let root_id: String = SigningFacts::read(&root[0])
        .unwrap()
        .key_id
        .iter()
        .map(|it| format!("{it:02x}"))
        .collect();
    assert!(shown.contains(&root_id) && shown.contains("active"), "{shown}");
    wait_for("the JWT keys of both", || {
        let (one, other) = (jwt_keys(&above), jwt_keys(&server.admin_socket()));
        one == other && one.len() == 2
    });

    // A machine of the server below knows the root alone, and its workloads verify above; and the reverse.
    let options = NodeOptions {
        name: "node-b".into(),
        trust_domain: DOMAIN.into(),
        server_address: server.address(),
        bundle_file: trial.lab.bundle_file(),
        tpm: SwtpmOptions::default(),
    };
    let authority = trial.lab.ek_authority().clone();
    let mut node = Node::build(&trial.folder.path().join("nb"), &authority, options).unwrap();
    node.start().unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    register(&server.admin_socket(), entry(&node.agent_id().unwrap(), "/web")).unwrap();
    let api = node.workload_api();
    wait_for("the SVID below", || chain(&api, "/web").is_some());
    let web = chain(&api, "/web").unwrap();
    assert_eq!(web.len(), 2, "the leaf, and the certificate of the server below");
    assert_eq!(verify(&web, &root), format!("spiffe://{DOMAIN}/web"));
    let other = chain(&api_above, "/site-b/server").unwrap();
    verify(&other, &bundle(&server.admin_socket()));
    let alone = verify_chain(
        &[&web[0]],
        &[&root[0]],
        &TrustDomain::parse(DOMAIN).unwrap(),
        SystemTime::now(),
    );
    assert!(alone.is_err(), "without the certificate between it leads nowhere");

    rotates(&server, &web, &root);

    // While the server above is away, the one below issues on; it makes no authority, and none of its own.
    trial.lab.server().stop();
    let later = entry(&node.agent_id().unwrap(), "/later");
    register(&server.admin_socket(), later).unwrap();
    wait_for("an SVID while the server above is away", || {
        chain(&api, "/later").is_some()
    });
    let prepare = |reason| ["authority", "x509", "prepare", "--reason", reason];
    let (_, refused) = operator(&server, &prepare("drill"));
    assert!(refused.contains("HM-SRV-0048"), "{refused}");
    assert_eq!(bundle(&server.admin_socket()), root);
    trial.lab.server().start().unwrap();
    must(&server, &prepare("it is back"));
    assert_eq!(bundle(&server.admin_socket()), root);

    // A start finds all of it again.
    server.stop();
    server
        .start()
        .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    assert_eq!(bundle(&server.admin_socket()), root);
    let later = chain(&api, "/later").unwrap();
    assert_eq!(verify(&later, &root), format!("spiffe://{DOMAIN}/later"));
}

/// Rotation: the next one is signed above, too, and nobody is lost.
fn rotates(server: &Server, web: &[Vec<u8>], root: &[Vec<u8>]) {
    must(server, &["authority", "x509", "prepare", "--reason", "drill"]);
    must(server, &["authority", "x509", "activate", "--reason", "drill"]);
    assert_eq!(bundle(&server.admin_socket()), root, "the root is the same");
    let old = hex_id(&web[1]);
    let (_, refused) = operator(server, &["authority", "x509", "taint", &old, "--reason", "drill"]);
    assert!(refused.contains("HM-SRV-0047"), "{refused}");
    must(
        server,
        &["authority", "x509", "revoke", &old, "--yes", "--reason", "drill"],
    );
}

fn hex_id(der: &[u8]) -> String {
    let facts = SigningFacts::read(der).unwrap();
    facts.key_id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_self_signed_server_goes_below_another_one_by_rotation_and_back() {
    let mut trial = Trial::laid_out(1);
    trial.lab.start_server().unwrap();
    trial.node().start().unwrap();
    let agent = trial.node().agent_id().unwrap();
    let above = trial.lab.server().admin_socket();
    let api_above = trial.node().workload_api();
    let mut server = below(&mut trial, &api_above);
    let configured = server.config().clone();
    let mut alone = configured.clone();
    alone.remove("upstream");
    server.replace_config(alone.clone());
    server.start().unwrap();
    let own = bundle(&server.admin_socket());
    assert_eq!(own.len(), 1);
    // Prepared self-signed: it does not sign once the configuration says otherwise.
    must(&server, &["authority", "x509", "prepare", "--reason", "drill"]);
    server.stop();

    let downstream = Entry {
        downstream: true,
        ..entry(&agent, "/site-b/server")
    };
    register(&above, downstream).unwrap();
    wait_for("the SVID for the server above", || {
        chain(&api_above, "/site-b/server").is_some()
    });
    server.replace_config(configured);
    server
        .start()
        .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    assert!(server.log().contains("HM-SRV-0046"), "{}", server.log());
    let root = bundle(&above)[0].clone();
    must(&server, &["authority", "x509", "prepare", "--reason", "below"]);
    let both: BTreeSet<_> = bundle(&server.admin_socket()).into_iter().collect();
    assert_eq!(
        both,
        BTreeSet::from([own[0].clone(), root.clone()]),
        "both roots meanwhile"
    );
    must(&server, &["authority", "x509", "activate", "--reason", "below"]);
    must(
        &server,
        &[
            "authority",
            "x509",
            "revoke",
            &hex_id(&own[0]),
            "--yes",
            "--reason",
            "below",
        ],
    );
    assert_eq!(bundle(&server.admin_socket()), std::slice::from_ref(&root));

    // And back: the root above leaves once nothing hangs on it.
    server.stop();
    server.replace_config(alone);
    server
        .start()
        .unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    must(&server, &["authority", "x509", "prepare", "--reason", "alone"]);
    let below_id = below_id(&server);
    must(&server, &["authority", "x509", "activate", "--reason", "alone"]);
    assert_eq!(bundle(&server.admin_socket()).len(), 2);
    must(
        &server,
        &["authority", "x509", "revoke", &below_id, "--yes", "--reason", "alone"],
    );
    wait_for("the root above is out of the bundle", || {
        let now = bundle(&server.admin_socket());
        now.len() == 1 && now[0] != root
    });
}

/// The id of the authority that signs, as the command line shows it.
fn below_id(server: &Server) -> String {
    let shown = must(server, &["authority", "x509", "show"]);
    let line = shown.lines().find(|line| line.contains("active")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}
