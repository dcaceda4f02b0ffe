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
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
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
