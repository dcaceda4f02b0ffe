//! Similar entries, filters, order and pages.

use std::collections::BTreeSet;

use hallmark_spiffe::TrustDomain;
use hallmark_state::{Entry, Filter, Match, PageToken, Registry};

use crate::samples::{NOW, eid, entry, id, selectors, td};

fn registry() -> Registry {
    let mut registry = Registry::new(&td());
    let mut web = entry("web", "/web", "/n", &["unix:uid:1", "unix:gid:1"]);
    web.hint = "external".into();
    web.federates_with = BTreeSet::from([TrustDomain::parse("friend.org").unwrap()]);
    let mut old = entry("old", "/old", "/n", &["unix:uid:1"]);
    old.created_at = NOW - 100;
    let mut down = entry("down", "/web", "/m", &["unix:uid:2"]);
    down.downstream = true;
    for entry in [web, old, down] {
        registry.insert(std::sync::Arc::new(entry));
    }
    registry
}

fn ids(registry: &Registry, filter: &Filter) -> Vec<String> {
    let found: Vec<String> = registry
        .list(filter, 0, None)
        .entries
        .iter()
        .map(|entry| entry.id.to_string())
        .collect();
    assert_eq!(registry.count(filter), found.len());
    found
}

#[test]
fn oldest_first_then_by_id() {
    assert_eq!(ids(&registry(), &Filter::default()), ["old", "down", "web"]);
}

#[test]
fn by_id_parent_hint_and_downstream() {
    let registry = registry();
    let by = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        ids(&registry, &filter)
    };
    assert_eq!(by(|filter| filter.spiffe_id = Some(id("/web"))), ["down", "web"]);
    assert_eq!(by(|filter| filter.parent_id = Some(id("/n"))), ["old", "web"]);
    let both = by(|filter| {
        filter.spiffe_id = Some(id("/web"));
        filter.parent_id = Some(id("/n"));
    });
    assert_eq!(both, ["web"]);
    assert!(by(|filter| filter.spiffe_id = Some(id("/none"))).is_empty());
    assert_eq!(by(|filter| filter.hint = Some("external".into())), ["web"]);
    assert_eq!(by(|filter| filter.hint = Some(String::new())), ["old", "down"]);
    assert_eq!(by(|filter| filter.downstream = Some(true)), ["down"]);
    assert_eq!(by(|filter| filter.downstream = Some(false)), ["old", "web"]);
}

#[test]
fn by_selectors_in_four_ways() {
    let registry = registry();
    let by = |how, asked: &[&str]| {
        ids(
            &registry,
            &Filter {
                selectors: Some((how, selectors(asked))),
                ..Filter::default()
            },
        )
    };
    assert_eq!(by(Match::Exact, &["unix:uid:1"]), ["old"]);
    assert_eq!(by(Match::Exact, &["unix:gid:1", "unix:uid:1"]), ["web"]);
    assert_eq!(by(Match::Subset, &["unix:uid:1", "unix:gid:1"]), ["old", "web"]);
    assert_eq!(by(Match::Subset, &["unix:uid:1"]), ["old"]);
    assert_eq!(by(Match::Superset, &["unix:uid:1"]), ["old", "web"]);
    assert_eq!(by(Match::Superset, &["unix:gid:1"]), ["web"]);
    assert_eq!(by(Match::Any, &["unix:gid:1", "unix:uid:2"]), ["down", "web"]);
    assert!(by(Match::Any, &["unix:uid:3"]).is_empty());
}

#[test]
fn by_federation() {
    let registry = registry();
    let friends = BTreeSet::from([TrustDomain::parse("friend.org").unwrap()]);
    let by = |how| {
        ids(
            &registry,
            &Filter {
                federates_with: Some((how, friends.clone())),
                ..Filter::default()
            },
        )
    };
    assert_eq!(by(Match::Exact), ["web"]);
    assert_eq!(by(Match::Any), ["web"]);
    assert_eq!(by(Match::Superset), ["web"]);
    // Who federates with nobody is not asked for, though the empty set is a subset of every other.
    assert_eq!(by(Match::Subset), ["web"]);
}

#[test]
fn pages_join_to_the_whole_even_when_entries_go() {
    let mut registry = Registry::new(&td());
    for n in 0..25 {
        let mut entry = entry(&format!("e{n:02}"), "/web", "/n", &[&format!("unix:uid:{n}")]);
        entry.created_at = NOW + n / 5;
        registry.insert(std::sync::Arc::new(entry));
    }
    let filter = Filter {
        spiffe_id: Some(id("/web")),
        ..Filter::default()
    };
    let mut seen: Vec<String> = Vec::new();
    let mut token: Option<PageToken> = None;
    loop {
        let page = registry.list(&filter, 7, token.as_ref());
        assert!(page.entries.len() <= 7);
        seen.extend(
            page.entries
                .iter()
                .map(|entry: &&std::sync::Arc<Entry>| entry.id.to_string()),
        );
        let next = page.next.map(|next| next.encode());
        token = next.map(|text| PageToken::decode(&text).unwrap());
        if token.is_none() {
            break;
        }
        // The entry that the token was made from goes; the place stays.
        registry.remove(&eid(seen.last().unwrap()));
    }
    assert_eq!(seen, (0..25).map(|n| format!("e{n:02}")).collect::<Vec<_>>());
    assert!(registry.list(&Filter::default(), 22, None).next.is_none());
}

#[test]
fn foreign_tokens_are_not_read() {
    for bad in ["", "x", "1", "x.e", "1.", "1.a b"] {
        assert_eq!(PageToken::decode(bad), None, "{bad}");
    }
}

#[test]
fn similar_is_same_id_parent_and_exactly_the_selectors() {
    let registry = registry();
    let similar = |candidate: Entry| registry.similar(&candidate).map(|entry| entry.id.to_string());
    assert_eq!(
        similar(entry("n", "/web", "/n", &["unix:gid:1", "unix:uid:1"])).as_deref(),
        Some("web")
    );
    assert_eq!(similar(entry("n", "/web", "/n", &["unix:uid:1"])), None);
    assert_eq!(similar(entry("n", "/web", "/o", &["unix:gid:1", "unix:uid:1"])), None);
    assert_eq!(similar(entry("n", "/old", "/n", &["unix:gid:1", "unix:uid:1"])), None);
    // An entry is not similar to itself.
    assert_eq!(similar(entry("web", "/web", "/n", &["unix:gid:1", "unix:uid:1"])), None);
}

#[test]
fn expired_entries_can_be_found_for_pruning() {
    let mut registry = registry();
    let mut short = entry("short", "/s", "/n", &["unix:uid:9"]);
    short.expires_at = Some(NOW + 10);
    registry.insert(std::sync::Arc::new(short));
    assert!(registry.expired(NOW + 9).is_empty());
    assert_eq!(registry.expired(NOW + 10).len(), 1);
}
