//! Certify and Quote.

use hallmark_tpm_wire::PcrSelection;
use tss_esapi::{
    interface_types::session_handles::AuthSession,
    structures::{Attest, Data, Signature, SignatureScheme},
    traits::Marshall,
};

use super::{EsysTpm, Fault, Op, op, pcr::selection_list};
use crate::port::{KeyId, Signed};

const CERTIFY: Op = op("TPM2_Certify", "endorsement");
const QUOTE: Op = op("TPM2_Quote", "endorsement");

impl EsysTpm {
    pub(super) fn certify_key(&mut self, id: KeyId, qualifying: &[u8; 32]) -> Result<Signed, Fault> {
        let key = self.ensure_svid_key(id)?;
        let (attestation_key, _) = self.ensure_attestation_key()?;
        let data = qualifying_data(CERTIFY, qualifying)?;
        let (attest, signature) = self.run(CERTIFY, |context| {
            let sessions = (Some(AuthSession::Password), Some(AuthSession::Password), None);
            context.execute_with_sessions(sessions, |context| {
                context.certify(key.into(), attestation_key, data.clone(), SignatureScheme::Null)
            })
        })?;
        signed(CERTIFY, &attest, &signature)
    }

    pub(super) fn quote_registers(&mut self, selection: &PcrSelection, qualifying: &[u8; 32]) -> Result<Signed, Fault> {
        let (attestation_key, _) = self.ensure_attestation_key()?;
        let data = qualifying_data(QUOTE, qualifying)?;
        let list = selection_list(QUOTE, selection.pcrs())?;
        let (attest, signature) = self.run(QUOTE, |context| {
            context.execute_with_session(Some(AuthSession::Password), |context| {
                context.quote(attestation_key, data.clone(), SignatureScheme::Null, list.clone())
            })
        })?;
        signed(QUOTE, &attest, &signature)
    }
}

fn qualifying_data(op: Op, qualifying: &[u8; 32]) -> Result<Data, Fault> {
    Data::try_from(qualifying.as_slice()).map_err(|error| Fault::malformed(op, error))
}

fn signed(op: Op, attest: &Attest, signature: &Signature) -> Result<Signed, Fault> {
    Ok(Signed {
        attest: attest.marshall().map_err(|error| Fault::malformed(op, error))?,
        signature: signature.marshall().map_err(|error| Fault::malformed(op, error))?,
    })
}
