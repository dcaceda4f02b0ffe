//! JWT-SVIDs: issued to agents' workloads and minted, by keys of the token that live, are replaced and go.

use std::{path::Path, sync::Arc};

use hallmark_api::{
    bundle::{GetBundleRequest, bundle_server::Bundle as _},
    localauthority::{
        ActivateJwtAuthorityRequest, GetJwtAuthorityStateRequest, PrepareJwtAuthorityRequest,
        RevokeJwtAuthorityRequest, TaintJwtAuthorityRequest, local_authority_server::LocalAuthority as _,
    },
    svid::{MintJwtsvidRequest, NewJwtsvidRequest, svid_server::Svid as _},
    types,
};
use hallmark_server::{clock::Clock, config, run::Running};
use hallmark_spiffe::{
    Bundle, SpiffeId,
    jwt::{JwtAuthority, JwtSvid},
};
use hallmark_state::{Change, JwtKey, Node, NodeState, Outcome, RecordFilter, RecordKind, RecordQuery};
use tonic::{Code, Status};

use crate::lab::{Lab, TRUST_DOMAIN, entry, from_agent, id_message, isolated, key_files, local};

async fn new_jwt(lab: &Lab, agent: &SpiffeId, entry: &str, audience: &[&str]) -> Result<types::Jwtsvid, Status> {
    let request = NewJwtsvidRequest {
        entry_id: entry.into(),
        audience: audience.iter().map(|it| (*it).to_owned()).collect(),
    };
    let answer = lab.svids.new_jwtsvid(from_agent(agent, request)).await?;
    Ok(answer.into_inner().svid.unwrap())
}

async fn mint(lab: &Lab, path: &str, audience: &[&str], ttl: i32) -> Result<types::Jwtsvid, Status> {
    let request = MintJwtsvidRequest {
        id: Some(id_message(path)),
        audience: audience.iter().map(|it| (*it).to_owned()).collect(),
        ttl,
    };
    let answer = lab.svids.mint_jwtsvid(local(request)).await?;
    Ok(answer.into_inner().svid.unwrap())
}

/// The bundle as a client has it.
async fn bundle(lab: &Lab) -> Bundle {
    let message = lab.bundle.get_bundle(local(GetBundleRequest::default())).await.unwrap();
    let message = message.into_inner();
    let key = |it: &types::JwtKey| {
        let mut key = JwtAuthority::new(it.key_id.clone(), it.public_key.to_vec()).unwrap();
        key.expires_at = it.expires_at;
        key.tainted = it.tainted;
        key
    };
    Bundle {
        jwt_authorities: message.jwt_authorities.iter().map(key).collect(),
        sequence: message.sequence_number,
        ..Bundle::empty(lab.server.journal.trust_domain().clone())
    }
}

async fn validate(lab: &Lab, token: &str, audience: &str) -> JwtSvid {
    let (bundle, now) = (bundle(lab).await, Clock::system().unix());
    JwtSvid::validate(token, audience, now, |_| Some(&bundle)).unwrap()
}

/// The ids of the active, the prepared and the newest old key.
async fn states(lab: &Lab) -> [Option<String>; 3] {
    let asked = local(GetJwtAuthorityStateRequest {});
    let answer = lab.local_authority.get_jwt_authority_state(asked).await.unwrap();
    let answer = answer.into_inner();
    [answer.active, answer.prepared, answer.old].map(|it| it.map(|it| it.authority_id))
}

async fn labels(lab: &Lab) -> Vec<String> {
    let all = lab.server.keys.list().await.unwrap();
    let labels = all.into_iter().map(|key| key.label);
    labels.filter(|label| label.starts_with("hallmark-jwt-")).collect()
}

fn configure(folder: &Path, lines: &str) {
    let path = folder.join("server.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}[authority]\n{lines}\n")).unwrap();
}

