//! JWT-SVIDs from a server that can be held to workloads at a real socket.

use std::{collections::BTreeSet, time::Instant};

use hallmark_api::workload::{JwtBundlesRequest, Jwtsvid, JwtsvidRequest, ValidateJwtsvidRequest};
use serde_json::json;

use super::{
    server::{ISSUE_JWT, PublishedKey},
    *,
};

async fn fetch(client: &mut Client, audience: &[&str], id: &str) -> Result<Vec<Jwtsvid>, Status> {
    let asked = JwtsvidRequest {
        audience: audience.iter().map(|name| (*name).to_owned()).collect(),
        spiffe_id: id.into(),
    };
    let answer = timeout(LIMIT * 2, client.fetch_jwtsvid(with_header(asked)))
        .await
        .unwrap()?;
    Ok(answer.into_inner().svids)
}

/// The one token of a workload with one identity.
async fn token(client: &mut Client, audience: &str) -> Result<String, Status> {
    let mut svids = fetch(client, &[audience], "").await?;
    assert_eq!(svids.len(), 1);
    Ok(svids.pop().unwrap().svid)
}

/// Waits until a token is another than `before`.
async fn other_than(client: &mut Client, audience: &str, before: &str) -> String {
    let changed = async {
        loop {
            let now = token(client, audience).await.unwrap();
            if now != before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LIMIT, changed).await.unwrap()
}

fn reason(status: &Status) -> &str {
    status.metadata().get("hallmark-reason").unwrap().to_str().unwrap()
}

impl Lab {
    /// Workloads that ask for these at the same time.
    async fn ask_for(&self, audiences: impl IntoIterator<Item = String>) -> JoinSet<Result<String, Status>> {
        let mut asking = JoinSet::new();
        for audience in audiences {
            let mut client = self.client().await;
            asking.spawn(async move { token(&mut client, &audience).await });
        }
        asking
    }
}

#[tokio::test]
async fn one_call_to_the_server_serves_all_who_want_the_same_until_half_of_its_life() {
    let lab = Lab::start(vec![entry("a")]).await;
    lab.server.hold(ISSUE_JWT);
    let crowd = lab.ask_for((0..50).map(|_| "db".to_owned())).await;
    lab.server.counts(ISSUE_JWT, 1).await;
    lab.server.release(ISSUE_JWT);
    let heard = timeout(LIMIT, crowd.join_all()).await.unwrap();
    let tokens: BTreeSet<_> = heard.into_iter().map(Result::unwrap).collect();
    assert_eq!((tokens.len(), lab.server.count(ISSUE_JWT)), (1, 1));
    let mut client = lab.client().await;
    assert_eq!(token(&mut client, "db").await.unwrap(), *tokens.first().unwrap());
    assert_eq!(lab.server.count(ISSUE_JWT), 1);
    // Another audience is another token, and so is another order of the same (WLA-31).
    for (audience, calls) in [(&["db", "x"][..], 2), (&["x", "db"], 3), (&["x", "db"], 3)] {
        let svids = fetch(&mut client, audience, "").await.unwrap();
        let asked = ValidateJwtsvidRequest {
            audience: "x".into(),
            svid: svids[0].svid.clone(),
        };
        let told = client.validate_jwtsvid(with_header(asked)).await.unwrap().into_inner();
        assert_eq!(told.spiffe_id, "spiffe://example.org/a");
        let claims = format!("{:?}", told.claims.unwrap().fields["aud"]);
        assert_eq!(
            claims.find("db") < claims.find("\"x\""),
            audience[0] == "db",
            "{claims}"
        );
        assert_eq!(lab.server.count(ISSUE_JWT), calls);
    }
}

/// WLA-22, WLA-25, WLA-32, WLA-34.
#[tokio::test]
async fn who_has_several_identities_gets_them_all_or_the_one_it_asks_for() {
    let named = |name: &str, created_at| types::Entry {
        hint: "web".into(),
        created_at,
        ..entry(name)
    };
    let lab = Lab::start(vec![named("young", 2), named("old", 1)]).await;
    let mut client = lab.client().await;
    let all = fetch(&mut client, &["db"], "").await.unwrap();
    let told: Vec<_> = all.iter().map(|svid| (&*svid.spiffe_id, &*svid.hint)).collect();
    assert_eq!(
        told,
        [("spiffe://example.org/old", "web"), ("spiffe://example.org/young", "")]
    );
    let one = fetch(&mut client, &["db"], "spiffe://example.org/young").await.unwrap();
    assert_eq!((one.len(), &one[0].svid), (1, &all[1].svid), "it was at hand");
    assert_eq!(one[0].hint, "web", "in an answer of its own the hint is unique");
    let status = fetch(&mut client, &["db"], "spiffe://example.org/foreign")
        .await
        .unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, "HM-WL-0028"));
    assert_eq!(lab.server.count(ISSUE_JWT), 2);
}

