//! The driver over tss-esapi.

mod attest;
mod credential;
mod endorsement;
mod endorsement_auth;
mod fault;
mod keys;
mod nv;
mod pcr;
mod properties;
mod room;
mod transport;

use std::collections::BTreeMap;

use hallmark_tpm_wire::{
    PcrSelection, PcrValues, PublicArea,
    templates::{EK_TEMPLATES, EkTemplate},
};
use zeroize::Zeroizing;

use crate::{
    Authorization, Tcti, TpmError,
    port::{Credential, Endorsement, KeyId, Properties, Signed, SvidKey, Tpm, Unique},
};
use endorsement::LoadedEndorsement;
use fault::{Fault, Op};
use keys::{AttestationKey, SvidSlot};

/// A TPM behind one of the TCTIs, with the keys that are loaded in it.
///
/// Keys are primary keys: one that has to give up its slot, or that a reset of the TPM took away, is made again from
/// its template and compared with what it was. Dropping the driver flushes what it holds.
pub struct EsysTpm {
    tcti: Tcti,
    /// Which endorsement keys are looked for, in this order.
    templates: Vec<&'static EkTemplate>,
    /// The endorsement hierarchy's value; `None` where it is empty.
    endorsement_auth: Option<Authorization>,
    context: Option<tss_esapi::Context>,
    attestation_key: Option<AttestationKey>,
    svid_keys: BTreeMap<KeyId, SvidSlot>,
    endorsement: Option<LoadedEndorsement>,
    next_key: u64,
    /// The last connection ended in a failure.
    unclean: bool,
}

impl EsysTpm {
    /// Opens the TPM. No command is sent. Its endorsement key may be of any template of the profile.
    ///
    /// # Errors
    /// There is no TPM at the TCTI, or this process may not open it.
    pub fn open(tcti: Tcti) -> Result<Self, TpmError> {
        const TEMPLATES: &[EkTemplate] = &EK_TEMPLATES;
        let mut tpm = Self {
            tcti,
            templates: TEMPLATES.iter().collect(),
            endorsement_auth: None,
            context: None,
            attestation_key: None,
            svid_keys: BTreeMap::new(),
            endorsement: None,
            next_key: 0,
            unclean: false,
        };
        tpm.connect()?;
        Ok(tpm)
    }

    /// Takes an endorsement key of one of these templates only, the first of them that the TPM has a certificate for. With
    /// no certificate for any of them it is the first that lies in the TPM, or that the TPM can make.
    #[must_use]
    pub fn with_ek_templates(mut self, templates: Vec<&'static EkTemplate>) -> Self {
        self.templates = templates;
        self
    }

    /// Has this value authorize what the endorsement hierarchy is needed for; `None` where nobody has set one.
    #[must_use]
    pub fn with_endorsement_auth(mut self, value: Option<Authorization>) -> Self {
        self.endorsement_auth = value;
        self
    }

    /// Does `work`, and does it once more where the reason of its failure has been removed: a lost connection was made
    /// anew, full slots were emptied. The second time every key is made again as needed.
    fn attempt<T>(&mut self, work: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<T, TpmError> {
        match work(self) {
            Ok(value) => Ok(value),
            Err(fault) => {
                if !self.remedy(&fault) {
                    return Err(self.told(fault));
                }
                work(self).map_err(|fault| self.told(fault))
            }
        }
    }

    fn told(&self, fault: Fault) -> TpmError {
        match fault.into_error() {
            TpmError::HierarchyAuthSet(hierarchy) if self.endorsement_auth.is_some() => {
                TpmError::HierarchyAuthWrong(hierarchy)
            }
            error => error,
        }
    }
}

impl Tpm for EsysTpm {
    fn endorsement(&mut self) -> Result<Endorsement, TpmError> {
        self.attempt(Self::find_endorsement)
    }

    fn endorsement_chain(&mut self) -> Result<Vec<Vec<u8>>, TpmError> {
        self.attempt(Self::read_chain)
    }

    fn attestation_key(&mut self) -> Result<PublicArea, TpmError> {
        self.attempt(|tpm| tpm.ensure_attestation_key().map(|(_, public)| public))
    }

    fn svid_key(&mut self, unique: &Unique) -> Result<SvidKey, TpmError> {
        self.attempt(|tpm| tpm.create_svid_key(unique))
    }

    fn sign(&mut self, key: KeyId, digest: &[u8; 32]) -> Result<Vec<u8>, TpmError> {
        self.attempt(|tpm| tpm.sign_digest(key, digest))
    }

    fn activate(&mut self, endorsement: &PublicArea, credential: &Credential) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        self.attempt(|tpm| tpm.activate_credential(endorsement, credential))
    }

    fn certify(&mut self, key: KeyId, qualifying: &[u8; 32]) -> Result<Signed, TpmError> {
        self.attempt(|tpm| tpm.certify_key(key, qualifying))
    }

    fn quote(&mut self, selection: &PcrSelection, qualifying: &[u8; 32]) -> Result<Signed, TpmError> {
        self.attempt(|tpm| tpm.quote_registers(selection, qualifying))
    }

    fn read_pcrs(&mut self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        self.attempt(|tpm| tpm.read_registers(selection))
    }

    fn release(&mut self, key: KeyId) -> Result<(), TpmError> {
        match self.svid_keys.remove(&key).and_then(|slot| slot.handle) {
            Some(handle) => self.flush(handle.into()).map_err(Fault::into_error),
            None => Ok(()),
        }
    }

    fn release_endorsement(&mut self) -> Result<(), TpmError> {
        self.drop_made_endorsement().map(|_| ()).map_err(Fault::into_error)
    }

    fn properties(&mut self) -> Result<Properties, TpmError> {
        self.attempt(Self::read_properties)
    }
}

/// The commands, by name and by the hierarchy whose authorization they need.
const fn op(command: &'static str, hierarchy: &'static str) -> Op {
    Op { command, hierarchy }
}
