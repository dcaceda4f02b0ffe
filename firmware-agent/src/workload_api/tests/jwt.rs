//! The JWT profile (Workload API, section 6), as far as it needs no server: bundles, validation, and what is refused.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallmark_api::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse,
};
use prost_types::value::Kind;
use serde_json::{Value, json};
use tonic::{Code, Status, Streaming};

use super::lab::*;

const LIFE: Duration = Duration::from_secs(300);

/// A server whose bundle has this key, and that serves `a` to everybody with our uid.
fn lab(key: &JwtKey) -> Lab {
    let lab = Lab::start(|_| vec![]);
    publish(&lab, &["a"], &[key]);
    lab
}

fn publish(lab: &Lab, names: &[&str], keys: &[&JwtKey]) {
    let entries = names.iter().zip(1..).map(|(name, age)| lab.authority.entry(name, age));
    let keys: Vec<_> = keys.iter().map(|key| &key.authority).collect();
    let snapshot = snapshot(&lab.authority, entries.collect());
    lab.publisher.publish(with_keys(snapshot, &keys));
}

async fn bundles(lab: &Lab) -> Streaming<JwtBundlesResponse> {
    let asked = with_header(JwtBundlesRequest {});
    lab.client().await.fetch_jwt_bundles(asked).await.unwrap().into_inner()
}

/// The key ids of our own trust domain, the only one.
fn key_ids(response: &JwtBundlesResponse) -> Vec<String> {
    assert_eq!(response.bundles.len(), 1);
    let document: Value = serde_json::from_slice(&response.bundles["spiffe://example.org"]).unwrap();
    let keys = document["keys"].as_array().unwrap();
    assert!(
        keys.iter().all(|key| key["use"] == "jwt-svid" && key["kty"] == "EC"),
        "{document}"
    );
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn validate(lab: &Lab, audience: &str, token: &str) -> Result<ValidateJwtsvidResponse, Status> {
    let asked = ValidateJwtsvidRequest {
        audience: audience.into(),
        svid: token.into(),
    };
    let answer = lab.client().await.validate_jwtsvid(with_header(asked)).await?;
    Ok(answer.into_inner())
}

async fn fetch(lab: &Lab, audience: &[&str], id: &str) -> Status {
    let asked = JwtsvidRequest {
        audience: audience.iter().map(|name| (*name).to_owned()).collect(),
        spiffe_id: id.into(),
    };
    let answer = lab.client().await.fetch_jwtsvid(with_header(asked)).await;
    answer.expect_err("there is no server")
}

#[track_caller]
fn assert_refused(status: &Status, code: Code, reason: &str) {
    let found = status.metadata().get("hallmark-reason").unwrap();
    assert_eq!((status.code(), found.to_str().unwrap()), (code, reason), "{status}");
}

/// WLA-35, WLA-36.
#[tokio::test]
async fn bundles_are_the_jwt_keys_alone_and_again_when_they_change() {
    let (first, second) = (JwtKey::new("first"), JwtKey::new("second"));
    let lab = lab(&first);
    let mut stream = bundles(&lab).await;
    assert_eq!(key_ids(&next(&mut stream).await.unwrap()), ["first"]);
    publish(&lab, &["a", "b"], &[&first]);
    silence(&mut stream).await;
    publish(&lab, &["a"], &[&first, &second]);
    assert_eq!(key_ids(&next(&mut stream).await.unwrap()), ["first", "second"]);
    publish(&lab, &["a"], &[]);
    assert!(
        key_ids(&next(&mut stream).await.unwrap()).is_empty(),
        "the domain is there without keys"
    );
    // WLA-29: as with the X.509 bundles, who has no identity has no bundles.
    publish(&lab, &[], &[&first]);
    assert_refused(
        &next(&mut stream).await.unwrap_err(),
        Code::PermissionDenied,
        "HM-WL-0011",
    );
}

/// WLA-37 to WLA-39.
#[tokio::test]
async fn a_good_token_is_validated_and_its_claims_are_told() {
    let key = JwtKey::new("key");
    let lab = lab(&key);
    let mut said = claims("w", &["db", "other"], LIFE);
    said["nested"] = json!({"list": [1.5, null, true, "x"]});
    let told = validate(&lab, "db", &key.sign(&said)).await.unwrap();
    assert_eq!(told.spiffe_id, "spiffe://example.org/w");
    let fields = told.claims.unwrap().fields;
    let text = |value: &prost_types::Value| match value.kind.clone().unwrap() {
        Kind::StringValue(text) => text,
        other => panic!("{other:?}"),
    };
    let list = |name: &str| match fields[name].kind.clone().unwrap() {
        Kind::ListValue(list) => list.values.iter().map(text).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&fields["sub"]), told.spiffe_id);
    assert_eq!(list("aud"), ["db", "other"]);
    assert_eq!(
        fields["exp"].kind,
        Some(Kind::NumberValue(said["exp"].as_f64().unwrap())),
    );
    assert!(matches!(fields["nested"].kind, Some(Kind::StructValue(_))));
    // An audience that is one text is a list of one all the same.
    said["aud"] = "db".into();
    let told = validate(&lab, "db", &key.sign(&said)).await.unwrap();
    assert!(matches!(
        told.claims.unwrap().fields["aud"].kind,
        Some(Kind::ListValue(_))
    ));
    // Its keys are public: who has no identity of its own may ask as well.
    publish(&lab, &[], &[&key]);
    validate(&lab, "db", &key.sign(&said)).await.unwrap();
}

