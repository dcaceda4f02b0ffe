//! The port.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use hallmark_reason::Coded;

/// What this server asks for: a certificate for the key of its next authority.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The signing request (PKCS#10, RFC 2986) in DER: the trust domain's name as its one URI name, signed with the authority's key in
    /// the token.
    pub csr: Vec<u8>,
    /// How long the certificate should be good for. The authority above may give less.
    pub lifetime: Duration,
}

/// What an authority above has answered. Nothing of it was verified: whoever asked does that.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Certificates in DER: the authority's own first, each signed by the next, without the root.
    pub chain: Vec<Vec<u8>>,
    /// What relying parties are to trust, certificates in DER. One at least.
    pub roots: Vec<Vec<u8>>,
}

/// A key that JWT-SVIDs of the trust domain are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtKey {
    /// What tokens name it by (`kid`).
    pub key_id: String,
    /// The public key, a DER SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    /// When the last token that it signs ends, in Unix seconds; 0 where that is not said.
    pub expires_at: i64,
    /// Whether what it signed is to be replaced.
    pub tainted: bool,
}

/// An authority above this server's.
///
/// No method blocks the thread that polls its future, every future ends within the adapter's time limit, and no answer is longer
/// than the adapter's bound.
pub trait Upstream: Send + Sync + fmt::Debug {
    /// What it is and where, for logs and errors: without secrets.
    fn name(&self) -> String;

    /// Has it sign.
    ///
    /// # Errors
    /// When it cannot be reached, refuses, or its answer does not read.
    fn sign(&self, asked: Asked) -> BoxFuture<'_, Result<Signed, UpstreamError>>;

    /// What relying parties are to trust now, certificates in DER; `None` where it says so only when it signs.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    fn roots(&self) -> BoxFuture<'_, Result<Option<Vec<Vec<u8>>>, UpstreamError>> {
        Box::pin(async { Ok(None) })
    }

    /// The keys of the trust domain that JWT-SVIDs are verified with, this server's own among them; `None` where it knows of none.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    fn jwt_keys(&self) -> BoxFuture<'_, Result<Option<Vec<JwtKey>>, UpstreamError>> {
        Box::pin(async { Ok(None) })
    }

    /// Has whoever trusts it verify JWT-SVIDs with this key, too. Saying so again changes nothing.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    fn publish_jwt_key(&self, _key: JwtKey) -> BoxFuture<'_, Result<(), UpstreamError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Why an authority above did not sign: an error with a code, by the adapter.
pub type UpstreamError = Box<dyn Coded + Send + Sync>;
