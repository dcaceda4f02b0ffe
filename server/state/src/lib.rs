//! Entries, selector matching, and who may hold which SPIFFE ID.
//!
//! Pure: the time is an argument and nothing here waits, reads or writes. The way through this room
//! ends in a [`Grant`], which alone lets the authority prepare an SVID.

mod assign_warning;
mod attestation_state;
mod authority_step_error;
pub mod decide;
mod downstream;
mod draft;
mod entry;
mod entry_error;
mod entry_load;
mod grant;
mod grant_error;
mod import_plan;
mod install_finding;
mod intents;
mod inventory_snapshot;
pub mod journal;
mod lifecycle;
mod links;
mod minted_names;
mod node;
mod provision_error;
mod published_key_error;
mod query;
mod registry;
mod rows;
mod state;
mod view;
mod warning;

pub use assign_warning::AssignWarning;
pub use attestation_state::{AttestationState, Undecodable};
pub use authority_step_error::{AuthorityKind, AuthorityStepError};
pub use downstream::DownstreamGrant;
pub use draft::EntryDraft;
pub use entry::{Entry, EntryId};
pub use entry_error::EntryError;
pub use entry_load::EntryLoad;
pub use grant::{Grant, SvidTtl, Why, authorise_entry, mint, server_identity};
pub use grant_error::GrantError;
pub use import_plan::Plan;
pub use install_finding::InstallFinding;
pub use intents::{Intents, Recorded};
pub use inventory_snapshot::InventorySnapshot;
pub use journal::{
    AttestedFacts, Change, Committed, EntryAct, Event, EventPart, EventRange, Expect, InstallAct, InstallStep, Key,
    LoggedEvent, Manifest, Outcome, PcrFact, ReadableRecord, ReasonFact, RecentIds, Record, RecordFilter, RecordKind,
    RecordQuery, RefusingRule, StoredRecord, Tail, Total, Transaction, What,
};
pub use lifecycle::{
    Action, Approval, Approvals, ApproverRefusal, Approvers, LifecycleError, NodeState, RefusedStep, gives_back, step,
};
pub use links::{LinkError, Links};
pub use minted_names::{DnsNameRule, DnsNameRules};
pub use node::authorise_node;
pub use provision_error::ProvisionError;
pub use published_key_error::PublishedKeyError;
pub use query::{Filter, Match, Page, PageToken};
pub use registry::{Registry, Role, RoleWay};
pub use rows::{
    Appraised, Authority, AuthorityState, DamagedNode, EkCertificate, FirstRequest, HeldEvidence, ImageAssignment,
    ImageOrder, InstallStage, JwtKey, LINES, LeftOutEntry, LogPart, NewEvidence, Node, NodeEvidence, NodeFacts,
    NodeSvid, PolicyFile, PublishedJwtKey, RoleSvid, TpmName, UpstreamBundle, UpstreamJwtKey, UpstreamRoot,
    UpstreamRootState, WholeLog,
};
pub use state::{Configured, Gap, NodeCounts, RulesInForce, Snapshot, State};
pub use view::{Decision, Done, View};
pub use warning::{EntryWarning, selector_warnings};
