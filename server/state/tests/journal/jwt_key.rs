//! Keys that sign JWT-SVIDs: their life, and the journal's words for it.

use std::sync::Arc;

use hallmark_reason::Coded as _;
use hallmark_state::{
    AuthorityState, AuthorityStepError, Change, Decision, Event, JwtKey, Key, Outcome, Record, State, View, What,
    decide::{JwtKeyStep, activate_jwt_key, prepare_jwt_key, remove_jwt_key, taint_jwt_key},
    journal::encoding::{decode, encode},
};

use crate::samples::{state, transaction};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn key(id: &str, created_at: i64, life: i64) -> JwtKey {
    JwtKey {
        key_id: id.into(),
        label: format!("label-{id}"),
        public_key: vec![0x30, 1],
        created_at,
        expires_at: created_at + life,
        state: AuthorityState::Prepared,
    }
}

fn take(state: &mut State, decision: Decision) {
    let revision = state.revision() + 1;
    state.apply(&Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(decision.changes, decision.events)),
    });
}

/// Takes every step that is due at `now`, as the server does; gives what was done.
fn keep(state: &mut State, now: i64, life: i64) -> Vec<String> {
    let mut done = Vec::new();
    while let Some(step) = state.due_jwt_key_step(now) {
        let view = View::new(state);
        let decision = match step {
            JwtKeyStep::Prepare => {
                let id = format!("k{now}");
                done.push(format!("prepare {id}"));
                prepare_jwt_key(view, key(&id, now, life), now, None).unwrap()
            }
            JwtKeyStep::Activate { key_id } => {
                done.push(format!("activate {key_id}"));
                activate_jwt_key(view, &key_id, now, None).unwrap()
            }
            JwtKeyStep::Remove { key_id } => {
                done.push(format!("remove {key_id}"));
                remove_jwt_key(view, &key_id, now, None).unwrap().0
            }
        };
        assert!(done.len() < 10, "it comes to an end: {done:?}");
        take(state, decision);
    }
    done
}

#[test]
fn a_key_is_in_the_bundle_before_it_signs_and_until_nothing_hangs_on_it() {
    let mut state = state();
    let mut told = Vec::new();
    for hour in 0..=72 {
        let sequence = state.bundle_sequence();
        let done = keep(&mut state, hour * HOUR, DAY);
        let published = done.iter().filter(|it| !it.starts_with("activate")).count();
        assert_eq!(
            state.bundle_sequence(),
            sequence + u64::try_from(published).unwrap(),
            "{hour}: {done:?}"
        );
        // One signs, always, and what it signs may last for its own life.
        assert!(state.active_jwt_key().unwrap().expires_at > hour * HOUR);
        told.extend(done.into_iter().map(|it| format!("{hour}: {it}")));
    }
    assert_eq!(
        told,
        [
            "0: prepare k0",
            "0: activate k0",
            "12: prepare k43200",
            "20: activate k43200",
            "24: prepare k86400",
            "25: remove k0",
            "32: activate k86400",
            "36: prepare k129600",
            "37: remove k43200",
            "44: activate k129600",
            "48: prepare k172800",
            "49: remove k86400",
            "56: activate k172800",
            "60: prepare k216000",
            "61: remove k129600",
            "68: activate k216000",
            "72: prepare k259200",
        ]
    );
}

#[test]
fn long_lives_are_renewed_thirty_and_seven_days_before_the_end() {
    let mut state = state();
    let year = 365 * DAY;
    keep(&mut state, 0, year);
    for (day, due) in [(334, 0), (335, 1), (357, 0), (358, 1), (365, 0), (366, 1)] {
        assert_eq!(keep(&mut state, day * DAY, year).len(), due, "day {day}");
    }
}

#[test]
fn a_server_that_was_away_for_long_goes_on_with_a_new_key() {
    let mut state = state();
    keep(&mut state, 0, DAY);
    keep(&mut state, 12 * HOUR, DAY);
    let late = 100 * DAY;
    let done = keep(&mut state, late, DAY);
    assert_eq!(
        done,
        [
            "remove k43200".to_owned(),
            format!("prepare k{late}"),
            format!("activate k{late}"),
            "remove k0".to_owned()
        ]
    );
    assert_eq!(state.jwt_keys().len(), 1);
}

