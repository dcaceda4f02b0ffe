//! `spire.api.server.localauthority.v1.LocalAuthority`: steps in the life of what signs, as operators ask for them.

use std::sync::Arc;

use hallmark_api::localauthority::{
    ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, ActivateX509AuthorityRequest,
    ActivateX509AuthorityResponse, AuthorityState as Message, GetJwtAuthorityStateRequest,
    GetJwtAuthorityStateResponse, GetX509AuthorityStateRequest, GetX509AuthorityStateResponse,
    PrepareJwtAuthorityRequest, PrepareJwtAuthorityResponse, PrepareX509AuthorityRequest, PrepareX509AuthorityResponse,
    RevokeJwtAuthorityRequest, RevokeJwtAuthorityResponse, RevokeX509AuthorityRequest, RevokeX509AuthorityResponse,
    RevokeX509UpstreamAuthorityRequest, RevokeX509UpstreamAuthorityResponse, TaintJwtAuthorityRequest,
    TaintJwtAuthorityResponse, TaintX509AuthorityRequest, TaintX509AuthorityResponse,
    TaintX509UpstreamAuthorityRequest, TaintX509UpstreamAuthorityResponse, local_authority_server::LocalAuthority,
};
use hallmark_reason::{Coded as _, Report};
use hallmark_spiffe::x509::SigningFacts;
use hallmark_state::{Authority, AuthorityState, AuthorityStepError, JwtKey};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    authority::{AuthorityError, JwtKeeper, X509Keeper},
    caller,
    journal::{Journal, store_failed},
};

/// The service.
#[derive(Debug, Clone)]
pub struct LocalAuthorityService {
    journal: Arc<Journal>,
    x509: Arc<X509Keeper>,
    jwt: Arc<JwtKeeper>,
}

impl LocalAuthorityService {
    /// The service.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, x509: Arc<X509Keeper>, jwt: Arc<JwtKeeper>) -> Self {
        Self { journal, x509, jwt }
    }
}

