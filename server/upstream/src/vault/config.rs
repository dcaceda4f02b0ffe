//! `[upstream.vault]`.

use std::{path::PathBuf, time::Duration};

use hallmark_settings::{SecretReference, value as settings};
use serde::Deserialize;

/// A PKI mount of Vault or OpenBao, and who this server is there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://host:port`, or what is in front of several nodes. A path behind it stands before `/v1`.
    #[serde(deserialize_with = "settings::filled")]
    pub url: String,
    /// The authorities that sign Vault's TLS certificate, in PEM. Needed with https.
    #[serde(default, deserialize_with = "settings::optional_path")]
    pub ca: Option<PathBuf>,
    /// For a lab: takes `http://` with an IP address of the loopback.
    #[serde(default)]
    pub allow_plain_http_on_loopback: bool,
    /// The namespace (Vault Enterprise, HCP, OpenBao); none by default.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Where the PKI secrets engine is mounted; `pki` by default.
    #[serde(default = "pki")]
    pub mount: String,
    /// The issuer of the mount that signs, by name or id; the mount's default issuer by default.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The path length that the certificate is asked for: how many authorities may stand below this server's. Left to Vault by default.
    #[serde(default)]
    pub max_path_length: Option<u8>,
    /// The roots that the chain has to end at, in PEM. They are then what relying parties trust, whatever Vault says. By default the
    /// mount names the root.
    #[serde(default, deserialize_with = "settings::optional_path")]
    pub roots: Option<PathBuf>,
    /// How long one order may take, logins with it; 30 seconds by default.
    #[serde(default = "half_a_minute", deserialize_with = "settings::duration")]
    pub timeout: Duration,
    /// Who this server is.
    pub auth: VaultAuth,
}

/// Who this server is in Vault: one table of these.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum VaultAuth {
    /// `[auth.token]`: a token that something else made.
    Token(TokenFile),
    /// `[auth.approle]`.
    AppRole(AppRole),
    /// `[auth.cert]`: a TLS client certificate.
    Cert(ClientCertificate),
    /// `[auth.kubernetes]`: a service account's token. With `mount = "jwt"` the same login is that of JWT auth.
    Kubernetes(ServiceAccount),
}

/// A token in a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// Where the token is. It is read again when Vault no longer takes it; a renewable one is renewed.
    #[serde(deserialize_with = "settings::secret")]
    pub token: SecretReference,
}

/// A login by AppRole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRole {
    /// Where the method is mounted; `approle` by default.
    #[serde(default = "approle")]
    pub mount: String,
    /// The role's id. It is not a secret.
    #[serde(deserialize_with = "settings::filled")]
    pub role_id: String,
    /// Where the secret id is; left out for a role that needs none.
    #[serde(default, deserialize_with = "settings::optional_secret")]
    pub secret_id: Option<SecretReference>,
}

/// A login by TLS client certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// Where the method is mounted; `cert` by default.
    #[serde(default = "cert")]
    pub mount: String,
    /// The role to log in with; by default Vault finds the one that fits the certificate.
    #[serde(default)]
    pub role: Option<String>,
    /// The certificate and those between it and its root, in PEM.
    #[serde(deserialize_with = "settings::path")]
    pub certificate: PathBuf,
    /// Where its private key is, in PEM.
    #[serde(deserialize_with = "settings::secret")]
    pub key: SecretReference,
}

/// A login by a service account's token, or another JWT.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// Where the method is mounted; `kubernetes` by default.
    #[serde(default = "kubernetes")]
    pub mount: String,
    /// The role to log in with.
    #[serde(deserialize_with = "settings::filled")]
    pub role: String,
    /// The file with the JWT; by default where Kubernetes projects it. Its mode is Kubernetes' to set, and is not judged.
    #[serde(default = "projected", deserialize_with = "settings::path")]
    pub jwt: PathBuf,
}

fn pki() -> String {
    "pki".into()
}

fn approle() -> String {
    "approle".into()
}

fn cert() -> String {
    "cert".into()
}

fn kubernetes() -> String {
    "kubernetes".into()
}

fn projected() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}
