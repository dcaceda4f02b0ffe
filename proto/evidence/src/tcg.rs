//! The firmware's event log (TCG PC Client Platform Firmware Profile, section 10; "PFP" below), both formats.
//!
//! A log is a list of claims. Replaying the digests against quoted registers proves the digests and their order in each
//! register, and nothing else: the event type is never covered by a digest, and the event data only where
//! [`Authentication`] says so.

mod authentication;
mod describe;
pub mod efi;
mod error;
mod event;
mod kind;
mod log;
mod reader;
mod replay;

pub use authentication::Authentication;
pub use error::TcgLogError;
pub use event::TcgEvent;
pub use kind::EventKind;
pub use log::{TcgFormat, TcgLog};
pub use replay::{PCRS, Replay};
