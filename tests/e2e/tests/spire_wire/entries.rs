//! Entries, as the command line and the controller-manager use them.

use crate::site::{by_selectors, entry, id, selector, site};
use hallmark_api::entry::list_entries_request::Filter as EntryFilter;
use hallmark_api::entry::{
    BatchDeleteEntryRequest, BatchUpdateEntryRequest, CountEntriesRequest, GetEntryRequest, ListEntriesRequest,
};
use hallmark_api::types::selector_match::MatchBehavior;
use hallmark_api::types::{Entry, EntryMask, FederatesWithMatch, federates_with_match};
use std::collections::BTreeSet;
use tonic::Code;

fn federates_with(name: &str) -> Option<FederatesWithMatch> {
    Some(FederatesWithMatch {
        trust_domains: vec![name.into()],
        r#match: federates_with_match::MatchBehavior::MatchSubset.into(),
    })
}

/// A filter with this alone.
fn only(set: impl FnOnce(&mut EntryFilter)) -> EntryFilter {
    let mut filter = EntryFilter::default();
    set(&mut filter);
    filter
}

#[test]
fn entries_are_created_item_by_item() {
    site(async |site| {
        let chosen = Entry {
            id: "prefix.0f0e".into(),
            hint: "web".into(),
            ..entry("/web", "/node", 1)
        };
        let results = site
            .create(vec![
                chosen.clone(),
                entry("/spire/x", "/node", 1),
                entry("/db", "/node", 1),
                entry("/web", "/node", 1),
            ])
            .await;
        let codes: Vec<_> = results.iter().map(|(code, ..)| *code).collect();
        assert_eq!(codes, [Code::Ok, Code::InvalidArgument, Code::Ok, Code::AlreadyExists]);
        let created = results[0].2.clone().unwrap();
        assert_eq!((results[0].1.as_str(), created.id.as_str()), ("OK", "prefix.0f0e"));
        assert!(
            created.revision_number > 0,
            "another entry may have had the chosen id before"
        );
        assert!(created.created_at > 1_700_000_000);
        assert_eq!(
            results[2].2.as_ref().unwrap().id.len(),
            36,
            "a UUID where none was chosen"
        );
        assert_eq!(results[3].1, "similar entry already exists");
        assert_eq!(results[3].2.as_ref(), Some(&created), "with the entry that exists");
    });
}

