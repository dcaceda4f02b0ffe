//! `spire.api.server.localauthority.v1`, and SVIDs that are minted.

use hallmark_api::{
    localauthority::{
        ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, AuthorityState, GetJwtAuthorityStateRequest,
        GetJwtAuthorityStateResponse, PrepareJwtAuthorityRequest, PrepareJwtAuthorityResponse,
        RevokeJwtAuthorityRequest, RevokeJwtAuthorityResponse, TaintJwtAuthorityRequest, TaintJwtAuthorityResponse,
        authority_state::Status as Standing, local_authority_server::LocalAuthority,
    },
    svid::{
        BatchNewX509svidRequest, BatchNewX509svidResponse, MintJwtsvidRequest, MintJwtsvidResponse,
        MintX509svidRequest, MintX509svidResponse, NewDownstreamX509caRequest, NewDownstreamX509caResponse,
        NewJwtsvidRequest, NewJwtsvidResponse, svid_server::Svid,
    },
    types,
};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, date_time_ymd};
use rustls_pki_types::CertificateSigningRequestDer;
use tonic::{Request, Response, Status};

use super::{Fake, NOW, unused};

pub(crate) const OLD: &str = "kid-of-the-old-key";
pub(crate) const ACTIVE: &str = "kid-of-the-active-key";
pub(crate) const PREPARED: &str = "kid-of-the-prepared-key";

fn state(key_id: &str, standing: Standing) -> AuthorityState {
    AuthorityState {
        authority_id: key_id.into(),
        status: standing.into(),
    }
}

impl Fake {
    fn took<T>(&self, act: &str, request: &Request<T>) {
        let reason = request.metadata().get_bin(hallmark_api::REASON);
        let reason = reason.map(|it| String::from_utf8(it.to_bytes().unwrap().to_vec()).unwrap());
        self.state().asked.push((act.to_owned(), reason.unwrap_or_default()));
    }
}

#[tonic::async_trait]
impl LocalAuthority for Fake {
    async fn get_jwt_authority_state(
        &self,
        _: Request<GetJwtAuthorityStateRequest>,
    ) -> Result<Response<GetJwtAuthorityStateResponse>, Status> {
        let states = vec![
            state(OLD, Standing::Old),
            state(ACTIVE, Standing::Active),
            state(PREPARED, Standing::Prepared),
        ];
        Ok(Response::new(GetJwtAuthorityStateResponse { states }))
    }

    async fn prepare_jwt_authority(
        &self,
        request: Request<PrepareJwtAuthorityRequest>,
    ) -> Result<Response<PrepareJwtAuthorityResponse>, Status> {
        self.took("prepare", &request);
        Err(Status::failed_precondition(
            "HM-REG-0122: a JWT authority is prepared already: kid-of-the-prepared-key",
        ))
    }

    async fn activate_jwt_authority(
        &self,
        request: Request<ActivateJwtAuthorityRequest>,
    ) -> Result<Response<ActivateJwtAuthorityResponse>, Status> {
        self.took("activate", &request);
        Ok(Response::new(ActivateJwtAuthorityResponse {
            activated_authority: Some(state(PREPARED, Standing::Active)),
        }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<TaintJwtAuthorityRequest>,
    ) -> Result<Response<TaintJwtAuthorityResponse>, Status> {
        self.took("taint", &request);
        Ok(Response::new(TaintJwtAuthorityResponse {
            tainted_authority: Some(state(&request.get_ref().authority_id, Standing::Old)),
        }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<RevokeJwtAuthorityRequest>,
    ) -> Result<Response<RevokeJwtAuthorityResponse>, Status> {
        self.took("revoke", &request);
        Ok(Response::new(RevokeJwtAuthorityResponse {
            revoked_authority: Some(state(&request.get_ref().authority_id, Standing::Old)),
        }))
    }
}

#[tonic::async_trait]
impl Svid for Fake {
    async fn mint_x509svid(
        &self,
        request: Request<MintX509svidRequest>,
    ) -> Result<Response<MintX509svidResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        state.minted.push(request.ttl);
        let csr = CertificateSigningRequestDer::from(request.csr.to_vec());
        let mut asked = CertificateSigningRequestParams::from_der(&csr).unwrap();
        let names = &asked.params.subject_alt_names;
        if names
            .iter()
            .any(|name| matches!(name, SanType::DnsName(name) if name.as_str() == "not.allowed"))
        {
            return Err(Status::permission_denied(
                "HM-REG-0111: the DNS name not.allowed may not be minted for spiffe://example.org/db",
            ));
        }
        asked.params.is_ca = IsCa::ExplicitNoCa;
        asked.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        asked.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        asked.params.use_authority_key_identifier_extension = true;
        asked.params.not_before = date_time_ymd(2026, 1, 1);
        asked.params.not_after = date_time_ymd(2099, 1, 1);
        let svid = types::X509svid {
            cert_chain: vec![asked.signed_by(&state.issuer).unwrap().der().to_vec().into()],
            ..Default::default()
        };
        Ok(Response::new(MintX509svidResponse { svid: Some(svid) }))
    }

    async fn mint_jwtsvid(
        &self,
        request: Request<MintJwtsvidRequest>,
    ) -> Result<Response<MintJwtsvidResponse>, Status> {
        let request = request.into_inner();
        if request.ttl > 3600 {
            return Err(Status::invalid_argument(
                "HM-REG-0045: the lifetime is above the maximum\n  compared: asked for 7200 seconds, at most 3600 allowed",
            ));
        }
        let svid = types::Jwtsvid {
            token: format!("header.{}.signature", request.audience.join("+")),
            id: request.id,
            issued_at: NOW,
            expires_at: NOW + 300,
            hint: String::new(),
        };
        Ok(Response::new(MintJwtsvidResponse { svid: Some(svid) }))
    }

    async fn batch_new_x509svid(
        &self,
        _: Request<BatchNewX509svidRequest>,
    ) -> Result<Response<BatchNewX509svidResponse>, Status> {
        unused()
    }

    async fn new_jwtsvid(&self, _: Request<NewJwtsvidRequest>) -> Result<Response<NewJwtsvidResponse>, Status> {
        unused()
    }

    async fn new_downstream_x509ca(
        &self,
        _: Request<NewDownstreamX509caRequest>,
    ) -> Result<Response<NewDownstreamX509caResponse>, Status> {
        unused()
    }
}