#[tokio::test]
async fn a_call_that_waits_for_the_server_holds_up_no_other() {
    let lab = Lab::start(vec![entry("a")]).await;
    let mut client = lab.client().await;
    let cached = token(&mut client, "cached").await.unwrap();
    lab.server.hold(ISSUE_JWT);
    let waiting = lab.ask_for((0..100).map(|number| number.to_string())).await;
    // One user has eight calls under way, and the others wait.
    lab.server.counts(ISSUE_JWT, 1 + 8).await;
    assert_eq!(lab.at_once().await, ["a"]);
    let at_once = Duration::from_secs(5);
    let again = timeout(at_once, token(&mut client, "cached")).await.unwrap().unwrap();
    assert_eq!(again, cached);
    let bundles = timeout(at_once, client.fetch_jwt_bundles(with_header(JwtBundlesRequest {}))).await;
    next(&mut bundles.unwrap().unwrap().into_inner()).await.unwrap();
    let asked = ValidateJwtsvidRequest {
        audience: "cached".into(),
        svid: cached,
    };
    timeout(at_once, client.validate_jwtsvid(with_header(asked)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lab.server.count(ISSUE_JWT), 1 + 8);
    lab.server.release(ISSUE_JWT);
    let heard = timeout(LIMIT, waiting.join_all()).await.unwrap();
    let tokens: BTreeSet<_> = heard.into_iter().map(Result::unwrap).collect();
    assert_eq!((tokens.len(), lab.server.count(ISSUE_JWT)), (100, 101));
}

/// Who asks for much and hangs up leaves no work behind.
#[tokio::test]
async fn callers_that_hang_up_are_asked_for_no_longer() {
    let lab = Lab::start(vec![entry("a")]).await;
    lab.server.hold(ISSUE_JWT);
    let waiting = lab.ask_for((0..50).map(|number| number.to_string())).await;
    lab.server.counts(ISSUE_JWT, 8).await;
    drop(waiting);
    // Its turn comes although the server answers none of those before it.
    let last = lab.ask_for(["last".to_owned()]).await;
    lab.server.counts(ISSUE_JWT, 9).await;
    lab.server.release(ISSUE_JWT);
    timeout(LIMIT, last.join_all()).await.unwrap().pop().unwrap().unwrap();
    let asked = lab.server.count(ISSUE_JWT);
    // Some may have had their turn while the others were hanging up.
    assert!(asked < 50, "{asked}");
}

#[tokio::test]
async fn a_token_that_is_still_valid_is_served_while_the_server_gives_no_new_one() {
    let lab = Lab::start(vec![entry("a")]).await;
    lab.server.set_life(Duration::from_secs(30));
    let mut client = lab.client().await;
    let first = token(&mut client, "db").await.unwrap();
    assert_eq!(lab.server.count(ISSUE_JWT), 1);
    // The server says that it cannot. A second call is made when half of the token's life is over.
    *lab.server.jwt_status.lock().unwrap() = "14";
    let begun = Instant::now();
    while lab.server.count(ISSUE_JWT) < 2 {
        assert_eq!(token(&mut client, "db").await.unwrap(), first);
        assert!(begun.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(token(&mut client, "db").await.unwrap(), first);
    assert_eq!(lab.server.count(ISSUE_JWT), 2, "and is not asked again at once");
    // Without one at hand there is none.
    let status = token(&mut client, "other").await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "HM-WL-0029"));
    // The server answers nothing at all.
    *lab.server.jwt_status.lock().unwrap() = "0";
    lab.server.hold(ISSUE_JWT);
    let asked = lab.server.count(ISSUE_JWT);
    while lab.server.count(ISSUE_JWT) == asked {
        assert_eq!(token(&mut client, "db").await.unwrap(), first);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lab.server.release(ISSUE_JWT);
    let second = other_than(&mut client, "db", &first).await;
    assert_eq!(token(&mut client, "db").await.unwrap(), second);
}

/// The control is the test above: there the server says nothing about this machine.
#[tokio::test]
async fn a_server_that_refuses_this_machine_is_not_away() {
    let lab = Lab::start(vec![entry("a")]).await;
    lab.server.set_life(Duration::from_secs(30));
    let mut client = lab.client().await;
    let first = token(&mut client, "db").await.unwrap();
    *lab.server.jwt_status.lock().unwrap() = "7";
    let begun = Instant::now();
    let status = loop {
        match token(&mut client, "db").await {
            Ok(token) => assert_eq!(token, first),
            Err(status) => break status,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(begun.elapsed() < Duration::from_secs(29), "the token was still valid");
    assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "HM-WL-0029"));
    assert!(status.message().contains("HM-AGENT-0005"), "{status}");
    *lab.server.jwt_status.lock().unwrap() = "0";
    assert_ne!(token(&mut client, "db").await.unwrap(), first);
    // An entry that the server no longer has for this agent is no identity, whatever was synchronised last.
    lab.server.hold(SYNC);
    lab.server.set_entries(Vec::new());
    let status = token(&mut client, "other").await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, "HM-WL-0011"));
}

