//! X.509 authorities: their life, step by step.

use std::sync::Arc;

use hallmark_reason::Coded as _;
use hallmark_state::{
    Authority, AuthorityState, AuthorityStepError, Change, Decision, Key, Record, State, View, What,
    decide::{
        X509AuthorityStep, activate_x509_authority, activates_before, end_x509_authority, prepare_x509_authority,
        revoke_x509_authority, taint_x509_authority,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyIdMethod, KeyPair, SerialNumber};
use time::OffsetDateTime;

use crate::samples::{state, transaction};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// An authority that begins at `from` and ends at `to`, with this id.
pub(crate) fn authority(key_id: [u8; 4], from: i64, to: i64) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
    params.serial_number = Some(SerialNumber::from(to.to_be_bytes().to_vec()));
    params.not_before = OffsetDateTime::from_unix_timestamp(from).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(to).unwrap();
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Authority {
        upstream: Vec::new(),
        label: format!("label-{}", hex::encode(key_id)),
        certificate: certificate.der().to_vec(),
        created_at: from,
        state: AuthorityState::Prepared,
    }
}

fn id(at: i64) -> [u8; 4] {
    u32::try_from(at).unwrap().to_be_bytes()
}

fn apply(state: &mut State, changes: Vec<Change>) {
    let revision = state.revision() + 1;
    state.apply(&Record {
        revision,
        first_event: 1,
        transaction: Arc::new(transaction(changes, Vec::new())),
    });
}

/// With one authority, which signs from `from` to `to`.
fn begun(from: i64, to: i64) -> State {
    let mut state = state();
    let gone = state.authorities().iter().map(|it| Change::DeleteAuthority {
        certificate: it.certificate.clone(),
    });
    let mut changes: Vec<_> = gone.collect();
    changes.push(Change::PutAuthority(Arc::new(Authority {
        state: AuthorityState::Active,
        ..authority(id(from), from, to)
    })));
    apply(&mut state, changes);
    state
}

/// Takes every step that is due at `now`, as the server does; gives what was done.
fn keep(state: &mut State, now: i64, life: i64) -> Vec<String> {
    let mut done = Vec::new();
    while let Some(step) = state.due_x509_authority_step(now) {
        let view = View::new(state);
        let decision = match step {
            X509AuthorityStep::Prepare => {
                done.push(format!("prepare {now}"));
                prepare_x509_authority(view, authority(id(now), now, now + life), now, None).unwrap()
            }
            X509AuthorityStep::Activate { key_id } => {
                done.push(format!("activate {}", i64::from_str_radix(&key_id, 16).unwrap()));
                activate_x509_authority(view, &key_id, now, None).unwrap()
            }
            X509AuthorityStep::Remove { certificate } => {
                let (decision, gone) = end_x509_authority(view, &certificate, now);
                let gone = i64::from_str_radix(&gone.unwrap().key_id().unwrap(), 16).unwrap();
                done.push(format!("remove {gone}"));
                decision
            }
        };
        assert!(decision.expect.keys.contains(&Key::Authorities));
        assert!(done.len() < 10, "it comes to an end: {done:?}");
        apply(state, decision.changes);
    }
    done
}

#[test]
fn an_authority_is_in_the_bundle_before_it_signs_and_until_it_has_ended() {
    let mut state = begun(0, DAY);
    let mut told = Vec::new();
    for hour in 0..=49 {
        let sequence = state.bundle_sequence();
        let done = keep(&mut state, hour * HOUR, DAY);
        let published = done.iter().filter(|it| !it.starts_with("activate")).count();
        let expected = sequence + u64::try_from(published).unwrap();
        assert_eq!(state.bundle_sequence(), expected, "{hour}: {done:?}");
        let active = state.active_authority().unwrap().facts().unwrap();
        assert!(active.not_after > hour * HOUR);
        told.extend(done.into_iter().map(|it| format!("{hour}: {it}")));
    }
    assert_eq!(
        told,
        [
            "12: prepare 43200",
            "20: activate 43200",
            "24: prepare 86400",
            "25: remove 0",
            "32: activate 86400",
            "36: prepare 129600",
            "37: remove 43200",
            "44: activate 129600",
            "48: prepare 172800",
            "49: remove 86400",
        ]
    );
}

#[test]
fn long_lives_are_followed_thirty_and_seven_days_before_the_end() {
    let year = 365 * DAY;
    let mut state = begun(0, year);
    for (day, due) in [(334, 0), (335, 1), (357, 0), (358, 1), (365, 0), (366, 1)] {
        assert_eq!(keep(&mut state, day * DAY, year).len(), due, "day {day}");
    }
    assert_eq!((activates_before(DAY), activates_before(year)), (4 * HOUR, 7 * DAY));
}

#[test]
fn attack_84_a_clock_that_is_ahead_makes_no_authority_behind_the_end() {
    let mut state = begun(0, DAY);
    let before = format!("{:?}", state.authorities());
    assert_eq!(keep(&mut state, 100 * DAY, DAY), Vec::<String>::new());
    assert_eq!(format!("{:?}", state.authorities()), before);
    // The control: within its life one is made, and when only that one is valid it signs.
    assert_eq!(keep(&mut state, 23 * HOUR, DAY), ["prepare 82800"]);
    assert_eq!(keep(&mut state, DAY + 61, DAY), ["activate 82800", "remove 0"]);
    // A clock that is set back over a step takes none twice, and none back.
    assert_eq!(keep(&mut state, 12 * HOUR, DAY), Vec::<String>::new());
    assert_eq!(
        state.active_authority().unwrap().key_id().unwrap(),
        hex::encode(id(82800))
    );
}

