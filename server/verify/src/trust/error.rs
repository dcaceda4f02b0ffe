//! What is wrong with the operator's own trust material.

use hallmark_reason::ReasonCode;

use crate::refusal::{RefusalClass, Row, coded_by_row};

/// What is wrong with the operator's own trust material. The server does not start with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file of roots cannot be used at all.
    #[error("EK roots: {file}: {reason}")]
    RootFile {
        /// The file's name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// One certificate in a file of roots cannot be used.
    #[error("EK roots: {file}: certificate {number}: {reason}")]
    Root {
        /// The file's name.
        file: String,
        /// The certificate's place in the file, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file of revocation lists cannot be used.
    #[error("revocation lists: {file}: {reason}")]
    RevocationList {
        /// The file's name.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

impl TrustError {
    pub(crate) fn row(&self) -> Row {
        let code = match self {
            Self::RootFile { .. } => ReasonCode::new("HM-VERIFY-0151"),
            Self::Root { .. } => ReasonCode::new("HM-VERIFY-0152"),
            Self::RevocationList { .. } => ReasonCode::new("HM-VERIFY-0156"),
        };
        Row::new(code, RefusalClass::ServerSide, None)
    }
}

coded_by_row!(TrustError);
