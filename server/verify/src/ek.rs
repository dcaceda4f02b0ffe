//! EK certificates: reading them strictly, leading them to a pinned root, and what they say about the TPM.

mod attributes;
mod basis;
mod certificate;
mod class;
pub(crate) mod envelope;
mod error;
mod genuine;
mod key;
mod path;

pub use attributes::TpmAttributes;
pub use envelope::MAX_CERTIFICATE_BYTES;
pub use error::EkCertificateError;
pub use genuine::CertificateFacts;
pub use path::MAX_INTERMEDIATES;

pub(crate) use certificate::EkCertificate;
pub(crate) use genuine::{GenuineCertificate, is_genuine, judge_certificate};