#[async_trait]
impl LocalAuthority for LocalAuthorityService {
    async fn get_x509_authority_state(
        &self,
        _: Request<GetX509AuthorityStateRequest>,
    ) -> Result<Response<GetX509AuthorityStateResponse>, Status> {
        let state = self.journal.state();
        let (active, prepared, old) = standing(state.authorities().iter().map(|it| (it.state, of_authority(it))));
        Ok(Response::new(GetX509AuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_x509_authority(
        &self,
        request: Request<PrepareX509AuthorityRequest>,
    ) -> Result<Response<PrepareX509AuthorityResponse>, Status> {
        let made = self.x509.prepare_now(&caller::act(&request)?).await;
        let made = made.map_err(|error| refused(&error))?;
        Ok(Response::new(PrepareX509AuthorityResponse {
            prepared_authority: Some(of_authority(&made)),
        }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<ActivateX509AuthorityRequest>,
    ) -> Result<Response<ActivateX509AuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let signs = self.x509.activate_now(&request.get_ref().authority_id, &act).await;
        let signs = signs.map_err(|error| refused(&error))?;
        Ok(Response::new(ActivateX509AuthorityResponse {
            activated_authority: Some(of_authority(&signs)),
        }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<TaintX509AuthorityRequest>,
    ) -> Result<Response<TaintX509AuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let tainted = self.x509.taint(&request.get_ref().authority_id, &act).await;
        let tainted = tainted.map_err(|error| refused(&error))?;
        Ok(Response::new(TaintX509AuthorityResponse {
            tainted_authority: Some(of_authority(&tainted)),
        }))
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<RevokeX509AuthorityRequest>,
    ) -> Result<Response<RevokeX509AuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let gone = self.x509.revoke(&request.get_ref().authority_id, &act).await;
        let gone = gone.map_err(|error| refused(&error))?;
        Ok(Response::new(RevokeX509AuthorityResponse {
            revoked_authority: Some(of_authority(&gone)),
        }))
    }

    async fn get_jwt_authority_state(
        &self,
        _: Request<GetJwtAuthorityStateRequest>,
    ) -> Result<Response<GetJwtAuthorityStateResponse>, Status> {
        let state = self.journal.state();
        let (active, prepared, old) = standing(state.jwt_keys().iter().map(|it| (it.state, of_key(it))));
        Ok(Response::new(GetJwtAuthorityStateResponse { active, prepared, old }))
    }

    async fn prepare_jwt_authority(
        &self,
        request: Request<PrepareJwtAuthorityRequest>,
    ) -> Result<Response<PrepareJwtAuthorityResponse>, Status> {
        let made = self.jwt.prepare_now(&caller::act(&request)?).await;
        let made = made.map_err(|error| refused(&error))?;
        Ok(Response::new(PrepareJwtAuthorityResponse {
            prepared_authority: Some(of_key(&made)),
        }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<ActivateJwtAuthorityRequest>,
    ) -> Result<Response<ActivateJwtAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let signs = self.jwt.activate_now(&request.get_ref().authority_id, &act).await;
        let signs = signs.map_err(|error| refused(&error))?;
        Ok(Response::new(ActivateJwtAuthorityResponse {
            activated_authority: Some(of_key(&signs)),
        }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<TaintJwtAuthorityRequest>,
    ) -> Result<Response<TaintJwtAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let tainted = self.jwt.taint(&request.get_ref().authority_id, &act).await;
        let tainted = tainted.map_err(|error| refused(&error))?;
        Ok(Response::new(TaintJwtAuthorityResponse {
            tainted_authority: Some(of_key(&tainted)),
        }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<RevokeJwtAuthorityRequest>,
    ) -> Result<Response<RevokeJwtAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let gone = self.jwt.revoke(&request.get_ref().authority_id, &act).await;
        let gone = gone.map_err(|error| refused(&error))?;
        Ok(Response::new(RevokeJwtAuthorityResponse {
            revoked_authority: Some(of_key(&gone)),
        }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        request: Request<TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<TaintX509UpstreamAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let id = request.into_inner().subject_key_id;
        let tainted = self.x509.taint_upstream(&id, &act).await;
        tainted.map_err(|error| refused(&error))?;
        Ok(Response::new(TaintX509UpstreamAuthorityResponse {
            upstream_authority_subject_key_id: id,
        }))
    }

    async fn revoke_x509_upstream_authority(
        &self,
        request: Request<RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<RevokeX509UpstreamAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let id = request.into_inner().subject_key_id;
        let revoked = self.x509.revoke_upstream(&id, &act).await;
        revoked.map_err(|error| refused(&error))?;
        Ok(Response::new(RevokeX509UpstreamAuthorityResponse {
            upstream_authority_subject_key_id: id,
        }))
    }
}

/// The active, the prepared, and the newest old one of authorities that come oldest first.
fn standing(
    all: impl Iterator<Item = (AuthorityState, Message)>,
) -> (Option<Message>, Option<Message>, Option<Message>) {
    let (mut active, mut prepared, mut old) = (None, None, None);
    for (state, message) in all {
        match state {
            AuthorityState::Active => active = Some(message),
            AuthorityState::Prepared => prepared = Some(message),
            _ => old = Some(message),
        }
    }
    // Of an authority that was renewed on its key, the certificates before are not another one.
    let old = old.filter(|old| {
        active
            .as_ref()
            .is_none_or(|active| active.authority_id != old.authority_id)
    });
    (active, prepared, old)
}

fn of_authority(authority: &Authority) -> Message {
    let facts = authority.facts();
    Message {
        authority_id: facts.as_ref().map_or_else(String::new, |it| hex::encode(&it.key_id)),
        expires_at: facts.map_or(0, |it| it.not_after),
        upstream_authority_subject_key_id: authority
            .root()
            .and_then(|root| SigningFacts::read(root).ok())
            .map_or_else(String::new, |it| hex::encode(&it.key_id)),
    }
}

fn of_key(key: &JwtKey) -> Message {
    Message {
        authority_id: key.key_id.clone(),
        expires_at: key.expires_at,
        upstream_authority_subject_key_id: String::new(),
    }
}

fn refused(error: &AuthorityError) -> Status {
    let text = Report(error).to_string();
    match error {
        AuthorityError::Step(AuthorityStepError::Unknown { .. }) => Status::not_found(text),
        AuthorityError::Step(_)
        | AuthorityError::NoJwtSvids
        | AuthorityError::NoUpstream
        | AuthorityError::SignedAbove { .. } => Status::failed_precondition(text),
        AuthorityError::Store(error) => store_failed(error),
        _ => {
            tracing::error!(code = %error.code(), %error, "a step of an authority failed");
            Status::unavailable(text)
        }
    }
}