/// Of the first agent: one without and one with wishes of its own, one that wishes too much; and one of the second.
fn entries(a: &SpiffeId, b: &SpiffeId) -> Vec<types::Entry> {
    let plain = types::Entry {
        id: "plain".into(),
        ..entry("/web", a.path(), 1)
    };
    let named = types::Entry {
        id: "named".into(),
        jwt_svid_ttl: 60,
        additional_attributes: Some(types::entry::AdditionalAttributes {
            jwt_svid_include_jti: true,
            ..Default::default()
        }),
        ..entry("/db", a.path(), 2)
    };
    let long = types::Entry {
        id: "long".into(),
        jwt_svid_ttl: 7200,
        ..entry("/long", a.path(), 3)
    };
    let foreign = types::Entry {
        id: "of-b".into(),
        ..entry("/b", b.path(), 1)
    };
    vec![plain, named, long, foreign]
}

#[test]
fn a_workloads_token_says_what_its_entry_grants_and_nothing_else() {
    isolated(
        "jwt::a_workloads_token_says_what_its_entry_grants_and_nothing_else",
        |folder| async move {
            configure(&folder, "jwt_issuer = \"https://issuer.example.org\"");
            let lab = Lab::start(&folder).await;
            let (a, b) = (
                lab.attested("aa", &["tpm2:model:x"]).await,
                lab.attested("bb", &["tpm2:model:x"]).await,
            );
            lab.create(entries(&a, &b)).await;
            let token = new_jwt(&lab, &a, "plain", &["db", "cache"]).await.unwrap();
            let svid = validate(&lab, &token.token, "cache").await;
            assert_eq!(svid.spiffe_id().as_str(), format!("spiffe://{TRUST_DOMAIN}/web"));
            assert_eq!(
                (svid.audience(), token.id),
                (&["db".to_owned(), "cache".into()][..], Some(id_message("/web")))
            );
            assert_eq!(
                (svid.expires_at(), svid.issued_at()),
                (token.expires_at, Some(token.issued_at))
            );
            assert_eq!(token.expires_at - token.issued_at, 300);
            let names: Vec<&str> = svid.claims().keys().map(String::as_str).collect();
            assert_eq!(names, ["aud", "exp", "iat", "iss", "sub"]);
            assert_eq!(svid.claims()["iss"], "https://issuer.example.org");
            let token = new_jwt(&lab, &a, "named", &["db"]).await.unwrap();
            let svid = validate(&lab, &token.token, "db").await;
            assert_eq!(token.expires_at - token.issued_at, 60);
            assert_eq!(svid.claims()["jti"].as_str().unwrap().len(), 32, "16 bytes");
            let token = new_jwt(&lab, &a, "long", &["db"]).await.unwrap();
            assert_eq!(token.expires_at - token.issued_at, 3600, "`jwt_svid_ttl_max`");
            // Another agent's entry and one that is not there look the same.
            for entry in ["of-b", "absent", "not an id \u{7}"] {
                let refused = new_jwt(&lab, &a, entry, &["db"]).await.unwrap_err();
                assert_eq!(
                    (refused.code(), refused.message()),
                    (Code::NotFound, "entry not found or not authorized")
                );
            }
            let (long, many) = ("x".repeat(1025), vec!["x"; 33]);
            let together = [
                "y".repeat(1000),
                "y".repeat(1000),
                "y".repeat(1000),
                "y".repeat(1000),
                "y".repeat(97),
            ];
            let together = together.each_ref().map(String::as_str);
            for audience in [
                &[][..],
                &[""],
                &["ok", ""],
                &["line\nbreak"],
                &[long.as_str()],
                &many,
                &together,
            ] {
                let refused = new_jwt(&lab, &a, "plain", audience).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{audience:?}");
            }
            assert_eq!(
                new_jwt(&lab, &a, "", &["db"]).await.unwrap_err().code(),
                Code::InvalidArgument
            );
            // What was issued is on record, and what was refused asked for no signature.
            let records = lab.server.journal.store().records(RecordQuery {
                limit: 100,
                filter: RecordFilter::Svids,
                ..RecordQuery::default()
            });
            let records = records.await.unwrap();
            let intents = records
                .iter()
                .filter(|it| it.record.kind == RecordKind::SvidIntent && it.record.detail.contains("audience"));
            assert_eq!(intents.count(), 3);
            lab.stop().await;
        },
    );
}

