//! Who may call what (Workload Endpoint, sections 3, 6 and 7).

use hallmark_api::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, WitBundlesRequest, WitsvidRequest, X509BundlesRequest,
    X509svidRequest,
};
use tonic::Code;
use tonic::transport::Channel;
use tonic_reflection::pb::{v1, v1alpha};

use super::lab::*;

/// The status of all seven calls with these header values, and their names.
async fn all_calls(client: &mut Client, values: &[&str]) -> Vec<(&'static str, Result<(), tonic::Status>)> {
    macro_rules! call {
        ($($method:ident $message:expr),+ $(,)?) => {
            vec![$((stringify!($method), client.$method(with_values($message, values)).await.map(drop))),+]
        };
    }
    call!(
        fetch_x509svid X509svidRequest {},
        fetch_x509_bundles X509BundlesRequest {},
        fetch_jwtsvid JwtsvidRequest::default(),
        fetch_jwt_bundles JwtBundlesRequest {},
        validate_jwtsvid ValidateJwtsvidRequest::default(),
        fetch_witsvid WitsvidRequest::default(),
        fetch_wit_bundles WitBundlesRequest {},
    )
}

#[tokio::test]
async fn every_call_needs_the_security_header_before_all_else() {
    // Even before the agent is ready, and before calls are said to be unimplemented.
    let lab = Lab::start(|_| vec![]);
    let mut client = lab.client().await;
    let wrong: [&[&str]; 6] = [&[], &["True"], &["false"], &[""], &["true", "true"], &["true", "false"]];
    for values in wrong {
        for (method, result) in all_calls(&mut client, values).await {
            let status = result.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{method} {values:?}");
            assert_eq!(status.metadata().get("hallmark-reason").unwrap(), "HM-WL-0010");
        }
    }
    lab.publish(vec![lab.authority.entry("a", 1)]);
    for (method, result) in all_calls(&mut client, &["true"]).await {
        let code = result.map_or_else(|status| status.code(), |()| Code::Ok);
        let expected = match method {
            "fetch_jwtsvid" | "validate_jwtsvid" => Code::InvalidArgument,
            "fetch_witsvid" | "fetch_wit_bundles" => Code::Unimplemented,
            _ => Code::Ok,
        };
        assert_eq!(code, expected, "{method}");
    }
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let lab = Lab::start(|authority| vec![authority.entry("a", 1)]);
    for path in [
        "/SpiffeWorkloadAPI/FetchNothing",
        "/Other/FetchX509SVID",
        "/x",
        "/SpiffeWorkloadAPI/",
    ] {
        let mut grpc = tonic::client::Grpc::new(lab.channel().await);
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<X509svidRequest, X509svidRequest>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = grpc
            .unary(with_header(X509svidRequest {}), path.clone(), codec)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn an_agent_that_is_starting_is_unavailable_and_a_stranger_has_no_identity() {
    let lab = Lab::start(|_| vec![]);
    let mut starting = snapshot(&lab.authority, vec![lab.authority.entry("a", 1)]);
    starting.ready = false;
    lab.publisher.publish(starting);
    let mut client = lab.client().await;
    for (method, result) in all_calls(&mut client, &["true"]).await.into_iter().take(2) {
        assert_eq!(result.unwrap_err().code(), Code::Unavailable, "{method}");
    }
    let mut other = lab.authority.entry("other", 1);
    other.selectors = ["unix:uid:54321".parse().unwrap()].into();
    lab.publish(vec![other]);
    for (method, result) in all_calls(&mut client, &["true"]).await.into_iter().take(2) {
        let status = result.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::PermissionDenied, "no identity issued")
        );
        assert_eq!(
            status.metadata().get("hallmark-reason").unwrap(),
            "HM-WL-0011",
            "{method}"
        );
    }
}

#[tokio::test]
async fn all_selectors_of_an_entry_must_be_facts() {
    let lab = Lab::start(|_| vec![]);
    let mut both = lab.authority.entry("both", 1);
    let gid = rustix::process::getegid().as_raw();
    both.selectors.insert(format!("unix:gid:{gid}").parse().unwrap());
    let mut one = lab.authority.entry("one", 2);
    one.selectors.insert("unix:gid:54321".parse().unwrap());
    lab.publish(vec![both, one]);
    let mut stream = svids(&mut lab.client().await).await.unwrap();
    assert_eq!(ids(&next(&mut stream).await.unwrap()), ["both"]);
}

async fn reflected(channel: Channel) -> (Vec<String>, Vec<String>) {
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let mut stream = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = stream.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let new = list.service.into_iter().map(|service| service.name).collect();

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut stream = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = stream.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    (new, list.service.into_iter().map(|service| service.name).collect())
}

#[tokio::test]
async fn reflection_lists_the_workload_api_in_both_versions_without_the_header() {
    let lab = Lab::start(|_| vec![]);
    let (new, old) = reflected(lab.channel().await).await;
    for services in [new, old] {
        assert!(services.contains(&"SpiffeWorkloadAPI".into()), "{services:?}");
    }
}
