//! Entries, as administrators see them.

use hallmark_api::{
    entry::{
        BatchDeleteEntryRequest, BatchUpdateEntryRequest, CountEntriesRequest, GetEntryRequest,
        ListEntriesRequest, entry_server::Entry as _, list_entries_request,
    },
    types,
};
use tonic::Code;

use crate::lab::{Lab, entry, id_message, isolated, local};

fn code(status: Option<&types::Status>) -> Code {
    Code::from_i32(status.unwrap().code)
}

#[test]
fn entries_are_created_item_by_item() {
    isolated(
        "entries::entries_are_created_item_by_item",
        |folder| async move {
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
            let codes: Vec<_> = results
                .iter()
                .map(|result| code(result.status.as_ref()))
                .collect();
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
                    ..chosen
                }
            );
            assert!(created.created_at > 1_700_000_000 && created.revision_number == 0);
            let similar = &results[3];
            assert_eq!(
                similar.status.as_ref().unwrap().message,
                "similar entry already exists"
            );
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
        },
    );
}

#[test]
fn rules_are_kept() {
    isolated("entries::rules_are_kept", |folder| async move {
        let lab = Lab::start(&folder).await;
        let good = || entry("/web", "/node", 1);
        let foreign = types::Spiffeid {
            trust_domain: "other.test".into(),
            path: "/web".into(),
        };
        let colon = types::Selector {
            r#type: "un:ix".into(),
            value: "uid:1".into(),
        };
        let bad = [
            types::Entry {
                spiffe_id: Some(foreign.clone()),
                ..good()
            },
            types::Entry {
                parent_id: Some(foreign),
                ..good()
            },
            types::Entry {
                spiffe_id: None,
                ..good()
            },
            types::Entry {
                spiffe_id: Some(id_message("/spire/server")),
                ..good()
            },
            types::Entry {
                spiffe_id: Some(id_message("/a//b")),
                ..good()
            },
            types::Entry {
                selectors: Vec::new(),
                ..good()
            },
            types::Entry {
                selectors: vec![colon],
                ..good()
            },
            types::Entry {
                x509_svid_ttl: -1,
                ..good()
            },
            types::Entry {
                dns_names: vec!["under_score".into()],
                ..good()
            },
            types::Entry {
                hint: "x".repeat(1025),
                ..good()
            },
            types::Entry {
                federates_with: vec!["other.test".into()],
                ..good()
            },
            types::Entry {
                id: "no spaces".into(),
                ..good()
            },
            types::Entry {
                id: "x".repeat(256),
                ..good()
            },
        ];
        for (at, result) in lab.create(bad.to_vec()).await.iter().enumerate() {
            assert_eq!(
                code(result.status.as_ref()),
                Code::InvalidArgument,
                "{:?}",
                bad[at]
            );
            assert!(
                result
                    .status
                    .as_ref()
                    .unwrap()
                    .message
                    .starts_with("failed to convert entry: ")
            );
        }
        assert_eq!(
            code(lab.create(vec![good()]).await[0].status.as_ref()),
            Code::Ok
        );
        let too_many = hallmark_api::entry::BatchCreateEntryRequest {
            entries: vec![good(); 2001],
            output_mask: None,
        };
        let refused = lab
            .entries
            .batch_create_entry(local(too_many))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    });
}

#[test]
fn entries_are_updated_by_mask() {
    isolated(
        "entries::entries_are_updated_by_mask",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let created = lab
                .create(vec![entry("/a", "/node", 1), entry("/b", "/node", 1)])
                .await;
            let id = |at: usize| created[at].entry.as_ref().unwrap().id.clone();
            let update = async |entries: Vec<types::Entry>,
                                input_mask: Option<types::EntryMask>| {
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
            let results = update(
                vec![absent, entry("/c", "/node", 1), like_b, whole.clone()],
                None,
            )
            .await;
            let codes: Vec<_> = results
                .iter()
                .map(|result| code(result.status.as_ref()))
                .collect();
            assert_eq!(
                codes,
                [
                    Code::NotFound,
                    Code::InvalidArgument,
                    Code::AlreadyExists,
                    Code::Ok
                ]
            );
            let updated = results[3].entry.clone().unwrap();
            assert_eq!(updated.hint, "", "without a mask every field is replaced");
            assert_eq!(
                (updated.revision_number, updated.selectors),
                (3, whole.selectors)
            );
        },
    );
}

