//! Who has a role, and what leads to one.

use std::collections::BTreeSet;

use hallmark_state::{Entry, EntryId, Registry, Role, RoleWay};

use crate::samples::{NOW, entry, id, selectors, td};

const AGENT: &str = "/spire/agent/tpm2/aa";
const OTHER: &str = "/spire/agent/tpm2/bb";

fn registry() -> Registry {
    let mut registry = Registry::new(&td());
    let admin = |admin: bool, entry: Entry| Entry { admin, ..entry };
    for entry in [
        entry("racks", "/racks", "/spire/server", &["tpm2:model:x"]),
        entry("rack", "/rack", "/racks", &["unix:uid:0"]),
        admin(true, entry("ops", "/ops", "/rack", &["unix:uid:1"])),
        entry("ops-2", "/ops", OTHER, &["unix:uid:1"]),
        Entry {
            downstream: true,
            ..entry("below", "/below", AGENT, &["unix:uid:2"])
        },
        Entry {
            expires_at: Some(NOW),
            ..admin(true, entry("gone", "/gone", AGENT, &["unix:uid:3"]))
        },
        entry("web", "/web", "/racks", &["unix:uid:4"]),
    ] {
        registry.insert(std::sync::Arc::new(entry));
    }
    registry
}

#[test]
fn a_role_is_given_by_entries_that_have_not_expired() {
    let registry = registry();
    let has = |path: &str| Role::ALL.map(|role| registry.gives(&id(path), role, NOW));
    assert_eq!(has("/ops"), [true, false]);
    assert_eq!(has("/below"), [false, true]);
    for path in ["/gone", "/web", "/rack", "/nobody"] {
        assert_eq!(has(path), [false, false], "{path}");
    }
    assert!(registry.gives(&id("/gone"), Role::Admin, NOW - 1), "the control");
}

#[test]
fn an_agent_serves_a_role_by_the_entry_that_gives_it() {
    let registry = registry();
    let rack = selectors(&["tpm2:model:x", "tpm2:class:discrete"]);
    let serves = |path: &str, role, agent: &str, node: &BTreeSet<_>| {
        registry.role_way(&id(path), role, &id(agent), node, NOW) == RoleWay::Open
    };
    assert!(
        serves("/ops", Some(Role::Admin), AGENT, &rack),
        "over two parents, by an alias"
    );
    assert!(
        !serves("/ops", Some(Role::Admin), AGENT, &BTreeSet::new()),
        "it lost the alias"
    );
    assert!(!serves("/ops", Some(Role::Downstream), AGENT, &rack));
    // The other entry gives the same id, and no role.
    assert!(!serves("/ops", Some(Role::Admin), OTHER, &BTreeSet::new()));
    assert!(serves("/ops", None, OTHER, &BTreeSet::new()));
    assert!(serves("/below", Some(Role::Downstream), AGENT, &BTreeSet::new()));
    assert!(!serves("/below", Some(Role::Downstream), OTHER, &BTreeSet::new()));
    assert!(!serves("/gone", Some(Role::Admin), AGENT, &BTreeSet::new()), "expired");
}

#[test]
fn what_leads_to_a_role_is_found_up_to_the_aliases() {
    let mut registry = registry();
    let configured = [id("/configured")];
    let paths = |registry: &Registry| {
        let found = registry.leading_to_roles(&configured);
        found.iter().map(|id| id.path().to_owned()).collect::<BTreeSet<_>>()
    };
    let all = [
        "/ops",
        "/rack",
        "/racks",
        "/spire/server",
        "/below",
        "/gone",
        "/configured",
        AGENT,
        OTHER,
    ];
    assert_eq!(paths(&registry), all.map(str::to_owned).into());
    for name in ["ops", "gone"] {
        registry.remove(&EntryId::parse(name).unwrap());
    }
    assert_eq!(
        paths(&registry),
        ["/below", "/configured", AGENT].map(str::to_owned).into()
    );
    // An entry that loses its role is an entry like any other.
    registry.insert(std::sync::Arc::new(entry("below", "/below", AGENT, &["unix:uid:2"])));
    assert_eq!(paths(&registry), ["/configured".to_owned()].into());
}

#[test]
fn what_was_written_over_tls_leads_to_no_role() {
    let rack = selectors(&["tpm2:model:x"]);
    let over_tls = |registry: &mut Registry, names: &[&str]| {
        for name in names {
            let entry = Entry::clone(registry.entry(name).unwrap());
            registry.insert(std::sync::Arc::new(Entry {
                over_tls: true,
                ..entry
            }));
        }
    };
    let way = |registry: &Registry, role, agent: &str, node: &BTreeSet<_>| match registry.role_way(
        &id("/ops"),
        role,
        &id(agent),
        node,
        NOW,
    ) {
        RoleWay::Open => "open".to_owned(),
        RoleWay::OverTls(entries) => entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        RoleWay::None => "none".to_owned(),
    };
    let admin = Some(Role::Admin);
    assert_eq!(way(&registry(), admin, AGENT, &rack), "open", "the control");
    for name in ["racks", "rack", "ops"] {
        let mut registry = registry();
        over_tls(&mut registry, &[name]);
        assert_eq!(way(&registry, admin, AGENT, &rack), name);
        assert_eq!(way(&registry, admin, AGENT, &BTreeSet::new()), "none");
        assert_eq!(
            way(&registry, None, OTHER, &rack),
            "open",
            "another entry, below another agent"
        );
    }
    // A second way beside the first one, and an entry for the id itself.
    let mut registry = registry();
    registry.insert(std::sync::Arc::new(entry(
        "mine",
        "/racks",
        "/spire/server",
        &["tpm2:model:y"],
    )));
    registry.insert(std::sync::Arc::new(entry("also", "/ops", OTHER, &["unix:uid:9"])));
    over_tls(&mut registry, &["mine", "also", "ops-2"]);
    let mine = selectors(&["tpm2:model:y"]);
    assert_eq!(way(&registry, admin, AGENT, &mine), "mine");
    assert_eq!(way(&registry, admin, AGENT, &rack), "open");
    assert_eq!(way(&registry, None, OTHER, &BTreeSet::new()), "also mine ops-2");
}
