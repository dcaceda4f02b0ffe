//! Agents, authorities, the bundle's sequence number.

use hallmark_state::{Approval, Approvals, NodeState};
use hallmark_store::{Agent, Authority, AuthorityState, Change, Store, StoreError};

use super::agent;

fn put(agent: &Agent) -> Change {
    Change::PutAgent(Box::new(agent.clone()))
}

pub(crate) async fn agents_read_back_as_they_were_written(store: &impl Store) {
    let bare = Agent {
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
        can_reattest: false,
        ..agent("/spire/agent/tpm2/b")
    };
    let written = [agent("/spire/agent/tpm2/a"), bare];
    store.commit(written.iter().map(put).collect()).await.unwrap();
    assert_eq!(store.load().await.unwrap().agents, written);
}

pub(crate) async fn an_agent_is_replaced_and_deleted(store: &impl Store) {
    let first = agent("/spire/agent/tpm2/a");
    let second = Agent {
        next: None,
        agent_version: "0.2.0".into(),
        ..first.clone()
    };
    store.commit(vec![put(&first), put(&second)]).await.unwrap();
    assert_eq!(store.load().await.unwrap().agents, [second]);
    store.commit(vec![Change::DeleteAgent(first.id)]).await.unwrap();
    assert!(store.load().await.unwrap().agents.is_empty());
}

pub(crate) async fn authorities_read_back(store: &impl Store) {
    let authority = |label: &str, created_at, state| Authority {
        label: label.into(),
        certificate: vec![0x30, u8::try_from(created_at).unwrap()],
        created_at,
        state,
    };
    let old = authority("b", 1, AuthorityState::Active);
    let new = authority("a", 2, AuthorityState::Prepared);
    store
        .commit(vec![
            Change::PutAuthority(new.clone()),
            Change::PutAuthority(old.clone()),
        ])
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().authorities, [old.clone(), new.clone()]);
    let retired = Authority {
        state: AuthorityState::Old,
        ..old
    };
    store.commit(vec![Change::PutAuthority(retired.clone())]).await.unwrap();
    // The same key with another certificate.
    let renewed = authority("b", 3, AuthorityState::Active);
    store.commit(vec![Change::PutAuthority(renewed.clone())]).await.unwrap();
    assert_eq!(store.load().await.unwrap().authorities, [retired, new, renewed]);
}

pub(crate) async fn the_bundle_sequence_only_rises(store: &impl Store) {
    store.commit(vec![Change::BundleSequence(1)]).await.unwrap();
    store.commit(vec![Change::BundleSequence(u64::MAX - 1)]).await.unwrap();
    for not_above in [0, 1, u64::MAX - 1] {
        let refused = store.commit(vec![Change::BundleSequence(not_above)]).await.unwrap_err();
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