#[test]
fn steps_that_an_operator_forces_keep_the_order() {
    let mut state = state();
    keep(&mut state, 0, DAY);
    let why = Some("a drill");
    let refused = |refused: Result<Decision, AuthorityStepError>, code: &str| {
        assert_eq!(refused.unwrap_err().code().as_str(), code);
    };
    // Neither what signs, nor what nobody knows.
    refused(
        taint_jwt_key(View::new(&state), "k0", "x").map(|it| it.0),
        "HM-REG-0123",
    );
    refused(
        remove_jwt_key(View::new(&state), "k0", 1, why).map(|it| it.0),
        "HM-REG-0123",
    );
    refused(activate_jwt_key(View::new(&state), "k0", 1, why), "HM-REG-0123");
    refused(activate_jwt_key(View::new(&state), "none", 1, why), "HM-REG-0120");
    let prepared = prepare_jwt_key(View::new(&state), key("next", 1, DAY), 1, why).unwrap();
    assert!(prepared.expect.keys.contains(&Key::Authorities));
    take(&mut state, prepared);
    refused(
        prepare_jwt_key(View::new(&state), key("third", 1, DAY), 1, why),
        "HM-REG-0122",
    );
    refused(
        taint_jwt_key(View::new(&state), "next", "x").map(|it| it.0),
        "HM-REG-0123",
    );
    let activated = activate_jwt_key(View::new(&state), "next", 1, why).unwrap();
    assert!(activated.expect.keys.contains(&Key::Authorities));
    take(&mut state, activated);
    assert_eq!(state.active_jwt_key().unwrap().key_id, "next");
    let sequence = state.bundle_sequence();
    let (tainted, _) = taint_jwt_key(View::new(&state), "k0", "it was seen elsewhere").unwrap();
    take(&mut state, tainted);
    assert_eq!(state.jwt_keys()[0].state, AuthorityState::Tainted);
    let (revoked, gone) = remove_jwt_key(View::new(&state), "k0", 1, why).unwrap();
    assert_eq!(gone.label, "label-k0");
    assert!(
        matches!(&revoked.events[0].what, What::Authority { act, reason: Some(why), .. }
        if act == "jwt-authority-revoke" && why == "a drill")
    );
    take(&mut state, revoked);
    assert_eq!((state.jwt_keys().len(), state.bundle_sequence()), (1, sequence + 2));
    refused(
        prepare_jwt_key(View::new(&state), key("next", 1, DAY), 1, why),
        "HM-REG-0121",
    );
}

#[test]
fn what_the_journal_has_of_it_reads_back() {
    let all = [
        AuthorityState::Prepared,
        AuthorityState::Active,
        AuthorityState::Old,
        AuthorityState::Tainted,
    ];
    let mut changes: Vec<Change> = all
        .into_iter()
        .map(|state| {
            Change::PutJwtKey(Arc::new(JwtKey {
                state,
                ..key("k", 5, 9)
            }))
        })
        .collect();
    changes.push(Change::DeleteJwtKey { key_id: "k".into() });
    let event = Event {
        outcome: Outcome::Pending,
        ..Event::done(
            "spiffe://example.org/w",
            What::JwtSvidIntent {
                id: 7 << 100,
                expires_at: 300,
                audience: vec!["a".into(), "b".into()],
                key_id: "k".into(),
                entry: "e".into(),
            },
        )
    };
    let bytes = encode(&[transaction(changes.clone(), vec![event.clone()])]);
    let read = decode(&bytes, &mut |_| None).unwrap();
    assert_eq!(read[0].events, [event]);
    assert_eq!(format!("{:?}", read[0].changes), format!("{changes:?}"));
}

#[test]
fn a_key_that_was_prepared_early_is_known_before_it_signs() {
    let mut state = state();
    keep(&mut state, 0, DAY);
    let early = prepare_jwt_key(View::new(&state), key("early", 5, DAY), 5, Some("drill")).unwrap();
    take(&mut state, early);
    // At five sixths it signs, and the next one is due as well: half of its own life has passed.
    assert_eq!(
        keep(&mut state, 20 * HOUR + 5, DAY),
        ["activate early", "prepare k72005"]
    );
    for (later, due) in [(1, 0), (299, 0), (300, 1)] {
        assert_eq!(
            keep(&mut state, 20 * HOUR + 5 + later, DAY).len(),
            due,
            "{later} s later"
        );
    }
}
