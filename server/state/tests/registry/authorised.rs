//! Which entries a node may serve.

use std::collections::{BTreeSet, HashSet};

use hallmark_spiffe::{Selector, SpiffeId};
use hallmark_state::{Entry, Registry};
use proptest::prelude::*;

use crate::samples::{NOW, entry, id, selectors, td};

const AGENT: &str = "/spire/agent/tpm2/aa";
const SERVER: &str = "/spire/server";

fn registry(entries: Vec<Entry>) -> Registry {
    let mut registry = Registry::new(&td());
    for entry in entries {
        assert!(registry.insert(std::sync::Arc::new(entry)).is_none());
    }
    registry
}

fn found(registry: &Registry, node: &[&str]) -> Vec<String> {
    names(registry, &id(AGENT), &selectors(node), NOW)
}

fn names(registry: &Registry, agent: &SpiffeId, node: &BTreeSet<Selector>, now: i64) -> Vec<String> {
    let found = registry.authorised(agent, node, now);
    let names: Vec<String> = found.iter().map(|entry| entry.id.to_string()).collect();
    // Upwards and downwards say the same, of every entry.
    for entry in registry.list(&hallmark_state::Filter::default(), 0, None).entries {
        assert_eq!(
            registry.is_authorised(entry, agent, node, now),
            names.contains(&entry.id.to_string()),
            "{entry:?}"
        );
    }
    names
}

#[test]
fn below_the_agent_step_by_step() {
    let registry = registry(vec![
        entry("c", "/child", AGENT, &["unix:uid:1"]),
        entry("g", "/grandchild", "/child", &["unix:uid:2"]),
        entry("o", "/other", "/spire/agent/tpm2/bb", &["unix:uid:1"]),
    ]);
    assert_eq!(found(&registry, &[]), ["c", "g"]);
    assert_eq!(
        names(&registry, &id("/spire/agent/tpm2/bb"), &BTreeSet::new(), NOW),
        ["o"]
    );
    assert!(names(&registry, &id("/spire/agent/tpm2/cc"), &BTreeSet::new(), NOW).is_empty());
}

#[test]
fn below_an_alias_whose_selectors_the_node_has() {
    let registry = registry(vec![
        entry(
            "a",
            "/nodes/edge",
            SERVER,
            &["tpm2:class:discrete", "tpm2:manufacturer:id:1"],
        ),
        entry("w", "/web", "/nodes/edge", &["unix:uid:1"]),
        entry("x", "/deeper", "/web", &["unix:uid:2"]),
    ]);
    let both = ["tpm2:class:discrete", "tpm2:manufacturer:id:1", "tpm2:model:m"];
    // The alias names nodes; no workload holds it.
    assert_eq!(found(&registry, &both), ["w", "x"]);
    assert!(found(&registry, &both[..1]).is_empty());
    assert!(found(&registry, &both[1..]).is_empty());
}

#[test]
fn an_alias_is_a_child_of_the_server_alone() {
    let registry = registry(vec![
        entry("a", "/nodes/edge", "/somebody", &["tpm2:class:discrete"]),
        entry("w", "/web", "/nodes/edge", &["unix:uid:1"]),
    ]);
    assert!(found(&registry, &["tpm2:class:discrete"]).is_empty());
}

#[test]
fn expired_entries_and_what_hangs_below_them_alone_are_left_out() {
    let mut alias = entry("a", "/nodes/edge", SERVER, &["tpm2:class:discrete"]);
    let mut middle = entry("m", "/middle", AGENT, &["unix:uid:1"]);
    alias.expires_at = Some(NOW);
    middle.expires_at = Some(NOW);
    let registry = registry(vec![
        alias,
        middle,
        entry("x", "/x", "/nodes/edge", &["unix:uid:1"]),
        entry("y", "/y", "/middle", &["unix:uid:1"]),
        entry("z", "/z", AGENT, &["unix:uid:1"]),
    ]);
    assert_eq!(found(&registry, &["tpm2:class:discrete"]), ["z"]);
    let before = names(&registry, &id(AGENT), &selectors(&["tpm2:class:discrete"]), NOW - 1);
    assert_eq!(before, ["m", "x", "y", "z"]);
}

