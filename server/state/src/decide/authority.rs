//! Certificates of the authority that have ended leave the bundle.

use crate::{Change, Decision, Event, View, What, journal::sha256};

/// A certificate of the bundle that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedCertificate {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// When it ended, for people.
    pub ended: String,
}

/// Takes certificates that have ended out of the bundle: of these, the ones that are in it and do not sign. Each that goes
/// raises the bundle's sequence number.
pub fn remove_ended(view: View<'_>, ended: &[EndedCertificate]) -> Decision {
    let state = view.authorities();
    let active = state.active_authority();
    let mut sequence = state.bundle_sequence();
    let (mut changes, mut events) = (Vec::new(), Vec::new());
    for EndedCertificate { certificate, ended } in ended {
        let is_it = |it: &&std::sync::Arc<crate::Authority>| it.certificate == *certificate;
        let found = state.authorities().iter().find(is_it);
        let Some(authority) = found.filter(|it| active != Some(it)) else {
            continue;
        };
        sequence = sequence.saturating_add(1);
        changes.push(Change::DeleteAuthority {
            certificate: certificate.clone(),
        });
        let what = What::Authority {
            act: "x509-authority-end".to_owned(),
            reason: None,
            facts: vec![
                ("certificate_sha256".to_owned(), hex::encode(sha256(certificate))),
                ("ended".to_owned(), ended.clone()),
            ],
        };
        events.push(Event::done(authority.label.as_str(), what));
    }
    if !changes.is_empty() {
        changes.push(Change::PutBundleSequence(sequence));
    }
    view.decide(changes, events)
}
