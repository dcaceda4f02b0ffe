//! A TPM in software, and a vendor for it: evidence that can be right in every point, or wrong in exactly one.
//!
//! Nothing made here is accepted by a server unless its operator pinned this very [`VendorCa`]'s root, whose key lives in
//! memory only and is new every time. There is no way from here into [`crate::VerifiedEvidence`] but the common one.
//!
//! A [`SoftwareMachine`] makes what a node sends as *parts* with public fields ([`ClaimParts`], [`ProofParts`]), in wire
//! form, so that a test can send what the typed form refuses to hold. What is signed is first a *draft*
//! ([`ProofDraft`]) with public fields, which a closure may change before it is signed. So an attack is written as its
//! difference from the truth:
//!
//! ```
//! use hallmark_verify::testing::{ChallengeParts, SoftwareMachine, VendorCa};
//! let vendor = VendorCa::new();
//! let machine = SoftwareMachine::new(&vendor);
//! let mut claim = machine.claim();
//! claim.csr.clear();
//! let challenge = ChallengeParts { nonce: [1; 32], credential: None, selection: vec![(0x000b, vec![7])] };
//! let proof = machine.prove_with(&challenge, &[2; 32], |draft| draft.quote.magic = 0);
//! ```

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "what is made here is test evidence; where making it fails, the test has failed"
)]

mod asn1;
mod certificate;
mod ek;
mod key;
mod machine;
mod revocation;
mod run;
mod statement;

pub use asn1::{element, oid};
pub use certificate::{CertificateDraft, ExtensionDraft, VendorCa, oids};
pub use ek::SoftwareEk;
pub use key::{PublicDraft, SoftwareKey};
pub use machine::{ChallengeParts, ClaimParts, ProofDraft, ProofParts, SoftwareMachine};
pub use revocation::RevocationDraft;
pub use run::attest;
pub use statement::{AttestDraft, SignedParts, certify_body, quote_body};

/// Lengths in test evidence are small; one that does not fit its field is a fault of the test.
fn narrow<T: TryFrom<usize>>(length: usize) -> T {
    T::try_from(length).ok().expect("length fits its field")
}

/// A TPM2B: 16-bit size, then the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&narrow::<u16>(bytes.len()).to_be_bytes(), bytes].concat()
}
