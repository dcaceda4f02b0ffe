//! The first part: the TPM.

use std::collections::BTreeSet;
use std::time::SystemTime;

use hallmark_evidence::AkPublic;
use hallmark_node::EkId;
use hallmark_tpm_wire::{Name, PublicArea};

use crate::VerifyError;
use crate::challenge::{Challenge, ChallengeError};
use crate::enrolment::{EnrolledEk, enrol_again};
use crate::keys::KeyRole;
use crate::trust::{Trust, names_of};
use crate::verify_claim::spki;

/// An EK that belongs here, beside an AK of the right kind. That they live in one TPM takes the challenge.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedTpm {
    pub(crate) ek: EnrolledEk,
    pub(crate) ek_public: PublicArea,
    pub(crate) ak_public: PublicArea,
    pub(crate) ak_name: Name,
    /// True if the caller's record says that this AK was activated for this EK before.
    pub(crate) ak_known: bool,
    /// As the node gave them, or as the record has them where these count; to be kept with the evidence.
    pub(crate) ek_certificate: Option<Vec<u8>>,
    pub(crate) ek_chain: Vec<Vec<u8>>,
}

/// Proven: this EK belongs here, and this AK lives in its TPM: its TPM opened a credential that was made for both, now or,
/// by what the caller recorded, before.
///
/// Not proven: that the TPM's machine is there now (a quote), or that a virtual TPM's platform is honest.
#[derive(Debug, Clone)]
pub struct ProvenTpm {
    claimed: ClaimedTpm,
    ak_activated: bool,
}

impl ProvenTpm {
    /// The TPM of a claim that answers `challenge` with what its EK opened.
    ///
    /// # Errors
    /// [`ChallengeError`]: another secret than the challenge's, none where one was asked for, or one where none was.
    pub(crate) fn activated(
        claimed: ClaimedTpm,
        challenge: &Challenge,
        secret: Option<&[u8]>,
    ) -> Result<Self, ChallengeError> {
        challenge.require_secret(secret)?;
        Ok(Self {
            claimed,
            ak_activated: challenge.credential().is_some(),
        })
    }

    /// Judges by `trust`, at `now`, whether the EK still belongs here: operators may have changed the inventory since, and
    /// items and certificates may have expired.
    ///
    /// # Errors
    /// As [`verify_claim`](crate::verify_claim()) for an EK that does not belong here.
    pub fn enrolled_again(mut self, trust: &Trust, now: SystemTime) -> Result<Self, VerifyError> {
        let ek_public = &self.claimed.ek_public;
        let ek_spki = spki(ek_public, KeyRole::Ek)?;
        self.claimed.ek = enrol_again(&self.claimed.ek, ek_public, &ek_spki, trust, now)?;
        Ok(self)
    }

    /// SHA-256 of the EK's canonical SPKI, DER: the node's identity.
    #[must_use]
    pub const fn ek_sha256(&self) -> &[u8; 32] {
        &self.claimed.ek.sha256
    }

    /// The Names that an inventory may know the EK by.
    #[must_use]
    pub fn ek_names(&self) -> BTreeSet<Name> {
        names_of(&self.claimed.ek_public)
    }

    /// Every id by which an inventory may know the EK.
    pub fn ek_ids(&self) -> impl Iterator<Item = EkId> {
        let names = self.ek_names().into_iter().filter_map(|name| EkId::of_name(&name));
        std::iter::once(EkId::Spki(*self.ek_sha256())).chain(names)
    }

    /// The AK's Name.
    #[must_use]
    pub const fn ak_name(&self) -> &Name {
        &self.claimed.ak_name
    }

    /// True if the AK activated a credential just now; false if it is trusted from the caller's record.
    #[must_use]
    pub const fn ak_activated(&self) -> bool {
        self.ak_activated
    }

    /// How many certificates came with that of the EK, or are kept with it.
    #[must_use]
    pub const fn intermediates(&self) -> usize {
        self.claimed.ek_chain.len()
    }

    pub(crate) const fn ek(&self) -> &EnrolledEk {
        &self.claimed.ek
    }

    pub(crate) const fn ak(&self) -> &PublicArea {
        &self.claimed.ak_public
    }

    pub(crate) fn ak_area(&self) -> AkPublic {
        AkPublic::Area(self.claimed.ak_public.marshal())
    }

    pub(crate) fn certificate_to_keep(&self) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
        (self.claimed.ek_certificate.clone(), self.claimed.ek_chain.clone())
    }
}
