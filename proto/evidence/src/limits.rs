//! How much a node may send.

use crate::error::EvidenceError;

/// The version of the payloads of attestation type `tpm2` that is spoken here.
pub const PAYLOAD_VERSION: u32 = 1;

pub(crate) fn check_version(actual: u32) -> Result<(), EvidenceError> {
    if actual == PAYLOAD_VERSION {
        return Ok(());
    }
    Err(EvidenceError::Version {
        expected: PAYLOAD_VERSION,
        actual,
    })
}

/// The limits of one claim and one proof. All sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits;

impl Limits {
    /// One certificate. The largest NV index of a TPM holds less.
    pub const CERTIFICATE: usize = 8 * 1024;
    /// Intermediate certificates.
    pub const CHAIN: usize = 8;
    /// A certificate request.
    pub const CSR: usize = 8 * 1024;
    /// The secret of a credential: a SHA-512 digest.
    pub const SECRET: usize = 64;
    /// PCR values: two banks of 24 registers.
    pub const PCR_VALUES: usize = 48;
    /// Logs: one of each kind.
    pub const LOGS: usize = 3;
    /// One boot log, as sent in one attestation.
    pub const BOOT_LOG: usize = 32 * 1024 * 1024;
    /// An IMA list, or its new part, as sent in one attestation: a million lines take about 140 MiB.
    pub const IMA_LIST: usize = 192 * 1024 * 1024;
    /// One log, as it is kept: an IMA list grows with every attestation of a boot.
    pub const KEPT_LOG: usize = 256 * 1024 * 1024;
    /// Trusted roots in an evidence file.
    pub const ANCHORS: usize = 16;
    /// Policies, baselines and lists of digests in an evidence file.
    pub const RULES: usize = 4096;
    /// One of them: the largest list of digests.
    pub const RULE: usize = 128 * 1024 * 1024;
    /// One message's part of a log.
    pub const LOG_PART: usize = 128 * 1024;

    pub(crate) fn check(field: &'static str, actual: usize, limit: usize) -> Result<(), EvidenceError> {
        if actual > limit {
            return Err(EvidenceError::TooLarge { field, limit, actual });
        }
        Ok(())
    }
}
