//! What the Workload API asks of the agent's tasks.

use std::sync::Arc;

use super::{
    issue::IssueHandle,
    jwt::{JwtSvids, NoToken, Token, WantedToken},
    refresh::{RefreshHandle, refresh},
};
use crate::cache::Cache;

/// Asks for what is not in memory yet. Neither question waits for the server longer than its asker does.
#[derive(Debug, Clone)]
pub struct Demand {
    pub(super) refresh: RefreshHandle,
    pub(super) issue: IssueHandle,
    pub(super) jwt: JwtSvids,
}

impl Demand {
    /// Nobody to ask: what is in memory is all there is.
    #[must_use]
    pub fn none() -> Self {
        Self {
            refresh: refresh().0,
            issue: IssueHandle::none(),
            jwt: JwtSvids::none(),
        }
    }

    /// Waits until the server has been asked which entries there are, after this call; what it told is in the cache then.
    /// However many ask, the server is asked once.
    pub async fn entries(&self) {
        self.refresh.refreshed().await;
    }

    /// Has the SVIDs of these entries issued, and held from now on.
    pub async fn svids(&self, entries: Vec<Arc<str>>) {
        self.issue.want(entries).await;
    }

    /// A JWT-SVID: one at hand, or a new one of the server's. `cache` has the newest entries and keys.
    ///
    /// # Errors
    /// [`NoToken`].
    pub(crate) async fn jwt_svid(&self, wanted: WantedToken, cache: &Cache) -> Result<Arc<Token>, NoToken> {
        self.jwt.get(wanted, cache).await
    }
}
