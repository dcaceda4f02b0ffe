//! EKs whose kept certificate does not read back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hallmark_evidence::EkCertificateChain;
use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{EkCertificate, State};

/// The kept certificate of one EK does not read back: it counts as not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored certificate of the EK {ek} does not read back, and counts as not verified until the node attests with it again"
)]
pub struct UnreadableCertificate {
    /// SHA-256 of the EK's SPKI, hex.
    pub ek: String,
    /// What is damaged.
    pub damage: String,
}

impl UnreadableCertificate {
    /// Reads what is kept.
    ///
    /// # Errors
    /// It does not read back.
    pub(crate) fn read(kept: &EkCertificate) -> Result<EkCertificateChain, Self> {
        EkCertificateChain::from_json(&kept.certificate).map_err(|error| Self {
            ek: hex::encode(kept.ek_sha256),
            damage: error.to_string(),
        })
    }
}

impl Coded for UnreadableCertificate {
    fn code(&self) -> ReasonCode {
        ReasonCode::new("HM-SRV-0036")
    }

    fn compared(&self) -> Option<String> {
        Some(format!(
            "expected a certificate with its issuers, found: {}",
            self.damage
        ))
    }
}

/// EKs whose kept certificate does not read back, as far as they were read, and why; the keys are hex.
#[derive(Debug, Default)]
pub(crate) struct UnreadableCertificates(Mutex<BTreeMap<String, String>>);

impl UnreadableCertificates {
    /// One was found. Each fault is told once.
    pub(crate) fn note(&self, found: &UnreadableCertificate) {
        if self.all().insert(found.ek.clone(), found.damage.clone()).as_ref() != Some(&found.damage) {
            tracing::error!(code = %found.code(), ek = found.ek, compared = found.compared(), "{found}");
        }
    }

    /// All were read, and these are the ones.
    pub(crate) fn replace(&self, found: &[UnreadableCertificate]) {
        self.all().retain(|ek, _| found.iter().any(|it| it.ek == *ek));
        found.iter().for_each(|it| self.note(it));
    }

    /// Another one takes its place.
    pub(crate) fn forget(&self, ek: &[u8; 32]) {
        let ek = hex::encode(ek);
        if self.all().remove(&ek).is_some() {
            tracing::info!(ek, "the EK has a certificate again that reads back");
        }
    }

    /// The nodes that get nothing signed for it: revocation lists are in force, and nothing says that theirs is not on one.
    pub(crate) fn untrusted(&self, state: &State) -> Vec<SpiffeId> {
        let refused = &state.rules().set.unreadable;
        let all = self.all();
        let eks = all.keys().filter(|ek| refused.contains_key(*ek));
        let eks = eks.filter_map(|ek| <[u8; 32]>::try_from(hex::decode(ek).ok()?).ok());
        eks.filter_map(|ek| Some(state.node_of_ek(&ek)?.id.clone())).collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
