//! X509-SVIDs that administrators ask for by hand, for what no agent serves.

use std::time::Duration;

use hallmark_api::svid::{MintX509svidRequest, MintX509svidResponse};
use hallmark_reason::Report;
use hallmark_spiffe::x509::RequestedNames;
use hallmark_state::{Expect, Grant, GrantError, View, mint};
use tonic::Status;

use super::{PAUSE, SvidService, TRIES, check_csr};
use crate::{
    caller::Caller,
    issue::{IssueError, Order, OrderKey},
};

impl SvidService {
    pub(super) async fn mint_x509(
        &self,
        caller: &Caller,
        request: MintX509svidRequest,
    ) -> Result<MintX509svidResponse, Status> {
        // Its message may have come long after its headers.
        self.roles.require_standing(caller)?;
        check_csr(&request.csr)?;
        let names = RequestedNames::read(&request.csr);
        let names = names.map_err(|error| Status::invalid_argument(Report(&error).to_string()))?;
        let lifetimes = &self.settings.lifetimes;
        let ttl = match u64::try_from(request.ttl) {
            Ok(0) => lifetimes.x509_svid.default.min(lifetimes.minted_max),
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => return Err(Status::invalid_argument("the TTL is negative")),
        };
        let RequestedNames { spiffe_id, dns_names } = names;
        let grant = mint(
            self.journal.trust_domain(),
            spiffe_id,
            dns_names,
            ttl,
            lifetimes.minted_max,
        );
        let grant = grant.map_err(|error| not_minted(&error))?;
        let order = Order {
            grant: grant.clone().into(),
            key: OrderKey::Csr(request.csr),
            entry: "".into(),
            // Nothing that is minted has a role, whatever its id: no machine stands behind it.
            has_role: false,
        };
        for turn in 0..TRIES {
            let expect = self.minting(caller, &grant)?;
            if let Some(mut issued) = self.issuer.issue(caller.label(), expect, vec![order.clone()]).await {
                let svid = issued.pop().unwrap_or(Err(IssueError::Interrupted));
                let svid = svid.map_err(|error| error.status())?;
                return Ok(MintX509svidResponse {
                    svid: Some(svid.into_message()),
                });
            }
            tokio::time::sleep(PAUSE * turn.min(10)).await;
        }
        Err(IssueError::Interrupted.status())
    }

    /// What the grant rests on, where this caller may have its DNS names certified: names of entries for the id and of the
    /// configuration, and where that names none, on the admin socket any.
    fn minting(&self, caller: &Caller, grant: &Grant) -> Result<Expect, Status> {
        let state = self.journal.state();
        let view = View::new(&state);
        let _ = view.authorities();
        let names = grant.dns_names();
        let any = matches!(caller, Caller::Local(_)) && self.settings.minted_names.is_empty();
        if !any && !names.is_empty() {
            let (id, now) = (grant.spiffe_id(), self.journal.clock().unix());
            let allowed = self.settings.minted_names.check(view.entries(), id, names, now);
            allowed.map_err(|error| Status::permission_denied(Report(&error).to_string()))?;
        }
        Ok(view.into_expect())
    }
}

fn not_minted(error: &GrantError) -> Status {
    Status::invalid_argument(Report(error).to_string())
}
