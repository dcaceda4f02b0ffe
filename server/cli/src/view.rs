//! What is shown. The field names and their meaning are a contract with the programs that read the JSON form: fields
//! are added, never renamed; times are RFC 3339 in UTC or null; lifetimes are whole seconds.

pub(crate) mod authority;
pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod difference;
pub(crate) mod entry;
pub(crate) mod evidence;
pub(crate) mod explanation;
pub(crate) mod forecast;
pub(crate) mod hsm;
pub(crate) mod inventory;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod proof;
pub(crate) mod provision;
pub(crate) mod reason;
pub(crate) mod record;
pub(crate) mod status;
pub(crate) mod svid;
pub(crate) mod unproven;
