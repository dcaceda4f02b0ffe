//! The same clients against a whole trust domain: a TPM, an agent that attested with it, a server, a token.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use hallmark_api::entry::{BatchCreateEntryRequest, BatchDeleteEntryRequest};
use hallmark_api::types::{Entry, Selector, Spiffeid};
use hallmark_interop::{Program, go, python};
use hallmark_kit::{AdminClient, Lab, LabOptions, binary};
use serde_json::Value;

fn id(text: &str) -> Spiffeid {
    let (domain, path) = text.strip_prefix("spiffe://").unwrap().split_once('/').unwrap();
    Spiffeid {
        trust_domain: domain.into(),
        path: format!("/{path}"),
    }
}

/// Registers an entry for our uid below the agent, with its name as id and hint; answers with its id.
async fn register(admin: &mut AdminClient, agent: &str, name: &str) -> String {
    let uid = std::fs::metadata("/proc/self")
        .map(|me| std::os::unix::fs::MetadataExt::uid(&me))
        .unwrap();
    let entry = Entry {
        id: name.into(),
        spiffe_id: Some(id(&format!("spiffe://example.org/{name}"))),
        parent_id: Some(id(agent)),
        selectors: vec![Selector {
            r#type: "unix".into(),
            value: format!("uid:{uid}"),
        }],
        hint: name.into(),
        dns_names: vec!["example.org".into()],
        ..Entry::default()
    };
    let request = BatchCreateEntryRequest {
        entries: vec![entry],
        output_mask: None,
    };
    let results = admin
        .entry
        .batch_create_entry(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    assert_eq!(results[0].status.as_ref().unwrap().code, 0, "{:?}", results[0].status);
    results[0].entry.as_ref().unwrap().id.clone()
}

/// Fetches until there are so many SVIDs.
fn fetch(command: impl Fn() -> std::process::Command, socket: &Path, wanted: usize) -> Value {
    let endpoint = format!("unix://{}", socket.display());
    let start = Instant::now();
    loop {
        let event = Program::start(command(), &endpoint).unwrap().event().unwrap();
        if event["svids"].as_array().is_some_and(|svids| svids.len() == wanted) {
            return event;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "still no {wanted} SVIDs: {event}"
        );
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn serials(event: &Value) -> Vec<(&str, &str)> {
    event["svids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|svid| (svid["id"].as_str().unwrap(), svid["serial"].as_str().unwrap()))
        .collect()
}

#[test]
fn what_a_tpm_earned_reaches_every_client_and_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = LabOptions {
        folder: folder.path().join("lab"),
        trust_domain: "example.org".into(),
        nodes: 1,
    };
    let mut lab = Lab::up(options).unwrap();
    let socket = lab.node(0).unwrap().workload_api();
    let agent = lab.node(0).unwrap().agent_id().unwrap();
    let admin_socket = lab.server().admin_socket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries = runtime.block_on(async {
        let mut admin = AdminClient::connect(&admin_socket).await.unwrap();
        // Entries are ordered by the second in which they were created, and within it by their ids.
        let first = register(&mut admin, &agent, "myservice").await;
        [first, register(&mut admin, &agent, "myservice2").await]
    });

    let with_python = || python("fetch").expect("run tests/interop/setup first");
    let told = fetch(with_python, &socket, 2);
    let expected = serials(&told);
    assert_eq!(expected[0].0, "spiffe://example.org/myservice");
    assert_eq!(told["bundles"], serde_json::json!({"example.org": 1}));
    if go("fetch").is_some() {
        let event = fetch(|| go("fetch").unwrap(), &socket, 2);
        assert_eq!(serials(&event), expected, "one cache, the same SVIDs");
        assert!(
            event["svids"]
                .as_array()
                .unwrap()
                .iter()
                .all(|svid| svid["verified"] == true),
            "{event}"
        );
    }
    runtime.block_on(async {
        let client = spiffe::WorkloadApiClient::connect_to(format!("unix://{}", socket.display()))
            .await
            .unwrap();
        let context = client.fetch_x509_context().await.unwrap();
        let ids: Vec<_> = context
            .svids()
            .iter()
            .map(|svid| svid.spiffe_id().to_string())
            .collect();
        assert_eq!(ids, expected.iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>());

        let mut admin = AdminClient::connect(&admin_socket).await.unwrap();
        let request = BatchDeleteEntryRequest { ids: entries.to_vec() };
        admin.entry.batch_delete_entry(request).await.unwrap();
        let start = Instant::now();
        loop {
            match client.fetch_x509_context().await {
                Err(spiffe::WorkloadApiError::NoIdentityIssued) => break,
                other => assert!(start.elapsed() < Duration::from_secs(60), "still: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
}

/// JWT-16 to JWT-23 and WLA-31 to WLA-41 with clients that others wrote, and with our own program.
#[test]
fn tokens_of_the_server_are_fetched_and_validated_by_every_client() {
    let folder = tempfile::tempdir().unwrap();
    let options = LabOptions {
        folder: folder.path().join("lab"),
        trust_domain: "example.org".into(),
        nodes: 1,
    };
    let mut lab = Lab::up(options).unwrap();
    let socket = lab.node(0).unwrap().workload_api();
    let agent = lab.node(0).unwrap().agent_id().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut admin = AdminClient::connect(&lab.server().admin_socket()).await.unwrap();
        register(&mut admin, &agent, "myservice").await;
        register(&mut admin, &agent, "myservice2").await;
    });
    let ids = ["spiffe://example.org/myservice", "spiffe://example.org/myservice2"];
    let with_python = || python("jwt").expect("run tests/interop/setup first");
    let told = fetch(with_python, &socket, 2);
    assert_eq!(told["bundles"], serde_json::json!({"example.org": 1}), "{told}");
    for (svid, id) in told["svids"].as_array().unwrap().iter().zip(ids) {
        assert_eq!((&svid["id"], &svid["verified"]), (&id.into(), &true.into()), "{told}");
        assert_eq!(svid["audience"], serde_json::json!(["db"]), "{told}");
        assert!(
            svid["refused"].as_str().unwrap().contains("not for this audience"),
            "{told}"
        );
    }
    if go("jwt").is_some() {
        let event = fetch(|| go("jwt").unwrap(), &socket, 2);
        for (svid, id) in event["svids"].as_array().unwrap().iter().zip(ids) {
            assert_eq!((&svid["id"], &svid["verified"]), (&id.into(), &true.into()), "{event}");
        }
    }
    let endpoint = format!("unix://{}", socket.display());
    let token = runtime.block_on(async {
        let client = spiffe::WorkloadApiClient::connect_to(&endpoint).await.unwrap();
        let second = spiffe::SpiffeId::new(ids[1]).unwrap();
        let svid = client.fetch_jwt_svid(["db", "cache"], Some(&second)).await.unwrap();
        assert_eq!(
            (svid.spiffe_id(), svid.audience()),
            (&second, &["db".to_owned(), "cache".into()][..])
        );
        client.validate_jwt_token("cache", svid.token()).await.unwrap();
        client.validate_jwt_token("other", svid.token()).await.unwrap_err();
        let bundles = client.fetch_jwt_bundles().await.unwrap();
        let domain = spiffe::TrustDomain::new("example.org").unwrap();
        assert!(
            bundles
                .get(&domain)
                .unwrap()
                .find_jwt_authority(svid.key_id())
                .is_some()
        );
        svid.token().to_owned()
    });
    our_program_fetches_and_validates(folder.path(), &socket, &token, ids[0]);
}

/// `token` is one for others than `other`.
fn our_program_fetches_and_validates(folder: &Path, socket: &Path, token: &str, id: &str) {
    let file = folder.join("token");
    File::create(&file).unwrap();
    let api = |words: &[&str]| -> Output {
        let mut command = Command::new(binary("hallmark-agent").unwrap());
        command
            .arg("api")
            .args(words)
            .args(["-o", "json", "--socket"])
            .arg(socket);
        command.stdin(File::open(&file).unwrap()).output().unwrap()
    };
    let fetched = api(&["fetch", "jwt", "--audience", "db", "--spiffe-id", id]);
    let told: Value = serde_json::from_slice(&fetched.stdout).unwrap();
    assert_eq!(
        (told["svids"].as_array().unwrap().len(), &told["svids"][0]["spiffe_id"]),
        (1, &id.into())
    );
    std::fs::write(&file, format!("{}\n", told["svids"][0]["token"].as_str().unwrap())).unwrap();
    for from in [file.to_str().unwrap(), "-"] {
        let validated = api(&["validate", "jwt", "--audience", "db", "--svid-file", from]);
        let told: Value = serde_json::from_slice(&validated.stdout).unwrap();
        assert_eq!(
            (&told["spiffe_id"], &told["claims"]["aud"]),
            (&id.into(), &serde_json::json!(["db"]))
        );
    }
    let refused = api(&["validate", "jwt", "--audience", "other", "--svid", token]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(5) && said.starts_with("HM-WL-0041: ") && said.contains("HM-ID-0100"),
        "{said}"
    );
    let refused = api(&["fetch", "jwt", "--audience", ""]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(2) && said.contains("HM-WL-0026"),
        "{said}"
    );
    let refused = api(&[
        "fetch",
        "jwt",
        "--audience",
        "db",
        "--spiffe-id",
        "spiffe://example.org/foreign",
    ]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(3) && said.contains("HM-WL-0028"),
        "{said}"
    );
}

/// A certificate for `localhost` of an authority of its own, in files; gives the authority's.
fn public_certificate(folder: &Path) -> String {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    use std::os::unix::fs::PermissionsExt as _;
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let authority = file("root.pem", &root.self_signed(&root_key).unwrap().pem());
    let mut leaf = CertificateParams::new(["localhost".to_owned()]).unwrap();
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let signed = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    file("chain.pem", &signed.pem());
    file("key.pem", &key.serialize_pem());
    authority
}

/// Issuer, authorities, and where the server is administered.
struct Looked {
    issuer: String,
    authorities: String,
    admin_socket: std::path::PathBuf,
}

impl Looked {
    /// What somebody who knows OpenID Connect alone makes of a token.
    fn up(&self, token: &str) -> Value {
        let mut command = python("oidc").expect("run tests/interop/setup first");
        command.args([&self.issuer, &self.authorities, "cloud", token]);
        Program::start(command, "unix:///none").unwrap().event().unwrap()
    }

    /// `hallmark authority jwt …`, as JSON.
    fn authority(&self, words: &[&str]) -> Value {
        let mut command = Command::new(binary("hallmark").unwrap());
        command.args(["authority", "jwt"]).args(words).args(["-o", "json"]);
        let out = command
            .env("HALLMARK_ADMIN_SOCKET", &self.admin_socket)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

fn kids(looked: &Value) -> Vec<&str> {
    let kids = looked["kids"].as_array().unwrap_or_else(|| panic!("{looked}"));
    kids.iter().map(|kid| kid.as_str().unwrap()).collect()
}

/// The id of the key that signed it.
fn key_id(token: &str) -> String {
    spiffe::JwtSvid::parse_insecure(token).unwrap().key_id().to_owned()
}

/// A lab of one machine whose server serves discovery below a path.
fn with_discovery(folder: &Path) -> (Lab, Looked) {
    let authorities = public_certificate(folder);
    let options = LabOptions {
        folder: folder.join("lab"),
        trust_domain: "example.org".into(),
        nodes: 1,
    };
    let mut lab = Lab::lay_out(options).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let issuer = format!("https://localhost:{port}/trust");
    let path = |name: &str| folder.join(name).display().to_string();
    let server = lab.server();
    server.set("authority", "jwt_issuer", issuer.clone().into());
    server.set("oidc", "listen", format!("127.0.0.1:{port}").into());
    server.set("oidc", "certificate", path("chain.pem").into());
    server.set("oidc", "certificate_key", format!("file:{}", path("key.pem")).into());
    lab.build_node().unwrap();
    lab.start_server().unwrap();
    lab.node(0).unwrap().start().unwrap();
    let admin_socket = lab.server().admin_socket();
    let looked = Looked {
        issuer,
        authorities,
        admin_socket,
    };
    (lab, looked)
}

/// OpenID Connect Discovery: somebody without SPIFFE takes a workload's token, through a rotation, and until its key is tainted.
#[test]
fn a_verifier_of_openid_connect_takes_what_a_workload_got() {
    let folder = tempfile::tempdir().unwrap();
    let (mut lab, looked) = with_discovery(folder.path());
    let node = lab.node(0).unwrap();
    let (socket, agent) = (node.workload_api(), node.agent_id().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut admin = AdminClient::connect(&looked.admin_socket).await.unwrap();
        register(&mut admin, &agent, "myservice").await;
    });
    let id = "spiffe://example.org/myservice";
    // The agent keeps a token until half of its life: another audience is another token.
    let token = |audience: &str| {
        let client = spiffe::WorkloadApiClient::connect_to(format!("unix://{}", socket.display()));
        runtime.block_on(async {
            let (client, start) = (client.await.unwrap(), Instant::now());
            loop {
                match client.fetch_jwt_svid(["cloud", audience], None).await {
                    Ok(svid) => break svid.token().to_owned(),
                    Err(error) => assert!(start.elapsed() < Duration::from_secs(60), "{error:?}"),
                }
                // Real time: an entry reaches the agent within seconds.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    };
    let first = token("first");
    let seen = looked.up(&first);
    assert_eq!(seen["token"]["sub"], id, "{seen}");
    assert_eq!(seen["changed"]["refused"], "InvalidSignatureError", "{seen}");
    assert_eq!(seen["configuration"]["issuer"], looked.issuer.as_str());
    assert_eq!(kids(&seen), [key_id(&first)]);

    // A new key is there before it signs.
    looked.authority(&["prepare", "--reason", "drill"]);
    let seen = looked.up(&first);
    let prepared: Vec<String> = kids(&seen).into_iter().map(str::to_owned).collect();
    assert_eq!((prepared.len(), &seen["token"]["sub"]), (2, &id.into()), "{seen}");
    let still = token("still");
    assert_eq!(key_id(&still), key_id(&first));
    looked.authority(&["activate", "--reason", "drill"]);
    let second = token("second");
    assert_ne!(key_id(&second), key_id(&first));
    assert!(prepared.contains(&key_id(&second)), "it was there before");
    for token in [&first, &second] {
        assert_eq!(looked.up(token)["token"]["sub"], id);
    }

    // A tainted one is gone, and what it signed with it.
    looked.authority(&["taint", &key_id(&first), "--reason", "drill"]);
    let seen = looked.up(&first);
    assert_eq!(
        (kids(&seen), &seen["token"]["refused"]),
        (vec![key_id(&second).as_str()], &"PyJWKClientError".into())
    );
    assert_eq!(looked.up(&second)["token"]["sub"], id, "the control");
}

#[test]
fn a_stock_client_administers_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let options = LabOptions {
        folder: folder.path().join("lab"),
        trust_domain: "example.org".into(),
        nodes: 0,
    };
    let mut lab = Lab::lay_out(options).unwrap();
    // Without nodes there is no maker of TPMs.
    lab.server()
        .set("attestation.tpm2", "ek_roots", Vec::<String>::new().into());
    lab.start_server().unwrap();
    let endpoint = format!("unix://{}", lab.server().admin_socket().display());
    let client = Program::start(python("admin").expect("run tests/interop/setup first"), &endpoint).unwrap();
    for method in ["CountEntries", "ListEntries", "BatchCreateEntry"] {
        let event = client.event().unwrap();
        assert_eq!(
            (&event["method"], &event["code"]),
            (&method.into(), &"OK".into()),
            "{event}"
        );
        // Each of the entries has its own answer.
        assert!(
            method != "BatchCreateEntry" || event["bytes"].as_u64().unwrap() > 2000 * 10,
            "{event}"
        );
    }
}
