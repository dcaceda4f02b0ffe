//! The kernel's IMA list (Linux, Documentation/security/IMA-templates.rst), binary and ascii.
//!
//! The list is replayed line by line; whether it is the machine's is shown by PCR 10 of a quote, which some prefix of the
//! list must give: lines may have been added after the quote. Fields are borrowed; no line costs more than itself.

mod ascii;
mod binary;
mod error;
mod event;
mod list;
mod replay;
mod template;

pub use error::ImaError;
pub use event::{DigestKind, FileDigest, ImaEvent};
pub use list::{ImaForm, ImaLines, ImaList};
pub use replay::ImaReplay;
pub use template::{Field, Template};