#[test]
fn one_that_is_not_valid_yet_never_signs() {
    let mut state = begun(0, DAY);
    keep(&mut state, 20 * HOUR - 301, DAY);
    // The clock was ahead when it was made.
    let made = state.prepared_authority().cloned().unwrap();
    let early = Authority {
        created_at: 0,
        ..authority(id(9), 21 * HOUR, 3 * DAY)
    };
    apply(
        &mut state,
        vec![
            Change::DeleteAuthority {
                certificate: made.certificate.clone(),
            },
            Change::PutAuthority(Arc::new(early)),
        ],
    );
    assert_eq!(keep(&mut state, 20 * HOUR, DAY), Vec::<String>::new());
    let refused = activate_x509_authority(View::new(&state), &hex::encode(id(9)), 20 * HOUR, Some("x"));
    assert_eq!(refused.unwrap_err().code().as_str(), "HM-REG-0123");
    assert_eq!(keep(&mut state, 21 * HOUR, DAY), ["activate 9"]);
}

#[test]
fn steps_that_an_operator_forces_keep_the_order() {
    let mut state = begun(0, DAY);
    let why = Some("a drill");
    let (first, next) = (hex::encode(id(0)), hex::encode(id(1)));
    let refused = |refused: Result<Decision, AuthorityStepError>, code: &str| {
        assert_eq!(refused.unwrap_err().code().as_str(), code);
    };
    let taint = |state: &State, id: &str| taint_x509_authority(View::new(state), id, "x").map(|it| it.0);
    let revoke = |state: &State, id: &str| revoke_x509_authority(View::new(state), id, "a drill").map(|it| it.0);
    let activate = |state: &State, id: &str| activate_x509_authority(View::new(state), id, 2, why);
    let prepare = |state: &State, it: Authority| prepare_x509_authority(View::new(state), it, 2, why);
    // Neither what signs, nor what nobody knows, nor what is no certificate.
    refused(taint(&state, &first), "HM-REG-0123");
    refused(revoke(&state, &first), "HM-REG-0123");
    refused(activate(&state, &first), "HM-REG-0123");
    refused(activate(&state, "none"), "HM-REG-0120");
    let garbage = Authority {
        certificate: vec![1],
        ..authority(id(1), 1, DAY)
    };
    refused(prepare(&state, garbage), "HM-REG-0106");
    refused(prepare(&state, authority(id(0), 1, DAY)), "HM-REG-0121");
    let prepared = prepare(&state, authority(id(1), 1, DAY)).unwrap();
    // Two that prepare at once: the second is decided on what the first has changed.
    assert!(prepared.expect.keys.contains(&Key::Authorities));
    apply(&mut state, prepared.changes);
    refused(prepare(&state, authority(id(2), 1, DAY)), "HM-REG-0122");
    refused(taint(&state, &next), "HM-REG-0123");
    let activated = activate(&state, &next).unwrap();
    apply(&mut state, activated.changes);
    assert_eq!(state.active_authority().unwrap().key_id().unwrap(), next);
    // The certificate of the old one was renewed on its key: both rows are tainted, and both go.
    let renewed = Authority {
        state: AuthorityState::Old,
        ..authority(id(0), 0, 2 * DAY)
    };
    apply(&mut state, vec![Change::PutAuthority(Arc::new(renewed))]);
    let sequence = state.bundle_sequence();
    let tainted = taint(&state, &first).unwrap();
    apply(&mut state, tainted.changes);
    let standing: Vec<_> = state.authorities().iter().map(|it| it.state).collect();
    let count = |of: AuthorityState| standing.iter().filter(|it| **it == of).count();
    assert_eq!((count(AuthorityState::Tainted), count(AuthorityState::Active)), (2, 1));
    refused(taint(&state, &first), "HM-REG-0123");
    let (revoked, (newest, gone)) = revoke_x509_authority(View::new(&state), &first, "a drill").unwrap();
    assert_eq!((gone.len(), newest.label.as_str()), (2, "label-00000000"));
    assert!(
        matches!(&revoked.events[0].what, What::Authority { act, reason: Some(why), facts }
        if act == "x509-authority-revoke" && why == "a drill" && facts[0].1 == first)
    );
    apply(&mut state, revoked.changes);
    assert_eq!((state.authorities().len(), state.bundle_sequence()), (1, sequence + 2));
}

#[test]
fn the_one_that_signs_is_never_taken_out_by_its_end() {
    let state = begun(0, DAY);
    let signs = state.active_authority().unwrap().certificate.clone();
    for certificate in [signs, vec![0x30, 0x56]] {
        let (decision, gone) = end_x509_authority(View::new(&state), &certificate, 100 * DAY);
        assert!(decision.is_empty() && gone.is_none());
    }
    // The control is the test of the whole life: there the old ones leave.
}