#[test]
fn a_node_that_is_out_gets_no_token() {
    isolated("jwt::a_node_that_is_out_gets_no_token", |folder| async move {
        let lab = Lab::start(&folder).await;
        let a = lab.attested("aa", &["tpm2:model:x"]).await;
        lab.create(vec![types::Entry {
            id: "web".into(),
            ..entry("/web", a.path(), 1)
        }])
        .await;
        new_jwt(&lab, &a, "web", &["db"]).await.unwrap();
        let node = lab.server.journal.node(&a).unwrap();
        for state in [NodeState::Banned, NodeState::Retired, NodeState::Suspended] {
            let put = |state| {
                Change::PutNode(Arc::new(Node {
                    state,
                    ..Node::clone(&node)
                }))
            };
            lab.commit(vec![put(state)]).await;
            let refused = new_jwt(&lab, &a, "web", &["db"]).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{state:?}");
            lab.commit(vec![put(NodeState::Active)]).await;
            new_jwt(&lab, &a, "web", &["db"]).await.unwrap();
        }
        lab.stop().await;
    });
}

#[test]
fn tokens_are_minted_by_hand_within_bounds() {
    isolated("jwt::tokens_are_minted_by_hand_within_bounds", |folder| async move {
        configure(&folder, "minted_ttl_max = \"10m\"\njwt_key_type = \"ec-p384\"");
        let lab = Lab::start(&folder).await;
        let token = mint(&lab, "/ops", &["db"], 600).await.unwrap();
        let svid = validate(&lab, &token.token, "db").await;
        assert_eq!(svid.spiffe_id().path(), "/ops");
        assert_eq!(token.expires_at - token.issued_at, 600);
        assert!(svid.claims().contains_key("jti"), "it can be told from others");
        assert_eq!(
            mint(&lab, "/ops", &["db"], 0)
                .await
                .map(|it| it.expires_at - it.issued_at)
                .unwrap(),
            300
        );
        for (path, audience, ttl) in [
            ("/ops", &["db"][..], 601),
            ("/ops", &["db"], -1),
            ("/ops", &[], 60),
            ("", &["db"], 60),
            ("/spire/server", &["db"], 60),
            ("/spire/agent/tpm2/x", &["db"], 60),
        ] {
            let refused = mint(&lab, path, audience, ttl).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{path} {audience:?} {ttl}");
        }
        lab.stop().await;
    });
}

