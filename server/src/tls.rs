//! TLS: the server's own identity, and the certificates that clients show.
//!
//! TLS 1.2 and 1.3, ALPN `h2`, no resumption of any kind: every connection proves its keys anew. A client
//! certificate is asked for and may be missing; one that is shown must verify against the bundle of the moment.

mod client;
mod identity;
mod stream;

pub use client::{ClientVerifier, Clients};
pub use identity::{ServerIdentity, keep_fresh};
pub use stream::TlsConnection;

use std::sync::Arc;

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};

/// The one provider of cryptography.
///
/// Keys are agreed on by X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) wherever the other side can: what is recorded today stays closed to a
/// quantum computer of later. Whoever cannot is met with X25519 or a NIST curve.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group::X25519MLKEM768};
    let mut provider = default_provider();
    provider.kx_groups.retain(|group| group.name() != X25519MLKEM768.name());
    provider.kx_groups.insert(0, X25519MLKEM768);
    Arc::new(provider)
}

/// The configuration of the TLS listener.
///
/// # Errors
/// When the provider lacks what TLS 1.2 and 1.3 need.
pub fn server_config(clients: Clients, identity: Arc<ServerIdentity>) -> Result<ServerConfig, rustls::Error> {
    let provider = provider();
    let verifier = ClientVerifier::new(clients, &provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}
