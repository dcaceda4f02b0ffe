//! Connections that were cut since they sent too many frames: counted, and told now and then.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use hallmark_host::log::LogThrottle;
use hallmark_reason::ReasonCode;

use crate::metrics::Metrics;

/// What becomes known of them.
#[derive(Debug, Clone)]
pub struct Floods {
    metrics: Arc<Metrics>,
    told: Arc<LogThrottle>,
}

impl Floods {
    /// None yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            told: Arc::new(LogThrottle::new()),
        }
    }

    /// One more, from `remote`.
    pub(super) fn note(&self, remote: SocketAddr) {
        self.metrics.add_flood();
        if let Some(left_out) = self.told.due(Instant::now()) {
            let code = ReasonCode::new("HM-SRV-0040");
            tracing::warn!(%code, %remote, left_out, "a client without a certificate sent too many HTTP/2 frames: its connection was cut");
        }
    }
}
