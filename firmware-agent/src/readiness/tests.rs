use std::time::Instant;

use super::*;

fn noted() -> Noted {
    Noted {
        valid_until: Some(SystemTime::now() + Duration::from_secs(60)),
        ..Noted::default()
    }
}

fn failure() -> Option<Failure> {
    Some(Failure::of(&crate::AgentError::Suspended {
        message: "x".into(),
        node: None,
    }))
}

#[test]
fn an_identity_serves_until_it_ends_whatever_the_next_attestation_meets() {
    let now = SystemTime::now();
    assert_eq!(identity(&noted(), now), Part::good("identity"), "the control");
    let suspended = Noted {
        not_attested: failure(),
        ..noted()
    };
    let part = identity(&suspended, now);
    assert_eq!((part.state, part.code.as_str()), (State::Warning, "HM-AGENT-0019"));
    let part = identity(&suspended, now + Duration::from_secs(61));
    assert_eq!((part.state, part.code.as_str()), (State::Failed, "HM-AGENT-0019"));
    let part = identity(&Noted::default(), now);
    assert_eq!((part.state, part.code.as_str()), (State::Failed, "HM-AGENT-0020"));
}

/// An agent that has just started knows no entries: that is no sign that no workload lacks its SVID.
#[test]
fn entries_that_nobody_told_are_not_well() {
    let none = Snapshot::empty(hallmark_spiffe::TrustDomain::parse("example.org").unwrap());
    let part = svids(&noted(), &none);
    assert_eq!((part.state, part.code.as_str()), (State::Failed, "HM-AGENT-0022"));
    let told = Noted {
        synced: Some(Instant::now()),
        ..noted()
    };
    assert_eq!(svids(&told, &none), Part::good("svids"), "the control");
}

/// What the agent does not take is told beside what it serves, until the server names no more than it takes.
#[test]
fn entries_that_are_not_taken_are_told() {
    let none = Snapshot::empty(hallmark_spiffe::TrustDomain::parse("example.org").unwrap());
    let condition = Condition::default();
    let too_many = crate::AgentError::EntriesBeyond {
        beyond: 3,
        named: 10,
        most: "7 are taken".into(),
    };
    assert!(condition.synced(Some((3, &too_many))), "it is news");
    assert!(!condition.synced(Some((3, &too_many))), "it is told once");
    let part = svids(&condition.read(), &none);
    assert_eq!((part.state, part.code.as_str()), (State::Warning, "HM-AGENT-0034"));
    assert!(part.message.starts_with("3 of the 10 entries of this node"), "{part}");
    assert!(condition.synced(None));
    assert_eq!(svids(&condition.read(), &none), Part::good("svids"), "the control");
}

#[test]
fn what_was_not_written_down_is_told_until_it_is() {
    let condition = Condition::default();
    assert_eq!(state(&condition.read()), Part::good("state"), "the control");
    let full = crate::AgentError::State {
        path: "state.json".into(),
        detail: "no space left".into(),
    };
    assert!(condition.saved(Err(&full)), "it is news");
    assert!(!condition.saved(Err(&full)), "it is tried again, and told once");
    let part = state(&condition.read());
    assert_eq!((part.state, part.code.as_str()), (State::Warning, "HM-AGENT-0013"));
    assert!(condition.saved(Ok(())));
    assert_eq!(state(&condition.read()), Part::good("state"));
}

#[test]
fn what_the_tpm_did_last_is_known_and_counted() {
    use hallmark_tpm::{Observer as _, TpmError};
    let tpm = TpmUse::default();
    assert!(tpm.read().busy_since.is_none() && tpm.read().last.is_none());
    tpm.begins();
    assert!(tpm.read().busy_since.is_some());
    tpm.ended("sign", Duration::from_millis(30), None);
    tpm.begins();
    tpm.ended("sign", Duration::from_millis(3), Some(&TpmError::LockedOut));
    let (_, failed) = tpm.read().last.unwrap();
    assert_eq!(failed.unwrap().code.as_str(), "HM-TPM-0004");
    assert!(tpm.read().busy_since.is_none());
    assert_eq!(tpm.errors.get_or_create(&[("work", "sign")]).get(), 1);
    let mut text = String::new();
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("tpm_work_seconds", "x", tpm.seconds.clone());
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"tpm_work_seconds_count{work="sign"} 2"#), "{text}");
    assert!(
        text.contains(r#"tpm_work_seconds_bucket{le="0.005",work="sign"} 1"#),
        "{text}"
    );
}

/// Whoever listens and does not serve is no Workload API, though the kernel connects to it.
#[tokio::test]
async fn a_socket_that_nobody_serves_is_not_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    assert!(UnixStream::connect(&path).await.is_ok(), "the control");
    assert!(timeout(Duration::from_millis(200), greeted(&path)).await.is_err());
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.ok();
            // Held until the other side has gone.
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    timeout(Duration::from_secs(5), greeted(&path)).await.unwrap().unwrap();
    serving.abort();
}