#[test]
fn cycles_end_and_nothing_comes_twice() {
    let registry = registry(vec![
        entry("a", "/a", AGENT, &["unix:uid:1"]),
        entry("b", "/b", "/a", &["unix:uid:1"]),
        entry("c", "/a", "/b", &["unix:uid:1"]),
        entry("s", "/self", "/self", &["unix:uid:1"]),
        entry("t", "/b", AGENT, &["unix:uid:1"]),
    ]);
    assert_eq!(found(&registry, &[]), ["a", "b", "c", "t"]);
}

#[test]
fn removed_and_changed_entries_are_forgotten_by_every_index() {
    let mut registry = registry(vec![
        entry("a", "/nodes/edge", SERVER, &["tpm2:class:discrete", "tpm2:model:m"]),
        entry("w", "/web", "/nodes/edge", &["unix:uid:1"]),
        entry("v", "/v", AGENT, &["unix:uid:1"]),
    ]);
    let node = ["tpm2:class:discrete", "tpm2:model:m"];
    assert_eq!(found(&registry, &node), ["v", "w"]);
    let moved = entry("v", "/v", "/spire/agent/tpm2/bb", &["unix:uid:1"]);
    assert!(registry.insert(std::sync::Arc::new(moved)).is_some());
    assert_eq!(found(&registry, &node), ["w"]);
    let alias = registry.entry("a").unwrap().id.clone();
    assert!(registry.remove(&alias).is_some());
    assert!(registry.remove(&alias).is_none());
    assert!(found(&registry, &node).is_empty());
    assert_eq!(registry.len(), 2);
}

/// The definition, word for word, without any index.
fn by_definition(entries: &[Entry], node: &BTreeSet<Selector>) -> BTreeSet<String> {
    let living = || entries.iter().filter(|entry| !entry.is_expired(NOW));
    let mut parents: HashSet<SpiffeId> = HashSet::from([id(AGENT)]);
    for alias in living().filter(|entry| entry.parent_id == id(SERVER)) {
        if alias.selectors.is_subset(node) {
            parents.insert(alias.spiffe_id.clone());
        }
    }
    loop {
        let more: Vec<_> = living()
            .filter(|entry| parents.contains(&entry.parent_id) && !parents.contains(&entry.spiffe_id))
            .map(|entry| entry.spiffe_id.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        parents.extend(more);
    }
    living()
        .filter(|entry| parents.contains(&entry.parent_id))
        .map(|entry| entry.id.to_string())
        .collect()
}

proptest! {
    #[test]
    fn the_indexed_walk_keeps_to_the_definition(
        shapes in prop::collection::vec((0..6_usize, 0..8_usize, 1..8_u8, any::<bool>()), 0..24),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        node in 0..8_u8,
    ) {
        let ids = ["/a", "/b", "/c", "/d", "/e", "/f", AGENT, SERVER];
        let facts = |bits: u8| -> Vec<String> {
            (0..3).filter(|bit| bits & (1 << bit) != 0).map(|bit| format!("tpm2:f:{bit}")).collect()
        };
        let mut entries: Vec<Entry> = shapes
            .iter()
            .enumerate()
            .map(|(n, (own, parent, bits, expired))| {
                let facts = facts(*bits);
                let facts: Vec<&str> = facts.iter().map(String::as_str).collect();
                let mut entry = entry(&format!("e{n}"), ids[*own], ids[*parent], &facts);
                entry.expires_at = (*expired && n % 4 == 0).then_some(NOW);
                entry
            })
            .collect();
        let mut registry = registry(entries.clone());
        for index in removed {
            if entries.is_empty() {
                break;
            }
            let gone = entries.swap_remove(index.index(entries.len()));
            registry.remove(&gone.id);
        }
        let node: BTreeSet<Selector> = facts(node).iter().map(|text| Selector::parse(text).unwrap()).collect();
        let found: BTreeSet<String> = names(&registry, &id(AGENT), &node, NOW).into_iter().collect();
        prop_assert_eq!(found, by_definition(&entries, &node));
    }
}
