//! SPIFFE ID, trust domain, selector, bundle and the SVID profile rules.
//!
//! Everything here reads bytes and text that somebody else wrote. A value of one of these types has
//! passed every rule of its standard document; the requirement ids in the comments (`ID-10`,
//! `X509-02`, `TDB-09` …) are those of a table of the standards' requirements, one id each.

mod bundle;
mod id;
pub mod jwt;
mod selector;
mod selector_set;
mod trust_domain;
pub mod x509;

pub use bundle::{Bundle, BundleError};
pub use id::{IdError, SpiffeId};
pub use selector::{Selector, SelectorError};
pub use selector_set::SelectorSet;
pub use trust_domain::TrustDomain;
