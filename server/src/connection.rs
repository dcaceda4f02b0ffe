//! What is known of a connection before any request on it.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hallmark_spiffe::x509::VerifiedLeaf;
use hallmark_state::RoleSvid;
use tokio::sync::OnceCell;
use tonic::transport::server::UdsConnectInfo;
use zeroize::Zeroizing;

/// Facts of one TLS connection, the same for every request on it.
#[derive(Clone)]
pub struct TlsInfo {
    /// The peer's address.
    pub remote: std::net::SocketAddr,
    /// The client's SVID, verified against the bundle of the moment and issued by this server's own authority; `None` when it showed
    /// none.
    pub peer: Option<Arc<VerifiedLeaf>>,
    /// The client's SVID where an authority below this server's issued it. Such an authority can issue any id: at this server it is
    /// nobody.
    pub below: Option<Arc<VerifiedLeaf>>,
    /// Whether a request has come.
    pub used: Used,
    /// The exporter value for attestation (RFC 8446, section 7.5); `None` below TLS 1.3.
    pub exporter: Option<Arc<Zeroizing<[u8; 32]>>>,
    /// Where the peer's SVID comes from, once it was asked for; `None` for one that is not noted.
    pub origin: Arc<OnceCell<Option<RoleSvid>>>,
}

/// Whether a connection has been used for a request; its clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub struct Used(Arc<AtomicBool>);

impl Used {
    /// A request came.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one came.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.peer.as_ref().map(|leaf| &leaf.id);
        f.debug_struct("TlsInfo")
            .field("remote", &self.remote)
            .field("peer", &peer)
            .finish_non_exhaustive()
    }
}

/// The address of whoever sent a request; `None` for the admin socket, which no limit applies to.
pub fn remote_ip(extensions: &http::Extensions) -> Option<IpAddr> {
    // An IPv4 client on a dual-stack listener is the same client.
    extensions.get::<TlsInfo>().map(|info| info.remote.ip().to_canonical())
}

/// Whether a request came over the admin socket.
#[must_use]
pub fn is_local(extensions: &http::Extensions) -> bool {
    extensions.get::<UdsConnectInfo>().is_some()
}
