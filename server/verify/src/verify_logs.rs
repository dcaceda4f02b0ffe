//! The third step: the logs.

use hallmark_evidence::ima::ImaReplay;
use hallmark_evidence::{Log, LogKind};

use crate::VerifyError;
use crate::boot::measured_boot;
use crate::evidence::VerifiedEvidence;
use crate::ima::{BootAggregate, ImaListError, measured_files};
use crate::logs::require_announced;
use crate::verify_proof::VerifiedProof;

/// What the caller holds of the machine's logs from evidence of the same boot, so that only what is new has to come.
///
/// It may be used only where resetCount and restartCount of the quote are those of the evidence that it comes from
/// (see [`VerifiedProof::clock_info`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldLogs {
    /// The firmware's log so far.
    pub tcg: Vec<u8>,
    /// systemd's log so far.
    pub systemd: Vec<u8>,
    /// How many bytes of the IMA list are held, and the replay of their lines.
    pub ima: Option<(u64, ImaReplay)>,
}

impl HeldLogs {
    /// How many bytes have to be replayed again.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.tcg.len() + self.systemd.len()
    }
}

/// Judges the logs that followed a proof which holds.
///
/// # Errors
/// [`VerifyError`] if they are not the announced ones, do not go on where `held` ends, or do not give the quoted
/// registers.
pub fn verify_logs(
    verified_proof: VerifiedProof,
    logs: Vec<Log>,
    held: &HeldLogs,
) -> Result<VerifiedEvidence, VerifyError> {
    require_announced(&verified_proof.logs, &logs)?;
    let mut evidence = verified_proof.evidence;
    let (mut tcg, mut systemd) = (None, None);
    for log in logs {
        match log.kind {
            LogKind::Tcg => tcg = Some(continued(&log, &held.tcg)?),
            LogKind::Systemd => systemd = Some(continued(&log, &held.systemd)?),
            LogKind::Ima => {
                let replay = match (log.offset, &held.ima) {
                    (0, _) => None,
                    (offset, Some((length, replay))) if offset == *length => Some(replay.clone()),
                    (actual, held) => {
                        let expected = held.as_ref().map_or(0, |(length, _)| *length);
                        return Err(ImaListError::Offset { expected, actual }.into());
                    }
                };
                let files = measured_files(log.data, replay, &evidence.pcrs)?;
                // Register 10 proves the first line, and the line contradicts the registers of the same quote: they
                // moved after the kernel had started, or were others when it did. No rule of a policy could make sense
                // of such evidence, so it is refused here, whatever the policy. That a register was not quoted, or the
                // line is missing, contradicts nothing; whether it may be so is a rule (`ima.boot_aggregate`).
                if files.boot_aggregate() == Some(BootAggregate::Differs) {
                    return Err(ImaListError::OtherBoot.into());
                }
                evidence.ima = Some(files);
            }
            _ => {}
        }
    }
    evidence.boot = measured_boot(tcg.as_deref(), systemd.as_deref(), &evidence.pcrs)?;
    evidence.boot_logs = (tcg.unwrap_or_default(), systemd.unwrap_or_default());
    Ok(evidence)
}

/// The whole log: what is held and what came behind it.
fn continued(log: &Log, held: &[u8]) -> Result<Vec<u8>, VerifyError> {
    let held_length = u64::try_from(held.len()).unwrap_or(u64::MAX);
    if log.offset == 0 {
        Ok(log.data.clone())
    } else if log.offset == held_length {
        Ok([held, &log.data].concat())
    } else {
        Err(crate::LogsError::Offset {
            log: log.kind.as_str(),
            expected: held_length,
            actual: log.offset,
        }
        .into())
    }
}
