//! JWT-SVIDs: what they are signed with, and whether one is to be believed (SPIFFE JWT-SVID).
//!
//! [`JwtSvid::validate`] is the one way from a token to an id: nothing of a token is believed before its signature has been
//! verified with a key of its own trust domain that fits the named algorithm.

mod algorithm;
mod authority;
mod claims;
mod error;
mod key;
mod svid;
mod token;

pub use algorithm::JwtAlgorithm;
pub use authority::JwtAuthority;
pub use error::JwtError;
pub use svid::{JwtSvid, LEEWAY_SECONDS};
pub use token::MAX_TOKEN_LEN;
