//! The trust domain's authorities.

use hallmark_api::types;
use serde::Serialize;
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{FromDer as _, X509Certificate},
};

use super::node::dash;
use crate::{
    error::CliError,
    output::Show,
    table::{columns, facts},
    timestamp::{rfc3339, told},
};

/// A bundle, its certificates decoded.
#[derive(Debug, Serialize)]
pub(crate) struct BundleView {
    trust_domain: String,
    sequence: u64,
    /// Seconds.
    refresh_hint: i64,
    x509_authorities: Vec<AuthorityView>,
    jwt_authorities: Vec<JwtKeyView>,
}

#[derive(Debug, Serialize)]
struct JwtKeyView {
    key_id: String,
    expires: Option<String>,
    tainted: bool,
    #[serde(skip)]
    ends: i64,
}

#[derive(Debug, Serialize)]
struct AuthorityView {
    /// Hex.
    subject_key_id: String,
    subject: String,
    not_before: Option<String>,
    not_after: Option<String>,
    tainted: bool,
    #[serde(skip)]
    ends: i64,
}

impl BundleView {
    pub(crate) fn new(bundle: &types::Bundle) -> Result<Self, CliError> {
        Ok(Self {
            trust_domain: bundle.trust_domain.clone(),
            sequence: bundle.sequence_number,
            refresh_hint: bundle.refresh_hint,
            x509_authorities: bundle
                .x509_authorities
                .iter()
                .map(authority)
                .collect::<Result<_, _>>()?,
            jwt_authorities: bundle.jwt_authorities.iter().map(jwt_key).collect(),
        })
    }
}

fn authority(message: &types::X509Certificate) -> Result<AuthorityView, CliError> {
    let (_, certificate) = X509Certificate::from_der(&message.asn1).map_err(|cause| CliError::Answer {
        what: format!("a CA certificate: {cause}"),
    })?;
    let key_id = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(hex(id.0)),
            _ => None,
        });
    let ends = certificate.validity().not_after.timestamp();
    Ok(AuthorityView {
        subject_key_id: key_id.unwrap_or_default(),
        subject: certificate.subject().to_string(),
        not_before: rfc3339(certificate.validity().not_before.timestamp()),
        not_after: rfc3339(ends),
        tainted: message.tainted,
        ends,
    })
}

fn jwt_key(message: &types::JwtKey) -> JwtKeyView {
    JwtKeyView {
        key_id: message.key_id.clone(),
        expires: rfc3339(message.expires_at),
        tainted: message.tainted,
        ends: message.expires_at,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Show for BundleView {
    fn table(&self, now: i64) -> String {
        let head = facts(&[
            ("trust domain", self.trust_domain.clone()),
            ("sequence", self.sequence.to_string()),
            ("refresh hint", format!("{} s", self.refresh_hint)),
        ]);
        let rows: Vec<[String; 4]> = self
            .x509_authorities
            .iter()
            .map(|authority| {
                let state = if authority.tainted { "tainted" } else { "ok" };
                [
                    dash(&authority.subject_key_id),
                    authority.subject.clone(),
                    told(authority.ends, now),
                    state.into(),
                ]
            })
            .collect();
        let standing = |tainted| if tainted { "tainted" } else { "ok" };
        let row = |key: &JwtKeyView| [dash(&key.key_id), told(key.ends, now), standing(key.tainted).into()];
        let jwt_rows: Vec<[String; 3]> = self.jwt_authorities.iter().map(row).collect();
        let jwt = match jwt_rows.is_empty() {
            true => String::new(),
            false => format!("\n{}", columns(["JWT AUTHORITY", "EXPIRES", "STATE"], &jwt_rows)),
        };
        format!(
            "{head}\n{}{jwt}",
            columns(["X.509 AUTHORITY", "SUBJECT", "EXPIRES", "STATE"], &rows)
        )
    }
}
