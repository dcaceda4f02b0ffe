//! SVIDs for workloads, and minted by hand.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use hallmark_api::{
    entry::{BatchCreateEntryRequest, BatchUpdateEntryRequest, entry_server::Entry as _},
    svid::{
        BatchNewX509svidRequest, BatchNewX509svidResponse, MintX509svidRequest, NewDownstreamX509caRequest,
        NewX509svidParams, svid_server::Svid as _,
    },
    types,
};
use hallmark_server::caller::{Caller, RoleHolder};
use hallmark_spiffe::{SpiffeId, x509};
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tonic::{Code, Status};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::lab::{Lab, entry, from_agent, id_message, isolated, large, local};

/// A CSR of a fresh key, with these URI and DNS names.
pub(crate) fn csr(uris: &[&str], dns_names: &[&str]) -> Bytes {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .chain(
            dns_names
                .iter()
                .map(|name| SanType::DnsName((*name).try_into().unwrap())),
        )
        .collect();
    params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
        .into()
}

pub(crate) async fn batch(
    lab: &Lab,
    agent: &SpiffeId,
    items: &[(&str, Bytes)],
) -> Result<BatchNewX509svidResponse, Status> {
    let params = items
        .iter()
        .map(|(id, csr)| NewX509svidParams {
            entry_id: (*id).into(),
            csr: csr.clone(),
        })
        .collect();
    let request = from_agent(agent, BatchNewX509svidRequest { params });
    lab.svids
        .batch_new_x509svid(request)
        .await
        .map(tonic::Response::into_inner)
}

/// The id of an SVID that verifies against the server's bundle.
fn verified(lab: &Lab, svid: &types::X509svid) -> SpiffeId {
    let chain: Vec<&[u8]> = svid.cert_chain.iter().map(AsRef::as_ref).collect();
    let authority = lab.server.authority.load();
    let roots: Vec<&[u8]> = authority.bundle.x509_authorities.iter().map(AsRef::as_ref).collect();
    x509::verify_chain(&chain, &roots, lab.server.journal.trust_domain(), SystemTime::now()).unwrap()
}

fn codes(response: &BatchNewX509svidResponse) -> Vec<Code> {
    response
        .results
        .iter()
        .map(|result| Code::from_i32(result.status.as_ref().unwrap().code))
        .collect()
}

#[test]
fn a_batch_is_answered_item_by_item_in_order() {
    isolated(
        "svids::a_batch_is_answered_item_by_item_in_order",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let (a, b) = (
                lab.attested("aa", &["tpm2:model:x"]).await,
                lab.attested("bb", &["tpm2:model:x"]).await,
            );
            let named = types::Entry {
                id: "named".into(),
                x509_svid_ttl: 600,
                dns_names: vec!["db.example.org".into(), "alt.example.org".into()],
                ..entry("/db", a.path(), 1)
            };
            let web = types::Entry {
                id: "web".into(),
                ..entry("/web", a.path(), 1)
            };
            let foreign = types::Entry {
                id: "of-b".into(),
                ..entry("/b", b.path(), 1)
            };
            lab.create(vec![named, web, foreign]).await;
            let mut tampered = csr(&[], &[]).to_vec();
            *tampered.last_mut().unwrap() ^= 1;
            // What a CSR asks for beside its key counts for nothing.
            let greedy = csr(&["spiffe://example.org/root"], &["root.example.org"]);
            let items = [
                ("web", greedy),
                ("unknown", csr(&[], &[])),
                ("of-b", csr(&[], &[])),
                ("named", csr(&[], &[])),
                ("web", tampered.into()),
                ("web", Bytes::from_static(b"no CSR")),
                ("web", Bytes::new()),
                ("", csr(&[], &[])),
                ("web", csr(&[], &[])),
            ];
            let response = batch(&lab, &a, &items).await.unwrap();
            let (ok, absent, wrong) = (Code::Ok, Code::NotFound, Code::InvalidArgument);
            assert_eq!(
                codes(&response),
                [ok, absent, absent, ok, wrong, wrong, wrong, wrong, ok]
            );
            for (at, path) in [(0, "/web"), (3, "/db"), (8, "/web")] {
                let svid = response.results[at].svid.as_ref().unwrap();
                assert_eq!(verified(&lab, svid).path(), path);
                assert_eq!(svid.id.as_ref().unwrap().path, path);
                let (_, leaf) = X509Certificate::from_der(&svid.cert_chain[0]).unwrap();
                assert_eq!(leaf.validity.not_after.timestamp(), svid.expires_at);
                let names = leaf
                    .subject_alternative_name()
                    .unwrap()
                    .unwrap()
                    .value
                    .general_names
                    .len();
                assert_eq!(names, if path == "/db" { 3 } else { 1 });
                let lifetime = svid.expires_at - lab.server.journal.clock().unix();
                let expected = if path == "/db" { 600 } else { 3600 };
                assert!((expected - 5..=expected).contains(&lifetime), "{lifetime}");
            }
            // The control: b holds what a could not have.
            assert_eq!(codes(&batch(&lab, &b, &[("of-b", csr(&[], &[]))]).await.unwrap()), [ok]);
        },
    );
}

