//! Why a file is no inventory.

use std::fmt;

use hallmark_reason::{Coded, ReasonCode};

use super::InventoryItem;

/// What is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryFault {
    /// It is not of the form that it was given as.
    #[error("it cannot be read: {0}")]
    Syntax(String),
    /// The header of a CSV file has a column that is not known, or one twice, or lacks the EK.
    #[error("the header is wrong: {0}")]
    Header(String),
    /// No whole EK hash or Name.
    #[error("not an EK hash: {0}")]
    Ek(String),
    /// An EK stands there twice.
    #[error("the EK {0} is in the file twice")]
    Twice(String),
    /// A label breaks the rules.
    #[error("labels: {0}")]
    Label(String),
    /// A text is too long or has characters that nobody can type.
    #[error("{0}")]
    Text(String),
    /// No point in time.
    #[error("expires: {0}")]
    Expires(String),
    /// No class of TPMs.
    #[error("class: {0}")]
    Class(String),
    /// Too large a file.
    #[error("the file is too large: {0}")]
    TooLarge(String),
}

/// Where a file is no inventory, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryError {
    /// What is wrong.
    pub fault: InventoryFault,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The column: of CSV the field, of JSON the character; from 1, or 0 for the whole line.
    pub column: usize,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the inventory's file")?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for InventoryError {}

impl Coded for InventoryError {
    fn code(&self) -> ReasonCode {
        match &self.fault {
            InventoryFault::Syntax(_) => ReasonCode::new("HM-REG-0070"),
            InventoryFault::Header(_) => ReasonCode::new("HM-REG-0071"),
            InventoryFault::Ek(_) => ReasonCode::new("HM-REG-0072"),
            InventoryFault::Twice(_) => ReasonCode::new("HM-REG-0073"),
            InventoryFault::Label(_) => ReasonCode::new("HM-REG-0074"),
            InventoryFault::Text(_) => ReasonCode::new("HM-REG-0075"),
            InventoryFault::Expires(_) => ReasonCode::new("HM-REG-0076"),
            InventoryFault::Class(_) => ReasonCode::new("HM-REG-0077"),
            InventoryFault::TooLarge(_) => ReasonCode::new("HM-REG-0078"),
        }
    }

    fn precise_step(&self) -> Option<String> {
        Some(match &self.fault {
            InventoryFault::Label(_) => format!(
                "at most {} labels; names of a-z 0-9 . _ - up to {} bytes, not owner; values without ; up to {} bytes",
                InventoryItem::MAX_LABELS,
                InventoryItem::MAX_LABEL_NAME,
                InventoryItem::MAX_TEXT
            ),
            _ => return None,
        })
    }
}
