//! The certificate of a public listener, from its files: read at the start, and again when they change.

use std::{collections::BTreeSet, fs::File, io::Read as _, path::PathBuf, sync::Arc};

use hallmark_host::{SecretError, read_secret};
use rustls::{
    client::verify_server_name, crypto::aws_lc_rs::sign::any_supported_type, server::ParsedCertificate,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ConfigError;

/// The key of the certificate's private key.
pub(super) const KEY: &str = "oidc.certificate_key";

/// The longest file: a chain of a few certificates, or one key, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// The most certificates of a chain.
const MAX_CHAIN: usize = 10;

/// Where a certificate and its key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its root; PEM.
    pub certificate: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC 1; PEM.
    pub key: PathBuf,
}

/// A certificate with its key, ready to be shown.
#[derive(Debug, Clone)]
pub struct ServedCertificate {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// When the certificate ends, in Unix seconds.
    pub not_after: i64,
}

impl CertificateFiles {
    /// Reads both. An expired certificate is not refused: what is not served at all helps nobody.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, the key is open to others or another one than the certificate's, or the
    /// certificate is for none of `hosts`.
    pub fn load(&self, hosts: &BTreeSet<String>) -> Result<ServedCertificate, ConfigError> {
        let unusable = |cause: String| ConfigError::Certificate {
            path: self.certificate.clone(),
            cause,
        };
        let chain = self.chain().map_err(unusable)?;
        let leaf = chain
            .first()
            .ok_or_else(|| unusable("it has no certificate".to_owned()))?;
        let (_, read) = X509Certificate::from_der(leaf).map_err(|error| unusable(error.to_string()))?;
        let not_after = read.validity().not_after.timestamp();
        let names = ParsedCertificate::try_from(leaf).map_err(|error| unusable(error.to_string()))?;
        let is_for = |host: &String| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            ServerName::try_from(host).is_ok_and(|name| verify_server_name(&names, &name).is_ok())
        };
        if !hosts.iter().any(is_for) {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            return Err(unusable(format!("it is not a certificate for {}", hosts.join(" or "))));
        }
        let key = CertifiedKey::new(
            chain,
            any_supported_type(&self.private_key()?).map_err(|_| self.bad_key())?,
        );
        key.keys_match()
            .map_err(|_| unusable(format!("its key is not the one in {}", self.key.display())))?;
        Ok(ServedCertificate {
            key: Arc::new(key),
            not_after,
        })
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let mut pem = Vec::new();
        let file = File::open(&self.certificate).map_err(|error| error.to_string())?;
        file.take(MAX_FILE + 1)
            .read_to_end(&mut pem)
            .map_err(|error| error.to_string())?;
        if u64::try_from(pem.len()).unwrap_or(u64::MAX) > MAX_FILE {
            return Err(format!("it is larger than {} KiB", MAX_FILE / 1024));
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| error.to_string())?;
        match chain.len() {
            0..=MAX_CHAIN => Ok(chain),
            count => Err(format!("it has {count} certificates: at most {MAX_CHAIN}")),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, ConfigError> {
        let pem = read_secret(&self.key, MAX_FILE).map_err(|error| match error {
            SecretError::Exposed { .. } => ConfigError::SecretExposed {
                key: KEY,
                path: self.key.clone(),
                exposed: error.to_string(),
            },
            error => ConfigError::SecretUnreadable {
                key: KEY,
                path: self.key.clone(),
                cause: error.to_string(),
            },
        })?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|_| self.bad_key())
    }

    /// What is in it is not said.
    fn bad_key(&self) -> ConfigError {
        ConfigError::SecretUnreadable {
            key: KEY,
            path: self.key.clone(),
            cause: "it is no private key in PEM that TLS can use".to_owned(),
        }
    }
}
