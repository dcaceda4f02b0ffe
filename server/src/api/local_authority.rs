//! `spire.api.server.localauthority.v1.LocalAuthority`: steps in the life of the keys that sign, as operators ask for them.

use std::sync::Arc;

use hallmark_api::localauthority::{
    ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, AuthorityState as Message, GetJwtAuthorityStateRequest,
    GetJwtAuthorityStateResponse, PrepareJwtAuthorityRequest, PrepareJwtAuthorityResponse, RevokeJwtAuthorityRequest,
    RevokeJwtAuthorityResponse, TaintJwtAuthorityRequest, TaintJwtAuthorityResponse, authority_state,
    local_authority_server::LocalAuthority,
};
use hallmark_reason::{Coded as _, Report};
use hallmark_state::{AuthorityState, JwtKey, JwtKeyError};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    authority::{AuthorityError, JwtKeeper},
    caller,
    journal::{Journal, store_failed},
};

/// The service.
#[derive(Debug, Clone)]
pub struct LocalAuthorityService {
    journal: Arc<Journal>,
    jwt: Arc<JwtKeeper>,
}

impl LocalAuthorityService {
    /// The service.
    #[must_use]
    pub const fn new(journal: Arc<Journal>, jwt: Arc<JwtKeeper>) -> Self {
        Self { journal, jwt }
    }
}

#[async_trait]
impl LocalAuthority for LocalAuthorityService {
    async fn get_jwt_authority_state(
        &self,
        _: Request<GetJwtAuthorityStateRequest>,
    ) -> Result<Response<GetJwtAuthorityStateResponse>, Status> {
        let state = self.journal.state();
        let states = state.jwt_keys().iter().map(|key| message(key, key.state)).collect();
        Ok(Response::new(GetJwtAuthorityStateResponse { states }))
    }

    async fn prepare_jwt_authority(
        &self,
        request: Request<PrepareJwtAuthorityRequest>,
    ) -> Result<Response<PrepareJwtAuthorityResponse>, Status> {
        let key = self.jwt.prepare_now(&caller::act(&request)?).await;
        let key = key.map_err(|error| refused(&error))?;
        Ok(Response::new(PrepareJwtAuthorityResponse {
            prepared_authority: Some(message(&key, AuthorityState::Prepared)),
        }))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<ActivateJwtAuthorityRequest>,
    ) -> Result<Response<ActivateJwtAuthorityResponse>, Status> {
        let key = self.jwt.activate_now(&caller::act(&request)?).await;
        let key = key.map_err(|error| refused(&error))?;
        Ok(Response::new(ActivateJwtAuthorityResponse {
            activated_authority: Some(message(&key, AuthorityState::Active)),
        }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<TaintJwtAuthorityRequest>,
    ) -> Result<Response<TaintJwtAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let key_id = request.into_inner().authority_id;
        self.jwt.taint(&key_id, &act).await.map_err(|error| refused(&error))?;
        Ok(Response::new(TaintJwtAuthorityResponse {
            tainted_authority: Some(of_id(key_id)),
        }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<RevokeJwtAuthorityRequest>,
    ) -> Result<Response<RevokeJwtAuthorityResponse>, Status> {
        let act = caller::act(&request)?;
        let key_id = request.into_inner().authority_id;
        self.jwt.revoke(&key_id, &act).await.map_err(|error| refused(&error))?;
        Ok(Response::new(RevokeJwtAuthorityResponse {
            revoked_authority: Some(of_id(key_id)),
        }))
    }
}

fn message(key: &JwtKey, state: AuthorityState) -> Message {
    let status = match state {
        AuthorityState::Prepared => authority_state::Status::Prepared,
        AuthorityState::Active => authority_state::Status::Active,
        _ => authority_state::Status::Old,
    };
    Message {
        authority_id: key.key_id.clone(),
        status: status.into(),
    }
}

fn of_id(authority_id: String) -> Message {
    Message {
        authority_id,
        status: authority_state::Status::Old.into(),
    }
}

fn refused(error: &AuthorityError) -> Status {
    let text = Report(error).to_string();
    match error {
        AuthorityError::JwtKey(JwtKeyError::Unknown { .. }) => Status::not_found(text),
        AuthorityError::JwtKey(_) | AuthorityError::NoJwtSvids => Status::failed_precondition(text),
        AuthorityError::Store(error) => store_failed(error),
        _ => {
            tracing::error!(code = %error.code(), %error, "a step of a JWT authority failed");
            Status::unavailable(text)
        }
    }
}
