//! The token and its keys.

use hallmark_api::admin::{GetHsmStatusResponse, HsmKey};
use serde::Serialize;

use super::node::dash;
use crate::{
    output::Show,
    table::{columns, facts},
};

/// The token and the pool of sessions to it.
#[derive(Debug, Serialize)]
pub(crate) struct HsmView {
    ready: bool,
    /// Reason code when it is not ready.
    code: String,
    message: String,
    module: String,
    token_label: String,
    manufacturer: String,
    model: String,
    serial: String,
    firmware: String,
    sessions_open: u32,
    sessions_max: u32,
    signatures: u64,
    failures: u64,
    reopened: u64,
    stuck_calls: u32,
}

impl HsmView {
    pub(crate) const fn is_ready(&self) -> bool {
        self.ready
    }
}

impl From<GetHsmStatusResponse> for HsmView {
    fn from(status: GetHsmStatusResponse) -> Self {
        Self {
            ready: status.ready,
            code: status.code,
            message: status.message,
            module: status.module,
            token_label: status.token_label,
            manufacturer: status.manufacturer.trim().into(),
            model: status.model.trim().into(),
            serial: status.serial.trim().into(),
            firmware: status.firmware,
            sessions_open: status.sessions_open,
            sessions_max: status.sessions_max,
            signatures: status.signatures,
            failures: status.failures,
            reopened: status.reopened,
            stuck_calls: status.stuck_calls,
        }
    }
}

impl Show for HsmView {
    fn table(&self, _: i64) -> String {
        facts(&[
            ("state", if self.ready { "ok".into() } else { "FAILED".into() }),
            ("reason", format!("{} {}", self.code, self.message).trim().into()),
            ("token", self.token_label.clone()),
            ("module", self.module.clone()),
            ("maker", self.manufacturer.clone()),
            ("model", self.model.clone()),
            ("serial", self.serial.clone()),
            ("firmware", self.firmware.clone()),
            ("sessions", format!("{} of {}", self.sessions_open, self.sessions_max)),
            ("signatures", format!("{}, {} failed", self.signatures, self.failures)),
            ("reopened", self.reopened.to_string()),
            ("calls that hang", self.stuck_calls.to_string()),
        ])
    }
}

/// A key of the token with the attributes that protect it (PKCS #11, section 4.9).
#[derive(Debug, Serialize)]
pub(crate) struct KeyView {
    label: String,
    kind: String,
    id: String,
    #[serde(rename = "use")]
    key_use: String,
    spki_sha256: String,
    sensitive: bool,
    always_sensitive: bool,
    extractable: bool,
    never_extractable: bool,
    local: bool,
    sign_only: bool,
}

impl KeyView {
    /// Made in the token and never able to leave it.
    pub(crate) const fn is_captive(&self) -> bool {
        self.local && self.sensitive && self.always_sensitive && !self.extractable && self.never_extractable
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

impl From<HsmKey> for KeyView {
    fn from(key: HsmKey) -> Self {
        Self {
            label: key.label,
            kind: key.kind,
            id: key.id,
            key_use: key.r#use,
            spki_sha256: key.spki_sha256,
            sensitive: key.sensitive,
            always_sensitive: key.always_sensitive,
            extractable: key.extractable,
            never_extractable: key.never_extractable,
            local: key.local,
            sign_only: key.sign_only,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct KeyList(pub(crate) Vec<KeyView>);

impl Show for KeyList {
    fn table(&self, _: i64) -> String {
        let word = |set: bool, yes: &str, no: &str| if set { yes.to_owned() } else { no.to_owned() };
        let rows: Vec<[String; 8]> = self
            .0
            .iter()
            .map(|key| {
                [
                    key.label.clone(),
                    key.kind.clone(),
                    dash(&key.key_use),
                    word(key.local, "token", "imported"),
                    word(key.sensitive && key.always_sensitive, "always", "NOT ALWAYS"),
                    word(!key.extractable && key.never_extractable, "never", "POSSIBLE"),
                    word(key.sign_only, "signs", "MORE THAN SIGN"),
                    key.spki_sha256.chars().take(16).collect(),
                ]
            })
            .collect();
        columns(
            [
                "KEY",
                "KIND",
                "USE",
                "MADE IN",
                "SENSITIVE",
                "EXTRACTABLE",
                "DOES",
                "SPKI SHA-256",
            ],
            &rows,
        )
    }
}