#[test]
fn keys_are_replaced_step_by_step_and_destroyed_in_the_token() {
    isolated(
        "jwt::keys_are_replaced_step_by_step_and_destroyed_in_the_token",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let first = mint(&lab, "/ops", &["db"], 0).await.unwrap();
            let [Some(first_id), None, None] = &states(&lab).await else {
                panic!("one key, which signs")
            };
            let service = &lab.local_authority;
            // There is nothing to activate, and what signs can be neither tainted nor revoked.
            let activate = || service.activate_jwt_authority(local(ActivateJwtAuthorityRequest::default()));
            let taint = |id: &str| {
                service.taint_jwt_authority(local(TaintJwtAuthorityRequest {
                    authority_id: id.into(),
                }))
            };
            let revoke = |id: &str| {
                service.revoke_jwt_authority(local(RevokeJwtAuthorityRequest {
                    authority_id: id.into(),
                }))
            };
            assert_eq!(activate().await.unwrap_err().code(), Code::FailedPrecondition);
            assert_eq!(taint(first_id).await.unwrap_err().code(), Code::FailedPrecondition);
            assert_eq!(revoke(first_id).await.unwrap_err().code(), Code::FailedPrecondition);
            assert_eq!(revoke("unknown").await.unwrap_err().code(), Code::NotFound);
            let sequence = bundle(&lab).await.sequence;
            let prepare = || service.prepare_jwt_authority(local(PrepareJwtAuthorityRequest {}));
            let next = prepare().await.unwrap().into_inner().prepared_authority.unwrap();
            assert_eq!(prepare().await.unwrap_err().code(), Code::FailedPrecondition);
            // It is in the bundle before it signs.
            let published = bundle(&lab).await;
            assert_eq!((published.jwt_authorities.len(), published.sequence), (2, sequence + 1));
            let signed_by_first = mint(&lab, "/ops", &["db"], 0).await.unwrap();
            activate().await.unwrap();
            let signed_by_next = mint(&lab, "/ops", &["db"], 0).await.unwrap();
            for token in [&first, &signed_by_first, &signed_by_next] {
                validate(&lab, &token.token, "db").await;
            }
            let expected = [Some(next.authority_id.clone()), None, Some(first_id.clone())];
            assert_eq!(states(&lab).await, expected);
            assert_eq!(labels(&lab).await.len(), 2);
            taint(first_id).await.unwrap();
            let tainted = bundle(&lab).await;
            assert!(
                tainted
                    .jwt_authorities
                    .iter()
                    .any(|key| key.tainted && key.key_id() == first_id)
            );
            revoke(first_id).await.unwrap();
            let left = bundle(&lab).await;
            let refused = JwtSvid::validate(&first.token, "db", Clock::system().unix(), |_| Some(&left)).unwrap_err();
            assert_eq!(hallmark_reason::Coded::code(&refused).as_str(), "HM-ID-0097");
            validate(&lab, &signed_by_next.token, "db").await;
            assert_eq!(labels(&lab).await.len(), 1, "it is gone from the token as well");
            lab.stop().await;
            // The control: the next start finds the key again.
            let lab = Lab::start(&folder).await;
            assert_eq!(states(&lab).await, [Some(next.authority_id), None, None]);
            validate(&lab, &signed_by_next.token, "db").await;
            validate(&lab, &mint(&lab, "/ops", &["db"], 0).await.unwrap().token, "db").await;
            lab.stop().await;
        },
    );
}

#[test]
fn a_key_that_no_row_names_is_destroyed_and_one_of_another_store_is_left_alone() {
    isolated(
        "jwt::a_key_that_no_row_names_is_destroyed_and_one_of_another_store_is_left_alone",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let kind = hallmark_hsm::KeyKind::EcP256;
            // As another store's server leaves it: nothing is on record of it here.
            let others = format!("hallmark-jwt-{TRUST_DOMAIN}-00000000000000ff");
            lab.server.keys.generate(&others, kind).await.unwrap();
            let prepare = || {
                lab.local_authority
                    .prepare_jwt_authority(local(PrepareJwtAuthorityRequest {}))
            };
            prepare().await.unwrap();
            assert_eq!(labels(&lab).await.len(), 3);
            // As a server that ends between the two halves of a removal leaves it.
            let state = || lab.server.journal.state().prepared_jwt_key().cloned();
            let lost = state().unwrap();
            let key_id = lost.key_id.clone();
            lab.commit(vec![Change::DeleteJwtKey { key_id }]).await;
            let signs = lab.server.journal.state().active_jwt_key().cloned().unwrap();
            lab.stop().await;
            let lab = Lab::start(&folder).await;
            let left = labels(&lab).await;
            assert!(
                left.contains(&others) && left.contains(&signs.label) && !left.contains(&lost.label),
                "{left:?}"
            );
            // A row that names the other store's key does not have it destroyed.
            let row = JwtKey {
                key_id: "stray".into(),
                label: others.clone(),
                state: hallmark_state::AuthorityState::Old,
                ..JwtKey::clone(&signs)
            };
            lab.commit(vec![Change::PutJwtKey(Arc::new(row))]).await;
            let request = RevokeJwtAuthorityRequest {
                authority_id: "stray".into(),
            };
            lab.local_authority.revoke_jwt_authority(local(request)).await.unwrap();
            lab.server.jwt.keep().await.unwrap();
            assert!(labels(&lab).await.contains(&others));
            lab.stop().await;
        },
    );
}

