//! From a grant to an SVID: the one way, whoever asks.
//!
//! `Grant` -> `Draft` (linted) -> the intent is durable -> the token signs -> `Svid` -> the outcome is recorded.
//! A signature without a recorded intent cannot happen; an intent without an outcome is settled at the next start.

mod error;
mod jwt;
mod order;
mod pipeline;

pub use error::IssueError;
pub use jwt::{JwtIssuer, JwtOrder};
pub use order::{Granted, IssuedSvid, Order, OrderKey};
pub use pipeline::{Intended, Issuer, Results};