/// JWT-04 to JWT-14, JWT-20, JWT-21 and WLA-11 on the wire; the rules themselves are tested where they are.
#[tokio::test]
async fn a_token_that_is_not_to_be_believed_is_an_invalid_argument_with_its_reason() {
    let (key, other) = (JwtKey::new("key"), JwtKey::new("key"));
    let lab = lab(&key);
    let good = claims("w", &["db"], LIFE);
    let token = key.sign(&good);
    validate(&lab, "db", &token).await.unwrap();
    let with = |name: &str, value: Value| {
        let mut said = good.clone();
        said[name] = value;
        key.sign(&said)
    };
    let unsigned = {
        let claims = token.split('.').nth(1).unwrap();
        format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"key"}"#))
    };
    let cases = [
        ("HM-ID-0091", "nothing".to_owned()),
        ("HM-ID-0091", String::new()),
        ("HM-ID-0090", "x".repeat(32 * 1024 + 1)),
        ("HM-ID-0092", unsigned),
        ("HM-ID-0095", with("sub", "https://example.org/w".into())),
        ("HM-ID-0096", with("sub", "spiffe://other.org/w".into())),
        ("HM-ID-0097", JwtKey::new("unknown").sign(&good)),
        ("HM-ID-0099", other.sign(&good)),
        ("HM-ID-0100", with("aud", json!(["another"]))),
        ("HM-ID-0101", with("exp", 1_700_000_000.into())),
        ("HM-ID-0102", with("nbf", (good["exp"].as_i64().unwrap()).into())),
    ];
    for (reason, token) in cases {
        let status = validate(&lab, "db", &token).await.unwrap_err();
        assert_refused(&status, Code::InvalidArgument, reason);
        assert!(
            !status.message().contains(&token) || token.is_empty(),
            "a refusal tells no token: {status}"
        );
    }
    let status = validate(&lab, "", &token).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, "HM-WL-0026");
    let status = validate(&lab, "db", &"x".repeat(64 * 1024)).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, "HM-WL-0017");
    // A key that goes takes its tokens with it.
    publish(&lab, &["a"], &[&JwtKey::new("next")]);
    let status = validate(&lab, "db", &token).await.unwrap_err();
    assert_refused(&status, Code::InvalidArgument, "HM-ID-0097");
    let mut starting = snapshot(&lab.authority, vec![]);
    starting.ready = false;
    lab.publisher.publish(with_keys(starting, &[&key.authority]));
    let status = validate(&lab, "db", &token).await.unwrap_err();
    assert_refused(&status, Code::Unavailable, "HM-WL-0012");
}

/// JWT-09, WLA-11, WLA-34.
#[tokio::test]
async fn what_a_token_cannot_be_fetched_for_is_refused_before_the_server_is_asked() {
    let key = JwtKey::new("key");
    let lab = lab(&key);
    let (longest, long) = ("x".repeat(1024), "x".repeat(1025));
    let (most, many) = (["x"; 32], ["x"; 33]);
    for audience in [&[][..], &[""], &["ok", ""], &["line\nbreak"], &[&long], &many] {
        let status = fetch(&lab, audience, "").await;
        assert_refused(&status, Code::InvalidArgument, "HM-WL-0026");
    }
    for id in [
        "a",
        "https://example.org/a",
        "spiffe://example.org/a/",
        "spiffe://Example.org/a",
    ] {
        let status = fetch(&lab, &["db"], id).await;
        assert_refused(&status, Code::InvalidArgument, "HM-WL-0027");
    }
    for id in ["spiffe://example.org/b", "spiffe://other.org/a", "spiffe://example.org"] {
        let status = fetch(&lab, &["db"], id).await;
        assert_refused(&status, Code::PermissionDenied, "HM-WL-0028");
    }
    // The control: these are asked for, and there is nobody to ask.
    for audience in [&["db"][..], &[&longest], &most] {
        for id in ["", "spiffe://example.org/a"] {
            assert_refused(&fetch(&lab, audience, id).await, Code::Unavailable, "HM-WL-0029");
        }
    }
    publish(&lab, &[], &[&key]);
    assert_refused(&fetch(&lab, &["db"], "").await, Code::PermissionDenied, "HM-WL-0011");
    let mut starting = snapshot(&lab.authority, vec![lab.authority.entry("a", 1)]);
    starting.ready = false;
    lab.publisher.publish(starting);
    assert_refused(&fetch(&lab, &["db"], "").await, Code::Unavailable, "HM-WL-0012");
}
