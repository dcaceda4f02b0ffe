//! Why a file is no inventory.

use std::fmt;

use hallmark_reason::{Coded, ReasonCode};

use super::InventoryLine;

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
    #[error("the EK {0} stands there twice")]
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

    fn likely_cause(&self) -> Option<String> {
        let cause = match &self.fault {
            InventoryFault::Syntax(_) => "the file is of another form, was cut, or has a key that is not known",
            InventoryFault::Header(_) => "a misspelt column, or a file without a header",
            InventoryFault::Ek(_) => "a shortened hash, or the hash of something else than the EK",
            InventoryFault::Twice(_) => "two lists were put together",
            InventoryFault::Label(_) => "labels are written name=value;name=value in CSV, as an object in JSON",
            InventoryFault::Text(_) => "a field in the wrong column",
            InventoryFault::Expires(_) => "another form of date",
            InventoryFault::Class(_) => "a misspelt class",
            InventoryFault::TooLarge(_) => "another file",
        };
        Some(cause.into())
    }

    fn next_step(&self) -> Option<String> {
        Some(match &self.fault {
            InventoryFault::Syntax(_) => {
                "name the form with --format csv or --format json; hallmark inventory export shows it".into()
            }
            InventoryFault::Header(_) => "begin with ek_sha256,serial,owner,labels,expires".into(),
            InventoryFault::Ek(_) => "hallmark-agent doctor prints the EK's hash on the machine".into(),
            InventoryFault::Twice(_) => "leave one of the two out".into(),
            InventoryFault::Label(_) => format!(
                "at most {} labels; names of a-z 0-9 . _ - up to {} bytes, not owner; values without ; up to {} bytes",
                InventoryLine::MAX_LABELS,
                InventoryLine::MAX_LABEL_NAME,
                InventoryLine::MAX_TEXT
            ),
            InventoryFault::Text(_) => format!("at most {} bytes, no control characters", InventoryLine::MAX_TEXT),
            InventoryFault::Expires(_) => "write it as 2027-06-30T00:00:00Z, or leave it empty".into(),
            InventoryFault::Class(_) => "write discrete, firmware, virtual or simulator, or leave it empty".into(),
            InventoryFault::TooLarge(_) => "import it in parts, without --replace".into(),
        })
    }
}
