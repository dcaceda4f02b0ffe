//! What is asked for, and what comes back.

use std::sync::Arc;

use bytes::Bytes;
use hallmark_api::types;
use hallmark_authority::SubjectKey;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{DownstreamGrant, Grant};

use crate::convert::id_message;

/// The key that an SVID is to certify.
#[derive(Debug, Clone)]
pub enum OrderKey {
    /// A PKCS#10 request, DER; its signature is checked and only its key is taken.
    Csr(Bytes),
    /// A key whose possession was proven in another way.
    Proven(SubjectKey),
}

/// What was granted.
#[derive(Debug, Clone)]
pub enum Granted {
    /// An SVID.
    Svid(Grant),
    /// The certificate of an authority below this server's, under which this many further ones may stand.
    Authority(DownstreamGrant, u8),
}

impl Granted {
    /// The id that may be held.
    #[must_use]
    pub const fn spiffe_id(&self) -> &SpiffeId {
        match self {
            Self::Svid(grant) => grant.spiffe_id(),
            Self::Authority(grant, _) => grant.spiffe_id(),
        }
    }
}

impl From<Grant> for Granted {
    fn from(grant: Grant) -> Self {
        Self::Svid(grant)
    }
}

/// One certificate that was granted and is to be issued.
#[derive(Debug, Clone)]
pub struct Order {
    /// What was granted, and why.
    pub grant: Granted,
    /// For which key.
    pub key: OrderKey,
    /// The entry that grants it, for the record; empty when none does.
    pub entry: Arc<str>,
    /// Whether its id has a role at the server: then it is noted through whom it is issued.
    pub has_role: bool,
}

/// An SVID, issued and on record.
#[derive(Debug, Clone)]
pub struct IssuedSvid {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// DER certificates, leaf first; the self-signed root is not among them.
    pub chain: Vec<Bytes>,
    /// Its serial number.
    pub serial: u128,
    /// Its `notAfter`, in Unix seconds.
    pub expires_at: i64,
}

impl IssuedSvid {
    /// As a message.
    #[must_use]
    pub fn into_message(self) -> types::X509svid {
        types::X509svid {
            cert_chain: self.chain,
            id: Some(id_message(&self.id)),
            expires_at: self.expires_at,
            hint: String::new(),
        }
    }
}
