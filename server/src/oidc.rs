//! OpenID Connect discovery for JWT-SVIDs: clouds, secret stores and databases that know OpenID Connect and not SPIFFE learn here which
//! keys sign (OpenID Connect Discovery 1.0).
//!
//! A listener of its own, off unless configured: over TLS with a certificate that the public believes, or plain behind a proxy.
//! Everything on it is public, and everything that comes in is bounded.

mod answer;
mod certificate;
mod documents;
mod server;

pub use certificate::{Certificate, CertificateFailure};
pub use server::{Provider, Socket, serve};
