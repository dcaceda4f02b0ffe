//! The bundle.

use hallmark_api::{
    bundle::{
        AppendBundleRequest, CountBundlesRequest, GetBundleRequest, GetFederatedBundleRequest,
        ListFederatedBundlesRequest, bundle_server::Bundle as _,
    },
    types,
};
use tonic::Code;

use crate::lab::{Lab, isolated, local};

#[test]
fn the_bundle_is_the_authoritys_and_survives_a_restart() {
    isolated(
        "bundle::the_bundle_is_the_authoritys_and_survives_a_restart",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let get = async |lab: &Lab, output_mask| {
                lab.bundle
                    .get_bundle(local(GetBundleRequest { output_mask }))
                    .await
                    .unwrap()
                    .into_inner()
            };
            let bundle = get(&lab, None).await;
            assert_eq!(
                (bundle.trust_domain.as_str(), bundle.sequence_number),
                ("example.org", 2)
            );
            assert!(bundle.refresh_hint > 0);
            let [authority] = &*bundle.x509_authorities else {
                panic!("{bundle:?}")
            };
            let id = hallmark_spiffe::x509::check_signing(&authority.asn1).unwrap();
            assert_eq!(id.unwrap().to_string(), "spiffe://example.org");
            let masked = get(
                &lab,
                Some(types::BundleMask {
                    refresh_hint: true,
                    ..Default::default()
                }),
            )
            .await;
            assert_eq!(
                (masked.x509_authorities.len(), masked.refresh_hint),
                (0, bundle.refresh_hint)
            );
            lab.stop().await;
            let lab = Lab::start(&folder).await;
            assert_eq!(
                get(&lab, None).await,
                bundle,
                "the same key and certificate are found again"
            );
        },
    );
}

#[test]
fn without_federation_there_are_no_other_bundles() {
    isolated(
        "bundle::without_federation_there_are_no_other_bundles",
        |folder| async move {
            let lab = Lab::start(&folder).await;
            let count = lab
                .bundle
                .count_bundles(local(CountBundlesRequest {}))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(count.count, 1, "the trust domain's own");
            let list = lab
                .bundle
                .list_federated_bundles(local(ListFederatedBundlesRequest::default()))
                .await;
            assert!(list.unwrap().into_inner().bundles.is_empty());
            for (trust_domain, code) in [
                ("other.test", Code::NotFound),
                ("example.org", Code::InvalidArgument),
                ("A!", Code::InvalidArgument),
            ] {
                let request = GetFederatedBundleRequest {
                    trust_domain: trust_domain.into(),
                    output_mask: None,
                };
                let refused = lab.bundle.get_federated_bundle(local(request)).await.unwrap_err();
                assert_eq!(refused.code(), code, "{trust_domain}");
            }
            let refused = lab
                .bundle
                .append_bundle(local(AppendBundleRequest::default()))
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented);
        },
    );
}