#[test]
fn entries_are_deleted_and_stay_deleted() {
    isolated(
        "entries::entries_are_deleted_and_stay_deleted",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let created = lab
                .create(vec![entry("/a", "/node", 1), entry("/b", "/node", 1)])
                .await;
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
            let codes: Vec<_> = results
                .iter()
                .map(|result| code(result.status.as_ref()))
                .collect();
            assert_eq!(
                codes,
                [
                    Code::Ok,
                    Code::NotFound,
                    Code::NotFound,
                    Code::InvalidArgument
                ]
            );
            assert_eq!(
                results
                    .iter()
                    .map(|result| result.id.clone())
                    .collect::<Vec<_>>(),
                ids
            );
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
        },
    );
}

#[test]
fn entries_are_listed_by_filter_mask_and_page() {
    isolated(
        "entries::entries_are_listed_by_filter_mask_and_page",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let mut entries: Vec<_> = (0..5).map(|uid| entry("/web", "/node", uid)).collect();
            entries.push(types::Entry {
                hint: "blue".into(),
                downstream: true,
                ..entry("/db", "/other", 1)
            });
            lab.create(entries).await;
            let list = async |request: ListEntriesRequest| {
                lab.entries
                    .list_entries(local(request))
                    .await
                    .map(tonic::Response::into_inner)
            };
            let filtered = async |filter: list_entries_request::Filter| {
                list(ListEntriesRequest {
                    filter: Some(filter),
                    ..Default::default()
                })
                .await
                .unwrap()
                .entries
                .len()
            };
            let filter = list_entries_request::Filter::default;
            assert_eq!(filtered(filter()).await, 6);
            assert_eq!(
                filtered(list_entries_request::Filter {
                    by_spiffe_id: Some(id_message("/db")),
                    ..filter()
                })
                .await,
                1
            );
            assert_eq!(
                filtered(list_entries_request::Filter {
                    by_parent_id: Some(id_message("/node")),
                    ..filter()
                })
                .await,
                5
            );
            assert_eq!(
                filtered(list_entries_request::Filter {
                    by_hint: Some("blue".into()),
                    ..filter()
                })
                .await,
                1
            );
            assert_eq!(
                filtered(list_entries_request::Filter {
                    by_downstream: Some(false),
                    ..filter()
                })
                .await,
                5
            );
            let uid = |uid: u32| types::Selector {
                r#type: "unix".into(),
                value: format!("uid:{uid}"),
            };
            let exact = types::SelectorMatch {
                selectors: vec![uid(1)],
                r#match: 0,
            };
            assert_eq!(
                filtered(list_entries_request::Filter {
                    by_selectors: Some(exact),
                    ..filter()
                })
                .await,
                2
            );
            let any = types::SelectorMatch {
                selectors: vec![uid(1), uid(2)],
                r#match: 3,
            };
            let (by_selectors, by_parent_id) = (Some(any), Some(id_message("/node")));
            assert_eq!(
                filtered(list_entries_request::Filter {
                    by_selectors,
                    by_parent_id,
                    ..filter()
                })
                .await,
                2
            );
            let (mut seen, mut token, mut pages) =
                (std::collections::BTreeSet::new(), String::new(), 0);
            loop {
                let mask = Some(types::EntryMask {
                    hint: true,
                    ..Default::default()
                });
                let request = ListEntriesRequest {
                    page_size: 4,
                    page_token: token,
                    output_mask: mask,
                    filter: None,
                };
                let page = list(request).await.unwrap();
                assert!(
                    page.entries
                        .iter()
                        .all(|entry| entry.spiffe_id.is_none() && !entry.id.is_empty())
                );
                seen.extend(page.entries.into_iter().map(|entry| entry.id));
                pages += 1;
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!((seen.len(), pages), (6, 2));
            for bad in [
                ListEntriesRequest {
                    page_size: -1,
                    ..Default::default()
                },
                ListEntriesRequest {
                    page_token: "nonsense".into(),
                    ..Default::default()
                },
            ] {
                assert_eq!(list(bad).await.unwrap_err().code(), Code::InvalidArgument);
            }
            let count = lab
                .entries
                .count_entries(local(CountEntriesRequest::default()))
                .await
                .unwrap();
            assert_eq!(count.into_inner().count, 6);
        },
    );
}

#[test]
fn the_controller_managers_probe_succeeds() {
    isolated(
        "entries::the_controller_managers_probe_succeeds",
        |folder| async move {
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
        },
    );
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
