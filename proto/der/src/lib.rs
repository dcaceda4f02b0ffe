//! DER, and the files that hold it.
//!
//! [`check`] says whether bytes are one well-formed DER value. [`objects`] reads every certificate, revocation list or public
//! key of a file, in whatever form operators and TPM vendors hand them over, and never leaves one out without a word.
//! Everything is pure; whether an object means what it should is its reader's to say.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on has failed"
    )
)]

mod envelope;
mod file;
mod pem;
mod strict;

pub use envelope::{EnvelopeError, unwrap};
pub use file::{FileError, certificates, is_pem, objects};
pub use pem::{PemError, sections};
pub use rustls_pki_types::pem::SectionKind;
pub use strict::{DerFault, Taken, check, element_len, take};
