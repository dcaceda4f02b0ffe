//! TLS towards the server: who it is, and what the agent signs with.

mod signer;
mod verifier;

pub use signer::TpmSigner;
pub(crate) use verifier::Refusal;
pub use verifier::{ServerTrust, ServerVerifier};

use std::sync::Arc;

use rustls::{ClientConfig, client::Resumption, crypto::CryptoProvider, version::TLS13};

use crate::AgentError;

/// The one cryptographic provider.
///
/// Keys are agreed on by X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) wherever the other side can: what is recorded today stays closed to a
/// quantum computer of later. Whoever cannot is met with X25519 or a NIST curve.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    use rustls::crypto::aws_lc_rs::{default_provider, kx_group::X25519MLKEM768};
    let mut provider = default_provider();
    provider.kx_groups.retain(|group| group.name() != X25519MLKEM768.name());
    provider.kx_groups.insert(0, X25519MLKEM768);
    Arc::new(provider)
}

/// A client configuration without a client certificate.
///
/// # Errors
/// The provider has no TLS 1.3.
pub fn anonymous(verifier: Arc<ServerVerifier>) -> Result<ClientConfig, AgentError> {
    Ok(finish(builder(verifier)?.with_no_client_auth()))
}

/// A client configuration that signs with the TPM key of the agent's identity.
///
/// # Errors
/// The provider has no TLS 1.3.
pub fn mutual(verifier: Arc<ServerVerifier>, signer: TpmSigner) -> Result<ClientConfig, AgentError> {
    Ok(finish(builder(verifier)?.with_client_cert_resolver(Arc::new(signer))))
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn builder(verifier: Arc<ServerVerifier>) -> Result<Builder, AgentError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| AgentError::System {
            detail: error.to_string(),
        })?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// No session is resumed: every connection proves both keys anew.
fn finish(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_agreed_on_by_the_hybrid_group_first_and_by_others_where_the_server_cannot() {
        let names: Vec<_> = provider().kx_groups.iter().map(|group| group.name()).collect();
        assert_eq!(names.first(), Some(&rustls::NamedGroup::X25519MLKEM768));
        assert!(names.contains(&rustls::NamedGroup::X25519), "the control");
    }
}
