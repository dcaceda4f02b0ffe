//! What the authority above says: roots and JWT keys, and what becomes of them.

use std::sync::Arc;

use hallmark_reason::Coded as _;
use hallmark_state::{
    Authority, AuthorityState, Change, Decision, Record, State, UpstreamBundle, UpstreamJwtKey, UpstreamRootState,
    View,
    decide::{
        UpstreamSays, X509AuthorityStep, activate_x509_authority, bundle_certificates, end_x509_authority,
        follow_upstream, prepare_upstream_authority, revoke_upstream_root, taint_upstream_root,
    },
    journal::encoding::{decode_certificates, decode_upstream, encode_certificates, encode_upstream},
};

use crate::{
    samples::{state, transaction},
    x509_authority::authority,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const ROOT: [u8; 4] = [0xaa; 4];
const NEXT: [u8; 4] = [0xbb; 4];

fn root(id: [u8; 4]) -> Vec<u8> {
    authority(id, 0, 3650 * DAY).certificate
}

fn below(id: [u8; 4], from: i64, to: i64, root: &[u8]) -> Authority {
    Authority {
        upstream: vec![root.to_vec()],
        ..authority(id, from, to)
    }
}

fn apply(state: &mut State, decision: Decision) {
    let revision = state.revision() + 1;
    state.apply(&Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(decision.changes, decision.events)),
    });
}

fn says(roots: &[&Vec<u8>]) -> UpstreamSays {
    UpstreamSays {
        roots: Some(roots.iter().map(|it| (*it).clone()).collect()),
        jwt_keys: None,
    }
}

/// With one authority below `root`, which signs for a day.
fn begun(root: &Vec<u8>) -> State {
    let mut state = state();
    let gone: Vec<_> = state
        .authorities()
        .iter()
        .map(|it| Change::DeleteAuthority {
            certificate: it.certificate.clone(),
        })
        .collect();
    let decision = View::new(&state).decide(gone, Vec::new());
    apply(&mut state, decision);
    let first = below([1; 4], 0, DAY, root);
    let decision = prepare_upstream_authority(View::new(&state), first, std::slice::from_ref(root), 0, None).unwrap();
    apply(&mut state, decision);
    let decision = activate_x509_authority(View::new(&state), "01010101", 1, None).unwrap();
    apply(&mut state, decision);
    state
}

fn bundle(state: &State) -> Vec<(Vec<u8>, bool)> {
    let rows = state.authorities().iter().map(|it| &**it);
    let all = bundle_certificates(rows, state.upstream()).into_iter();
    all.map(|it| (it.certificate, it.tainted)).collect()
}

#[test]
fn the_bundle_has_the_root_and_not_what_it_signed() {
    let root = root(ROOT);
    let state = begun(&root);
    assert_eq!(bundle(&state), [(root.clone(), false)]);
    let stranger = below([9; 4], 0, DAY, &self::root(NEXT));
    let refused = prepare_upstream_authority(View::new(&state), stranger, &[root], 1, None);
    assert!(refused.is_err(), "its root is none of those that are said");
}

#[test]
fn a_root_leaves_once_it_is_not_said_and_nothing_hangs_on_it() {
    let (old, new) = (root(ROOT), root(NEXT));
    let mut state = begun(&old);
    let sequence = state.bundle_sequence();
    let decision = follow_upstream(View::new(&state), &says(&[&old]), 5);
    assert!(decision.is_empty(), "nothing is new");
    for said in [says(&[&new, &old]), says(&[&new])] {
        let decision = follow_upstream(View::new(&state), &said, 5);
        apply(&mut state, decision);
        assert_eq!(bundle(&state), [(old.clone(), false), (new.clone(), false)]);
    }
    assert_eq!(state.bundle_sequence(), sequence + 2);
    assert_eq!(state.upstream().roots[0].state, UpstreamRootState::Old);
    let next = below([2; 4], HOUR, 2 * DAY, &new);
    let decision =
        prepare_upstream_authority(View::new(&state), next, std::slice::from_ref(&new), 2 * HOUR, None).unwrap();
    apply(&mut state, decision);
    let decision = activate_x509_authority(View::new(&state), "02020202", 3 * HOUR, None).unwrap();
    apply(&mut state, decision);
    assert_eq!(bundle(&state).len(), 2, "what the old one signed is valid");
    let ended = state.authorities()[0].certificate.clone();
    let (decision, _) = end_x509_authority(View::new(&state), &ended, DAY + HOUR);
    apply(&mut state, decision);
    let decision = follow_upstream(View::new(&state), &UpstreamSays::default(), DAY + HOUR);
    apply(&mut state, decision);
    assert_eq!(bundle(&state), [(new, false)]);
}

