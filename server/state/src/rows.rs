//! The rows of the state: what is known of each thing, as plain data.

mod authority;
mod ek_certificate;
mod evidence;
mod first_request;
mod image_assignment;
mod left_out;
mod node;
mod policy_file;
mod tpm_name;
mod upstream;

pub use authority::{Authority, AuthorityState, JwtKey, PublishedJwtKey};
pub use ek_certificate::EkCertificate;
pub use evidence::{HeldEvidence, LINES, LogPart, NewEvidence, NodeEvidence, NodeFacts, WholeLog};
pub use first_request::FirstRequest;
pub use image_assignment::{ImageAssignment, ImageOrder, InstallStage};
pub use left_out::{DamagedNode, LeftOutEntry};
pub use node::{Appraised, Node, NodeSvid, RoleSvid};
pub use policy_file::PolicyFile;
pub use tpm_name::TpmName;
pub use upstream::{UpstreamBundle, UpstreamJwtKey, UpstreamRoot, UpstreamRootState};
