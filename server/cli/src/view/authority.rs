//! The keys that sign JWT-SVIDs.

use hallmark_api::{
    localauthority::{AuthorityState, authority_state::Status as Standing},
    types,
};
use serde::Serialize;

use crate::{
    output::Show,
    table::columns,
    timestamp::{rfc3339, told},
};

/// A key, and where it stands.
#[derive(Debug, Serialize)]
pub(crate) struct JwtAuthorityView {
    key_id: String,
    /// `prepared`, `active`, `old` or `tainted`.
    state: &'static str,
    /// When the last token that it signs ends.
    expires: Option<String>,
    #[serde(skip)]
    expires_seconds: i64,
}

impl JwtAuthorityView {
    pub(crate) fn new(state: &AuthorityState, published: Option<&types::JwtKey>) -> Self {
        let expires_at = published.map_or(0, |key| key.expires_at);
        Self {
            key_id: state.authority_id.clone(),
            state: match state.status() {
                _ if published.is_some_and(|key| key.tainted) => "tainted",
                Standing::Prepared => "prepared",
                Standing::Active => "active",
                Standing::Old => "old",
                Standing::Unknown => "unknown",
            },
            expires: rfc3339(expires_at).filter(|_| expires_at > 0),
            expires_seconds: expires_at,
        }
    }
}

/// All of them, oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct JwtAuthorityList(pub(crate) Vec<JwtAuthorityView>);

impl Show for JwtAuthorityList {
    fn table(&self, now: i64) -> String {
        let row = |it: &JwtAuthorityView| [it.key_id.clone(), it.state.to_owned(), told(it.expires_seconds, now)];
        let rows: Vec<[String; 3]> = self.0.iter().map(row).collect();
        columns(["JWT AUTHORITY", "STATE", "EXPIRES"], &rows)
    }
}

/// A step that was taken, or would be, and what there is then.
#[derive(Debug, Serialize)]
pub(crate) struct JwtAuthorityChange {
    /// `prepare`, `activate`, `taint` or `revoke`.
    act: &'static str,
    /// The key that it is about; empty for one that would be made.
    key_id: String,
    dry_run: bool,
    authorities: JwtAuthorityList,
}

impl JwtAuthorityChange {
    pub(crate) const fn new(
        act: &'static str,
        key_id: String,
        dry_run: bool,
        authorities: Vec<JwtAuthorityView>,
    ) -> Self {
        Self {
            act,
            key_id,
            dry_run,
            authorities: JwtAuthorityList(authorities),
        }
    }
}

impl Show for JwtAuthorityChange {
    fn table(&self, now: i64) -> String {
        let key = if self.key_id.is_empty() {
            "a new key"
        } else {
            &self.key_id
        };
        let done = if self.dry_run { "would be done" } else { "done" };
        format!("{} {key}: {done}\n\n{}", self.act, self.authorities.table(now))
    }
}
