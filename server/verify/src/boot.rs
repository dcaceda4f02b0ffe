//! What a machine booted, as far as quoted registers prove it.
//!
//! The firmware's log, and behind it systemd's, must replay to the quoted registers; then its digests and their order
//! within each register are proven. Event types are not, nor is the order of events of different registers, nor event
//! data that no digest covers. So facts are read from what proven bytes say, not from the type that the log claims.

mod authorities;
mod error;
mod facts;
mod firmware_end;
mod logged;
mod part;
mod prove;
mod secure_boot;
mod stages;
mod user_space;

pub use error::BootError;
pub use facts::{
    Authority, BootEvent, BootFacts, CertificateRef, EventAuthentication, Image, ImageKind, Measured, OwnerKeys,
    ShimSwitches, SignatureDatabase,
};
pub use logged::LoggedEvent;
pub use part::{PcrComparison, compare};
pub use prove::{MeasuredBoot, measured_boot};
pub(crate) use user_space::with_unlogged_phases;
