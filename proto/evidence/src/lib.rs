//! One machine's claim: the envelope and what binds it together.
//!
//! Evidence here is decoded, within limits, and nothing of it is believed yet: signatures, nonces, certificates and
//! keys are judged by the verifier. Pure: no I/O, no clock, no policy.

pub mod anchor;
mod binding;
mod chain;
mod claim;
mod error;
mod file;
pub mod ima;
mod limits;
mod log;
mod proof;
pub mod systemd;
pub mod tcg;

pub use binding::{BINDING_LABEL, Binding, EXPORTER_LABEL, EXPORTER_LEN};
pub use chain::EkCertificateChain;
pub use claim::{Claim, RawClaim};
pub use error::EvidenceError;
pub use file::{AkPublic, EvidenceFile, Judged, RuleFile, Source};
pub use limits::{Limits, PAYLOAD_VERSION};
pub use log::{Log, LogDigest, LogKind};
pub use proof::{Proof, RawLog, RawPcrValue, RawProof, RawSigned, Signed};
