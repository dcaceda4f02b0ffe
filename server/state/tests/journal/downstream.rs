//! Servers below this one: what they are given, and the keys that they publish.

use std::{sync::Arc, time::Duration};

use hallmark_reason::Coded as _;
use hallmark_state::{
    Change, Decision, Entry, Event, JwtKey, Key, Node, NodeState, PublishedKeyError, Record, State, SvidTtl, View,
    decide::{
        MAX_ALL_PUBLISHED_KEYS, MAX_PUBLISHED_KEYS, NewPublishedKey, RoleGap, RoleHolder, authorise_downstream,
        end_published_jwt_key, prepare_jwt_key, publish_jwt_key,
    },
    journal::encoding::{decode, encode},
};

use crate::samples::{A, B, NOW, entry, id, node, node_id, put_entry, state, transaction};

const HOUR: i64 = 3600;
const DAY: Duration = Duration::from_secs(24 * 3600);
const TTL: SvidTtl = SvidTtl {
    default: Duration::from_secs(3600),
    max: Duration::from_secs(4 * 3600),
};

fn take(state: &mut State, changes: Vec<Change>) {
    let revision = state.revision() + 1;
    state.apply(&Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(changes, Vec::new())),
    });
}

fn downstream(name: &str) -> Entry {
    Entry {
        downstream: true,
        ..entry(name, &format!("/{name}"), node_id(A))
    }
}

fn holder(name: &str) -> RoleHolder {
    RoleHolder {
        id: id(&format!("/{name}")),
        agent: node_id(A),
        issued_at: NOW,
    }
}

/// With the servers `below` and `other` on node a.
fn nested() -> State {
    let mut state = state();
    take(
        &mut state,
        vec![put_entry(downstream("below")), put_entry(downstream("other"))],
    );
    state
}

fn key(id: &str) -> NewPublishedKey {
    NewPublishedKey {
        key_id: id.into(),
        public_key: id.as_bytes().to_vec(),
        expires_at: NOW + HOUR,
    }
}

/// What is decided, and taken in.
fn publish(state: &mut State, by: &str, key: NewPublishedKey) -> Result<(Vec<Change>, Vec<Event>), PublishedKeyError> {
    let Decision { changes, events, .. } = publish_jwt_key(View::new(state), &holder(by), key, DAY, NOW)?;
    take(state, changes.clone());
    Ok((changes, events))
}

#[test]
fn a_server_below_gets_its_entrys_lifetime_or_what_it_asks_for_within_the_maximum() {
    let mut state = nested();
    let granted = |state: &State, preferred: u64| {
        let view = View::new(state);
        let (grant, entry) =
            authorise_downstream(&view, &holder("below"), Duration::from_secs(preferred), TTL, NOW).unwrap();
        assert_eq!(
            (grant.spiffe_id().as_str(), entry.as_str()),
            ("spiffe://example.org", "below")
        );
        let rests = view.into_expect().keys;
        assert!(rests.contains(&Key::Node(node_id(A))) && rests.contains(&Key::Entries) && rests.contains(&Key::Rules));
        grant.ttl().as_secs()
    };
    assert_eq!(granted(&state, 0), 3600);
    assert_eq!(granted(&state, 60), 60);
    assert_eq!(granted(&state, 1_000_000), 4 * 3600);
    let named = Entry {
        x509_svid_ttl: Duration::from_secs(7200),
        ..downstream("below")
    };
    take(&mut state, vec![put_entry(named.clone())]);
    assert_eq!(granted(&state, 60), 7200, "the entry decides where it says something");
    let ending = Entry {
        expires_at: Some(NOW + 30),
        ..named
    };
    take(&mut state, vec![put_entry(ending)]);
    assert_eq!(granted(&state, 60), 30, "no longer than the entry");
}

