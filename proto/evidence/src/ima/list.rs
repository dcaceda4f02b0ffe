//! The list as a stream of lines.

use std::sync::Arc;

use hallmark_tpm_wire::HashAlg;

use super::{ascii, binary, error::ImaError, event::ImaEvent, template::Template};

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImaForm {
    /// `binary_runtime_measurements`, or that of a bank.
    Binary,
    /// `ascii_runtime_measurements`, or that of a bank.
    Ascii,
}

/// An IMA list, not yet read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImaList<'a> {
    bytes: &'a [u8],
    form: ImaForm,
    hash: HashAlg,
}

impl<'a> ImaList<'a> {
    /// A list in either form: an ascii line begins with a digit, which no binary line of a register below 48 does. The
    /// length of the first line's hash says of which bank it is.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        match bytes.first() {
            Some(byte) if byte.is_ascii_digit() => Self {
                bytes,
                form: ImaForm::Ascii,
                hash: ascii::recorded_hash(bytes),
            },
            _ => Self::binary(bytes),
        }
    }

    /// A list in binary form.
    #[must_use]
    pub fn binary(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            form: ImaForm::Binary,
            hash: binary::recorded_hash(bytes),
        }
    }

    /// The form.
    #[must_use]
    pub const fn form(&self) -> ImaForm {
        self.form
    }

    /// The lines, read one by one. After an error there is nothing more.
    #[must_use]
    pub const fn lines(&self) -> ImaLines<'a> {
        ImaLines {
            rest: self.bytes,
            form: self.form,
            hash: self.hash,
            line: 0,
            template: None,
            taken: 0,
            check: true,
        }
    }
}

/// The lines of a list.
#[derive(Debug, Clone)]
pub struct ImaLines<'a> {
    rest: &'a [u8],
    form: ImaForm,
    hash: HashAlg,
    line: u64,
    template: Option<Arc<Template>>,
    taken: u64,
    check: bool,
}

impl ImaLines<'_> {
    /// The same lines of a list that was read before without an error: the recorded hashes are not computed again.
    #[must_use]
    pub const fn read_before(mut self) -> Self {
        self.check = false;
        self
    }

    /// How many bytes the lines that were read take.
    #[must_use]
    pub const fn bytes_read(&self) -> u64 {
        self.taken
    }
}

impl<'a> Iterator for ImaLines<'a> {
    type Item = Result<ImaEvent<'a>, ImaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = match self.form {
            ImaForm::Binary => binary::line(self.rest, self.line, self.hash, &mut self.template, self.check),
            ImaForm::Ascii => ascii::line(self.rest, self.line, self.hash, &mut self.template, self.check),
        };
        match read {
            Ok((event, rest)) => {
                let length = self.rest.len().saturating_sub(rest.len());
                self.taken = self.taken.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                self.line = self.line.saturating_add(1);
                self.rest = rest;
                Some(Ok(event))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
