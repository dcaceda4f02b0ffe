//! `spire.api.server.localauthority.v1`, and SVIDs that are minted.

use hallmark_api::{
    localauthority::{
        ActivateJwtAuthorityRequest, ActivateJwtAuthorityResponse, ActivateX509AuthorityRequest,
        ActivateX509AuthorityResponse, AuthorityState, GetJwtAuthorityStateRequest, GetJwtAuthorityStateResponse,
        GetX509AuthorityStateRequest, GetX509AuthorityStateResponse, PrepareJwtAuthorityRequest,
        PrepareJwtAuthorityResponse, PrepareX509AuthorityRequest, PrepareX509AuthorityResponse,
        RevokeJwtAuthorityRequest, RevokeJwtAuthorityResponse, RevokeX509AuthorityRequest, RevokeX509AuthorityResponse,
        RevokeX509UpstreamAuthorityRequest, RevokeX509UpstreamAuthorityResponse, TaintJwtAuthorityRequest,
        TaintJwtAuthorityResponse, TaintX509AuthorityRequest, TaintX509AuthorityResponse,
        TaintX509UpstreamAuthorityRequest, TaintX509UpstreamAuthorityResponse, local_authority_server::LocalAuthority,
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
pub(crate) const RETIRED: &str = "kid-of-the-retired-key";
pub(crate) const ACTIVE: &str = "kid-of-the-active-key";
pub(crate) const PREPARED: &str = "kid-of-the-prepared-key";
/// X.509 authorities: a tainted one, an old one, and the active one. None is prepared.
pub(crate) const X509: [&str; 3] = ["0a0a01", "0b0b02", "0c0c03"];

fn state(key_id: &str) -> AuthorityState {
    AuthorityState {
        authority_id: key_id.into(),
        ..Default::default()
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
    async fn get_x509_authority_state(
        &self,
        _: Request<GetX509AuthorityStateRequest>,
    ) -> Result<Response<GetX509AuthorityStateResponse>, Status> {
        Ok(Response::new(GetX509AuthorityStateResponse {
            active: Some(state(X509[2])),
            prepared: None,
            old: Some(state(X509[1])),
        }))
    }

    async fn prepare_x509_authority(
        &self,
        request: Request<PrepareX509AuthorityRequest>,
    ) -> Result<Response<PrepareX509AuthorityResponse>, Status> {
        self.took("prepare x509", &request);
        Ok(Response::new(PrepareX509AuthorityResponse {
            prepared_authority: Some(state("0d0d04")),
        }))
    }

    async fn activate_x509_authority(
        &self,
        request: Request<ActivateX509AuthorityRequest>,
    ) -> Result<Response<ActivateX509AuthorityResponse>, Status> {
        require_named(&request.get_ref().authority_id)?;
        self.took("activate x509", &request);
        Ok(Response::new(ActivateX509AuthorityResponse {
            activated_authority: Some(state("0d0d04")),
        }))
    }

    async fn taint_x509_authority(
        &self,
        request: Request<TaintX509AuthorityRequest>,
    ) -> Result<Response<TaintX509AuthorityResponse>, Status> {
        self.took("taint x509", &request);
        Ok(Response::new(TaintX509AuthorityResponse {
            tainted_authority: Some(state(&request.get_ref().authority_id)),
        }))
    }

    async fn revoke_x509_authority(
        &self,
        request: Request<RevokeX509AuthorityRequest>,
    ) -> Result<Response<RevokeX509AuthorityResponse>, Status> {
        self.took("revoke x509", &request);
        Ok(Response::new(RevokeX509AuthorityResponse {
            revoked_authority: Some(state(&request.get_ref().authority_id)),
        }))
    }

    async fn taint_x509_upstream_authority(
        &self,
        _: Request<TaintX509UpstreamAuthorityRequest>,
    ) -> Result<Response<TaintX509UpstreamAuthorityResponse>, Status> {
        unused()
    }

    async fn revoke_x509_upstream_authority(
        &self,
        _: Request<RevokeX509UpstreamAuthorityRequest>,
    ) -> Result<Response<RevokeX509UpstreamAuthorityResponse>, Status> {
        unused()
    }

    async fn get_jwt_authority_state(
        &self,
        _: Request<GetJwtAuthorityStateRequest>,
    ) -> Result<Response<GetJwtAuthorityStateResponse>, Status> {
        Ok(Response::new(GetJwtAuthorityStateResponse {
            active: Some(state(ACTIVE)),
            prepared: Some(state(PREPARED)),
            old: Some(state(RETIRED)),
        }))
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
        require_named(&request.get_ref().authority_id)?;
        self.took("activate", &request);
        Ok(Response::new(ActivateJwtAuthorityResponse {
            activated_authority: Some(state(PREPARED)),
        }))
    }

    async fn taint_jwt_authority(
        &self,
        request: Request<TaintJwtAuthorityRequest>,
    ) -> Result<Response<TaintJwtAuthorityResponse>, Status> {
        self.took("taint", &request);
        Ok(Response::new(TaintJwtAuthorityResponse {
            tainted_authority: Some(state(&request.get_ref().authority_id)),
        }))
    }

    async fn revoke_jwt_authority(
        &self,
        request: Request<RevokeJwtAuthorityRequest>,
    ) -> Result<Response<RevokeJwtAuthorityResponse>, Status> {
        self.took("revoke", &request);
        Ok(Response::new(RevokeJwtAuthorityResponse {
            revoked_authority: Some(state(&request.get_ref().authority_id)),
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

/// An activation says of which authority: another one may be prepared by now.
fn require_named(authority_id: &str) -> Result<(), Status> {
    match authority_id {
        "" => Err(Status::invalid_argument("no authority id")),
        _ => Ok(()),
    }
}
