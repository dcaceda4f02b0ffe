//! Grants: what is given, and what is not.

use std::{collections::BTreeSet, time::Duration};

use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{EntryError, Grant, GrantError, Registry, SvidTtl, Why, authorise_entry, mint, server_identity};

use crate::samples::{NOW, eid, entry, id, td};

const AGENT: &str = "/spire/agent/tpm2/aa";
const HOUR: Duration = Duration::from_secs(3600);
const TTL: SvidTtl = SvidTtl {
    default: HOUR,
    max: Duration::from_secs(2 * 3600),
};

fn registry() -> Registry {
    let mut registry = Registry::new(&td());
    let mut web = entry("web", "/web", AGENT, &["unix:uid:1"]);
    web.dns_names = vec!["web.example.org".into()];
    let mut short = entry("short", "/short", AGENT, &["unix:uid:1"]);
    short.x509_svid_ttl = Duration::from_secs(60);
    let mut ending = entry("ending", "/ending", AGENT, &["unix:uid:1"]);
    ending.expires_at = Some(NOW + 30);
    let mut gone = entry("gone", "/gone", AGENT, &["unix:uid:1"]);
    gone.expires_at = Some(NOW);
    let mut long = entry("long", "/long", AGENT, &["unix:uid:1"]);
    long.x509_svid_ttl = 3 * HOUR;
    for entry in [
        web,
        short,
        long,
        ending,
        gone,
        entry("other", "/other", "/spire/agent/tpm2/bb", &["unix:uid:1"]),
    ] {
        registry.insert(std::sync::Arc::new(entry));
    }
    registry
}

/// What the agent is granted by an entry.
fn ask(registry: &Registry, entry: &str) -> Result<Grant, GrantError> {
    let granted = authorise_entry(registry, &id(AGENT), &BTreeSet::new(), &eid(entry), TTL, NOW);
    granted.map(|(grant, _)| grant)
}

#[test]
fn an_agent_gets_what_its_entries_say() {
    let registry = registry();
    let ask = |name: &str| ask(&registry, name);
    let web = ask("web").unwrap();
    assert_eq!((web.spiffe_id(), web.ttl()), (&id("/web"), HOUR));
    assert_eq!(web.dns_names(), ["web.example.org"]);
    assert_eq!(
        web.why(),
        &Why::Entry {
            id: eid("web"),
            agent: id(AGENT)
        }
    );
    assert_eq!(ask("short").unwrap().ttl(), Duration::from_secs(60));
    assert_eq!(ask("long").unwrap().ttl(), TTL.max, "written when more was allowed");
    // No SVID outlives the entry that it comes from.
    assert_eq!(ask("ending").unwrap().ttl(), Duration::from_secs(30));
}

#[test]
fn and_nothing_else() {
    let registry = registry();
    let ask = |name: &str| ask(&registry, name);
    assert_eq!(ask("none"), Err(GrantError::NoSuchEntry { id: eid("none") }));
    assert_eq!(
        ask("gone"),
        Err(GrantError::EntryExpired {
            id: eid("gone"),
            at: NOW,
            now: NOW
        })
    );
    assert_eq!(
        ask("other"),
        Err(GrantError::NotAuthorised {
            id: eid("other"),
            agent: id(AGENT)
        })
    );
    let nothing = authorise_entry(
        &registry,
        &id(AGENT),
        &BTreeSet::new(),
        &eid("web"),
        SvidTtl {
            default: Duration::ZERO,
            max: HOUR,
        },
        NOW,
    );
    assert!(matches!(nothing, Err(GrantError::NoLifetime { .. })));
}

#[test]
fn administrators_mint_workload_ids_alone() {
    let grant = mint(&td(), id("/batch"), vec!["batch".into()], HOUR, HOUR).unwrap();
    assert_eq!((grant.spiffe_id(), grant.why()), (&id("/batch"), &Why::Minted));
    for (id, expected) in [
        (id("/spire/server"), "HM-REG-0005"),
        (id(AGENT), "HM-REG-0005"),
        (td().id(), "HM-REG-0004"),
        (
            SpiffeId::new(&TrustDomain::parse("other.org").unwrap(), "/a").unwrap(),
            "HM-REG-0003",
        ),
    ] {
        let error = mint(&td(), id, Vec::new(), HOUR, HOUR).unwrap_err();
        assert_eq!(hallmark_reason::Coded::code(&error).as_str(), expected);
    }
    let bad_name = mint(&td(), id("/batch"), vec!["a_b".into()], HOUR, HOUR);
    assert!(matches!(bad_name, Err(GrantError::Mint(EntryError::DnsName { .. }))));
}

#[test]
fn what_is_minted_lives_no_longer_than_allowed() {
    let minted = |ttl| mint(&td(), id("/batch"), Vec::new(), ttl, HOUR);
    assert_eq!(minted(HOUR).unwrap().ttl(), HOUR);
    let error = minted(HOUR + Duration::from_secs(1)).unwrap_err();
    assert_eq!(hallmark_reason::Coded::code(&error).as_str(), "HM-REG-0045");
    let compared = hallmark_reason::Coded::compared(&error).unwrap();
    assert!(
        compared.contains("3601") && compared.contains("at most 3600"),
        "{compared}"
    );
    assert!(matches!(minted(Duration::ZERO), Err(GrantError::NoLifetime { .. })));
}

#[test]
fn an_entrys_lifetime_is_bounded_when_it_is_written() {
    let with = |seconds| {
        let mut web = entry("web", "/web", AGENT, &["unix:uid:1"]);
        web.x509_svid_ttl = Duration::from_secs(seconds);
        web
    };
    let code = |written: &hallmark_state::Entry, before: Option<&hallmark_state::Entry>| {
        let outcome = written.require_ttl_within(HOUR, before);
        outcome.map_or_else(
            |error| hallmark_reason::Coded::code(&error).to_string(),
            |()| String::new(),
        )
    };
    for (seconds, expected) in [(0, ""), (3600, ""), (3601, "HM-REG-0019")] {
        assert_eq!(code(&with(seconds), None), expected, "{seconds}");
    }
    // What an older configuration allowed does not hinder another change, and is not raised.
    assert_eq!(code(&with(7200), Some(&with(7200))), "");
    assert_eq!(code(&with(7201), Some(&with(7200))), "HM-REG-0019");
    assert_eq!(code(&with(7200), Some(&with(60))), "HM-REG-0019");
}

#[test]
fn the_server_has_its_own_identity() {
    let grant = server_identity(&td(), HOUR).unwrap();
    assert_eq!((grant.spiffe_id(), grant.why()), (&id("/spire/server"), &Why::Server));
    assert!(matches!(
        server_identity(&td(), Duration::ZERO),
        Err(GrantError::NoLifetime { .. })
    ));
}
