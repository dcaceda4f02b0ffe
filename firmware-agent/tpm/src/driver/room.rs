//! Making room in a TPM whose slots are full.

use tss_esapi::{
    constants::CapabilityType,
    handles::{ObjectHandle, TpmHandle},
    structures::CapabilityData,
};

use super::{EsysTpm, Fault, op};

/// First handles of the kinds that fill slots (part 2, section 7.2 "TPM_HT"): transient objects, then sessions.
const TRANSIENT_FIRST: u32 = 0x8000_0000;
const LOADED_SESSION_FIRST: u32 = 0x0200_0000;
const MOST_HANDLES: u32 = 64;

impl EsysTpm {
    /// Empties the slots: the driver's own keys first; then, where nobody else can be using the TPM, what a killed
    /// predecessor left behind. Returns whether another try makes sense.
    pub(super) fn make_room(&mut self) -> bool {
        let own = self.park_keys();
        if !self.tcti.is_exclusive() {
            return own > 0;
        }
        own + self.sweep() > 0
    }

    /// Flushes everything in a TPM that nobody else uses and whose known objects have been let go; returns how much
    /// there was.
    pub(super) fn sweep(&mut self) -> usize {
        let left_behind = self.flush_leftovers(TRANSIENT_FIRST) + self.flush_leftovers(LOADED_SESSION_FIRST);
        if left_behind > 0 {
            tracing::warn!(left_behind, "flushed objects that were left in the TPM");
        }
        left_behind
    }

    /// Takes every key out of the chip; returns how many there were. They are made again when needed.
    fn park_keys(&mut self) -> usize {
        let mut handles: Vec<ObjectHandle> = Vec::new();
        handles.extend(
            self.attestation_key
                .as_mut()
                .and_then(|key| key.handle.take())
                .map(ObjectHandle::from),
        );
        handles.extend(
            self.svid_keys
                .values_mut()
                .filter_map(|slot| slot.handle.take())
                .map(ObjectHandle::from),
        );
        for handle in &handles {
            self.flush_quietly(*handle);
        }
        let made = self.drop_made_endorsement().is_ok_and(|dropped| dropped);
        handles.len() + usize::from(made)
    }

    fn flush_leftovers(&mut self, first: u32) -> usize {
        match self.handles_from(first) {
            Ok(found) => found.into_iter().filter(|handle| self.flush_leftover(*handle)).count(),
            Err(fault) => {
                tracing::debug!(error = %fault.into_error(), "what is in the TPM is not known");
                self.unclean = true;
                0
            }
        }
    }

    fn flush_leftover(&mut self, handle: TpmHandle) -> bool {
        let found = self.run(op("TPM2_ReadPublic", "owner"), |context| {
            context.tr_from_tpm_public(handle)
        });
        match found {
            Ok(object) => {
                self.flush_quietly(object);
                true
            }
            Err(fault) => {
                tracing::debug!(error = %fault.into_error(), "a leftover handle cannot be named");
                self.unclean = true;
                false
            }
        }
    }

    /// The handles of one kind that exist now.
    pub(super) fn handles_from(&mut self, first: u32) -> Result<Vec<TpmHandle>, Fault> {
        let op = op("TPM2_GetCapability", "owner");
        let (data, _more) = self.run(op, |context| {
            context.get_capability(CapabilityType::Handles, first, MOST_HANDLES)
        })?;
        match data {
            CapabilityData::Handles(list) => Ok(list.into_inner()),
            _ => Err(Fault::malformed(op, "another capability than asked for")),
        }
    }
}
