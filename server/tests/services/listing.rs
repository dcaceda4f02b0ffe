//! Listing and counting entries.

use std::collections::BTreeSet;

use std::sync::Arc;

use hallmark_api::{
    entry::{
        CountEntriesRequest, ListEntriesRequest, ListEntriesResponse, entry_server::Entry as _, list_entries_request,
    },
    types,
};
use hallmark_spiffe::TrustDomain;
use hallmark_state::{Change, Entry, Filter};
use tonic::{Code, Status};

use prost::Message as _;

use crate::lab::{Lab, entry, id_message, isolated, large, local};

/// Five entries below `/node`, and one that differs in everything.
async fn filled(folder: &std::path::Path) -> Lab {
    let lab = Lab::start(folder).await;
    let mut entries: Vec<_> = (0..5).map(|uid| entry("/web", "/node", uid)).collect();
    entries.push(types::Entry {
        hint: "blue".into(),
        downstream: true,
        ..entry("/db", "/other", 1)
    });
    lab.create(entries).await;
    lab
}

async fn list(lab: &Lab, request: ListEntriesRequest) -> Result<ListEntriesResponse, Status> {
    lab.entries
        .list_entries(local(request))
        .await
        .map(tonic::Response::into_inner)
}

fn by_uids(uids: &[u32], how: types::selector_match::MatchBehavior) -> Option<types::SelectorMatch> {
    let selector = |uid: &u32| types::Selector {
        r#type: "unix".into(),
        value: format!("uid:{uid}"),
    };
    Some(types::SelectorMatch {
        selectors: uids.iter().map(selector).collect(),
        r#match: how.into(),
    })
}

#[test]
fn each_part_of_the_filter_counts() {
    use types::selector_match::MatchBehavior::{MatchAny, MatchExact};
    type Set = fn(&mut list_entries_request::Filter);
    isolated("listing::each_part_of_the_filter_counts", |folder| async move {
        let lab = filled(&folder).await;
        let cases: [(Set, usize); 8] = [
            (|_| {}, 6),
            (|f| f.by_spiffe_id = Some(id_message("/db")), 1),
            (|f| f.by_parent_id = Some(id_message("/node")), 5),
            (|f| f.by_hint = Some("blue".into()), 1),
            (|f| f.by_downstream = Some(false), 5),
            (|f| f.by_selectors = by_uids(&[1], MatchExact), 2),
            (|f| f.by_selectors = by_uids(&[1, 2], MatchAny), 3),
            (
                |f| (f.by_selectors, f.by_hint) = (by_uids(&[1, 2], MatchAny), Some("blue".into())),
                1,
            ),
        ];
        for (at, (set, expected)) in cases.into_iter().enumerate() {
            let mut filter = list_entries_request::Filter::default();
            set(&mut filter);
            let request = ListEntriesRequest {
                filter: Some(filter),
                ..Default::default()
            };
            assert_eq!(list(&lab, request).await.unwrap().entries.len(), expected, "case {at}");
        }
        let count = lab
            .entries
            .count_entries(local(CountEntriesRequest::default()))
            .await
            .unwrap();
        assert_eq!(count.into_inner().count, 6);
    });
}

fn by_domains(names: &[&str], how: types::federates_with_match::MatchBehavior) -> Option<types::FederatesWithMatch> {
    Some(types::FederatesWithMatch {
        trust_domains: names.iter().map(|name| (*name).to_owned()).collect(),
        r#match: how.into(),
    })
}

#[test]
fn entries_are_found_by_whom_they_federate_with() {
    use types::federates_with_match::MatchBehavior::{self, MatchAny, MatchExact, MatchSubset, MatchSuperset};
    isolated(
        "listing::entries_are_found_by_whom_they_federate_with",
        |folder| async move {
            let lab = filled(&folder).await;
            // No bundle of another trust domain is there to create such entries by.
            let filter = Filter {
                downstream: Some(false),
                ..Default::default()
            };
            let found: Vec<_> = {
                let state = lab.server.journal.state();
                let entries = state.entries().list(&filter, 2, None).entries;
                entries.into_iter().map(|entry| Entry::clone(entry)).collect()
            };
            for (mut entry, names) in found.into_iter().zip([vec!["a.test"], vec!["a.test", "b.test"]]) {
                entry.federates_with = names
                    .into_iter()
                    .map(|name| TrustDomain::parse(name).unwrap())
                    .collect();
                let change = Change::PutEntry {
                    entry: Arc::new(entry.clone()),
                    replaces: Some(Arc::new(entry)),
                };
                lab.commit(vec![change]).await;
            }
            let cases: [(&[&str], MatchBehavior, usize); 9] = [
                (&["a.test"], MatchExact, 1),
                (&["b.test", "a.test"], MatchExact, 1),
                (&["a.test"], MatchSuperset, 2),
                (&["a.test", "b.test"], MatchSuperset, 1),
                (&["b.test", "c.test"], MatchAny, 1),
                (&["c.test"], MatchAny, 0),
                (&["a.test"], MatchSubset, 1),
                (&["a.test", "b.test"], MatchSubset, 2),
                (&["spiffe://b.test"], MatchSuperset, 1),
            ];
            let ask = async |names, how| {
                let filter = list_entries_request::Filter {
                    by_federates_with: by_domains(names, how),
                    ..Default::default()
                };
                let request = ListEntriesRequest {
                    filter: Some(filter),
                    ..Default::default()
                };
                list(&lab, request).await.map(|answer| answer.entries.len())
            };
            for (names, how, expected) in cases {
                assert_eq!(ask(names, how).await.unwrap(), expected, "{names:?} {how:?}");
            }
            for names in [&[][..], &["No Name"]] {
                assert_eq!(ask(names, MatchAny).await.unwrap_err().code(), Code::InvalidArgument);
            }
        },
    );
}

#[test]
fn pages_show_every_entry_once() {
    isolated("listing::pages_show_every_entry_once", |folder| async move {
        let lab = filled(&folder).await;
        let (mut seen, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
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
            let page = list(&lab, request).await.unwrap();
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
            assert_eq!(list(&lab, bad).await.unwrap_err().code(), Code::InvalidArgument);
        }
    });
}

#[test]
fn large_entries_come_in_pages_that_a_client_reads() {
    isolated(
        "listing::large_entries_come_in_pages_that_a_client_reads",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            for some in large(100, "/node").chunks(50) {
                lab.create(some.to_vec()).await;
            }
            for page_size in [0, 500] {
                let (mut ids, mut page_token, mut pages) = (BTreeSet::new(), String::new(), 0);
                loop {
                    let request = ListEntriesRequest {
                        page_size,
                        page_token,
                        ..Default::default()
                    };
                    let page = list(&lab, request).await.unwrap();
                    assert!(page.encoded_len() < 4 << 20);
                    pages += 1;
                    for entry in page.entries {
                        assert!(ids.insert(entry.id), "an entry came twice");
                    }
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                assert_eq!(ids.len(), 100);
                assert!(pages > 4, "the control: {pages}");
            }
        },
    );
}
