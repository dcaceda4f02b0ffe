//! Between protobuf and the domain. What comes in is bounded and checked here; nothing else reads raw messages.

mod agent;
mod challenge;
mod denial;
mod entry;
mod id;
mod image;
mod page;
mod selector;
mod tpm2;

pub use agent::{agent_message, expires_before};
pub use challenge::challenge_message;
pub use denial::{Denial, DenialReason, denied};
pub use entry::{apply_mask, entry_draft, entry_filter, entry_message};
pub use id::{id_message, spiffe_id};
pub use image::{
    assignment_for_machine, image_assignment_message, image_order, machine, new_image_assignment_message, step_report,
};
pub use page::{PAGE_BYTES, next_page};
pub use selector::{selector_match, selector_messages, selectors, trust_domain_match};
pub use tpm2::{claim, proof};

use hallmark_api::types;
use tonic::{Code, Status};

/// The most items that one batch may have.
pub const MAX_BATCH: usize = 2000;

/// The status of one item of a batch that went well.
#[must_use]
pub fn ok_item() -> types::Status {
    types::Status {
        code: i32::from(Code::Ok),
        message: "OK".into(),
    }
}

/// The status of one item of a batch that did not.
#[must_use]
pub fn failed_item(status: &Status) -> types::Status {
    types::Status {
        code: i32::from(status.code()),
        message: status.message().to_owned(),
    }
}
