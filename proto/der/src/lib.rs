//! DER: the one strict reader and the one writer, and the files that hold DER.
//!
//! [`Reader`] reads elements of foreign bytes, [`element`] and its like write them; keys and signatures have functions of their own
//! ([`ec_spki`], [`ecdsa_numbers`]), as have certification requests ([`CertificationRequest`]). [`check`] says whether bytes are one well-formed DER value. [`objects`] reads every certificate, revocation list or public
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
mod keys;
mod pem;
mod read;
mod request;
mod strict;
mod write;

pub use envelope::{EnvelopeError, first, unwrap};
pub use file::{FileError, certificates, is_pem, objects};
pub use keys::{
    ED25519, NamedCurve, RSA_ENCRYPTION, ec_point, ec_spki, ecdsa_numbers, ecdsa_signature, ed25519_spki, rsa_numbers,
    rsa_spki, rsa_spki_of,
};
pub use pem::{PemError, sections};
pub use read::{Element, Reader};
pub use request::CertificationRequest;
pub use rustls_pki_types::pem::SectionKind;
pub use strict::{DerFault, check, element_len};
pub use write::{bit_string, element, sequence, tag, unsigned};
