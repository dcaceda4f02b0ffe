//! The words for a node: what it is called, how operators name its endorsement keys, what they say of it.
//!
//! [`NodeId`] is the SPIFFE ID that a machine has by its endorsement key. [`EkId`] names an endorsement key exactly.
//! [`InventoryItem`] is a machine of the operator's inventory, and [`read_inventory`] the one reader of inventory files.
//! [`TpmClass`], [`Maker`] and [`Model`] say what kind of TPM it is, [`DiskImageManifest`] what is written to its disk when it is
//! installed over the network, and [`ImageUrl`] where that is. Everything is pure: times are arguments.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on has failed"
    )
)]

mod class;
mod disk_image;
mod ek_id;
mod image_url;
mod inventory;
mod maker;
mod node_id;

pub use class::TpmClass;
pub use disk_image::{DiskChunk, DiskImageError, DiskImageManifest};
pub use ek_id::{EkId, EkIdError};
pub use image_url::{ImageUrl, ImageUrlFault};
pub use inventory::{Form, InventoryError, InventoryFault, InventoryItem, read_inventory};
pub use maker::{Maker, Model};
pub use node_id::NodeId;
