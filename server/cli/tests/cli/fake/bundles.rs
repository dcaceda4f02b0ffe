//! `spire.api.server.bundle.v1`.

use hallmark_api::{
    bundle::{
        AppendBundleRequest, BatchCreateFederatedBundleRequest, BatchCreateFederatedBundleResponse,
        BatchDeleteFederatedBundleRequest, BatchDeleteFederatedBundleResponse, BatchSetFederatedBundleRequest,
        BatchSetFederatedBundleResponse, BatchUpdateFederatedBundleRequest, BatchUpdateFederatedBundleResponse,
        CountBundlesRequest, CountBundlesResponse, GetBundleRequest, GetFederatedBundleRequest,
        ListFederatedBundlesRequest, ListFederatedBundlesResponse, PublishJwtAuthorityRequest,
        PublishJwtAuthorityResponse, bundle_server::Bundle,
    },
    types,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType, date_time_ymd,
};
use tonic::{Request, Response, Status};

use super::{ACTIVE, FAR, Fake, OLD, PREPARED, RETIRED, X509, unused};

/// A CA certificate of the trust domain, with fixed names and times.
pub(super) fn authority() -> (Vec<u8>, Issuer<'static, KeyPair>) {
    authority_of(&[0xaa, 0xbb, 0xcc])
}

/// A CA certificate whose key has this id, and what issues below it.
fn authority_of(key_id: &[u8]) -> (Vec<u8>, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Hallmark");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org".try_into().unwrap())];
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.to_vec());
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().to_vec();
    (certificate, Issuer::new(params, key))
}

/// A JWT key; the old one is tainted.
fn jwt_key(key_id: &str) -> types::JwtKey {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    types::JwtKey {
        public_key: key.subject_public_key_info().into(),
        key_id: key_id.into(),
        expires_at: FAR,
        tainted: key_id == OLD,
    }
}

#[tonic::async_trait]
impl Bundle for Fake {
    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let mut bundle = types::Bundle {
            trust_domain: "example.org".into(),
            ..Default::default()
        };
        let mask = request.into_inner().output_mask;
        if mask.as_ref().is_none_or(|mask| mask.jwt_authorities) {
            bundle.jwt_authorities = [OLD, RETIRED, ACTIVE, PREPARED].map(jwt_key).into();
        }
        if mask.as_ref().is_some_and(|mask| mask.x509_authorities) {
            // The first is tainted.
            let certificate = |key_id: &str| types::X509Certificate {
                asn1: authority_of(&hex::decode(key_id).unwrap()).0.into(),
                tainted: key_id == X509[0],
            };
            bundle.x509_authorities = X509.map(certificate).into();
        }
        if mask.is_none() {
            bundle.sequence_number = 4;
            bundle.refresh_hint = 300;
            let certificate = |der: &Vec<u8>| types::X509Certificate {
                asn1: der.clone().into(),
                tainted: false,
            };
            bundle.x509_authorities = self.state().authorities.iter().map(certificate).collect();
        }
        Ok(Response::new(bundle))
    }

    async fn get_federated_bundle(
        &self,
        _: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        Err(Status::not_found("bundle not found"))
    }

    async fn count_bundles(&self, _: Request<CountBundlesRequest>) -> Result<Response<CountBundlesResponse>, Status> {
        unused()
    }

    async fn append_bundle(&self, _: Request<AppendBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        unused()
    }

    async fn publish_jwt_authority(
        &self,
        _: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        unused()
    }

    async fn list_federated_bundles(
        &self,
        _: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        unused()
    }

    async fn batch_create_federated_bundle(
        &self,
        _: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        unused()
    }

    async fn batch_update_federated_bundle(
        &self,
        _: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        unused()
    }

    async fn batch_set_federated_bundle(
        &self,
        _: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        unused()
    }

    async fn batch_delete_federated_bundle(
        &self,
        _: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        unused()
    }
}
