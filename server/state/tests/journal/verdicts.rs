//! What verdicts say: typed now, JSON in records from before; and both are shown alike.

use hallmark_state::{
    AttestedFacts, Event, EventPart, LoggedEvent, Outcome, PcrFact, ReasonFact, RefusingRule, Transaction, What,
    journal::encoding::{self, decode_events, encode, event_bytes},
};
use serde_json::{Value, json};

use crate::samples::transaction;

/// Rows of the first encoding of events, as a program wrote them.
const ACCEPTED_BEFORE: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/journal/accepted-json");
const REAPPRAISED_BEFORE: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/journal/reappraised-json");
const REFUSED_BEFORE: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/journal/refused");
const ROLLBACK_BEFORE: &[u8] = include_bytes!("../../../../tests/fuzz/corpus/journal/authority");

const EVIDENCE: Option<[u8; 32]> = Some([0xe1; 32]);

fn decode(bytes: &[u8]) -> Result<Vec<Transaction>, encoding::EncodingError> {
    encoding::decode(bytes, &mut |_| None)
}

fn facts() -> AttestedFacts {
    AttestedFacts {
        ek_sha256: vec![0xaa; 32],
        ek_name: vec![0x00, 0x0b],
        ek_issuer: "CN=maker".into(),
        ek_serial: "01".into(),
        ek_not_after: 5,
        enrolled_by: "certificate".into(),
        manufacturer: "id:4E544300".into(),
        model: "m".into(),
        firmware_version: "00".into(),
        class: "discrete".into(),
        ak_name: vec![0x0b],
        ak_activated: true,
        svid_key_sha256: vec![1],
        nonce: vec![2],
        binding: vec![3],
        pcrs: vec![PcrFact {
            bank: "sha256".into(),
            pcr: 7,
            digest: vec![0xd7],
        }],
        clock: 6,
        reset_count: 7,
        restart_count: 8,
        verdict: "trusted".into(),
        reasons: vec![ReasonFact {
            code: "HM-POLICY-0001".into(),
            text: "the \"class\" is allowed".into(),
        }],
        svid_serial: "4d".into(),
        svid_not_after: 9,
        authority_key_label: "key".into(),
    }
}

/// As the server wrote it into records before its facts had a type.
const FACTS_JSON: &str = concat!(
    r#"{"ek_sha256":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","ek_name":"000b","#,
    r#""ek_issuer":"CN=maker","ek_serial":"01","ek_not_after":5,"enrolled_by":"certificate","#,
    r#""manufacturer":"id:4E544300","model":"m","firmware_version":"00","class":"discrete","ak_name":"0b","#,
    r#""ak_activated":true,"svid_key_sha256":"01","nonce":"02","binding":"03","#,
    r#""pcrs":[{"bank":"sha256","pcr":7,"digest":"d7"}],"clock":6,"reset_count":7,"restart_count":8,"#,
    r#""verdict":"trusted","reasons":[{"code":"HM-POLICY-0001","text":"the \"class\" is allowed"}],"#,
    r#""svid_serial":"4d","svid_not_after":9,"authority_key_label":"key"}"#
);

fn rule() -> RefusingRule {
    RefusingRule {
        code: "HM-POLICY-0102".into(),
        holds: false,
        dry_run: false,
        policy: "strict".into(),
        rule: "boot.secure_boot".into(),
        text: "Secure Boot is off".into(),
        expected: Some("on".into()),
        actual: Some("off".into()),
        compared: None,
        first_event: Some(LoggedEvent {
            number: 3,
            pcr: 7,
            kind: "EV_EFI_VARIABLE_DRIVER_CONFIG".into(),
            text: "SecureBoot".into(),
        }),
    }
}

const RULE_JSON: &str = concat!(
    r#"{"code":"HM-POLICY-0102","holds":false,"dry_run":false,"policy":"strict","rule":"boot.secure_boot","#,
    r#""text":"Secure Boot is off","expected":"on","actual":"off","#,
    r#""first_event":{"number":3,"pcr":7,"kind":"EV_EFI_VARIABLE_DRIVER_CONFIG","text":"SecureBoot"}}"#
);

fn accepted(facts: EventPart<AttestedFacts>, evidence_sha256: Option<[u8; 32]>) -> What {
    What::Accepted {
        remote: "[::1]:80".parse().unwrap(),
        attestation_type: "tpm2".into(),
        facts,
        evidence_sha256,
    }
}

fn refused(evidence_sha256: Option<[u8; 32]>) -> What {
    What::Refused {
        remote: "[::1]:80".parse().unwrap(),
        attestation_type: "tpm2".into(),
        text: "no".into(),
        compared: None,
        evidence_sha256,
    }
}

fn reappraised(reason: Option<EventPart<RefusingRule>>, evidence_sha256: Option<[u8; 32]>) -> What {
    What::Reappraised {
        cause: "policy strict".into(),
        was_trusted: true,
        reason,
        evidence_sha256,
    }
}

