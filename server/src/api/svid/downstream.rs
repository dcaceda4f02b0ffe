//! CA certificates for servers below this one.

use std::time::Duration;

use hallmark_api::svid::{NewDownstreamX509caRequest, NewDownstreamX509caResponse};
use hallmark_state::{Role, View, decide::authorise_downstream};
use tonic::Status;

use super::{PAUSE, SvidService, TRIES, check_csr};
use crate::{
    caller::{Caller, RoleError, RoleHolder},
    issue::{Granted, IssueError, Order, OrderKey},
};

impl SvidService {
    /// A CA certificate for the server that calls, and what its clients verify with. Of its CSR the key alone counts.
    pub(super) async fn new_downstream(
        &self,
        caller: &Caller,
        request: NewDownstreamX509caRequest,
    ) -> Result<NewDownstreamX509caResponse, Status> {
        let Caller::Downstream(holder) = caller else {
            return Err(Status::permission_denied(
                "authorization denied: only downstream servers call this",
            ));
        };
        check_csr(&request.csr)?;
        let preferred = u64::try_from(request.preferred_ttl).map(Duration::from_secs);
        let preferred = preferred.map_err(|_| Status::invalid_argument("the preferred TTL is negative"))?;
        for turn in 0..TRIES {
            // Rules that came into force meanwhile are held against its machine first.
            self.roles.require_standing_judged(caller).await?;
            let (order, expect) = self.grant_downstream(holder, preferred, &request)?;
            if let Some(mut issued) = self.issuer.issue(&caller.actor(), expect, vec![order]).await {
                let issued = issued.pop().unwrap_or(Err(IssueError::Interrupted));
                let issued = issued.map_err(|error| error.status())?;
                // What a ban finds on its way is not handed out.
                self.roles.require_standing(caller)?;
                tracing::info!(holder = %holder, expires_at = issued.expires_at, "a downstream CA certificate was issued");
                return Ok(NewDownstreamX509caResponse {
                    ca_cert_chain: issued.chain,
                    x509_authorities: self.x509_authorities(),
                });
            }
            tokio::time::sleep(PAUSE * turn.min(10)).await;
        }
        Err(IssueError::Interrupted.status())
    }

    fn grant_downstream(
        &self,
        holder: &RoleHolder,
        preferred: Duration,
        request: &NewDownstreamX509caRequest,
    ) -> Result<(Order, hallmark_state::Expect), Status> {
        let settings = self.settings.downstream;
        let state = self.journal.state();
        let view = View::new(&state);
        let _ = view.authorities();
        let granted = authorise_downstream(&view, holder, preferred, settings.ttl, self.journal.clock().unix());
        let (grant, entry) = granted.map_err(|gap| Status::from(RoleError::of(gap, holder, Role::Downstream)))?;
        let order = Order {
            grant: Granted::Authority(grant, settings.path_len),
            key: OrderKey::Csr(request.csr.clone()),
            entry: entry.as_str().into(),
            // It is nobody's identity.
            has_role: false,
        };
        Ok((order, view.into_expect()))
    }

    fn x509_authorities(&self) -> Vec<bytes::Bytes> {
        let authority = self.authority.load();
        let certificates = authority.bundle.x509_authorities.iter();
        certificates.map(|der| bytes::Bytes::copy_from_slice(der)).collect()
    }
}
