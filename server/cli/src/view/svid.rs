//! SVIDs that are issued by hand.

use std::path::PathBuf;

use hallmark_api::types;
use hallmark_spiffe::{
    SpiffeId,
    x509::{SerialHex, VerifiedLeaf},
};
use serde::Serialize;

use crate::{
    output::Show,
    table::facts,
    timestamp::{rfc3339, told},
};

/// An X509-SVID. Its key is in its file alone.
#[derive(Serialize)]
pub(crate) struct X509SvidView {
    spiffe_id: String,
    dns_names: Vec<String>,
    /// Hex, as the records have it.
    serial: String,
    expires: Option<String>,
    /// PEM, leaf first.
    svid: String,
    /// PEM.
    bundle: String,
    /// What was written.
    files: Vec<String>,
    #[serde(skip)]
    ends: i64,
}

impl X509SvidView {
    pub(crate) fn new(
        leaf: &VerifiedLeaf,
        dns_names: Vec<String>,
        svid: String,
        bundle: String,
        written: Option<Vec<PathBuf>>,
    ) -> Self {
        let written = written.unwrap_or_default();
        Self {
            spiffe_id: leaf.id.to_string(),
            dns_names,
            serial: SerialHex(&leaf.serial).to_string(),
            expires: rfc3339(leaf.not_after),
            svid,
            bundle,
            files: written.iter().map(|path| path.display().to_string()).collect(),
            ends: leaf.not_after,
        }
    }
}

impl Show for X509SvidView {
    /// The certificates alone, to be put into a file, unless they were.
    fn table(&self, now: i64) -> String {
        if self.files.is_empty() {
            return self.svid.clone();
        }
        facts(&[
            ("spiffe id", self.spiffe_id.clone()),
            ("dns names", self.dns_names.join(", ")),
            ("serial", self.serial.clone()),
            ("expires", told(self.ends, now)),
            ("files", self.files.join(", ")),
        ])
    }
}

/// A JWT-SVID.
#[derive(Serialize)]
pub(crate) struct JwtSvidView {
    spiffe_id: String,
    token: String,
    issued: Option<String>,
    expires: Option<String>,
}

impl JwtSvidView {
    pub(crate) fn new(svid: types::Jwtsvid, id: &SpiffeId) -> Self {
        Self {
            spiffe_id: id.to_string(),
            issued: rfc3339(svid.issued_at),
            expires: rfc3339(svid.expires_at),
            token: svid.token,
        }
    }
}

impl Show for JwtSvidView {
    /// The token alone, to be put into a file.
    fn table(&self, _: i64) -> String {
        format!("{}\n", self.token)
    }
}
