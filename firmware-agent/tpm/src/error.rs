//! What can go wrong between the agent and its TPM.

use hallmark_reason::{Coded, ReasonCode};

/// Why the TPM did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TpmError {
    /// There is no TPM where the configuration says.
    #[error("no TPM answers at {tcti}")]
    Absent {
        /// The configured TCTI.
        tcti: String,
        /// What the operating system or the TCTI said.
        detail: String,
    },
    /// The device is there and this process may not open it.
    #[error("permission denied on the TPM device {path}")]
    PermissionDenied {
        /// The device.
        path: String,
    },
    /// The TCTI string is not understood.
    #[error("the TCTI `{0}` is not one of device:PATH, swtpm:host=H,port=P, mssim:host=H,port=P")]
    BadTcti(String),
    /// `TPM_RC_LOCKOUT`.
    #[error("the TPM is in dictionary-attack lockout")]
    LockedOut,
    /// `TPM_RC_HIERARCHY`.
    #[error("the TPM's {0} hierarchy is disabled")]
    HierarchyDisabled(&'static str),
    /// `TPM_RC_BAD_AUTH` or `TPM_RC_AUTH_FAIL` for a hierarchy; never tried again.
    #[error("the TPM's {0} hierarchy has an authorization value set")]
    HierarchyAuthSet(&'static str),
    /// The same, where the agent was given a value.
    #[error("the authorization value that the agent was given is not that of the TPM's {0} hierarchy")]
    HierarchyAuthWrong(&'static str),
    /// No room for another object or session, even after waiting.
    #[error("the TPM has no room for another object or session")]
    SlotsExhausted {
        /// The command that found no room.
        command: &'static str,
    },
    /// Still busy (`RETRY`, `YIELDED`, `TESTING`, `NV_RATE`) after the last try.
    #[error("the TPM stayed busy")]
    Busy {
        /// The command.
        command: &'static str,
        /// The last response code.
        rc: u32,
    },
    /// `TPM_RC_FAILURE`, or a TPM that was never started.
    #[error("the TPM is in failure mode or was not started")]
    NotOperational {
        /// The response code.
        rc: u32,
    },
    /// The connection to the TPM broke.
    #[error("the connection to the TPM was lost")]
    ConnectionLost {
        /// The command that was under way.
        command: &'static str,
    },
    /// The TPM's answer does not decode, or is not an answer to the question.
    #[error("the TPM's answer to {command} is malformed")]
    Malformed {
        /// The command.
        command: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The authorization of a response does not verify: something sits between agent and TPM.
    #[error("the TPM's answer to {command} was altered on the way")]
    ResponseTampered {
        /// The command.
        command: &'static str,
    },
    /// Neither a certificate nor a template leads to an endorsement key.
    #[error("the TPM has no endorsement key that Hallmark can use")]
    NoEndorsementKey,
    /// The TPM makes another endorsement key than the one its certificate is for.
    #[error("the endorsement key in the TPM is not the one that its certificate is for")]
    EndorsementMismatch {
        /// The Name that follows from the certificate, hex.
        certified: String,
        /// The Name that the TPM gave, hex.
        found: String,
    },
    /// The certificate in NV cannot be read as a certificate.
    #[error("the endorsement certificate at NV index 0x{index:08x} is not readable")]
    EndorsementCertificate {
        /// The NV index.
        index: u32,
        /// What is wrong with it.
        detail: String,
    },
    /// The TPM did not accept the credential.
    #[error("the TPM refused to activate the credential")]
    CredentialRefused {
        /// The response code.
        rc: u32,
    },
    /// A key that was made again from its template is another key: the hierarchy was cleared.
    #[error("the TPM no longer makes the same key")]
    KeyChanged {
        /// The Name before, hex.
        expected: String,
        /// The Name now, hex.
        found: String,
    },
    /// The key is not known to the driver (it was released).
    #[error("this TPM key was released")]
    KeyReleased,
    /// The bank or register asked for is not allocated in this TPM.
    #[error("PCR {pcr} of the {bank} bank is not allocated")]
    PcrNotAllocated {
        /// The bank.
        bank: &'static str,
        /// The register.
        pcr: u8,
    },
    /// The registers changed under every attempt to read what was quoted.
    #[error("the PCRs kept moving while they were quoted")]
    PcrsMoving {
        /// How often it was tried.
        attempts: u32,
    },
    /// Any other response code.
    #[error("the TPM refused {command}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The response code.
        rc: u32,
    },
    /// A chip that speaks TPM 1.2.
    #[error("the machine's TPM is of version 1.2, and Hallmark needs 2.0")]
    OldVersion {
        /// The configured TCTI.
        tcti: String,
    },
    /// The TPM's thread has ended.
    #[error("the agent's TPM thread has stopped")]
    Stopped,
}

impl Coded for TpmError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Absent { .. } => ReasonCode::new("HM-TPM-0001"),
            Self::PermissionDenied { .. } => ReasonCode::new("HM-TPM-0002"),
            Self::BadTcti(_) => ReasonCode::new("HM-TPM-0003"),
            Self::LockedOut => ReasonCode::new("HM-TPM-0004"),
            Self::HierarchyDisabled(_) => ReasonCode::new("HM-TPM-0005"),
            Self::HierarchyAuthSet(_) => ReasonCode::new("HM-TPM-0006"),
            Self::SlotsExhausted { .. } => ReasonCode::new("HM-TPM-0007"),
            Self::Busy { .. } => ReasonCode::new("HM-TPM-0008"),
            Self::NotOperational { .. } => ReasonCode::new("HM-TPM-0009"),
            Self::ConnectionLost { .. } => ReasonCode::new("HM-TPM-0010"),
            Self::Malformed { .. } => ReasonCode::new("HM-TPM-0011"),
            Self::ResponseTampered { .. } => ReasonCode::new("HM-TPM-0012"),
            Self::NoEndorsementKey => ReasonCode::new("HM-TPM-0013"),
            Self::EndorsementMismatch { .. } => ReasonCode::new("HM-TPM-0014"),
            Self::EndorsementCertificate { .. } => ReasonCode::new("HM-TPM-0015"),
            Self::CredentialRefused { .. } => ReasonCode::new("HM-TPM-0016"),
            Self::KeyChanged { .. } => ReasonCode::new("HM-TPM-0017"),
            Self::KeyReleased => ReasonCode::new("HM-TPM-0018"),
            Self::PcrNotAllocated { .. } => ReasonCode::new("HM-TPM-0019"),
            Self::PcrsMoving { .. } => ReasonCode::new("HM-TPM-0020"),
            Self::Refused { .. } => ReasonCode::new("HM-TPM-0021"),
            Self::Stopped => ReasonCode::new("HM-TPM-0022"),
            Self::OldVersion { .. } => ReasonCode::new("HM-TPM-0023"),
            Self::HierarchyAuthWrong(_) => ReasonCode::new("HM-TPM-0024"),
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::Absent { detail, .. }
            | Self::Malformed { detail, .. }
            | Self::EndorsementCertificate { detail, .. } => Some(detail.clone()),
            Self::SlotsExhausted { command } | Self::ConnectionLost { command } => Some(format!("at {command}")),
            Self::Busy { command, rc } | Self::Refused { command, rc } => {
                Some(format!("{command} answered 0x{rc:08x}"))
            }
            Self::NotOperational { rc } | Self::CredentialRefused { rc } => Some(format!("response code 0x{rc:08x}")),
            Self::EndorsementMismatch { certified, found } => {
                Some(format!("certified Name {certified}, found {found}"))
            }
            Self::KeyChanged { expected, found } => Some(format!("expected Name {expected}, found {found}")),
            Self::OldVersion { tcti } => Some(format!("the kernel found TPM 1.2, and there is no {tcti}")),
            Self::PcrsMoving { attempts } => Some(format!("{attempts} attempts")),
            _ => None,
        }
    }

    fn precise_cause(&self) -> Option<String> {
        let Self::Absent { tcti, .. } = self else { return None };
        let cause = if is_device(tcti) {
            "the TPM is off in the firmware, the kernel has no driver for it, or it failed while the machine ran"
        } else {
            "the software TPM does not run, or it listens at another address"
        };
        Some(cause.to_owned())
    }

    fn precise_step(&self) -> Option<String> {
        let Self::Absent { tcti, .. } = self else { return None };
        let look = if is_device(tcti) {
            "ls -l /dev/tpm*; journalctl -k -g tpm"
        } else {
            "ss -ltnp; check [tpm] tcti"
        };
        Some(format!(
            "{look}; a running agent goes on by itself once the TPM is back"
        ))
    }
}

fn is_device(tcti: &str) -> bool {
    tcti.starts_with("device")
}
