//! Why a verdict is what it is.

use hallmark_reason::ReasonCode;

/// What one rule found. The code names the rule, whether it held or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The rule.
    pub code: ReasonCode,
    /// Whether it held.
    pub holds: bool,
    /// What was found, in the operator's words.
    pub text: String,
    /// Expected and actual value.
    pub compared: Option<String>,
}

impl Reason {
    pub(crate) fn of(code: ReasonCode, holds: bool, text: String, compared: Option<String>) -> Self {
        Self {
            code,
            holds,
            text,
            compared: compared.filter(|_| !holds),
        }
    }
}
