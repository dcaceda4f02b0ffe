//! The attacks against a running server, over the real wire: what the node hears, and what the record says.

mod certificate;
mod identity;
mod inventory;
mod key;
mod quote;
mod scene;