#[test]
fn without_the_role_nothing_is_granted() {
    let state = nested();
    let granted = |state: &State, holder: &RoleHolder, now: i64| {
        authorise_downstream(&View::new(state), holder, Duration::ZERO, TTL, now).map(drop)
    };
    assert_eq!(granted(&state, &holder("below"), NOW), Ok(()), "the control");
    assert_eq!(granted(&state, &holder("web"), NOW), Err(RoleGap::NotGiven));
    let elsewhere = RoleHolder {
        agent: node_id(B),
        ..holder("below")
    };
    assert_eq!(granted(&state, &elsewhere, NOW), Err(RoleGap::NotGiven));
    for changed in [
        Node {
            state: NodeState::Banned,
            ..node(A)
        },
        Node {
            state: NodeState::Suspended,
            ..node(A)
        },
        Node {
            untrusted_reason: "drift".into(),
            ..node(A)
        },
    ] {
        let mut state = nested();
        take(&mut state, vec![Change::PutNode(Arc::new(changed))]);
        assert!(matches!(
            granted(&state, &holder("below"), NOW),
            Err(RoleGap::AgentOut(_))
        ));
    }
    let mut over_tls = nested();
    let written = Entry {
        over_tls: true,
        ..downstream("below")
    };
    take(&mut over_tls, vec![put_entry(written)]);
    assert!(matches!(
        granted(&over_tls, &holder("below"), NOW),
        Err(RoleGap::WrittenOverTls(_))
    ));
}

#[test]
fn a_published_key_is_in_the_bundle_until_it_ends() {
    let mut state = nested();
    let sequence = state.bundle_sequence();
    let (changes, events) = publish(&mut state, "below", key("k1")).unwrap();
    assert_eq!(events.len(), 1);
    let gone = Change::DeletePublishedJwtKey { key_id: "k1".into() };
    let changes: Vec<_> = changes.into_iter().chain([gone]).collect();
    let bytes = encode(&[transaction(changes.clone(), events.clone())]);
    let read = decode(&bytes, &mut |_| None).unwrap();
    assert_eq!(read[0].events, events, "the journal has words for it");
    assert_eq!(format!("{:?}", read[0].changes), format!("{changes:?}"));
    assert_eq!(
        (state.published_jwt_keys().len(), state.bundle_sequence()),
        (1, sequence + 1)
    );
    let (changes, events) = publish(&mut state, "below", key("k1")).unwrap();
    assert!(
        changes.is_empty() && events.is_empty(),
        "a second time it says nothing new"
    );
    for now in [NOW, NOW + HOUR, NOW + HOUR + 59] {
        assert!(state.due_published_jwt_key(now).is_none(), "{now}");
        assert!(end_published_jwt_key(View::new(&state), "k1", now).is_empty());
    }
    let due = state.due_published_jwt_key(NOW + HOUR + 60).unwrap();
    assert_eq!(due.key_id, "k1");
    let ended = end_published_jwt_key(View::new(&state), "k1", NOW + HOUR + 60);
    take(&mut state, ended.changes);
    assert_eq!(
        (state.published_jwt_keys().len(), state.bundle_sequence()),
        (0, sequence + 2)
    );
}

