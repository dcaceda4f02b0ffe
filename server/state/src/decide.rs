//! Every decision that changes something: a pure function of a [`View`](crate::View) of the state, of what was asked and of the time, to a
//! [`Decision`](crate::Decision) or a refusal. It can be made again, as often as the state has moved on.

mod admission;
mod authority_life;
mod downstream;
mod entries;
mod entry_overlay;
mod evidence;
mod image_order;
mod inventory;
mod issue;
mod jwt_key;
mod machines;
mod node;
mod node_load;
mod policy_file;
mod provision;
mod reappraise;
mod roles;
mod trust;
mod upstream;
mod x509_authority;

pub use admission::{Admission, ApprovalRules, admit, require_no_other, require_not_blocked, wait_for_approval};
pub use authority_life::{Reason, activates_before};
pub use downstream::{
    MAX_ALL_PUBLISHED_KEYS, MAX_PUBLISHED_KEYS, NewPublishedKey, authorise_downstream, end_published_jwt_key,
    publish_jwt_key,
};
pub use entries::{EntryItem, EntryOperation, EntryRefusal, EntryWriter, StagedEntries, delete_expired, write_entries};
pub use evidence::{
    Accepted, AttestRefusal, Basis, Evidence, Proven, accept, doubt_times, prove_names, refuse, report_version,
    take_back, use_svid,
};
pub use inventory::{Import, Imported, import, remove};
pub use issue::{Authorised, authorise, authorise_jwt};
pub use jwt_key::{JwtKeyStep, activate_jwt_key, prepare_jwt_key, remove_jwt_key, taint_jwt_key};
pub use machines::{follow_siblings, link_machines};
pub use node::{Asker, Changed, NodeAsk, NodeOutcome, StepRefusal, change_node};
pub use policy_file::{PolicyFileChange, policy_files, put_policy_file};
pub use provision::{ProvisionAsk, ReportedStep, StepReport, assign_image, remove_image, report_step, retry_image};
pub use reappraise::{Reappraisal, reappraise_page};
pub use roles::{RoleGap, RoleHolder, role_stands};
pub use trust::put_trust;
pub use upstream::{
    BundleCertificate, MAX_UPSTREAM_JWT_KEYS, MAX_UPSTREAM_ROOTS, UpstreamSays, bundle_certificates, follow_upstream,
    prepare_upstream_authority, revoke_upstream_root, taint_upstream_root,
};
pub use x509_authority::{
    Rows, X509AuthorityStep, activate_x509_authority, activated, end_x509_authority, prepare_x509_authority,
    revoke_x509_authority, taint_x509_authority,
};