fn detail(what: What) -> String {
    Event::done("s", what).readable(0, "server").detail
}

fn shown(what: What) -> Value {
    serde_json::from_str(&detail(what)).unwrap()
}

/// The rows say what they said, by the bytes that they had.
#[test]
fn records_from_before_the_types_read_and_keep_their_bytes() {
    for (row, what) in [
        (
            ACCEPTED_BEFORE,
            What::Accepted {
                remote: "127.0.0.1:1".parse().unwrap(),
                attestation_type: "tpm2".into(),
                facts: EventPart::Json("{}".into()),
                evidence_sha256: None,
            },
        ),
        (
            REFUSED_BEFORE,
            What::Refused {
                remote: "[::1]:1".parse().unwrap(),
                attestation_type: "tpm2".into(),
                text: "no".into(),
                compared: Some("1".into()),
                evidence_sha256: None,
            },
        ),
        (
            REAPPRAISED_BEFORE,
            What::Reappraised {
                cause: "c".into(),
                was_trusted: true,
                reason: Some(EventPart::Json("{}".into())),
                evidence_sha256: None,
            },
        ),
        (
            ROLLBACK_BEFORE,
            What::Authority {
                act: "x".into(),
                reason: Some("r".into()),
                facts: vec![("a".into(), "b".into())],
            },
        ),
    ] {
        let read = decode(row).unwrap();
        assert_eq!(read[0].events[0].what, what);
        assert_eq!(decode_events(row).unwrap()[0].events, read[0].events);
        assert!(encode(&read) == row, "{what:?}");
    }
}

