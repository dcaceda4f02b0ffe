//! Entries and their rules, who may serve them, and grants.

mod authorised;
mod drafts;
mod grants;
mod listing;
mod samples;
