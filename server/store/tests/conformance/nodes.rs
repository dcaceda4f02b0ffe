//! Nodes, authorities, the bundle's sequence number.

use std::sync::Arc;

use hallmark_state::{
    Action, Appraised, Approval, Approvals, Authority, AuthorityState, Change, FirstRequest, Node, NodeState,
};
use hallmark_store::{Store, StoreError};

use super::{changed, node, spiffe_id};

fn authority_put(authority: &Authority) -> Change {
    Change::PutAuthority(Arc::new(authority.clone()))
}

fn put(node: &Node) -> Change {
    Change::PutNode(Arc::new(node.clone()))
}

pub(crate) async fn nodes_read_back_as_they_were_written(store: &impl Store) {
    let bare = Node {
        ek_sha256: None,
        ak_name: Vec::new(),
        current: None,
        next: None,
        state: NodeState::Banned,
        since: 1_800_000_007,
        approvals: Approvals::new([
            Approval {
                uid: 0,
                ek_sha256: [7; 32],
                at: 5,
            },
            Approval {
                uid: u32::MAX,
                ek_sha256: [8; 32],
                at: 6,
            },
        ]),
        untrusted_reason: "HM-POLICY-0102".into(),
        appraised: Appraised::default(),
        can_reattest: false,
        ..node("/spire/agent/tpm2/b")
    };
    let written = [node("/spire/agent/tpm2/a"), bare];
    store.commit(changed(written.iter().map(put).collect())).await.unwrap();
    assert_eq!(store.load().await.unwrap().nodes, written.map(Arc::new));
}

pub(crate) async fn a_node_is_replaced_and_deleted(store: &impl Store) {
    let first = node("/spire/agent/tpm2/a");
    let second = Node {
        next: None,
        agent_version: "0.2.0".into(),
        ..first.clone()
    };
    store.commit(changed(vec![put(&first), put(&second)])).await.unwrap();
    assert_eq!(store.load().await.unwrap().nodes, [Arc::new(second)]);
    store.commit(changed(vec![Change::DeleteNode(first.id)])).await.unwrap();
    assert!(store.load().await.unwrap().nodes.is_empty());
}

pub(crate) async fn authorities_read_back(store: &impl Store) {
    let authority = |label: &str, created_at, state| Authority {
        upstream: Vec::new(),
        label: label.into(),
        certificate: vec![0x30, u8::try_from(created_at).unwrap()],
        created_at,
        state,
    };
    let old = authority("b", 1, AuthorityState::Active);
    let new = authority("a", 2, AuthorityState::Prepared);
    store
        .commit(changed(vec![authority_put(&new), authority_put(&old)]))
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().authorities, [old.clone(), new.clone()]);
    let retired = Authority {
        state: AuthorityState::Old,
        ..old
    };
    store.commit(changed(vec![authority_put(&retired)])).await.unwrap();
    // The same key with another certificate.
    let renewed = authority("b", 3, AuthorityState::Active);
    store.commit(changed(vec![authority_put(&renewed)])).await.unwrap();
    assert_eq!(store.load().await.unwrap().authorities, [retired, new, renewed]);
}

pub(crate) async fn the_bundle_sequence_only_rises(store: &impl Store) {
    store.commit(changed(vec![Change::PutBundleSequence(1)])).await.unwrap();
    store
        .commit(changed(vec![Change::PutBundleSequence(u64::MAX - 1)]))
        .await
        .unwrap();
    for not_above in [0, 1, u64::MAX - 1] {
        let refused = store
            .commit(changed(vec![Change::PutBundleSequence(not_above)]))
            .await
            .unwrap_err();
        assert_eq!(
            refused,
            StoreError::SequenceNotRising {
                stored: u64::MAX - 1,
                new: not_above
            }
        );
    }
    assert_eq!(store.load().await.unwrap().bundle_sequence, u64::MAX - 1);
}

pub(crate) async fn by_what_a_node_was_judged_changes_alone(store: &impl Store) {
    let before = node("/spire/agent/tpm2/a");
    let appraised = Appraised {
        rules: 9,
        stale_at: None,
    };
    let id = before.id.clone();
    let judged = Change::PutAppraised { node: id, appraised };
    store.commit(changed(vec![put(&before), judged])).await.unwrap();
    let judged = Node { appraised, ..before };
    assert_eq!(store.load().await.unwrap().nodes, [Arc::new(judged)]);
}

pub(crate) async fn requests_of_administrators_stand_until_they_are_taken_back(store: &impl Store) {
    let request = |name: &str| FirstRequest {
        id: spiffe_id(name),
        agent: spiffe_id("/spire/agent/tpm2/b"),
        issued_at: 5,
        at: 6,
    };
    let put = |action, requests: &[FirstRequest]| Change::PutRequests {
        node: spiffe_id("/spire/agent/tpm2/a"),
        action,
        requests: requests.to_vec(),
    };
    let (first, both) = ([request("/ops")], [request("/one"), request("/two")]);
    let changes = vec![put(Action::Unban, &first), put(Action::Resume, &both)];
    store.commit(changed(changes)).await.unwrap();
    let of = |action, requests: &[FirstRequest]| (spiffe_id("/spire/agent/tpm2/a"), action, requests.to_vec());
    let mut found = store.load().await.unwrap().requests;
    found.sort_by_key(|(_, action, _)| action.as_str());
    assert_eq!(found, [of(Action::Resume, &both), of(Action::Unban, &first)]);
    let taken_back = vec![put(Action::Resume, &[]), put(Action::Ban, &[])];
    store.commit(changed(taken_back)).await.unwrap();
    assert_eq!(store.load().await.unwrap().requests, [of(Action::Unban, &first)]);
}