#[test]
fn batches_have_a_size() {
    isolated("svids::batches_have_a_size", |folder| async move {
        let lab = Lab::start(&folder).await;
        let a = lab.attested("aa", &["tpm2:model:x"]).await;
        lab.create(vec![types::Entry {
            id: "web".into(),
            ..entry("/web", a.path(), 1)
        }])
        .await;
        let csr = csr(&[], &[]);
        let most = vec![("web", csr.clone()); 500];
        let response = batch(&lab, &a, &most).await.unwrap();
        assert_eq!(codes(&response), vec![Code::Ok; 500]);
        let over = vec![("web", csr); 501];
        assert_eq!(
            batch(&lab, &a, &over).await.unwrap_err().code(),
            Code::ResourceExhausted
        );
        assert_eq!(batch(&lab, &a, &[]).await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn an_agent_that_went_away_gets_nothing() {
    isolated("svids::an_agent_that_went_away_gets_nothing", |folder| async move {
        let lab = Lab::start(&folder).await;
        let gone = crate::lab::agent_id("aa");
        lab.create(vec![types::Entry {
            id: "web".into(),
            ..entry("/web", gone.path(), 1)
        }])
        .await;
        let refused = batch(&lab, &gone, &[("web", csr(&[], &[]))]).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        lab.attested("aa", &["tpm2:model:x"]).await;
        assert_eq!(
            codes(&batch(&lab, &gone, &[("web", csr(&[], &[]))]).await.unwrap()),
            [Code::Ok]
        );
    });
}

/// The request was let through and authorised; the ban comes while it stands in line for the processor.
#[test]
fn a_ban_that_meets_a_request_on_its_way_wins() {
    isolated(
        "svids::a_ban_that_meets_a_request_on_its_way_wins",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let agent = lab.attested("aa", &["tpm2:model:x"]).await;
            lab.create(vec![types::Entry {
                id: "web".into(),
                ..entry("/web", agent.path(), 1)
            }])
            .await;
            for banned in [false, true] {
                let (go, started) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
                let every = std::thread::available_parallelism().unwrap().get();
                let mut busy = tokio::task::JoinSet::new();
                for _ in 0..every {
                    let (compute, go, started) = (lab.server.compute.clone(), Arc::clone(&go), Arc::clone(&started));
                    busy.spawn(async move {
                        let work = move || {
                            started.fetch_add(1, Ordering::SeqCst);
                            while !go.load(Ordering::SeqCst) {
                                std::thread::sleep(Duration::from_millis(1));
                            }
                        };
                        compute.run(work).await
                    });
                }
                while started.load(Ordering::SeqCst) < every {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // A single one would not wait for room to compute.
                let items = [("web", csr(&[], &[])), ("web", csr(&[], &[]))];
                // It gets as far as it can before the other has a turn.
                let asking = batch(&lab, &agent, &items);
                let banning = async {
                    if banned {
                        let request = hallmark_api::agent::BanAgentRequest {
                            id: Some(crate::lab::id_message(agent.path())),
                        };
                        let ban = hallmark_server::api::agent_admin::ban(&lab.server.nodes, local(request));
                        ban.await.unwrap();
                    }
                    go.store(true, Ordering::SeqCst);
                };
                let (answer, ()) = tokio::join!(biased; asking, banning);
                if banned {
                    assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
                } else {
                    assert_eq!(codes(&answer.unwrap()), [Code::Ok, Code::Ok]);
                }
                busy.join_all().await;
            }
            lab.stop().await;
        },
    );
}

#[test]
fn minting_takes_its_names_from_the_csr() {
    isolated("svids::minting_takes_its_names_from_the_csr", |folder| async move {
        let lab = Lab::start(&folder).await;
        let mint = async |csr: Bytes, ttl: i32| {
            let request = local(MintX509svidRequest { csr, ttl });
            lab.svids
                .mint_x509svid(request)
                .await
                .map(|response| response.into_inner().svid.unwrap())
        };
        let svid = mint(csr(&["spiffe://example.org/hook"], &["hook.example.org"]), 120)
            .await
            .unwrap();
        assert_eq!(verified(&lab, &svid).path(), "/hook");
        let (_, leaf) = X509Certificate::from_der(&svid.cert_chain[0]).unwrap();
        let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert!(names.contains(&x509_parser::extensions::GeneralName::DNSName("hook.example.org")));
        assert!(svid.expires_at - lab.server.journal.clock().unix() <= 120);
        let default = mint(csr(&["spiffe://example.org/hook"], &[]), 0).await.unwrap();
        assert!(default.expires_at - lab.server.journal.clock().unix() > 3590);
        // The longest that may be minted, and one second more.
        let day = mint(csr(&["spiffe://example.org/hook"], &[]), 86_400).await.unwrap();
        assert!(day.expires_at - lab.server.journal.clock().unix() > 86_390);
        let refused = mint(csr(&["spiffe://example.org/hook"], &[]), 86_401)
            .await
            .unwrap_err();
        let told = refused.message();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(
            told.starts_with("HM-REG-0045") && told.contains("86401") && told.contains("at most 86400"),
            "{told}"
        );
        let mut tampered = csr(&["spiffe://example.org/hook"], &[]).to_vec();
        *tampered.last_mut().unwrap() ^= 1;
        for (csr, ttl) in [
            (csr(&[], &["hook.example.org"]), 0),
            (csr(&["spiffe://example.org/a", "spiffe://example.org/b"], &[]), 0),
            (csr(&["spiffe://other.test/a"], &[]), 0),
            (csr(&["spiffe://example.org/spire/server"], &[]), 0),
            (csr(&["spiffe://example.org"], &[]), 0),
            (csr(&["https://example.org/a"], &[]), 0),
            (csr(&["spiffe://example.org/a"], &["under_score"]), 0),
            (csr(&["spiffe://example.org/a"], &[]), -1),
            (tampered.into(), 0),
            (Bytes::new(), 0),
        ] {
            let refused = mint(csr, ttl).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        }
    });
}

/// What a request asks for beyond a leaf's names is refused with a code, and so is a key that is weak or of another kind.
#[test]
fn attack_80_a_hostile_request_is_not_minted() {
    isolated(
        "svids::attack_80_a_hostile_request_is_not_minted",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let asked = |change: &dyn Fn(&mut CertificateParams), key: &KeyPair| -> Bytes {
                let mut params = CertificateParams::default();
                params.subject_alt_names = vec![SanType::URI("spiffe://example.org/a".try_into().unwrap())];
                change(&mut params);
                params.serialize_request(key).unwrap().der().to_vec().into()
            };
            let of = |change: &dyn Fn(&mut CertificateParams)| asked(change, &KeyPair::generate().unwrap());
            let mint = async |csr: Bytes| {
                lab.svids
                    .mint_x509svid(local(MintX509svidRequest { csr, ttl: 60 }))
                    .await
            };
            let weak = Bytes::from(openssl_csr(&folder, &["rsa:1024"]));
            let foreign = Bytes::from(openssl_csr(&folder, &["ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"]));
            let edwards = Bytes::from(openssl_csr(&folder, &["ed25519"]));
            // Signed by another key than it has.
            let mut swapped = of(&|_| {}).to_vec();
            let other = KeyPair::generate().unwrap().public_key_raw().to_vec();
            let at = swapped.windows(2).position(|it| it == [0x00, 0x04]).unwrap() + 1;
            swapped[at..at + other.len()].copy_from_slice(&other);
            let uri = |uri: &str| SanType::URI(uri.try_into().unwrap());
            for (code, csr) in [
                (
                    "HM-ID-0109",
                    of(&|it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                ),
                ("HM-ID-0109", of(&|it| it.key_usages = vec![KeyUsagePurpose::CrlSign])),
                (
                    "HM-ID-0109",
                    of(&|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
                ),
                (
                    "HM-ID-0108",
                    of(&|it| it.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()))),
                ),
                (
                    "HM-ID-0107",
                    of(&|it| it.subject_alt_names.push(uri("spiffe://example.org/b"))),
                ),
                ("HM-ID-0107", of(&|it| it.subject_alt_names.clear())),
                (
                    "HM-REG-0003",
                    of(&|it| it.subject_alt_names = vec![uri("spiffe://other.test/a")]),
                ),
                (
                    "HM-REG-0005",
                    of(&|it| it.subject_alt_names = vec![uri("spiffe://example.org/spire/server")]),
                ),
                (
                    "HM-REG-0005",
                    of(&|it| it.subject_alt_names = vec![uri("spiffe://example.org/spire/agent/tpm2/aa")]),
                ),
                ("HM-ID-0106", Bytes::from_static(b"no request")),
                ("HM-CA-0001", vec![0x30; 64 * 1024].into()),
                ("HM-CA-0007", weak),
                ("HM-CA-0005", foreign),
                ("HM-CA-0005", edwards),
                ("HM-CA-0004", swapped.into()),
            ] {
                let refused = mint(csr).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{code}: {refused:?}");
                assert!(refused.message().starts_with(code), "{code}: {}", refused.message());
            }
            let honest = of(&|it| {
                it.is_ca = IsCa::ExplicitNoCa;
                it.key_usages = vec![KeyUsagePurpose::DigitalSignature];
                it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            });
            let svid = mint(honest).await.unwrap().into_inner().svid.unwrap();
            assert_eq!(verified(&lab, &svid).path(), "/a", "the control");
        },
    );
}

/// A request for `spiffe://example.org/a` with a key of this kind.
fn openssl_csr(folder: &Path, key: &[&str]) -> Vec<u8> {
    let out = Command::new("openssl")
        .args(["req", "-new", "-nodes", "-subj", "/O=x", "-outform", "DER", "-newkey"])
        .args(key)
        .args([
            "-addext",
            "subjectAltName=URI:spiffe://example.org/a",
            "-keyout",
            "/dev/null",
        ])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

/// A request from an administrator over TLS.
fn from_admin<T>(holder: &RoleHolder, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.extensions_mut().insert(Caller::Admin(holder.clone()));
    request
}

/// The admin socket may mint any name as long as the configuration names none; administrators over TLS those of entries, which they
/// did not write themselves; with a list in the configuration it counts for everybody.
#[test]
fn dns_names_are_minted_within_what_entries_and_the_configuration_allow() {
    isolated(
        "svids::dns_names_are_minted_within_what_entries_and_the_configuration_allow",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let node = lab.attested("aa", &["tpm2:model:x"]).await;
            let admin = types::Entry {
                id: "admin".into(),
                admin: true,
                ..entry("/admin", node.path(), 1)
            };
            let db = types::Entry {
                id: "db".into(),
                dns_names: vec!["DB.example.org".into()],
                ..entry("/db", node.path(), 2)
            };
            lab.create(vec![admin, db]).await;
            let holder = RoleHolder {
                id: SpiffeId::parse("spiffe://example.org/admin").unwrap(),
                agent: node.clone(),
                issued_at: lab.server.journal.clock().unix(),
            };
            let asked = |name: &str| MintX509svidRequest {
                csr: csr(&["spiffe://example.org/db"], &[name]),
                ttl: 60,
            };
            let admin = async |name: &str| lab.svids.mint_x509svid(from_admin(&holder, asked(name))).await;
            lab.svids.mint_x509svid(local(asked("any.example.net"))).await.unwrap();
            admin("db.example.org").await.unwrap();
            let refused = admin("any.example.net").await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied);
            assert!(refused.message().starts_with("HM-REG-0111"), "{}", refused.message());
            // An entry of his own making gives him none.
            let own = types::Entry {
                id: "own".into(),
                dns_names: vec!["any.example.net".into()],
                ..entry("/db", node.path(), 3)
            };
            let request = from_admin(
                &holder,
                BatchCreateEntryRequest {
                    entries: vec![own],
                    output_mask: None,
                },
            );
            let made = lab.entries.batch_create_entry(request).await.unwrap().into_inner();
            assert_eq!(made.results[0].status.as_ref().unwrap().code, 0, "{made:?}");
            assert!(admin("any.example.net").await.is_err());
            lab.stop().await;

            let path = folder.join("server.toml");
            let config = std::fs::read_to_string(&path).unwrap();
            std::fs::write(
                &path,
                format!("{config}[authority]\nminted_dns_names = [\"*.lab.example.org\"]\n"),
            )
            .unwrap();
            let lab = Lab::start(&folder).await;
            let local = async |name: &str| lab.svids.mint_x509svid(local(asked(name))).await;
            local("a.b.lab.example.org").await.unwrap();
            local("db.example.org").await.unwrap();
            let refused = local("any.example.com").await.unwrap_err();
            assert!(refused.message().starts_with("HM-REG-0111"), "{}", refused.message());
        },
    );
}

#[test]
fn nobody_is_a_server_below_on_the_admin_socket() {
    isolated(
        "svids::nobody_is_a_server_below_on_the_admin_socket",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let request = local(NewDownstreamX509caRequest::default());
            assert_eq!(
                lab.svids.new_downstream_x509ca(request).await.unwrap_err().code(),
                Code::PermissionDenied
            );
        },
    );
}

/// An entry that is updated all the time holds up no other SVID of the same batch.
#[test]
fn an_entry_that_never_rests_holds_up_no_other() {
    isolated(
        "svids::an_entry_that_never_rests_holds_up_no_other",
        |folder| async move {
            let lab = Arc::new(Lab::start(&folder).await);
            let agent = lab.attested("aa", &[]).await;
            let named = |name: &str| types::Entry {
                id: name.into(),
                ..entry(&format!("/{name}"), agent.path(), 1)
            };
            lab.create(vec![named("restless"), named("quiet"), named("other")])
                .await;
            let done = Arc::new(AtomicBool::new(false));
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let (lab, done) = (Arc::clone(&lab), Arc::clone(&done));
                    tokio::spawn(async move {
                        let mut updates = 0_u64;
                        while !done.load(Ordering::SeqCst) {
                            let request = BatchUpdateEntryRequest {
                                entries: vec![types::Entry {
                                    id: "restless".into(),
                                    hint: format!("{writer}-{updates}"),
                                    spiffe_id: Some(id_message("/restless")),
                                    ..Default::default()
                                }],
                                input_mask: Some(types::EntryMask {
                                    hint: true,
                                    ..Default::default()
                                }),
                                output_mask: None,
                            };
                            lab.entries.batch_update_entry(local(request)).await.unwrap();
                            updates += 1;
                        }
                        updates
                    })
                })
                .collect();
            for _ in 0..5 {
                let items = ["quiet", "restless", "other"].map(|name| (name, csr(&[], &[])));
                let answer = batch(&lab, &agent, &items).await.unwrap();
                let code = |at: usize| answer.results[at].status.as_ref().unwrap().code;
                assert_eq!((code(0), code(2)), (0, 0), "{:?}", answer.results[0].status);
            }
            done.store(true, Ordering::SeqCst);
            for writer in writers {
                assert!(writer.await.unwrap() > 0);
            }
            Arc::into_inner(lab).unwrap().stop().await;
        },
    );
}

/// What does not fit one answer is asked for again, and all of it is issued in the end.
#[test]
fn large_svids_come_in_answers_that_an_agent_reads() {
    isolated(
        "svids::large_svids_come_in_answers_that_an_agent_reads",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let a = lab.attested("aa", &["tpm2:model:x"]).await;
            let entries = large(80, a.path());
            for some in entries.chunks(40) {
                lab.create(some.to_vec()).await;
            }
            let csr = csr(&[], &[]);
            let mut open: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
            let mut calls = 0;
            while !open.is_empty() {
                let items: Vec<_> = open.iter().map(|id| (*id, csr.clone())).collect();
                let response = batch(&lab, &a, &items).await.unwrap();
                assert!(response.encoded_len() < 4 << 20, "{}", response.encoded_len());
                let codes = codes(&response);
                let issued = codes.iter().filter(|code| **code == Code::Ok).count();
                assert!(issued > 0 && codes[..issued].iter().all(|code| *code == Code::Ok));
                assert!(codes[issued..].iter().all(|code| *code == Code::ResourceExhausted));
                open.drain(..issued);
                calls += 1;
            }
            assert!(calls > 1, "the control");
        },
    );
}
