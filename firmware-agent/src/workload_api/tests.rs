//! The server over a real socket, with real certificates.

mod binaries;
mod calls;
mod connections;
mod hostile;
mod jwt;
pub(crate) mod lab;
mod streams;
