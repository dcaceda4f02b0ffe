//! Why an X509-SVID is not asked for, or not written.

use std::path::PathBuf;

use hallmark_reason::{Coded, ReasonCode};
use hallmark_spiffe::x509::RequestError;

use crate::exit::Exit;

/// Why an X509-SVID is not asked for, or not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    #[error("the certificate request {file} cannot be used: {cause}", file = file.display())]
    Request { file: PathBuf, cause: RequestError },
    #[error("the certificate request {file} asks for other names than this command", file = file.display())]
    OtherNames {
        file: PathBuf,
        given: String,
        asked: String,
    },
    #[error("the file {file} is there already", file = file.display())]
    Occupied { file: PathBuf },
    #[error("others could change what is in the folder {folder}", folder = folder.display())]
    Exposed { folder: PathBuf, why: String },
    #[error("no key could be made: {cause}")]
    Key { cause: String },
}

impl MintError {
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Request { .. } | Self::OtherNames { .. } | Self::Exposed { .. } => Exit::Usage,
            Self::Occupied { .. } => Exit::NotFound,
            Self::Key { .. } => Exit::Unexpected,
        }
    }
}

impl Coded for MintError {
    fn code(&self) -> ReasonCode {
        match self {
            Self::Request { cause, .. } => cause.code(),
            Self::OtherNames { .. } => ReasonCode::new("HM-CLI-0032"),
            Self::Occupied { .. } => ReasonCode::new("HM-CLI-0033"),
            Self::Exposed { .. } => ReasonCode::new("HM-CLI-0034"),
            Self::Key { .. } => ReasonCode::new("HM-CLI-0035"),
        }
    }

    fn inner(&self) -> Option<&dyn Coded> {
        match self {
            Self::Request { cause, .. } => Some(cause),
            _ => None,
        }
    }

    fn compared(&self) -> Option<String> {
        match self {
            Self::OtherNames { given, asked, .. } => Some(format!("given {given}; the request asks for {asked}")),
            Self::Exposed { why, .. } => Some(why.clone()),
            _ => self.inner()?.compared(),
        }
    }

    fn precise_step(&self) -> Option<String> {
        match self {
            Self::Request { file, .. } | Self::OtherNames { file, .. } => {
                Some(format!("openssl req -in {} -noout -text -verify", file.display()))
            }
            Self::Exposed { folder, .. } => Some(format!("ls -ld {}", folder.display())),
            _ => None,
        }
    }
}
