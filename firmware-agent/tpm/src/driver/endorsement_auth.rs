//! What the endorsement hierarchy authorizes: with its empty value, or with the one that the TPM's owner has set.

use tss_esapi::{
    Context,
    attributes::SessionAttributesBuilder,
    constants::SessionType,
    handles::{ObjectHandle, SessionHandle},
    interface_types::{algorithm::HashingAlgorithm, session_handles::AuthSession},
    structures::{Auth, SymmetricDefinition},
};

use super::{EsysTpm, Fault, Op, op};
use crate::Authorization;

const START_SESSION: Op = op("TPM2_StartAuthSession (endorsement hierarchy)", "endorsement");

impl EsysTpm {
    /// Runs a command that needs the endorsement hierarchy's authorization. Of a value that was set only an HMAC crosses
    /// the bus, over a session that ends with the command; that costs one command more.
    pub(super) fn run_authorized<T>(
        &mut self,
        op: Op,
        command: impl Fn(&mut Context) -> tss_esapi::Result<T>,
    ) -> Result<T, Fault> {
        let Some(value) = self.endorsement_auth.clone() else {
            return self.run(op, |context| {
                context.execute_with_session(Some(AuthSession::Password), &command)
            });
        };
        let session = self.start_hmac_session(op, &value)?;
        let done = self.run(op, |context| context.execute_with_session(Some(session), &command));
        if done.is_err() {
            self.flush_quietly(SessionHandle::from(session).into());
        }
        done
    }

    fn start_hmac_session(&mut self, op: Op, value: &Authorization) -> Result<AuthSession, Fault> {
        let session = self.run(START_SESSION, |context| {
            context.execute_without_session(|context| {
                let (kind, hash) = (SessionType::Hmac, HashingAlgorithm::Sha256);
                context.start_auth_session(None, None, None, kind, SymmetricDefinition::Null, hash)
            })
        })?;
        let session = session.ok_or_else(|| Fault::malformed(START_SESSION, "no session handle"))?;
        let (attributes, mask) = SessionAttributesBuilder::new().with_continue_session(false).build();
        let ready = self.run(op, |context| {
            let auth = Auth::try_from(value.value())?;
            context.tr_set_auth(ObjectHandle::Endorsement, auth)?;
            context.tr_sess_set_attributes(session, attributes, mask)
        });
        if let Err(fault) = ready {
            self.flush_quietly(SessionHandle::from(session).into());
            return Err(fault);
        }
        Ok(session)
    }
}
