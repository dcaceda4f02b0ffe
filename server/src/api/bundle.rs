//! The trust domain's bundle. There is no federation yet, and so there are no other bundles.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
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
use hallmark_reason::{Coded as _, Report};
use hallmark_spiffe::{TrustDomain, jwt::JwtAuthority};
use hallmark_state::{PublishedKeyError, decide::NewPublishedKey};
use tonic::{Request, Response, Status};

use crate::{
    authority::{ActiveAuthority, PublishError, PublishedKeys},
    caller::{self, Caller, Roles},
    connection::remote_ip,
    journal::store_failed,
    limits::Limits,
};

/// `spire.api.server.bundle.v1.Bundle`.
#[derive(Debug, Clone)]
pub struct BundleService {
    authority: Arc<ArcSwap<ActiveAuthority>>,
    published: PublishedKeys,
    roles: Roles,
    limits: Arc<Limits>,
}

impl BundleService {
    /// The service of the bundle that goes with `authority`, into which servers below this one publish keys: `published`.
    #[must_use]
    pub const fn new(
        authority: Arc<ArcSwap<ActiveAuthority>>,
        published: PublishedKeys,
        roles: Roles,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            authority,
            published,
            roles,
            limits,
        }
    }

    async fn publish(
        &self,
        caller: &Caller,
        request: PublishJwtAuthorityRequest,
    ) -> Result<PublishJwtAuthorityResponse, Status> {
        let Caller::Downstream(holder) = caller else {
            return Err(Status::permission_denied(
                "authorization denied: only downstream servers call this",
            ));
        };
        let missing = || Status::invalid_argument("missing JWT authority");
        let key = request.jwt_authority.ok_or_else(missing)?;
        if key.tainted {
            return Err(Status::invalid_argument("a tainted JWT authority is not published"));
        }
        if key.public_key.len() > MAX_PUBLIC_KEY {
            let len = key.public_key.len();
            return Err(Status::invalid_argument(format!(
                "the public key has {len} bytes, at most {MAX_PUBLIC_KEY} allowed"
            )));
        }
        // Rules that came into force meanwhile are held against its machine first.
        self.roles.require_standing_judged(caller).await?;
        let key = NewPublishedKey {
            key_id: key.key_id,
            public_key: key.public_key.to_vec(),
            expires_at: key.expires_at,
        };
        let published = self.published.publish(holder, key).await;
        published.map_err(not_published)?;
        let authority = self.authority.load();
        Ok(PublishJwtAuthorityResponse {
            jwt_authorities: authority.bundle.jwt_authorities.iter().map(jwt_key).collect(),
        })
    }
}

/// The largest public key that is published, in bytes: one of RSA-8192 has about 1,050.
const MAX_PUBLIC_KEY: usize = 2048;

fn not_published(error: PublishError) -> Status {
    let text = Report(&error).to_string();
    match error {
        PublishError::Role(error) => error.into(),
        PublishError::Store(error) => store_failed(&error),
        PublishError::Bundle(_) => Status::internal(format!("the bundle cannot be served ({})", error.code())),
        PublishError::Refused(PublishedKeyError::TooMany { .. }) => Status::resource_exhausted(text),
        PublishError::Refused(PublishedKeyError::IdTaken { .. } | PublishedKeyError::KeyTaken { .. }) => {
            Status::already_exists(text)
        }
        _ => Status::invalid_argument(text),
    }
}

/// A bundle as a message, with the fields that `mask` asks for; without a mask, all. Of its X.509 authorities, those are `tainted`.
fn bundle_message(
    bundle: &hallmark_spiffe::Bundle,
    tainted: &[Vec<u8>],
    mask: Option<&types::BundleMask>,
) -> types::Bundle {
    let wanted = |field: fn(&types::BundleMask) -> bool| mask.is_none_or(field);
    let authority = |der: &Vec<u8>| types::X509Certificate {
        asn1: Bytes::copy_from_slice(der),
        tainted: tainted.contains(der),
    };
    let mut message = types::Bundle {
        trust_domain: bundle.trust_domain.as_str().to_owned(),
        ..Default::default()
    };
    if wanted(|mask| mask.x509_authorities) {
        message.x509_authorities = bundle.x509_authorities.iter().map(authority).collect();
    }
    if wanted(|mask| mask.jwt_authorities) {
        message.jwt_authorities = bundle.jwt_authorities.iter().map(jwt_key).collect();
    }
    if wanted(|mask| mask.refresh_hint) {
        message.refresh_hint = i64::try_from(bundle.refresh_hint.as_secs()).unwrap_or(i64::MAX);
    }
    if wanted(|mask| mask.sequence_number) {
        message.sequence_number = bundle.sequence;
    }
    message
}

