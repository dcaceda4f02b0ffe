//! TPM 2.0 structures on the wire, and MakeCredential.
//!
//! Pure decoding and checking of what a TPM says, in the big-endian form of "Trusted Platform Module Library", part 2:
//! Structures. Every decoder is strict: sizes are bounded, trailing bytes are refused, algorithms that are not known or
//! too weak are refused by name, and nothing recurses. A [`PublicArea`] that exists is never weak.
//!
//! What this crate does not decide: whether a key's attributes are the right ones, whether a quote is fresh, or whether
//! an endorsement key is trusted. It only says what was said, and whether a signature over it holds.

mod alg;
mod attest;
mod attributes;
pub mod credential;
mod curve;
mod error;
mod kdf;
mod name;
mod pcr;
mod pcr_values;
mod public;
mod reader;
mod roca;
mod scheme;
mod signature;
mod spki;
pub mod templates;
mod tss;
mod verify;
mod writer;

pub use alg::HashAlg;
pub use attest::{Attest, AttestKind, Certify, ClockInfo, Quote};
pub use attributes::ObjectAttributes;
pub use curve::Curve;
pub use error::WireError;
pub use name::{Hierarchy, Name};
pub use pcr::{PcrBank, PcrSelection};
pub use pcr_values::{PcrValues, pcr_digest};
pub use public::{EccPublic, PublicArea, PublicKind, RsaPublic};
pub use roca::is_roca;
pub use scheme::{AsymScheme, KeyedHashScheme, Symmetric};
pub use signature::Signature;