#[test]
fn entries_are_shown_and_changed_by_masks() {
    site(async |site| {
        let web = Entry {
            hint: "web".into(),
            ..entry("/web", "/node", 1)
        };
        let created = site.create(vec![web]).await.remove(0).2.unwrap();
        // Output masks: what was asked for, and always the id.
        let only_hint = EntryMask {
            hint: true,
            ..Default::default()
        };
        let request = GetEntryRequest {
            id: created.id.clone(),
            output_mask: Some(only_hint),
        };
        let masked = site.admin.entry.get_entry(request).await.unwrap().into_inner();
        let expected = Entry {
            id: created.id.clone(),
            hint: "web".into(),
            ..Default::default()
        };
        assert_eq!(masked, expected);
        // Input masks: what is not in them stays.
        let change = Entry {
            id: created.id.clone(),
            hint: "changed".into(),
            ..Default::default()
        };
        let absent = Entry {
            id: "absent".into(),
            ..change.clone()
        };
        let request = BatchUpdateEntryRequest {
            entries: vec![change, absent],
            input_mask: Some(only_hint),
            output_mask: None,
        };
        let results = site
            .admin
            .entry
            .batch_update_entry(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        assert_eq!(Code::from_i32(results[1].status.as_ref().unwrap().code), Code::NotFound);
        let updated = results[0].entry.as_ref().unwrap();
        assert_eq!(
            (updated.hint.as_str(), updated.revision_number),
            ("changed", created.revision_number + 1)
        );
        assert_eq!(updated.spiffe_id, created.spiffe_id);
        let request = BatchDeleteEntryRequest {
            ids: vec![created.id.clone(), created.id.clone()],
        };
        let results = site
            .admin
            .entry
            .batch_delete_entry(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        let codes: Vec<_> = results
            .iter()
            .map(|r| Code::from_i32(r.status.as_ref().unwrap().code))
            .collect();
        assert_eq!(codes, [Code::Ok, Code::NotFound]);
    });
}

#[test]
fn an_update_does_not_make_two_entries_the_same() {
    site(async |site| {
        let created = site
            .create(vec![entry("/web", "/node", 1), entry("/db", "/node", 1)])
            .await;
        let [web, db] = [0, 1].map(|at: usize| created[at].2.clone().unwrap());
        let update = |like: &str| BatchUpdateEntryRequest {
            entries: vec![Entry {
                id: db.id.clone(),
                ..entry(like, "/node", 1)
            }],
            input_mask: None,
            output_mask: None,
        };
        let answer = site.admin.entry.batch_update_entry(update("/web")).await.unwrap();
        let refused = answer.into_inner().results.remove(0).status.unwrap();
        assert_eq!(Code::from_i32(refused.code), Code::AlreadyExists, "{}", refused.message);
        let request = |id: &str| GetEntryRequest {
            id: id.into(),
            output_mask: None,
        };
        for kept in [web, db.clone()] {
            let found = site.admin.entry.get_entry(request(&kept.id)).await.unwrap();
            assert_eq!(found.into_inner(), kept, "neither was touched");
        }
        // The control: the same update to what nobody has.
        let answer = site.admin.entry.batch_update_entry(update("/mail")).await.unwrap();
        let updated = answer.into_inner().results.remove(0).entry.unwrap();
        assert_eq!((updated.spiffe_id, updated.revision_number), (id("/mail"), 1));
    });
}

#[test]
fn the_controller_managers_probe() {
    site(async |site| {
        let probe = Entry {
            selectors: vec![selector("a", "1")],
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
            let (code, _, echo) = site.create(vec![probe.clone()]).await.remove(0);
            let echo = echo.unwrap();
            assert_eq!(code, expected);
            assert_eq!(
                (echo.jwt_svid_ttl, echo.hint.as_str(), echo.store_svid),
                (60, "hint", true)
            );
        }
    });
}

#[test]
fn lists_are_filtered() {
    site(async |site| {
        let mut entries: Vec<_> = (0..5).map(|uid| entry("/web", "/node", uid)).collect();
        entries.push(Entry {
            hint: "blue".into(),
            downstream: true,
            selectors: vec![selector("unix", "uid:1"), selector("unix", "gid:1")],
            ..entry("/db", "/other", 1)
        });
        site.create(entries).await;
        let one = [selector("unix", "uid:1")];
        let two = [selector("unix", "uid:1"), selector("unix", "gid:1")];
        for (what, filter, count) in [
            ("none", EntryFilter::default(), 6),
            ("spiffe id", only(|f| f.by_spiffe_id = id("/db")), 1),
            (
                "federates with",
                only(|f| f.by_federates_with = federates_with("other.test")),
                0,
            ),
            ("parent", only(|f| f.by_parent_id = id("/node")), 5),
            ("hint", only(|f| f.by_hint = Some("blue".into())), 1),
            ("downstream", only(|f| f.by_downstream = Some(true)), 1),
            (
                "exact",
                only(|f| f.by_selectors = by_selectors(&one, MatchBehavior::MatchExact)),
                1,
            ),
            (
                "superset",
                only(|f| f.by_selectors = by_selectors(&one, MatchBehavior::MatchSuperset)),
                2,
            ),
            (
                "subset",
                only(|f| f.by_selectors = by_selectors(&two, MatchBehavior::MatchSubset)),
                2,
            ),
            (
                "any",
                only(|f| f.by_selectors = by_selectors(&two, MatchBehavior::MatchAny)),
                2,
            ),
        ] {
            assert_eq!(site.list(filter).await, count, "{what}");
        }
    });
}

#[test]
fn lists_are_paged() {
    site(async |site| {
        site.create((0..6).map(|uid| entry("/web", "/node", uid)).collect())
            .await;
        let count = site
            .admin
            .entry
            .count_entries(CountEntriesRequest::default())
            .await
            .unwrap();
        assert_eq!(count.into_inner().count, 6);
        let (mut seen, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
        loop {
            let request = ListEntriesRequest {
                page_size: 4,
                page_token: token,
                ..Default::default()
            };
            let page = site.admin.entry.list_entries(request).await.unwrap().into_inner();
            assert!(page.entries.len() <= 4);
            seen.extend(page.entries.into_iter().map(|entry| entry.id));
            (token, pages) = (page.next_page_token, pages + 1);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((seen.len(), pages), (6, 2));
    });
}
