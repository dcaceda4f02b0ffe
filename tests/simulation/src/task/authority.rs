//! The X.509 authorities, as the server's keeper has them: what is due, and what operators force.

use std::sync::{Arc, LazyLock};

use hallmark_state::{
    Authority, AuthorityState, AuthorityStepError, Change, Decision, Event, Key, State, View, What,
    decide::{
        X509AuthorityStep, activate_x509_authority, end_x509_authority, prepare_x509_authority, revoke_x509_authority,
        taint_x509_authority,
    },
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyIdMethod, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;

use super::{Context, Next, Without as _, Work};
use crate::{Broken, random::Random};

/// How long an authority lives, in seconds: about as long as half of the schedules.
const LIFE: i64 = 4500;
/// How far before its making it begins.
const BACKDATED: i64 = 10;
const WHY: &str = "a reason";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthorityAct {
    /// What the state says is due.
    Due,
    Prepare,
    Activate,
    Taint,
    Revoke,
}

impl AuthorityAct {
    /// Mostly what is due.
    pub(crate) const fn choose(random: &mut Random) -> Self {
        match random.below(10) {
            0 | 1 => Self::Prepare,
            2 | 3 => Self::Activate,
            4 => Self::Taint,
            5 => Self::Revoke,
            _ => Self::Due,
        }
    }
}

/// One step of one authority, with the number that a new one gets.
pub(crate) struct Authorities(pub(crate) AuthorityAct, pub(crate) u64);

impl Work for Authorities {
    fn next(&mut self, context: &mut Context<'_>) -> Next {
        let (state, now) = (context.state(), context.server_now());
        let view = View::new(state);
        // A broken keeper has a new one sign at once.
        let is_first = state.active_authority().is_none();
        if is_first || (self.0 == AuthorityAct::Prepare && context.broken == Some(Broken::ActivatesUnpublished)) {
            return Next::commit("server", begin(view, &authority(self.1, now), is_first));
        }
        let decided = match self.0 {
            AuthorityAct::Due => match state.due_x509_authority_step(now) {
                Some(X509AuthorityStep::Prepare) => prepare_x509_authority(view, authority(self.1, now), now, None),
                Some(X509AuthorityStep::Activate { key_id }) => activate_x509_authority(view, &key_id, now, None),
                Some(X509AuthorityStep::Remove { certificate }) => Ok(end_x509_authority(view, &certificate, now).0),
                None => return Next::End,
            },
            AuthorityAct::Prepare => prepare_x509_authority(view, authority(self.1, now), now, Some(WHY)),
            AuthorityAct::Activate => activate_x509_authority(view, &any(state, self.1), now, Some(WHY)),
            AuthorityAct::Taint => taint_x509_authority(view, &any(state, self.1), WHY).map(|(decision, _)| decision),
            AuthorityAct::Revoke => revoke_x509_authority(view, &any(state, self.1), WHY).map(|(decision, _)| decision),
        };
        match decided {
            Ok(decision) => Next::commit("server", forgetful(decision, context.broken)),
            Err(AuthorityStepError::Unreadable) => panic!("a certificate of the simulation does not read"),
            Err(_) => Next::End,
        }
    }
}

/// What a broken keeper lets its steps rest on.
fn forgetful(decision: Decision, broken: Option<Broken>) -> Decision {
    if broken != Some(Broken::ForgetsOtherKeepers) {
        return decision;
    }
    Decision {
        expect: decision.expect.without(|key| *key == Key::Authorities),
        ..decision
    }
}

/// The id of one of them.
fn any(state: &State, number: u64) -> String {
    let all = state.authorities();
    let place = Random::new(number).below(all.len());
    all.get(place).and_then(|it| it.key_id()).unwrap_or_default()
}

/// A new authority signs at once, in the place of the one that does.
fn begin(view: View<'_>, new: &Authority, is_first: bool) -> Decision {
    let state = view.authorities();
    let put = |it: &Authority, state| Change::PutAuthority(Arc::new(Authority { state, ..it.clone() }));
    let old = state.active_authority().map(|it| put(it, AuthorityState::Old));
    let sequence = Change::PutBundleSequence(state.bundle_sequence() + 1);
    let changes = old
        .into_iter()
        .chain([put(new, AuthorityState::Active), sequence])
        .collect();
    let act = if is_first { "begin" } else { "activate" };
    let what = What::Authority {
        act: format!("x509-authority-{act}"),
        reason: None,
        facts: Vec::new(),
    };
    view.decide(changes, vec![Event::done(new.label.clone(), what)])
}

/// Until when SVIDs may be good that are made now, in Unix seconds: none outlives the authority that signs. `None` where none signs.
pub(crate) fn most(context: &Context<'_>) -> Option<i64> {
    let ends = context.state().active_authority()?.facts()?.not_after;
    let is_capped = context.broken != Some(Broken::OutlivesAuthority);
    (context.server_now() < ends).then_some(if is_capped { ends } else { i64::MAX })
}

/// One key, the same in every run; authorities differ by their ids.
static KEY: LazyLock<KeyPair> = LazyLock::new(|| {
    // PKCS#8 of an Ed25519 key (RFC 8410, section 7).
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let pkcs8: Vec<u8> = head.into_iter().chain([7; 32]).collect();
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap()
});

fn authority(number: u64, now: i64) -> Authority {
    let label = format!("key-{number:x}");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_identifier_method = KeyIdMethod::PreSpecified(number.to_be_bytes().to_vec());
    params.distinguished_name.push(DnType::CommonName, label.clone());
    params.not_before = OffsetDateTime::from_unix_timestamp(now - BACKDATED).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(now + LIFE).unwrap();
    Authority {
        certificate: params.self_signed(&*KEY).unwrap().der().to_vec(),
        label,
        upstream: Vec::new(),
        created_at: now,
        state: AuthorityState::Prepared,
    }
}
