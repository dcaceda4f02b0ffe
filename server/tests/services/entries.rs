//! Entries, as administrators see them.

use hallmark_api::{
    entry::{
        BatchCreateEntryRequest, BatchDeleteEntryRequest, BatchUpdateEntryRequest, GetEntryRequest,
        entry_server::Entry as _,
    },
    types,
};
use hallmark_server::api::entry::prune;
use tonic::Code;

use crate::lab::{Lab, entry, id_message, isolated, large, local};

fn code(status: Option<&types::Status>) -> Code {
    Code::from_i32(status.unwrap().code)
}

#[test]
fn entries_are_created_item_by_item() {
    isolated("entries::entries_are_created_item_by_item", |folder| async move {
        let lab = Lab::start(&folder).await;
        let chosen = types::Entry {
            id: "fleet.web-1".into(),
            ..entry("/web", "/node", 1)
        };
        let full = types::Entry {
            x509_svid_ttl: 60,
            jwt_svid_ttl: 60,
            admin: true,
            downstream: true,
            expires_at: 4_000_000_000,
            dns_names: vec!["db.example.org".into()],
            hint: "db".into(),
            store_svid: true,
            ..entry("/db", "/node", 2)
        };
        let results = lab
            .create(vec![
                chosen.clone(),
                entry("/spire/agent/x", "/node", 1),
                full.clone(),
                // The same as the first, under another id; and another one under the first one's id.
                entry("/web", "/node", 1),
                types::Entry {
                    id: "fleet.web-1".into(),
                    ..entry("/other", "/node", 1)
                },
            ])
            .await;
        let codes: Vec<_> = results.iter().map(|result| code(result.status.as_ref())).collect();
        let expected = [
            Code::Ok,
            Code::InvalidArgument,
            Code::Ok,
            Code::AlreadyExists,
            Code::AlreadyExists,
        ];
        assert_eq!(codes, expected);
        assert_eq!(results[0].status.as_ref().unwrap().message, "OK");
        let created = results[0].entry.clone().unwrap();
        assert_eq!(
            created,
            types::Entry {
                created_at: created.created_at,
                revision_number: created.revision_number,
                ..chosen
            }
        );
        assert!(created.created_at > 1_700_000_000 && created.revision_number > 0);
        let similar = &results[3];
        assert_eq!(similar.status.as_ref().unwrap().message, "similar entry already exists");
        assert_eq!(similar.entry.as_ref(), Some(&created));
        assert!(
            results[4].entry.is_none(),
            "the entry under that id is not what was asked for"
        );
        let db = results[2].entry.clone().unwrap();
        assert_eq!(db.id.len(), 36, "a UUID");
        assert_eq!(
            db,
            types::Entry {
                id: db.id.clone(),
                created_at: db.created_at,
                ..full
            }
        );
        // A later request finds what an earlier one made.
        let again = lab.create(vec![entry("/web", "/node", 1)]).await;
        assert_eq!(again[0].entry.as_ref(), Some(&created));
        assert_eq!(code(again[0].status.as_ref()), Code::AlreadyExists);
    });
}

type Spoil = fn(&mut types::Entry);

fn foreign() -> Option<types::Spiffeid> {
    Some(types::Spiffeid {
        trust_domain: "other.test".into(),
        path: "/web".into(),
    })
}

/// Each breaks one rule.
const SPOILED: [Spoil; 13] = [
    |e| e.spiffe_id = foreign(),
    |e| e.parent_id = foreign(),
    |e| e.spiffe_id = None,
    |e| e.spiffe_id = Some(id_message("/spire/server")),
    |e| e.spiffe_id = Some(id_message("/a//b")),
    |e| e.selectors.clear(),
    |e| e.selectors[0].r#type = "un:ix".into(),
    |e| e.x509_svid_ttl = -1,
    |e| e.dns_names = vec!["under_score".into()],
    |e| e.hint = "x".repeat(1025),
    |e| e.federates_with = vec!["other.test".into()],
    |e| e.id = "no spaces".into(),
    |e| e.id = "x".repeat(256),
];

