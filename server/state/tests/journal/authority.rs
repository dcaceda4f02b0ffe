//! Certificates of the authority that have ended.

use std::sync::Arc;

use hallmark_state::{
    Authority, AuthorityState, Change, Key, Record, State, View,
    decide::{EndedCertificate, remove_ended},
};

use crate::samples::{authority, state, transaction};

#[test]
fn certificates_that_have_ended_leave_and_the_one_that_signs_stays() {
    let mut state = state();
    let signs = state.active_authority().unwrap().certificate.clone();
    let old = Authority {
        state: AuthorityState::Old,
        certificate: vec![0x30, 0x55],
        created_at: 0,
        ..authority("key1")
    };
    let apply = |state: &mut State, changes: Vec<Change>| {
        let revision = state.revision() + 1;
        state.apply(&Record {
            revision,
            first_event: 1,
            transaction: Arc::new(transaction(changes, Vec::new())),
        });
    };
    apply(&mut state, vec![Change::PutAuthority(Arc::new(old.clone()))]);
    let (before, sequence) = (state.authorities().len(), state.bundle_sequence());
    let ended = [signs.clone(), old.certificate.clone(), vec![0x30, 0x56]].map(|certificate| EndedCertificate {
        certificate,
        ended: "then".into(),
    });
    let decision = remove_ended(View::new(&state), &ended);
    assert_eq!(
        decision.events.len(),
        1,
        "of the one that is in the bundle and does not sign"
    );
    assert!(decision.expect.keys.contains(&Key::Authorities));
    apply(&mut state, decision.changes);
    let left: Vec<_> = state.authorities().iter().map(|it| it.certificate.clone()).collect();
    assert!(left.contains(&signs) && !left.contains(&old.certificate));
    assert_eq!((left.len(), state.bundle_sequence()), (before - 1, sequence + 1));
    // The control: there is nothing more to do.
    assert!(remove_ended(View::new(&state), &ended).is_empty());
}
