//! SVIDs that are issued by hand.

use hallmark_api::types;
use hallmark_spiffe::SpiffeId;
use serde::Serialize;

use crate::{output::Show, timestamp::rfc3339};

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
