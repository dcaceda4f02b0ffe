//! Opening, running one command, and what to do when it fails.

use std::{thread, time::Duration};

use tss_esapi::{Context, constants::StartupType, handles::ObjectHandle};

use super::{EsysTpm, Fault, Op, op};
use crate::{TpmError, response::Response};

/// What ESYS itself has repeated already, ten times with growing pauses (about 6 s): RETRY, YIELDED, TESTING.
const REPEATED_BELOW: [u32; 3] = [0x908, 0x90a, 0x922];

/// Waits between tries of a command that the TPM could not take for another reason (NV_RATE and its like, or no room in
/// a shared TPM): 1.3 s in all.
const BUSY_PAUSES: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
    Duration::from_millis(640),
];

impl EsysTpm {
    pub(super) fn connect(&mut self) -> Result<(), TpmError> {
        if self.context.is_none() {
            self.context = Some(self.tcti.open()?);
            if std::mem::take(&mut self.unclean) && self.tcti.is_exclusive() {
                self.sweep();
            }
        }
        Ok(())
    }

    /// Closes a connection that failed and forgets every handle. Keys stay known and are made again when needed. What
    /// could not be flushed any more is looked for when the connection is made again; where the TPM is shared, the
    /// resource manager has flushed it.
    pub(super) fn disconnect(&mut self) {
        self.unclean = true;
        self.endorsement = None;
        if let Some(key) = self.attestation_key.as_mut() {
            key.handle = None;
        }
        for slot in self.svid_keys.values_mut() {
            slot.handle = None;
        }
        self.context = None;
    }

    /// Runs one command; waits and repeats while the TPM is busy, within bounds. Nothing else is repeated: a second
    /// try with a wrong authorization value would count towards the lockout.
    pub(super) fn run<T>(
        &mut self,
        op: Op,
        mut command: impl FnMut(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, Fault> {
        self.connect()?;
        let mut pauses = BUSY_PAUSES.iter();
        loop {
            let context = self
                .context
                .as_mut()
                .ok_or(TpmError::ConnectionLost { command: op.command })?;
            let response = match command(context) {
                Ok(value) => return Ok(value),
                Err(error) => Response::of(error),
            };
            match (response, pauses.next()) {
                (Response::Busy(rc), Some(pause)) if !REPEATED_BELOW.contains(&rc) => thread::sleep(*pause),
                // Somebody else's objects in a shared TPM may go away by themselves.
                (Response::NoRoom(_), Some(pause)) if !self.tcti.is_exclusive() => thread::sleep(*pause),
                _ => return Err(Fault::Response(op, response)),
            }
        }
    }

    /// Removes the reason of a failure. Returns whether another try makes sense.
    pub(super) fn remedy(&mut self, fault: &Fault) -> bool {
        match fault.response() {
            Some(Response::Connection(_) | Response::Stale(_)) => {
                tracing::warn!("the connection to the TPM was lost; opening it again");
                self.disconnect();
                true
            }
            // The library goes on only in a new context. Nothing is repeated: an altered answer is to be seen.
            Some(Response::Malformed(_) | Response::Tampered) => {
                self.disconnect();
                false
            }
            Some(Response::BadSequence(_)) => {
                self.disconnect();
                true
            }
            // Whatever was in the chip before is gone.
            Some(Response::NotStarted(_)) if self.tcti.is_exclusive() => {
                let started = self.start();
                self.disconnect();
                started
            }
            Some(Response::NoRoom(_)) => self.make_room(),
            _ => false,
        }
    }

    fn start(&mut self) -> bool {
        self.run(op("TPM2_Startup", "owner"), |context| {
            context.startup(StartupType::Clear)
        })
        .is_ok()
    }

    pub(super) fn flush(&mut self, handle: ObjectHandle) -> Result<(), Fault> {
        let flushed = self.run(op("TPM2_FlushContext", "owner"), |context| {
            context.flush_context(handle)
        });
        self.unclean |= flushed.is_err();
        flushed
    }

    /// As [`Self::flush`], where a failure is not the caller's business: the object is gone, or the context will
    /// flush it when it closes.
    pub(super) fn flush_quietly(&mut self, handle: ObjectHandle) {
        if let Err(fault) = self.flush(handle) {
            tracing::debug!(error = %fault.into_error(), "a TPM object was not flushed");
        }
    }
}

impl Drop for EsysTpm {
    /// The library's context flushes what it knows of. A TPM that nobody else uses is left empty altogether, whatever
    /// failed here or was left by a predecessor that was killed.
    fn drop(&mut self) {
        if self.tcti.is_exclusive() {
            self.disconnect();
            if let Err(error) = self.connect() {
                tracing::debug!(%error, "the TPM was left as it is");
            }
        }
    }
}