#[test]
fn rules_are_kept() {
    isolated("entries::rules_are_kept", |folder| async move {
        let lab = Lab::start(&folder).await;
        let good = || entry("/web", "/node", 1);
        let spoiled = |spoil: &Spoil| {
            let mut entry = good();
            spoil(&mut entry);
            entry
        };
        let results = lab.create(SPOILED.iter().map(spoiled).collect()).await;
        assert_eq!(results.len(), SPOILED.len());
        for (at, result) in results.iter().enumerate() {
            assert_eq!(code(result.status.as_ref()), Code::InvalidArgument, "rule {at}");
            let message = &result.status.as_ref().unwrap().message;
            assert!(message.starts_with("failed to convert entry: "), "{message}");
        }
        assert_eq!(code(lab.create(vec![good()]).await[0].status.as_ref()), Code::Ok);
        let too_many = BatchCreateEntryRequest {
            entries: vec![good(); 2001],
            output_mask: None,
        };
        let refused = lab.entries.batch_create_entry(local(too_many)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    });
}

#[test]
fn entries_are_updated_by_mask() {
    isolated("entries::entries_are_updated_by_mask", |folder| async move {
        let lab = Lab::start(&folder).await;
        let created = lab.create(vec![entry("/a", "/node", 1), entry("/b", "/node", 1)]).await;
        let id = |at: usize| created[at].entry.as_ref().unwrap().id.clone();
        let update = async |entries: Vec<types::Entry>, input_mask: Option<types::EntryMask>| {
            let request = BatchUpdateEntryRequest {
                entries,
                input_mask,
                output_mask: None,
            };
            lab.entries
                .batch_update_entry(local(request))
                .await
                .unwrap()
                .into_inner()
                .results
        };
        let hint = types::EntryMask {
            hint: true,
            ..Default::default()
        };
        let change = |hint: &str| types::Entry {
            id: id(0),
            hint: hint.into(),
            x509_svid_ttl: 9,
            ..Default::default()
        };
        // Two changes of one entry in one batch: the second builds on the first.
        let results = update(vec![change("one"), change("two")], Some(hint)).await;
        let last = results[1].entry.as_ref().unwrap();
        assert_eq!(
            (last.hint.as_str(), last.x509_svid_ttl, last.revision_number),
            ("two", 0, 2)
        );
        assert_eq!(last.spiffe_id, Some(id_message("/a")));
        let absent = types::Entry {
            id: "absent".into(),
            ..entry("/c", "/node", 1)
        };
        let like_b = types::Entry {
            id: id(0),
            ..entry("/b", "/node", 1)
        };
        let whole = types::Entry {
            id: id(0),
            ..entry("/c", "/node", 3)
        };
        let results = update(vec![absent, entry("/c", "/node", 1), like_b, whole.clone()], None).await;
        let codes: Vec<_> = results.iter().map(|result| code(result.status.as_ref())).collect();
        assert_eq!(
            codes,
            [Code::NotFound, Code::InvalidArgument, Code::AlreadyExists, Code::Ok]
        );
        let updated = results[3].entry.clone().unwrap();
        assert_eq!(updated.hint, "", "without a mask every field is replaced");
        assert_eq!((updated.revision_number, updated.selectors), (3, whole.selectors));
    });
}

#[test]
fn entries_are_deleted_and_stay_deleted() {
    isolated("entries::entries_are_deleted_and_stay_deleted", |folder| async move {
        let lab = Lab::start(&folder).await;
        let created = lab.create(vec![entry("/a", "/node", 1), entry("/b", "/node", 1)]).await;
        let id = |at: usize| created[at].entry.as_ref().unwrap().id.clone();
        let ids = vec![id(0), "absent".into(), id(0), String::new()];
        let request = local(BatchDeleteEntryRequest { ids: ids.clone() });
        let results = lab
            .entries
            .batch_delete_entry(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        let codes: Vec<_> = results.iter().map(|result| code(result.status.as_ref())).collect();
        assert_eq!(codes, [Code::Ok, Code::NotFound, Code::NotFound, Code::InvalidArgument]);
        assert_eq!(results.iter().map(|result| result.id.clone()).collect::<Vec<_>>(), ids);
        let (gone, left) = (id(0), created[1].entry.clone().unwrap());
        lab.stop().await;
        // A server that starts again has what was acknowledged, and nothing else.
        let lab = Lab::start(&folder).await;
        let get = async |id: &str| {
            let request = GetEntryRequest {
                id: id.into(),
                output_mask: None,
            };
            lab.entries
                .get_entry(local(request))
                .await
                .map(tonic::Response::into_inner)
        };
        assert_eq!(get(&left.id).await.unwrap(), left);
        assert_eq!(get(&gone).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(get("").await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn the_controller_managers_probe_succeeds() {
    isolated("entries::the_controller_managers_probe_succeeds", |folder| async move {
        let lab = Lab::start(&folder).await;
        let probe = types::Entry {
            selectors: vec![types::Selector {
                r#type: "a".into(),
                value: "1".into(),
            }],
            x509_svid_ttl: 60,
            jwt_svid_ttl: 60,
            store_svid: true,
            hint: "hint".into(),
            ..entry(
                "/spire-controller-manager/unsupported-fields-test",
                "/spire-controller-manager",
                0,
            )
        };
        for expected in [Code::Ok, Code::AlreadyExists] {
            let results = lab.create(vec![probe.clone()]).await;
            assert_eq!(code(results[0].status.as_ref()), expected);
            let echo = results[0].entry.as_ref().unwrap();
            assert_eq!(
                (echo.jwt_svid_ttl, echo.hint.as_str(), echo.store_svid),
                (60, "hint", true)
            );
        }
    });
}

#[test]
fn concurrent_creators_of_one_entry_make_one() {
    isolated(
        "entries::concurrent_creators_of_one_entry_make_one",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let creators = (0..20).map(|_| lab.create(vec![entry("/web", "/node", 1)]));
            let results = futures_util::future::join_all(creators).await;
            let created = results
                .iter()
                .filter(|results| code(results[0].status.as_ref()) == Code::Ok)
                .count();
            assert_eq!(created, 1);
            let ids: std::collections::BTreeSet<_> = results
                .iter()
                .map(|results| results[0].entry.as_ref().unwrap().id.clone())
                .collect();
            assert_eq!(ids.len(), 1);
        },
    );
}

#[test]
fn expired_entries_are_taken_away_and_recorded() {
    isolated(
        "entries::expired_entries_are_taken_away_and_recorded",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let expiring = |path: &str, expires_at| types::Entry {
                expires_at,
                ..entry(path, "/node", 1)
            };
            // More than one commit takes.
            let old: Vec<_> = (0..700).map(|n| expiring(&format!("/old/{n}"), 1)).collect();
            let created = lab.create(old.clone()).await;
            lab.create(vec![expiring("/later", 4_000_000_000), expiring("/never", 0)])
                .await;
            assert_eq!(prune(&lab.server.journal).await.unwrap(), 700);
            assert_eq!(prune(&lab.server.journal).await.unwrap(), 0);
            let paths = |lab: &Lab| -> Vec<String> {
                let state = lab.server.journal.state();
                let all = state.entries().list(&hallmark_state::Filter::default(), 0, None);
                all.entries
                    .iter()
                    .map(|entry| entry.spiffe_id.path().to_owned())
                    .collect()
            };
            let mut left = paths(&lab);
            left.sort();
            assert_eq!(left, ["/later", "/never"]);
            let query = hallmark_state::RecordQuery {
                limit: 10,
                filter: hallmark_state::RecordFilter::Admin,
                subject: Some(created[0].entry.as_ref().unwrap().id.clone()),
                ..Default::default()
            };
            let records = lab.server.journal.store().records(query).await.unwrap();
            let last = &records.last().unwrap().record.detail;
            assert!(last.contains("entry-deleted") && last.contains("expiry"), "{last}");
            // Their place is free again, and what went is gone for good.
            let again = lab.create(vec![expiring("/old/0", 0)]).await;
            assert_eq!(code(again[0].status.as_ref()), Code::Ok);
            lab.stop().await;
            let lab = Lab::start(&folder).await;
            assert_eq!(paths(&lab).len(), 3);
            lab.stop().await;
        },
    );
}

/// One that alone is more than a message takes could reach no agent.
#[test]
fn an_entry_has_a_size() {
    isolated("entries::an_entry_has_a_size", |folder| async move {
        let lab = Lab::start(&folder).await;
        let long = |count: usize| {
            let selectors = (0..count).map(|n| types::Selector {
                r#type: "unix".into(),
                value: format!("path:/{n}/{}", "p".repeat(8000)),
            });
            types::Entry {
                selectors: selectors.collect(),
                ..entry("/web", "/node", 1)
            }
        };
        let created = lab.create(vec![long(33), long(30)]).await;
        let words = &created[0].status.as_ref().unwrap().message;
        assert_eq!(code(created[0].status.as_ref()), Code::InvalidArgument);
        assert!(
            words.contains("bytes, at most 262144 allowed") && words.ends_with("(HM-REG-0090)"),
            "{words}"
        );
        assert_eq!(code(created[1].status.as_ref()), Code::Ok, "the control");
    });
}

/// A change of few bytes can have an answer of many.
#[test]
fn a_batch_whose_answer_nobody_could_read_changes_nothing() {
    isolated(
        "entries::a_batch_whose_answer_nobody_could_read_changes_nothing",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let entries = large(100, "/node");
            for some in entries.chunks(50) {
                lab.create(some.to_vec()).await;
            }
            let change = |entry: &types::Entry| types::Entry {
                id: entry.id.clone(),
                hint: "new".into(),
                ..Default::default()
            };
            let hint = types::EntryMask {
                hint: true,
                ..Default::default()
            };
            let update = async |count: usize, output_mask: Option<types::EntryMask>| {
                let request = BatchUpdateEntryRequest {
                    entries: entries.iter().take(count).map(change).collect(),
                    input_mask: Some(hint),
                    output_mask,
                };
                lab.entries.batch_update_entry(local(request)).await
            };
            let changed = || {
                let state = lab.server.journal.state();
                let is_new = |entry: &&types::Entry| state.entries().entry(&entry.id).unwrap().hint == "new";
                entries.iter().filter(is_new).count()
            };
            let refused = update(100, None).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().starts_with("HM-REG-0091: "), "{refused}");
            assert_eq!(changed(), 0);
            update(40, None).await.unwrap();
            assert_eq!(changed(), 40, "the control");
            update(100, Some(hint)).await.unwrap();
            assert_eq!(changed(), 100);
        },
    );
}

#[test]
fn an_id_that_is_used_again_has_another_version() {
    isolated(
        "entries::an_id_that_is_used_again_has_another_version",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let chosen = |uid: u32| types::Entry {
                id: "again".into(),
                ..entry("/again", "/node", uid)
            };
            let mut seen = Vec::new();
            // However fast: the second of creation is the same, and every update counts.
            for uid in 1..4 {
                let made = lab.create(vec![chosen(uid)]).await.remove(0).entry.unwrap();
                seen.push(made.revision_number);
                let change = BatchUpdateEntryRequest {
                    entries: vec![types::Entry {
                        hint: "changed".into(),
                        ..chosen(uid)
                    }],
                    input_mask: None,
                    output_mask: None,
                };
                let changed = lab
                    .entries
                    .batch_update_entry(local(change))
                    .await
                    .unwrap()
                    .into_inner();
                seen.push(changed.results[0].entry.as_ref().unwrap().revision_number);
                let gone = BatchDeleteEntryRequest {
                    ids: vec!["again".into()],
                };
                lab.entries.batch_delete_entry(local(gone)).await.unwrap();
            }
            assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        },
    );
}
