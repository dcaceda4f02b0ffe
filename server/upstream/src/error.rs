//! Why an authority above did not sign.

use std::path::PathBuf;

use hallmark_reason::{Coded, ReasonCode};

use crate::port::UpstreamError;

/// Why an authority above did not sign, or was not asked: which authority, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{authority}: {fault}")]
pub struct CaError {
    /// The authority, as [`Upstream::name`](crate::Upstream::name) says it.
    pub authority: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong. No text holds a secret, and what a server said is cut short and made printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A key of the configuration names what cannot be used.
    #[error("`{key}` cannot be used")]
    Configuration {
        /// The key, below the adapter's table.
        key: &'static str,
        /// Why.
        detail: String,
    },
    /// A secret cannot be read, or others may read it.
    #[error("the secret of `{key}` cannot be used")]
    Secret {
        /// The key, below the adapter's table.
        key: &'static str,
        /// Its file; none where it is a credential, and systemd passed none.
        path: Option<PathBuf>,
        /// Why.
        detail: String,
    },
    /// No connection, or it broke.
    #[error("cannot be reached")]
    Unreachable {
        /// The system's or TLS's words.
        detail: String,
    },
    /// Its server certificate does not verify against the configured authorities.
    #[error("its TLS certificate is not trusted")]
    Untrusted {
        /// Why.
        detail: String,
    },
    /// No whole answer within the time limit.
    #[error("did not answer in time")]
    TimedOut {
        /// The limit in seconds.
        seconds: u64,
    },
    /// An answer longer than the bound.
    #[error("the answer is too long")]
    TooLong {
        /// The bound in bytes.
        most: usize,
    },
    /// An answer that is not what the API says.
    #[error("the answer cannot be read")]
    Malformed {
        /// What was met.
        detail: String,
    },
    /// A redirect. None is followed: the request carries a secret or a signing request.
    #[error("redirects to another place, which is not followed")]
    Redirected {
        /// The status and the place.
        detail: String,
    },
    /// Vault refused the login.
    #[error("refuses the login")]
    LoginRefused {
        /// The status and what Vault said.
        detail: String,
    },
    /// Vault knows the token and does not let it do this, or does not know it.
    #[error("denies permission")]
    Denied {
        /// The path and what Vault said.
        detail: String,
    },
    /// Vault is sealed or was never initialised.
    #[error("is sealed")]
    Sealed {
        /// What Vault said.
        detail: String,
    },
    /// A standby node that forwards nothing, or a rate limit.
    #[error("takes no requests now")]
    Standby {
        /// The status and what Vault said.
        detail: String,
    },
    /// No such mount, issuer or namespace.
    #[error("has no PKI mount, issuer or login at this path")]
    NotFound {
        /// The path and what Vault said.
        detail: String,
    },
    /// Vault will not sign this.
    #[error("refuses to sign")]
    Refused {
        /// What Vault said.
        detail: String,
    },
    /// Any other status.
    #[error("fails")]
    Failing {
        /// The status and what was said.
        detail: String,
    },
    /// The certificates of the answer do not lead from the asked key to a root.
    #[error("the certificates of the answer do not lead to a root")]
    NoChain {
        /// Where the way ends.
        detail: String,
    },
    /// The EST server does not know who asks.
    #[error("refuses who asks")]
    EstUnauthorised {
        /// The status and what was said.
        detail: String,
    },
    /// The EST server has not decided yet.
    #[error("has not decided yet")]
    EstPending {
        /// When it wants to be asked again, and the limit.
        detail: String,
    },
    /// The EST server will not sign this.
    #[error("refuses to enrol")]
    EstRefused {
        /// The status and what was said.
        detail: String,
    },
    /// No EST at this address or label.
    #[error("has no EST service at this path")]
    EstNotFound {
        /// The status and the path.
        detail: String,
    },
}

impl Fault {
    pub(crate) fn configuration(key: &'static str, detail: impl ToString) -> Self {
        Self::Configuration {
            key,
            detail: detail.to_string(),
        }
    }

    pub(crate) fn malformed(detail: impl ToString) -> Self {
        Self::Malformed {
            detail: detail.to_string(),
        }
    }

    pub(crate) const fn of(self, authority: String) -> CaError {
        CaError { authority, fault: self }
    }
}

impl From<CaError> for UpstreamError {
    fn from(error: CaError) -> Self {
        Box::new(error)
    }
}

impl Coded for CaError {
    fn code(&self) -> ReasonCode {
        match self.fault {
            Fault::Configuration { .. } => ReasonCode::new("HM-CA-0050"),
            Fault::Secret { .. } => ReasonCode::new("HM-CA-0051"),
            Fault::Unreachable { .. } => ReasonCode::new("HM-CA-0052"),
            Fault::Untrusted { .. } => ReasonCode::new("HM-CA-0053"),
            Fault::TimedOut { .. } => ReasonCode::new("HM-CA-0054"),
            Fault::TooLong { .. } => ReasonCode::new("HM-CA-0055"),
            Fault::Malformed { .. } => ReasonCode::new("HM-CA-0056"),
            Fault::Redirected { .. } => ReasonCode::new("HM-CA-0057"),
            Fault::LoginRefused { .. } => ReasonCode::new("HM-CA-0058"),
            Fault::Denied { .. } => ReasonCode::new("HM-CA-0059"),
            Fault::Sealed { .. } => ReasonCode::new("HM-CA-0060"),
            Fault::Standby { .. } => ReasonCode::new("HM-CA-0061"),
            Fault::NotFound { .. } => ReasonCode::new("HM-CA-0062"),
            Fault::Refused { .. } => ReasonCode::new("HM-CA-0063"),
            Fault::Failing { .. } => ReasonCode::new("HM-CA-0064"),
            Fault::NoChain { .. } => ReasonCode::new("HM-CA-0065"),
            Fault::EstUnauthorised { .. } => ReasonCode::new("HM-CA-0066"),
            Fault::EstPending { .. } => ReasonCode::new("HM-CA-0067"),
            Fault::EstRefused { .. } => ReasonCode::new("HM-CA-0068"),
            Fault::EstNotFound { .. } => ReasonCode::new("HM-CA-0069"),
        }
    }

    fn compared(&self) -> Option<String> {
        Some(match &self.fault {
            Fault::Secret { path, detail, .. } => match path {
                Some(path) => format!("{}: {detail}", path.display()),
                None => detail.clone(),
            },
            Fault::TimedOut { seconds } => format!("{seconds} s allowed (`timeout`)"),
            Fault::TooLong { most } => format!("at most {most} bytes allowed"),
            Fault::Configuration { detail, .. }
            | Fault::Unreachable { detail }
            | Fault::Untrusted { detail }
            | Fault::Malformed { detail }
            | Fault::Redirected { detail }
            | Fault::LoginRefused { detail }
            | Fault::Denied { detail }
            | Fault::Sealed { detail }
            | Fault::Standby { detail }
            | Fault::NotFound { detail }
            | Fault::Refused { detail }
            | Fault::Failing { detail }
            | Fault::NoChain { detail }
            | Fault::EstUnauthorised { detail }
            | Fault::EstPending { detail }
            | Fault::EstRefused { detail }
            | Fault::EstNotFound { detail } => detail.clone(),
        })
    }
}
