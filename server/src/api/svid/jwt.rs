//! JWT-SVIDs: through agents, for their workloads, and by hand.

use std::time::Duration;

use hallmark_api::{
    svid::{MintJwtsvidRequest, MintJwtsvidResponse, NewJwtsvidRequest, NewJwtsvidResponse},
    types,
};
use hallmark_authority::IssuedJwt;
use hallmark_reason::Report;
use hallmark_spiffe::SpiffeId;
use hallmark_state::{EntryId, Expect, Grant, View, decide::authorise_jwt, mint};
use tonic::Status;

use super::{PAUSE, SvidService, TRIES, not_granted, refused, refused_by_rules};
use crate::{
    authority::AuthorityError,
    caller::{self, Caller},
    convert::{id_message, spiffe_id},
    issue::{IssueError, JwtIssuer, JwtOrder},
};

impl SvidService {
    fn jwt_issuer(&self) -> Result<&JwtIssuer, Status> {
        let none = || Status::unimplemented("this server issues no JWT-SVIDs (`authority.jwt_svids`)");
        self.jwt_issuer.as_ref().ok_or_else(none)
    }

    /// A JWT-SVID for a workload of the agent.
    pub(super) async fn new_jwt(
        &self,
        agent: &SpiffeId,
        request: NewJwtsvidRequest,
    ) -> Result<NewJwtsvidResponse, Status> {
        let issuer = self.jwt_issuer()?;
        if request.entry_id.is_empty() {
            return Err(Status::invalid_argument("missing entry ID"));
        }
        let entry = EntryId::parse(&request.entry_id).map_err(|_| not_granted())?;
        for turn in 0..TRIES {
            // The wait for a limit, or for the token, may have been long enough for a ban.
            caller::standing(&self.journal, agent)?;
            let judged = self.appraiser.judge_one(agent).await;
            judged.map_err(|error| refused_by_rules(&error))?;
            let granted = self.grant_jwt(agent, &entry);
            let Some((granted, expect)) = granted else {
                caller::standing(&self.journal, agent)?;
                continue;
            };
            let (grant, with_id, key_id) = granted?;
            let order = JwtOrder {
                grant,
                audience: request.audience.clone(),
                entry: request.entry_id.as_str().into(),
                with_id,
                key_id,
            };
            if let Some(issued) = issuer.issue(agent.as_str(), expect, order).await {
                let svid = issued.map_err(|error| error.status())?;
                // What a ban finds on its way is not handed out.
                caller::standing(&self.journal, agent)?;
                return Ok(NewJwtsvidResponse {
                    svid: Some(message(svid)),
                });
            }
            tokio::time::sleep(PAUSE * turn.min(10)).await;
        }
        Err(changes_too_often())
    }

    /// What the entry grants, whether the token says its id, and which key signs it, all from one state, with what that rests on.
    /// `None` for an agent that gets nothing now.
    #[expect(clippy::type_complexity, reason = "the inner result is the answer")]
    fn grant_jwt(&self, agent: &SpiffeId, entry: &EntryId) -> Option<(Result<(Grant, bool, String), Status>, Expect)> {
        let now = self.journal.clock().unix();
        let state = self.journal.state();
        let view = View::new(&state);
        let grant = authorise_jwt(&view, agent, entry, self.settings.lifetimes.jwt_svid, now)?;
        let with_id = state
            .entries()
            .entry(entry.as_str())
            .is_some_and(|entry| entry.jwt_svid_include_jti);
        let granted = grant.map_err(|error| refused(agent, &error));
        let granted = granted.and_then(|grant| Ok((grant, with_id, signing_key(&view)?)));
        Some((granted, view.into_expect()))
    }

    /// A JWT-SVID that an administrator asks for by hand.
    pub(super) async fn mint_jwt(
        &self,
        caller: &Caller,
        request: MintJwtsvidRequest,
    ) -> Result<MintJwtsvidResponse, Status> {
        let none = || Status::failed_precondition(Report(&AuthorityError::NoJwtSvids).to_string());
        let issuer = self.jwt_issuer.as_ref().ok_or_else(none)?;
        // Its message may have come long after its headers.
        self.roles.require_standing(caller)?;
        let id = spiffe_id(request.id.as_ref(), "id")?;
        let lifetimes = &self.settings.lifetimes;
        let ttl = match u64::try_from(request.ttl) {
            Ok(0) => lifetimes.jwt_svid.default.min(lifetimes.minted_max),
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => return Err(Status::invalid_argument("the TTL is negative")),
        };
        let grant = mint(self.journal.trust_domain(), id, Vec::new(), ttl, lifetimes.minted_max)
            .map_err(|error| Status::invalid_argument(Report(&error).to_string()))?;
        for turn in 0..TRIES {
            let (key_id, expect) = {
                let state = self.journal.state();
                let view = View::new(&state);
                (signing_key(&view)?, view.into_expect())
            };
            let order = JwtOrder {
                grant: grant.clone(),
                audience: request.audience.clone(),
                entry: "".into(),
                with_id: true,
                key_id,
            };
            if let Some(issued) = issuer.issue(caller.label(), expect, order).await {
                let svid = issued.map_err(|error| error.status())?;
                return Ok(MintJwtsvidResponse {
                    svid: Some(message(svid)),
                });
            }
            tokio::time::sleep(PAUSE * turn.min(10)).await;
        }
        Err(changes_too_often())
    }
}

/// The id of the key that signs, as a part of what the decision rests on.
fn signing_key(view: &View<'_>) -> Result<String, Status> {
    let key = view.authorities().active_jwt_key();
    key.map(|key| key.key_id.clone())
        .ok_or_else(|| IssueError::NoJwtKey.status())
}

fn changes_too_often() -> Status {
    Status::unavailable("what this JWT-SVID rests on changes too often to sign it, or its key is not there; try again")
}

fn message(svid: IssuedJwt) -> types::Jwtsvid {
    types::Jwtsvid {
        token: svid.token,
        id: Some(id_message(&svid.spiffe_id)),
        expires_at: svid.expires_at,
        issued_at: svid.issued_at,
        hint: String::new(),
    }
}
