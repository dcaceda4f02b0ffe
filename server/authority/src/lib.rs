//! SVID profiles: prepare, lint, seal.
//!
//! [`prepare`] turns a [`Grant`](hallmark_state::Grant) and a [`SubjectKey`] into a [`Draft`]: the bytes to be
//! signed, already read back by another decoder than wrote them, checked against the X509-SVID profile and compared
//! with what was granted. Whoever holds the authority's key signs [`Draft::tbs`], and [`Draft::seal`] puts the
//! certificate together. Nothing here holds a private key, asks the time or makes random numbers.

mod age;
mod authority;
mod authority_draft;
mod below;
mod csr;
mod downstream;
mod draft;
mod error;
mod extensions;
mod jwt;
mod lint;
mod name;
mod request;
mod serial;
mod signature;
mod subject_key;
mod upstream;
mod validity;

pub use age::Age;
pub use authority::X509Authority;
pub use authority_draft::{AuthorityDraft, prepare_authority, prepare_renewal};
pub use below::{AuthorityBelowDraft, RootCa};
pub use csr::MAX_CSR_LEN;
pub use downstream::prepare_downstream;
pub use draft::{Draft, Svid, prepare};
pub use error::AuthorityError;
pub use jwt::{IssuedJwt, JwtClaims, JwtDraft, JwtSigner, MAX_AUDIENCE_LEN, MAX_AUDIENCES};
pub use request::{RequestDraft, prepare_request};
pub use serial::Serial;
pub use signature::SignatureAlgorithm;
pub use subject_key::{KeyType, SubjectKey};
pub use upstream::{
    MAX_ROOTS_IN_ANSWER, MAX_UPSTREAM_CERTIFICATE_LEN, MAX_UPSTREAM_CHAIN, UpstreamAnswerError, Which, verify_roots,
    verify_upstream,
};
