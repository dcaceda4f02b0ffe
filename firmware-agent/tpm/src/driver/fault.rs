//! A failure on its way to the caller, while the driver may still do something about it.

use crate::{TpmError, response::Response};

/// What was being done: the command's name and the hierarchy that authorizes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) command: &'static str,
    pub(crate) hierarchy: &'static str,
}

#[derive(Debug)]
pub(crate) enum Fault {
    /// The TPM or the layers above it answered with a code.
    Response(Op, Response),
    /// Something that no second try can mend.
    Final(TpmError),
}

impl Fault {
    pub(crate) fn malformed(op: Op, detail: impl ToString) -> Self {
        Self::Final(TpmError::Malformed {
            command: op.command,
            detail: detail.to_string(),
        })
    }

    pub(crate) const fn response(&self) -> Option<Response> {
        match self {
            Self::Response(_, response) => Some(*response),
            Self::Final(_) => None,
        }
    }

    pub(crate) fn into_error(self) -> TpmError {
        match self {
            Self::Response(op, response) => response.into_error(op.command, op.hierarchy),
            Self::Final(error) => error,
        }
    }
}

impl From<TpmError> for Fault {
    fn from(error: TpmError) -> Self {
        Self::Final(error)
    }
}
