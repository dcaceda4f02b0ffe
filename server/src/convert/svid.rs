//! Issued SVIDs.

use hallmark_api::types;

use super::id_message;
use crate::issue::IssuedSvid;

/// An issued SVID as a message.
#[must_use]
pub fn svid_message(svid: IssuedSvid) -> types::X509svid {
    types::X509svid {
        cert_chain: svid.chain,
        id: Some(id_message(&svid.id)),
        expires_at: svid.expires_at,
        hint: String::new(),
    }
}