/// A server below can publish any key, but none that stands for another: neither by its id nor as another name of the same key.
#[test]
fn attack_82_a_published_key_shadows_no_other() {
    let mut state = nested();
    let own = JwtKey {
        key_id: "own".into(),
        label: "label".into(),
        public_key: b"own public key".to_vec(),
        created_at: NOW,
        expires_at: NOW + 10 * HOUR,
        state: hallmark_state::AuthorityState::Prepared,
    };
    take(&mut state, vec![Change::PutJwtKey(Arc::new(own.clone()))]);
    let certified = crate::x509_authority::authority([1, 2, 3, 4], NOW, NOW + HOUR);
    take(&mut state, vec![Change::PutAuthority(Arc::new(certified.clone()))]);
    publish(&mut state, "below", key("k1")).unwrap();
    let mut refused = |by: &str, key: NewPublishedKey, code: &str| {
        let before = state.published_jwt_keys().to_vec();
        let error = publish(&mut state, by, key).unwrap_err();
        assert_eq!(error.code().as_str(), code, "{error}");
        assert_eq!(state.published_jwt_keys(), before);
    };
    let other_key = |id: &str| NewPublishedKey {
        public_key: b"another key".to_vec(),
        ..key(id)
    };
    refused("below", other_key("own"), "HM-REG-0107");
    refused("other", other_key("k1"), "HM-REG-0107");
    refused("below", other_key("k1"), "HM-REG-0107");
    refused("other", key("k1"), "HM-REG-0107");
    // A key that is revoked here would go on under the other id.
    let renamed = NewPublishedKey {
        public_key: own.public_key.clone(),
        ..key("k2")
    };
    refused("below", renamed, "HM-REG-0108");
    let renamed = NewPublishedKey {
        public_key: b"k1".to_vec(),
        ..key("k3")
    };
    refused("other", renamed, "HM-REG-0108");
    // Nor does a key that signs certificates sign tokens.
    let certifies = NewPublishedKey {
        public_key: certified.facts().unwrap().spki,
        ..key("k5")
    };
    refused("other", certifies, "HM-REG-0108");
    for expires_at in [0, -1, NOW, NOW + 25 * HOUR, i64::MAX] {
        refused(
            "below",
            NewPublishedKey {
                expires_at,
                ..key("k4")
            },
            "HM-REG-0109",
        );
    }
    publish(&mut state, "below", key("k2")).expect("the control");
    // Nor does an own key take the place of one that was published.
    let same = JwtKey {
        key_id: "k2".into(),
        ..own
    };
    take(&mut state, vec![Change::DeleteJwtKey { key_id: "own".into() }]);
    let error = prepare_jwt_key(View::new(&state), same, NOW, None).unwrap_err();
    assert_eq!(error.code().as_str(), "HM-REG-0121");
}

#[test]
fn no_server_below_fills_the_bundle() {
    let mut state = nested();
    for n in 0..MAX_PUBLISHED_KEYS {
        publish(&mut state, "below", key(&format!("below-{n}"))).unwrap();
    }
    let full = publish(&mut state, "below", key("more")).unwrap_err();
    assert_eq!(full.code().as_str(), "HM-REG-0110");
    publish(&mut state, "other", key("other-0")).expect("others have room");
    for server in 0.. {
        let name = format!("server{server}");
        take(&mut state, vec![put_entry(downstream(&name))]);
        for n in 0..MAX_PUBLISHED_KEYS {
            if state.published_jwt_keys().len() == MAX_ALL_PUBLISHED_KEYS {
                let full = publish(&mut state, &name, key("more")).unwrap_err();
                assert_eq!(full.code().as_str(), "HM-REG-0110");
                return;
            }
            publish(&mut state, &name, key(&format!("{name}-{n}"))).unwrap();
        }
    }
}

#[test]
fn the_keys_of_a_server_go_with_its_entry_and_its_machine() {
    let mut published = nested();
    publish(&mut published, "below", key("k1")).unwrap();
    let due_after = |change: Change| {
        let mut state = nested();
        publish(&mut state, "below", key("k1")).unwrap();
        take(&mut state, vec![change]);
        let is_due = state.due_published_jwt_key(NOW).is_some();
        let ended = end_published_jwt_key(View::new(&state), "k1", NOW);
        assert_eq!(ended.is_empty(), !is_due);
        is_due
    };
    let put = |node: Node| Change::PutNode(Arc::new(node));
    let in_state = |state| put(Node { state, ..node(A) });
    assert!(due_after(Change::DeleteEntry(Arc::new(downstream("below")))));
    assert!(due_after(put_entry(Entry {
        downstream: false,
        ..downstream("below")
    })));
    assert!(due_after(put_entry(Entry {
        expires_at: Some(NOW),
        ..downstream("below")
    })));
    assert!(due_after(put_entry(Entry {
        parent_id: node_id(B),
        ..downstream("below")
    })));
    assert!(due_after(Change::DeleteNode(node_id(A))));
    assert!(due_after(in_state(NodeState::Banned)) && due_after(in_state(NodeState::Retired)));
    // Who comes back has its keys.
    assert!(!due_after(in_state(NodeState::Suspended)) && !due_after(in_state(NodeState::Active)));
    assert!(!due_after(Change::DeleteEntry(Arc::new(downstream("other")))));
}
