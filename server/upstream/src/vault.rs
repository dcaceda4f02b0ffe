//! HashiCorp Vault and OpenBao: their PKI secrets engine, by the HTTP API.

mod answer;
mod config;
mod login;
mod upstream;

pub use answer::signed_answer;
pub use config::{AppRole, ClientCertificate, ServiceAccount, TokenFile, VaultAuth, VaultConfig};
pub use upstream::VaultUpstream;