#[test]
fn a_key_that_the_token_has_lost_is_replaced_while_the_server_runs() {
    isolated(
        "jwt::a_key_that_the_token_has_lost_is_replaced_while_the_server_runs",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let before = mint(&lab, "/ops", &["db"], 0).await.unwrap();
            let lost = lab.server.journal.state().active_jwt_key().cloned().unwrap();
            let key = lab.server.keys.find(&lost.label).await.unwrap().unwrap();
            lab.server.keys.destroy(&key.id).await.unwrap();
            assert_eq!(
                mint(&lab, "/ops", &["db"], 0).await.unwrap_err().code(),
                Code::Unavailable
            );
            lab.server.jwt.keep().await.unwrap();
            let signs = lab.server.journal.state().active_jwt_key().cloned().unwrap();
            assert_ne!(signs.key_id, lost.key_id);
            // What it signed is as good as before: nobody has its private half.
            validate(&lab, &before.token, "db").await;
            validate(&lab, &mint(&lab, "/ops", &["db"], 0).await.unwrap().token, "db").await;
            lab.stop().await;
        },
    );
}

#[test]
fn a_key_that_has_lost_one_half_is_replaced() {
    isolated("jwt::a_key_that_has_lost_one_half_is_replaced", |folder| async move {
        let file = folder.join("server.toml");
        let with_tokens = std::fs::read(&file).unwrap();
        configure(&folder, "jwt_svids = false");
        Lab::start(&folder).await.stop().await;
        let mut others = key_files(&folder);
        std::fs::write(&file, with_tokens).unwrap();
        for half in 0..2 {
            let lab = Lab::start(&folder).await;
            let lost = lab.server.journal.state().active_jwt_key().cloned().unwrap();
            lab.stop().await;
            // Of what this start made, or the last round; the X.509 authority's key is from the first start.
            let halves: Vec<_> = key_files(&folder).difference(&others).cloned().collect();
            assert_eq!(halves.len(), 2, "{halves:?}");
            std::fs::remove_file(&halves[half]).unwrap();
            let lab = Lab::start(&folder).await;
            lab.server.jwt.keep().await.unwrap();
            let signs = lab.server.journal.state().active_jwt_key().cloned().unwrap();
            assert_ne!(signs.key_id, lost.key_id);
            validate(&lab, &mint(&lab, "/ops", &["db"], 0).await.unwrap().token, "db").await;
            lab.stop().await;
            // What is left of it stays in the token.
            others.insert(halves[1 - half].clone());
        }
    });
}

#[test]
fn keys_follow_each_other_as_time_passes() {
    isolated("jwt::keys_follow_each_other_as_time_passes", |folder| async move {
        configure(&folder, "jwt_key_ttl = \"24h\"");
        let config = config::load(&folder.join("server.toml"), None).unwrap();
        let (clock, hand) = Clock::movable();
        let running = Running::start(config, clock).await.unwrap();
        let lab = Lab::of(running);
        let standing = |lab: &Lab| {
            let state = lab.server.journal.state();
            state
                .jwt_keys()
                .iter()
                .map(|key| key.state.as_str())
                .collect::<Vec<_>>()
        };
        for (hours, expected) in [
            (1, &["active"][..]),
            (12, &["active", "prepared"]),
            (20, &["old", "active"]),
            (25, &["active", "prepared"]),
        ] {
            hand.set(hours * 3600).await;
            lab.server.jwt.keep().await.unwrap();
            assert_eq!(standing(&lab), expected, "after {hours} hours");
            assert_eq!(labels(&lab).await.len(), expected.len());
        }
        let admin = RecordQuery {
            limit: 100,
            filter: RecordFilter::Admin,
            ..RecordQuery::default()
        };
        let records = lab.server.journal.store().records(admin).await.unwrap();
        let steps = |act: &str| {
            records
                .iter()
                .filter(|it| it.record.detail.contains(&format!("\"jwt-authority-{act}\"")))
                .count()
        };
        assert_eq!(
            [
                steps("generate"),
                steps("prepare"),
                steps("activate"),
                steps("end"),
                steps("destroy")
            ],
            [3, 3, 2, 1, 1]
        );
        assert!(records.iter().all(|it| it.record.outcome != Outcome::Failed));
        lab.stop().await;
    });
}

