//! Evidence, trust anchors, a challenge and the time, judged: `VerifiedEvidence`.

mod der;
mod ek;
mod refusal;
mod trust;

pub use der::DerFault;
pub use ek::{EkCertificateError, MAX_CERTIFICATE_BYTES, MAX_INTERMEDIATES, TpmAttributes, TpmClass};
pub use refusal::RefusalClass;
pub use trust::{EkKey, EkRoots, ExpiredPolicy, Inventory, InventoryItem, KnownTpm, Trust, TrustError};