#[test]
fn a_root_is_tainted_and_revoked_unless_what_signs_hangs_on_it() {
    let (old, new) = (root(ROOT), root(NEXT));
    let mut state = begun(&old);
    let refused = taint_upstream_root(View::new(&state), "aaaaaaaa", "why").unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-REG-0123");
    let refused = revoke_upstream_root(View::new(&state), "aaaaaaaa", "why").unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-REG-0123");
    let refused = taint_upstream_root(View::new(&state), "cccccccc", "why").unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-REG-0120");
    let next = below([2; 4], HOUR, 2 * DAY, &new);
    let roots = [old.clone(), new.clone()];
    let decision = prepare_upstream_authority(View::new(&state), next, &roots, 2 * HOUR, None).unwrap();
    apply(&mut state, decision);
    let decision = activate_x509_authority(View::new(&state), "02020202", 3 * HOUR, None).unwrap();
    apply(&mut state, decision);
    let decision = taint_upstream_root(View::new(&state), "aaaaaaaa", "why").unwrap();
    apply(&mut state, decision);
    assert_eq!(bundle(&state), [(old.clone(), true), (new.clone(), false)]);
    assert!(
        taint_upstream_root(View::new(&state), "aaaaaaaa", "why").is_err(),
        "once"
    );
    let (decision, gone) = revoke_upstream_root(View::new(&state), "aaaaaaaa", "why").unwrap();
    apply(&mut state, decision);
    assert_eq!(gone.len(), 1);
    assert_eq!(bundle(&state), [(new.clone(), false)]);
    // As long as it is said it stays out, and nothing is signed under it.
    let decision = follow_upstream(View::new(&state), &says(&[&old, &new]), 4 * HOUR);
    assert!(decision.is_empty());
    let again = below([3; 4], HOUR, 2 * DAY, &old);
    let refused = prepare_upstream_authority(View::new(&state), again, &roots, 4 * HOUR, None).unwrap_err();
    assert_eq!(refused.code().as_str(), "HM-REG-0123");
    for said in [says(&[&new]), says(&[&old, &new])] {
        let decision = follow_upstream(View::new(&state), &said, 5 * HOUR);
        apply(&mut state, decision);
    }
    assert_eq!(
        bundle(&state).len(),
        2,
        "it was not said for a while, and then it is another word"
    );
}

#[test]
fn behind_the_end_the_one_above_signs_the_next() {
    let state = begun(&root(ROOT));
    assert_eq!(state.due_x509_authority_step(HOUR), None);
    for now in [13 * HOUR, DAY + HOUR, 30 * DAY] {
        assert_eq!(
            state.due_x509_authority_step(now),
            Some(X509AuthorityStep::Prepare),
            "{now}"
        );
    }
    assert_eq!(state.active_authority().unwrap().state, AuthorityState::Active);
}

#[test]
fn a_key_of_the_one_above_takes_the_place_of_none_and_goes_when_it_ends() {
    let mut state = begun(&root(ROOT));
    let key = |id: &str, public: u8, expires_at| UpstreamJwtKey {
        key_id: id.into(),
        public_key: vec![0x30, public],
        expires_at,
        tainted: false,
    };
    let own = hallmark_state::JwtKey {
        key_id: "own".into(),
        label: "l".into(),
        public_key: vec![0x30, 1],
        created_at: 0,
        expires_at: DAY,
        state: AuthorityState::Active,
    };
    let decision = View::new(&state).decide(vec![Change::PutJwtKey(Arc::new(own))], Vec::new());
    apply(&mut state, decision);
    let keys = vec![
        key("own", 1, DAY),
        key("own", 7, DAY),
        key("alias", 1, DAY),
        key("above", 2, DAY),
        key("above", 3, DAY),
        key("ended", 4, 10),
        key("lasting", 5, 0),
    ];
    let said = UpstreamSays {
        roots: None,
        jwt_keys: Some(keys),
    };
    let decision = follow_upstream(View::new(&state), &said, HOUR);
    apply(&mut state, decision);
    let ids = |state: &State| -> Vec<String> { state.upstream().jwt_keys.iter().map(|it| it.key_id.clone()).collect() };
    assert_eq!(ids(&state), ["above", "lasting"]);
    let decision = follow_upstream(View::new(&state), &UpstreamSays::default(), 2 * DAY);
    apply(&mut state, decision);
    assert_eq!(ids(&state), ["lasting"]);
}

#[test]
fn columns_read_back_and_other_bytes_do_not() {
    let state = begun(&root(ROOT));
    let whole = UpstreamBundle::clone(state.upstream());
    let bytes = encode_upstream(&whole);
    assert_eq!(decode_upstream(&bytes).unwrap(), whole);
    let certificates = vec![vec![1, 2], vec![3]];
    assert_eq!(
        decode_certificates(&encode_certificates(&certificates)).unwrap(),
        certificates
    );
    assert!(encode_certificates(&[]).is_empty());
    for bad in [&bytes[..bytes.len() - 1], b"\x08\x01", b"\xff"] {
        assert!(decode_upstream(bad).is_err(), "{bad:?}");
    }
    for bad in [&b"\x0a\x02\x01"[..], b"\x08\x01", b"\xff"] {
        assert!(decode_certificates(bad).is_err(), "{bad:?}");
    }
}