fn jwt_key(authority: &JwtAuthority) -> types::JwtKey {
    types::JwtKey {
        public_key: Bytes::copy_from_slice(authority.public_key()),
        key_id: authority.key_id().to_owned(),
        expires_at: authority.expires_at,
        tainted: authority.tainted,
    }
}

fn no_federation<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("bundles of other trust domains are not kept yet"))
}

#[tonic::async_trait]
impl Bundle for BundleService {
    async fn get_bundle(&self, request: Request<GetBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        let authority = self.authority.load();
        Ok(Response::new(bundle_message(
            &authority.bundle,
            &authority.tainted,
            request.get_ref().output_mask.as_ref(),
        )))
    }

    async fn count_bundles(&self, _: Request<CountBundlesRequest>) -> Result<Response<CountBundlesResponse>, Status> {
        Ok(Response::new(CountBundlesResponse { count: 1 }))
    }

    async fn list_federated_bundles(
        &self,
        _: Request<ListFederatedBundlesRequest>,
    ) -> Result<Response<ListFederatedBundlesResponse>, Status> {
        Ok(Response::new(ListFederatedBundlesResponse::default()))
    }

    async fn get_federated_bundle(
        &self,
        request: Request<GetFederatedBundleRequest>,
    ) -> Result<Response<types::Bundle>, Status> {
        let name = &request.get_ref().trust_domain;
        let trust_domain = TrustDomain::parse(name.strip_prefix("spiffe://").unwrap_or(name))
            .map_err(|error| Status::invalid_argument(format!("trust domain argument is not valid: {error}")))?;
        if trust_domain == self.authority.load().bundle.trust_domain {
            return Err(Status::invalid_argument(
                "getting a federated bundle for the server's own trust domain is not allowed",
            ));
        }
        Err(Status::not_found("bundle not found"))
    }

    async fn append_bundle(&self, _: Request<AppendBundleRequest>) -> Result<Response<types::Bundle>, Status> {
        Err(Status::unimplemented("authorities from outside are not added yet"))
    }

    async fn publish_jwt_authority(
        &self,
        request: Request<PublishJwtAuthorityRequest>,
    ) -> Result<Response<PublishJwtAuthorityResponse>, Status> {
        let (caller, address) = (caller::of(&request)?, remote_ip(request.extensions()));
        self.limits.signing.take(address, 1).await?;
        self.publish(&caller, request.into_inner()).await.map(Response::new)
    }

    async fn batch_create_federated_bundle(
        &self,
        _: Request<BatchCreateFederatedBundleRequest>,
    ) -> Result<Response<BatchCreateFederatedBundleResponse>, Status> {
        no_federation()
    }

    async fn batch_update_federated_bundle(
        &self,
        _: Request<BatchUpdateFederatedBundleRequest>,
    ) -> Result<Response<BatchUpdateFederatedBundleResponse>, Status> {
        no_federation()
    }

    async fn batch_set_federated_bundle(
        &self,
        _: Request<BatchSetFederatedBundleRequest>,
    ) -> Result<Response<BatchSetFederatedBundleResponse>, Status> {
        no_federation()
    }

    async fn batch_delete_federated_bundle(
        &self,
        _: Request<BatchDeleteFederatedBundleRequest>,
    ) -> Result<Response<BatchDeleteFederatedBundleResponse>, Status> {
        no_federation()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bundle() -> hallmark_spiffe::Bundle {
        hallmark_spiffe::Bundle {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            x509_authorities: vec![vec![1], vec![2]],
            jwt_authorities: Vec::new(),
            sequence: 7,
            refresh_hint: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_bundle_comes_whole_or_masked() {
        let whole = bundle_message(&bundle(), &[vec![2]], None);
        assert_eq!(
            (whole.trust_domain.as_str(), whole.x509_authorities.len()),
            ("example.org", 2)
        );
        let tainted: Vec<bool> = whole.x509_authorities.iter().map(|it| it.tainted).collect();
        assert_eq!(tainted, [false, true]);
        assert_eq!((whole.sequence_number, whole.refresh_hint), (7, 60));
        let mask = types::BundleMask {
            sequence_number: true,
            ..Default::default()
        };
        let masked = bundle_message(&bundle(), &[], Some(&mask));
        let expected = types::Bundle {
            trust_domain: "example.org".into(),
            sequence_number: 7,
            ..Default::default()
        };
        assert_eq!(masked, expected);
    }
}
