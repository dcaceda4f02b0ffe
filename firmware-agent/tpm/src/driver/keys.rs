//! The attestation key and the SVID keys: primary keys, made when needed.

use hallmark_tpm_wire::{PublicArea, templates};
use tss_esapi::{
    Context,
    handles::KeyHandle,
    interface_types::{resource_handles::Hierarchy, session_handles::AuthSession},
    structures::{Digest, HashcheckTicket, Public, Signature, SignatureScheme},
    traits::{Marshall, UnMarshall},
    tss2_esys::{TPM2B_DIGEST, TPMT_TK_HASHCHECK},
};

use super::{EsysTpm, Fault, Op, op};
use crate::{
    TpmError,
    port::{KeyId, SvidKey, Unique},
};

const CREATE_ATTESTATION_KEY: Op = op("TPM2_CreatePrimary (attestation key)", "endorsement");
const CREATE_SVID_KEY: Op = op("TPM2_CreatePrimary (SVID key)", "null");
const SIGN: Op = op("TPM2_Sign", "null");

const TAG_HASHCHECK: u16 = 0x8024;
const HANDLE_NULL: u32 = 0x4000_0007;

/// The attestation key, in the chip or parked.
pub(super) struct AttestationKey {
    pub(super) handle: Option<KeyHandle>,
    public: PublicArea,
}

/// One SVID key, in the chip or parked.
pub(super) struct SvidSlot {
    pub(super) handle: Option<KeyHandle>,
    unique: Unique,
    public: PublicArea,
}

impl EsysTpm {
    pub(super) fn ensure_attestation_key(&mut self) -> Result<(KeyHandle, PublicArea), Fault> {
        if let Some(AttestationKey {
            handle: Some(handle),
            public,
        }) = &self.attestation_key
        {
            return Ok((*handle, public.clone()));
        }
        let template = templates::AK.marshal(templates::Unique::Empty);
        let (handle, public) = self.create_primary(CREATE_ATTESTATION_KEY, Hierarchy::Endorsement, &template)?;
        // Taken: a key that is lost for good is told once, and the next one is taken as it is.
        if let Some(before) = self.attestation_key.take() {
            self.check_same(handle, &before.public, &public)?;
        }
        self.attestation_key = Some(AttestationKey {
            handle: Some(handle),
            public: public.clone(),
        });
        Ok((handle, public))
    }

    pub(super) fn create_svid_key(&mut self, unique: &Unique) -> Result<SvidKey, Fault> {
        let (handle, public) = self.make_svid_key(unique)?;
        let id = KeyId(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        self.svid_keys.insert(
            id,
            SvidSlot {
                handle: Some(handle),
                unique: *unique,
                public: public.clone(),
            },
        );
        Ok(SvidKey { id, public })
    }

    pub(super) fn ensure_svid_key(&mut self, id: KeyId) -> Result<KeyHandle, Fault> {
        let slot = self.svid_keys.get(&id).ok_or(TpmError::KeyReleased)?;
        if let Some(handle) = slot.handle {
            return Ok(handle);
        }
        let (unique, before) = (slot.unique, slot.public.clone());
        let (handle, public) = self.make_svid_key(&unique)?;
        self.check_same(handle, &before, &public)?;
        if let Some(slot) = self.svid_keys.get_mut(&id) {
            slot.handle = Some(handle);
        }
        Ok(handle)
    }

    pub(super) fn sign_digest(&mut self, id: KeyId, digest: &[u8; 32]) -> Result<Vec<u8>, Fault> {
        let key = self.ensure_svid_key(id)?;
        let digest = Digest::try_from(digest.as_slice()).map_err(|error| Fault::malformed(SIGN, error))?;
        let signature = self.run(SIGN, |context| {
            let ticket = no_ticket()?;
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.sign(key, digest.clone(), SignatureScheme::Null, ticket)
            })
        })?;
        match signature {
            Signature::EcDsa(ecdsa) => Ok(hallmark_der::ecdsa_signature(
                ecdsa.signature_r().value(),
                ecdsa.signature_s().value(),
            )),
            _ => Err(Fault::malformed(SIGN, "another scheme than the key's")),
        }
    }

    /// Makes a primary key from a marshalled `TPMT_PUBLIC`; the key itself has an empty authorization value.
    pub(super) fn create_primary(
        &mut self,
        op: Op,
        hierarchy: Hierarchy,
        template: &[u8],
    ) -> Result<(KeyHandle, PublicArea), Fault> {
        let template = Public::unmarshall(template).map_err(|error| Fault::malformed(op, error))?;
        let create =
            |context: &mut Context| context.create_primary(hierarchy, template.clone(), None, None, None, None);
        let made = if hierarchy == Hierarchy::Endorsement {
            self.run_authorized(op, create)?
        } else {
            self.run(op, |context| {
                context.execute_with_session(Some(AuthSession::Password), create)
            })?
        };
        let decoded = made
            .out_public
            .marshall()
            .map_err(|error| error.to_string())
            .and_then(|bytes| PublicArea::parse(&bytes).map_err(|error| error.to_string()));
        match decoded {
            Ok(public) => Ok((made.key_handle, public)),
            Err(detail) => {
                self.flush_quietly(made.key_handle.into());
                Err(Fault::malformed(op, detail))
            }
        }
    }

    fn make_svid_key(&mut self, unique: &Unique) -> Result<(KeyHandle, PublicArea), Fault> {
        let template = templates::SVID_KEY.marshal(templates::Unique::Bytes(&unique.0));
        self.create_primary(CREATE_SVID_KEY, Hierarchy::Null, &template)
    }

    fn check_same(&mut self, handle: KeyHandle, before: &PublicArea, now: &PublicArea) -> Result<(), Fault> {
        if before == now {
            return Ok(());
        }
        self.flush_quietly(handle.into());
        let (expected, found) = (before.name().to_string(), now.name().to_string());
        Err(TpmError::KeyChanged { expected, found }.into())
    }
}

/// The null ticket: an unrestricted key may sign a digest that the TPM did not compute (part 3, section 20.2).
fn no_ticket() -> tss_esapi::Result<HashcheckTicket> {
    HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
        tag: TAG_HASHCHECK,
        hierarchy: HANDLE_NULL,
        digest: TPM2B_DIGEST::default(),
    })
}