/// Who reads records as JSON sees no difference, but for the evidence's digest.
#[test]
fn typed_verdicts_are_shown_as_those_from_before() {
    let facts_before = EventPart::Json(FACTS_JSON.into());
    assert_eq!(
        detail(accepted(facts().into(), None)),
        detail(accepted(facts_before, None))
    );
    assert_eq!(
        detail(accepted(facts().into(), None)),
        format!(r#"{{"facts":{FACTS_JSON},"remote":"[::1]:80","type":"tpm2"}}"#)
    );
    let rule_before = EventPart::Json(RULE_JSON.into());
    assert_eq!(
        detail(reappraised(Some(rule().into()), None)),
        detail(reappraised(Some(rule_before), None))
    );
    assert_eq!(
        shown(reappraised(Some(rule().into()), None))["reason"],
        serde_json::from_str::<Value>(RULE_JSON).unwrap()
    );
    assert_eq!(shown(reappraised(None, None))["reason"], Value::Null);
}

#[test]
fn verdicts_show_the_digest_of_their_evidence() {
    let hex = json!("e1".repeat(32));
    let reason = || Some(rule().into());
    for (with, without) in [
        (accepted(facts().into(), EVIDENCE), accepted(facts().into(), None)),
        (refused(EVIDENCE), refused(None)),
        (reappraised(reason(), EVIDENCE), reappraised(reason(), None)),
    ] {
        let (with, without) = (shown(with), shown(without));
        assert_eq!(with["evidence_sha256"], hex);
        assert!(without.get("evidence_sha256").is_none());
        let mut rest = with;
        rest.as_object_mut().unwrap().remove("evidence_sha256");
        assert_eq!(rest, without);
    }
}

/// The bytes of each kind, by hand: docs/reference/journal.md.
#[test]
fn the_bytes_are_those_that_the_reference_names() {
    let head = [&[0x0a, 1, b's', 0x10, 7][..]];
    let event = |kind: u8, message: &[&[u8]]| {
        let message = message.concat();
        let length = u8::try_from(message.len()).unwrap();
        [&head.concat()[..], &[kind << 3 | 2, length], &message].concat()
    };
    let remote = [&[0x0a, 8][..], b"[::1]:80", &[0x12, 4], b"tpm2"].concat();
    let digest = |field: u8| [&[field << 3 | 2, 32][..], &[0xe1; 32]].concat();
    let few = AttestedFacts {
        ek_sha256: vec![0xaa],
        ak_activated: true,
        ..AttestedFacts::default()
    };
    let of = |what| event_bytes(&Event::done("s", what));
    assert_eq!(
        of(accepted(few.into(), EVIDENCE)),
        event(4, &[&remote, &[0x22, 5, 0x0a, 1, 0xaa, 0x60, 1], &digest(5)])
    );
    assert_eq!(
        of(accepted(EventPart::Json("{}".into()), None)),
        event(4, &[&remote, &[0x1a, 2], b"{}"])
    );
    assert_eq!(
        of(refused(EVIDENCE)),
        event(5, &[&remote, &[0x1a, 2], b"no", &digest(5)])
    );
    let cause = [&[0x0a, 13][..], b"policy strict", &[0x10, 1]].concat();
    let some = RefusingRule {
        code: "c".into(),
        ..RefusingRule::default()
    };
    assert_eq!(
        of(reappraised(Some(some.into()), EVIDENCE)),
        event(6, &[&cause, &[0x22, 3, 0x0a, 1, b'c'], &digest(5)])
    );
    let rollback = What::RollbackAccepted {
        code: "c".into(),
        found: "f".into(),
        incarnation: 7,
        reason: "r".into(),
    };
    let incarnation = [&[0x1a, 16][..], &[0; 15], &[7]].concat();
    assert_eq!(
        event_bytes(&Event::done("s", rollback)),
        [
            &head.concat()[..],
            &[0x82, 0x01, 27, 0x0a, 1, b'c', 0x12, 1, b'f'],
            &incarnation,
            &[0x22, 1, b'r']
        ]
        .concat()
    );
}

/// What has two forms at once, or a digest of another length, is nobody's.
#[test]
fn verdicts_in_other_words_are_refused() {
    let group = |kind: u8, message: &[&[u8]]| {
        let message = message.concat();
        let length = u8::try_from(message.len()).unwrap();
        let event = [&[0x10, 1, kind << 3 | 2, length][..], &message].concat();
        let event_length = u8::try_from(event.len()).unwrap();
        let inner = [&[0x0a, 16][..], &[7; 16], &[0x22, event_length], &event].concat();
        [&[0x0a, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
    };
    let remote = [&[0x0a, 8][..], b"[::1]:80", &[0x12, 4], b"tpm2"].concat();
    let json = [&[0x1a, 2][..], b"{}"].concat();
    let facts = [0x22, 2, 0x60, 1];
    let rule = [0x22, 3, 0x0a, 1, b'c'];
    let digest = |length: u8| [&[0x2a, length][..], &vec![1; usize::from(length)]].concat();
    // The controls.
    for (kind, message) in [
        (4, vec![&remote[..], &facts, &digest(32)]),
        (4, vec![&remote[..], &json, &digest(32)]),
        (5, vec![&remote[..], &json, &digest(32)]),
        (6, vec![&rule[..], &digest(32)]),
        (6, vec![&json[..]]),
    ] {
        decode(&group(kind, &message)).unwrap();
    }
    for (why, kind, message) in [
        ("facts in two forms", 4, vec![&remote[..], &json, &facts]),
        ("a rule in two forms", 6, vec![&json[..], &rule]),
        ("a digest of 31 bytes", 4, vec![&remote[..], &facts, &digest(31)]),
        ("a digest of 33 bytes", 5, vec![&remote[..], &json, &digest(33)]),
        ("an empty digest", 6, vec![&rule[..], &digest(0)]),
        ("a default written", 4, vec![&remote[..], &[0x22, 2, 0x60, 0]]),
        ("an unknown fact", 4, vec![&remote[..], &[0x22, 3, 0xc8, 1, 1]]),
    ] {
        assert!(decode(&group(kind, &message)).is_err(), "{why}");
    }
}

/// What is kept beside a node reads back, also what a version before wrote.
#[test]
fn facts_read_back_from_json() {
    assert_eq!(AttestedFacts::from_json(FACTS_JSON), facts());
    assert_eq!(facts().to_json(), FACTS_JSON);
    assert_eq!(AttestedFacts::from_json(r#"{"nonce":""}"#), AttestedFacts::default());
    assert_eq!(
        AttestedFacts::from_json(r#"{"nonce":"0"}"#),
        AttestedFacts::default(),
        "not hex"
    );
}

#[test]
fn an_accepted_rollback_is_an_act_of_its_own_kind() {
    let event = Event::done(
        "store",
        What::RollbackAccepted {
            code: "HM-STORE-0030".into(),
            found: "no mark".into(),
            incarnation: 0xabc,
            reason: "restored".into(),
        },
    );
    let record = event.readable(5, "uid:0");
    assert_eq!((record.outcome, record.kind.as_str()), (Outcome::Done, "admin"));
    assert_eq!(
        serde_json::from_str::<Value>(&record.detail).unwrap(),
        json!({
            "act": "store-rollback-accepted", "by": "uid:0", "reason": "restored", "code": "HM-STORE-0030",
            "found": "no mark", "incarnation": "00000000000000000000000000000abc",
        })
    );
    let bytes = encode(&[transaction(Vec::new(), vec![event.clone()])]);
    assert_eq!(decode(&bytes).unwrap()[0].events, [event]);
}

/// The fuzz target starts from these.
#[test]
fn the_seeds_are_whole() {
    for seed in [
        &include_bytes!("../../../../tests/fuzz/corpus/journal/accepted")[..],
        include_bytes!("../../../../tests/fuzz/corpus/journal/reappraised"),
        include_bytes!("../../../../tests/fuzz/corpus/journal/rollback"),
        include_bytes!("../../../../tests/fuzz/corpus/journal/installation"),
    ] {
        assert!(encode(&decode(seed).unwrap()) == seed);
    }
}
