//! What the other tasks tell the attestation task about the agent's SVID.

use std::sync::Arc;

use hallmark_spiffe::Bundle;
use hallmark_tpm::TpmError;
use tokio::sync::mpsc;

use crate::AgentError;

/// Few are ever waiting: each task has one call that they come from.
const QUEUE: usize = 8;

/// News about an SVID of the agent's.
#[derive(Debug)]
pub(super) enum Report {
    /// A call with it went through; the server's bundle then, and which of its authorities are tainted.
    Used(Arc<str>, Bundle, Vec<Vec<u8>>),
    /// The server does not accept it, or this machine; or the TPM has lost its key; or no connection is made with it, since one side
    /// does not know the other's authority.
    Unusable(Arc<str>, AgentError),
}

/// Tells the attestation task.
#[derive(Debug, Clone)]
pub(super) struct ReportHandle(mpsc::Sender<Report>);

pub(super) fn reports() -> (ReportHandle, mpsc::Receiver<Report>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (ReportHandle(sender), receiver)
}

impl ReportHandle {
    /// A call with the SVID of this serial number went through.
    pub(super) fn used(&self, serial: &Arc<str>, bundle: Bundle, tainted: Vec<Vec<u8>>) {
        self.send(Report::Used(Arc::clone(serial), bundle, tainted));
    }

    /// Tells of an error where it is about the SVID; says whether it is.
    pub(super) fn unusable(&self, serial: &Arc<str>, error: &AgentError) -> bool {
        let is_about_it = matches!(
            error,
            AgentError::NotAccepted { .. }
                | AgentError::Banned { .. }
                | AgentError::Untrusted { .. }
                | AgentError::CertificateRefused { .. }
                | AgentError::Tpm(TpmError::KeyChanged { .. })
        );
        if is_about_it {
            self.send(Report::Unusable(Arc::clone(serial), error.clone()));
        }
        is_about_it
    }

    /// Nobody waits for the attestation task: what finds its queue full is told again by the next call.
    fn send(&self, report: Report) {
        let _ = self.0.try_send(report);
    }
}