#[tokio::test]
async fn a_token_goes_with_its_key_and_with_its_entry() {
    let lab = Lab::start(vec![entry("a")]).await;
    let mut client = lab.client().await;
    let first = token(&mut client, "db").await.unwrap();
    // The key is tainted, and the next one signs.
    let next = PublishedKey::new("second");
    {
        let mut keys = lab.server.jwt_keys.lock().unwrap();
        keys[0].is_tainted = true;
        keys.push(next);
    }
    let second = other_than(&mut client, "db", &first).await;
    // What is tainted is valid until it is revoked, and then no longer.
    let validate = async |client: &mut Client, token: &str| {
        let asked = ValidateJwtsvidRequest {
            audience: "db".into(),
            svid: token.into(),
        };
        client.validate_jwtsvid(with_header(asked)).await
    };
    validate(&mut client, &first).await.unwrap();
    {
        let mut keys = lab.server.jwt_keys.lock().unwrap();
        keys.remove(0);
    }
    let revoked = async {
        loop {
            if let Err(status) = validate(&mut client, &first).await {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let status = timeout(LIMIT, revoked).await.unwrap();
    assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, "HM-ID-0097"));
    assert_eq!(token(&mut client, "db").await.unwrap(), second);
    // The entry changes.
    let changed = types::Entry {
        revision_number: 1,
        ..entry("a")
    };
    lab.server.set_entries(vec![changed]);
    let third = other_than(&mut client, "db", &second).await;
    // The entry goes.
    lab.server.set_entries(vec![entry("b")]);
    let fourth = other_than(&mut client, "db", &third).await;
    assert_eq!(
        validate(&mut client, &fourth).await.unwrap().into_inner().spiffe_id,
        "spiffe://example.org/b"
    );
    lab.server.set_entries(Vec::new());
    let gone = async {
        loop {
            if let Err(status) = token(&mut client, "db").await {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let status = timeout(LIMIT, gone).await.unwrap();
    assert_eq!((status.code(), reason(&status)), (Code::PermissionDenied, "HM-WL-0011"));
}

#[tokio::test]
async fn a_token_that_is_not_the_one_that_was_asked_for_is_not_served() {
    let lab = Lab::start(vec![entry("a")]).await;
    let mut client = lab.client().await;
    let wrong = [
        ("its SPIFFE ID", json!({"sub": "spiffe://example.org/b"})),
        ("its audience", json!({"aud": ["db", "more"]})),
        ("does not validate", json!({"aud": ["another"]})),
        ("does not validate", json!({"exp": 1_700_000_000})),
        ("does not validate", json!({"sub": "spiffe://other.org/a"})),
    ];
    for (what, claims) in wrong {
        *lab.server.jwt_claims.lock().unwrap() = claims.as_object().unwrap().clone();
        let status = token(&mut client, "db").await.unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::Unavailable, "HM-WL-0029"));
        let said = status.message();
        assert!(said.contains("HM-AGENT-0009") && said.contains(what), "{said}");
    }
    lab.server.jwt_claims.lock().unwrap().clear();
    // The server signs with a key that it has not told.
    let mut secret = PublishedKey::new("secret");
    secret.is_published = false;
    lab.server.jwt_keys.lock().unwrap().push(secret);
    let status = token(&mut client, "db").await.unwrap_err();
    assert!(status.message().contains("not in the bundle"), "{status}");
    // One that it has told just now is learned before its token is served.
    lab.server.jwt_keys.lock().unwrap().push(PublishedKey::new("new"));
    token(&mut client, "db").await.unwrap();
}
