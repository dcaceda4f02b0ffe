//! What is wrong with the operator's own trust material.

use hallmark_reason::ReasonCode;

use crate::refusal::{RefusalClass, Row, coded_by_row, expected};

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
    /// A key of the inventory is not an exact SPKI hash or Name.
    #[error("EK inventory{}: not an EK hash: {reason}", at(*.line))]
    InventoryKey {
        /// Line in the file, from 1, if it came from one.
        line: Option<u64>,
        /// What is wrong.
        reason: &'static str,
    },
    /// A line of the inventory cannot be read.
    #[error("EK inventory{}: {reason}", at(Some(*.line)))]
    InventoryLine {
        /// Line in the file, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// One key stands in the inventory twice.
    #[error("EK inventory{}: {key} stands there twice", at(*.line))]
    InventoryTwice {
        /// Line in the file, from 1, if it came from one.
        line: Option<u64>,
        /// The key.
        key: String,
    },
}

fn at(line: Option<u64>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

impl TrustError {
    pub(crate) fn row(&self) -> Row {
        let (code, compared) = match self {
            Self::RootFile { .. } => (ReasonCode::new("HM-VERIFY-0151"), None),
            Self::Root { .. } => (ReasonCode::new("HM-VERIFY-0152"), None),
            Self::RevocationList { .. } => (ReasonCode::new("HM-VERIFY-0156"), None),
            Self::InventoryKey { .. } => (
                ReasonCode::new("HM-VERIFY-0153"),
                expected("64 (SPKI hash) or 68 (Name) hex digits", "something else"),
            ),
            Self::InventoryLine { .. } => (
                ReasonCode::new("HM-VERIFY-0154"),
                expected(
                    "ek_sha256,owner,expires or ek_sha256,owner,expires,class,manufacturer,model",
                    "something else",
                ),
            ),
            Self::InventoryTwice { .. } => (ReasonCode::new("HM-VERIFY-0155"), None),
        };
        Row::new(code, RefusalClass::ServerSide, compared)
    }
}

coded_by_row!(TrustError);
