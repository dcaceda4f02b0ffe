//! Firmware variables as a file.

mod json;
mod store;

use std::collections::BTreeMap;

use super::error::PredictError;

/// The largest file of firmware variables that is read, in bytes.
pub const MAX_VARIABLES: usize = 16 * 1024 * 1024;

/// The most variables of a file.
const MAX_COUNT: usize = 4096;
/// The longest name, in bytes.
const MAX_NAME: usize = 512;

/// A vendor's GUID, as in memory.
pub(super) type Guid = [u8; 16];

/// The variables of a machine's firmware.
#[derive(Debug, Default)]
pub(super) struct Variables(BTreeMap<(Guid, String), Vec<u8>>);

impl Variables {
    /// Reads a variable store of EDK II (`OVMF_VARS.fd`), or its JSON form.
    ///
    /// # Errors
    /// [`PredictError::Variables`] when it is neither.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PredictError> {
        let read = match bytes {
            _ if bytes.len() > MAX_VARIABLES => Err(format!("the file has more than {MAX_VARIABLES} bytes")),
            [b'{' | b' ' | b'\n' | b'\r' | b'\t', ..] | [0xef, 0xbb, 0xbf, ..] => json::read(bytes),
            _ => store::read(bytes),
        };
        read.map_err(|fault| PredictError::Variables { fault })
    }

    pub(super) fn value(&self, guid: &Guid, name: &str) -> Option<&[u8]> {
        self.0.get(&(*guid, name.to_owned())).map(Vec::as_slice)
    }

    /// Adds a variable, as a test has it.
    #[cfg(test)]
    pub(super) fn with(mut self, guid: Guid, name: &str, data: &[u8]) -> Self {
        self.0.insert((guid, name.to_owned()), data.to_owned());
        self
    }

    /// Adds a variable.
    ///
    /// # Errors
    /// What is wrong with it.
    fn insert(&mut self, guid: Guid, name: String, data: Vec<u8>) -> Result<(), String> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(format!("a variable's name has {} bytes", name.len()));
        }
        if self.0.len() >= MAX_COUNT {
            return Err(format!("it has more than {MAX_COUNT} variables"));
        }
        let shown = name.clone();
        match self.0.insert((guid, name), data) {
            Some(_) => Err(format!("the variable {shown:?} is there twice")),
            None => Ok(()),
        }
    }
}
