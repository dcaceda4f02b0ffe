//! The hand that signs: the port [`KeyStore`] to keys that never leave their device.
//!
//! A key store makes keys, finds them again by label, signs with them and destroys them. It never gives a private
//! key out, and it holds no key that could be given out: an adapter refuses such a key when it meets one
//! ([`HsmError::KeyExposed`]).

mod error;
mod key;
mod port;
mod status;

pub use error::HsmError;
pub use futures_util::future::BoxFuture;
pub use key::{KeyId, KeyInfo, KeyKind, MAX_LABEL_LEN, SignatureAlg, check_label};
pub use port::KeyStore;
pub use status::{LastFailure, State, Status, TokenFacts};