#[test]
fn a_server_that_issues_none_says_so() {
    isolated("jwt::a_server_that_issues_none_says_so", |folder| async move {
        configure(&folder, "jwt_svids = false");
        let lab = Lab::start(&folder).await;
        let a = lab.attested("aa", &["tpm2:model:x"]).await;
        assert_eq!(
            new_jwt(&lab, &a, "web", &["db"]).await.unwrap_err().code(),
            Code::Unimplemented
        );
        assert_eq!(
            mint(&lab, "/ops", &["db"], 0).await.unwrap_err().code(),
            Code::FailedPrecondition
        );
        assert!(labels(&lab).await.is_empty() && bundle(&lab).await.jwt_authorities.is_empty());
        lab.stop().await;
    });
}

#[test]
fn keys_of_a_server_that_issues_none_any_more_go_when_they_end() {
    isolated(
        "jwt::keys_of_a_server_that_issues_none_any_more_go_when_they_end",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let before = mint(&lab, "/ops", &["db"], 0).await.unwrap();
            lab.stop().await;
            configure(&folder, "jwt_svids = false");
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            // What it signed is as good as before.
            validate(&lab, &before.token, "db").await;
            hand.set(24 * 3600 + 61).await;
            lab.server.jwt.keep().await.unwrap();
            assert!(labels(&lab).await.is_empty() && bundle(&lab).await.jwt_authorities.is_empty());
            lab.stop().await;
        },
    );
}

#[test]
fn a_prepared_key_that_the_token_has_lost_never_signs() {
    isolated(
        "jwt::a_prepared_key_that_the_token_has_lost_never_signs",
        |folder| async move {
            let config = config::load(&folder.join("server.toml"), None).unwrap();
            let (clock, hand) = Clock::movable();
            let lab = Lab::of(Running::start(config, clock).await.unwrap());
            hand.set(12 * 3600).await;
            lab.server.jwt.keep().await.unwrap();
            let lost = lab.server.journal.state().prepared_jwt_key().cloned().unwrap();
            let key = lab.server.keys.find(&lost.label).await.unwrap().unwrap();
            lab.server.keys.destroy(&key.id).await.unwrap();
            let activate = lab
                .local_authority
                .activate_jwt_authority(local(ActivateJwtAuthorityRequest::default()));
            let refused = activate.await.unwrap_err();
            assert!(refused.message().contains("HM-SRV-0010"), "{refused}");
            hand.set(20 * 3600).await;
            lab.server.jwt.keep().await.unwrap();
            let ids = |lab: &Lab| -> Vec<String> {
                let state = lab.server.journal.state();
                state.jwt_keys().iter().map(|key| key.key_id.clone()).collect()
            };
            assert!(
                ids(&lab).len() == 2 && !ids(&lab).contains(&lost.key_id),
                "another one is prepared"
            );
            hand.set(20 * 3600 + 301).await;
            lab.server.jwt.keep().await.unwrap();
            let signs = lab.server.journal.state().active_jwt_key().cloned().unwrap();
            assert_eq!(signs.key_id, ids(&lab)[1]);
            mint(&lab, "/ops", &["db"], 0).await.unwrap();
            lab.stop().await;
        },
    );
}
