//! The encoding of events: the same bytes for the same events, and no other bytes.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use hallmark_spiffe::{Selector, TrustDomain};
use hallmark_state::{
    AttestedFacts, Change, Entry, EntryAct, Event, EventPart, InstallAct, InstallStep, LoggedEvent, NodeState, Outcome,
    PcrFact, PolicyFile, ReasonFact, RecordKind, RefusingRule, Transaction, What,
    journal::{
        encoding::{self, EncodingError, decode_events, encode, event_bytes},
        sha256,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    conflicts::{changes_of_others, policy_file},
    samples::{A, entry, node_id, transaction},
};

/// Transactions beside which no body stands.
fn decode(bytes: &[u8]) -> Result<Vec<Transaction>, EncodingError> {
    encoding::decode(bytes, &mut |_| None)
}

fn texts() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn entries() -> impl Strategy<Value = Entry> {
    let selectors = vec(("[a-z]{1,8}", "[!-~]{1,12}"), 1..4);
    let seconds = (
        0..u64::MAX,
        0..u64::MAX,
        any::<i64>(),
        any::<i64>(),
        option::of(any::<i64>()),
    );
    let flags = any::<[bool; 6]>();
    let names = (vec("[a-z]{1,5}\\.test", 0..3), vec(texts(), 0..3), texts());
    (selectors, seconds, flags, names).prop_map(|(selectors, seconds, flags, (domains, dns_names, hint))| Entry {
        selectors: selectors
            .iter()
            .map(|(kind, value)| Selector::new(kind, value).unwrap())
            .collect(),
        x509_svid_ttl: Duration::from_secs(seconds.0),
        jwt_svid_ttl: Duration::from_secs(seconds.1),
        revision: seconds.2,
        created_at: seconds.3,
        expires_at: seconds.4,
        federates_with: domains.iter().map(|name| TrustDomain::parse(name).unwrap()).collect(),
        dns_names,
        hint,
        admin: flags[0],
        downstream: flags[1],
        store_svid: flags[2],
        disable_x509_svid_prefetch: flags[3],
        jwt_svid_include_jti: flags[4],
        over_tls: flags[5],
        ..entry("web", "/web", node_id(A))
    })
}

fn remotes() -> impl Strategy<Value = SocketAddr> {
    any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..8)
}

fn facts() -> impl Strategy<Value = AttestedFacts> {
    let all = (any::<[u8; 32]>(), vec(texts(), 10), vec(bytes(), 5), any::<[i64; 2]>());
    let clock = any::<(bool, u64, u32, u32)>();
    let pcrs = vec((texts(), any::<u32>(), bytes()), 0..3);
    let reasons = vec((texts(), texts()), 0..3);
    let facts = (all, clock, pcrs, reasons);
    facts.prop_map(|((ek, texts, bytes, times), clock, pcrs, reasons)| AttestedFacts {
        ek_sha256: ek.to_vec(),
        ek_name: bytes[0].clone(),
        ek_issuer: texts[0].clone(),
        ek_serial: texts[1].clone(),
        ek_not_after: times[0],
        enrolled_by: texts[2].clone(),
        manufacturer: texts[3].clone(),
        model: texts[4].clone(),
        firmware_version: texts[5].clone(),
        class: texts[6].clone(),
        ak_name: bytes[1].clone(),
        ak_activated: clock.0,
        svid_key_sha256: bytes[2].clone(),
        nonce: bytes[3].clone(),
        binding: bytes[4].clone(),
        pcrs: pcrs
            .into_iter()
            .map(|(bank, pcr, digest)| PcrFact { bank, pcr, digest })
            .collect(),
        clock: clock.1,
        reset_count: clock.2,
        restart_count: clock.3,
        verdict: texts[7].clone(),
        reasons: reasons
            .into_iter()
            .map(|(code, text)| ReasonFact { code, text })
            .collect(),
        svid_serial: texts[8].clone(),
        svid_not_after: times[1],
        authority_key_label: texts[9].clone(),
    })
}

fn rules() -> impl Strategy<Value = RefusingRule> {
    let event = (any::<[u32; 2]>(), texts(), texts());
    let event = event.prop_map(|([number, pcr], kind, text)| LoggedEvent {
        number,
        pcr,
        kind,
        text,
    });
    let values = vec(option::of(texts()), 3);
    let rule = (vec(texts(), 4), any::<[bool; 2]>(), values, option::of(event));
    rule.prop_map(|(texts, [holds, dry_run], values, first_event)| RefusingRule {
        code: texts[0].clone(),
        holds,
        dry_run,
        policy: texts[1].clone(),
        rule: texts[2].clone(),
        text: texts[3].clone(),
        expected: values[0].clone(),
        actual: values[1].clone(),
        compared: values[2].clone(),
        first_event,
    })
}

fn verdicts() -> BoxedStrategy<What> {
    let digests = || option::of(any::<[u8; 32]>());
    let facts = prop_oneof![facts().prop_map(EventPart::from), texts().prop_map(EventPart::Json)];
    let accepted =
        (remotes(), texts(), facts, digests()).prop_map(|(remote, attestation_type, facts, evidence_sha256)| {
            What::Accepted {
                remote,
                attestation_type,
                facts,
                evidence_sha256,
            }
        });
    let refused = (remotes(), texts(), texts(), option::of(texts()), digests()).prop_map(
        |(remote, attestation_type, text, compared, evidence_sha256)| What::Refused {
            remote,
            attestation_type,
            text,
            compared,
            evidence_sha256,
        },
    );
    let rule = prop_oneof![rules().prop_map(EventPart::from), texts().prop_map(EventPart::Json)];
    let again = (texts(), any::<bool>(), option::of(rule), digests()).prop_map(
        |(cause, was_trusted, reason, evidence_sha256)| What::Reappraised {
            cause,
            was_trusted,
            reason,
            evidence_sha256,
        },
    );
    prop_oneof![accepted, refused, again].boxed()
}

fn svids() -> BoxedStrategy<What> {
    let intent =
        (any::<u128>(), any::<i64>(), texts(), option::of(texts())).prop_map(|(serial, expires_at, entry, holder)| {
            What::SvidIntent {
                serial,
                expires_at,
                entry: entry.into(),
                holder: holder.map(Into::into),
            }
        });
    let outcome = any::<(u64, u64)>().prop_map(|(first, last)| What::SvidOutcome { first, last });
    prop_oneof![intent, outcome].boxed()
}

fn acts() -> BoxedStrategy<What> {
    let states = || option::of(select(&NodeState::ALL[..]));
    let step = (texts(), states(), states(), texts()).prop_map(|(act, from, to, reason)| What::NodeStep {
        act,
        from,
        to,
        reason,
    });
    let act = select(&EntryAct::ALL[..]);
    let entry = (act, entries(), option::of(entries()), texts()).prop_map(|(act, entry, before, reason)| What::Entry {
        act,
        entry: Arc::new(entry),
        before: before.map(Arc::new),
        reason,
    });
    let imported = (any::<[u64; 4]>(), texts()).prop_map(|([added, changed, unchanged, removed], reason)| {
        What::InventoryImported {
            added,
            changed,
            unchanged,
            removed,
            reason,
        }
    });
    let removed =
        (vec(texts(), 0..4), texts()).prop_map(|(removed, reason)| What::InventoryRemoved { removed, reason });
    let parts = (texts(), texts(), any::<(u64, bool)>(), texts(), texts(), texts());
    let file =
        parts.prop_map(
            |(act, kind, (serial, signed), reason, image_signer, replaced_signer)| What::PolicyFile {
                act,
                kind,
                serial,
                signed,
                reason,
                image_signer,
                replaced_signer,
            },
        );
    let facts = vec((texts(), texts()), 0..4);
    let authority =
        (texts(), option::of(texts()), facts).prop_map(|(act, reason, facts)| What::Authority { act, reason, facts });
    let kinds = select(vec![
        RecordKind::Verdict,
        RecordKind::SvidIntent,
        RecordKind::SvidOutcome,
        RecordKind::Admin,
        RecordKind::Provision,
    ]);
    let rollback = (texts(), texts(), any::<u128>(), texts()).prop_map(|(code, found, incarnation, reason)| {
        What::RollbackAccepted {
            code,
            found,
            incarnation,
            reason,
        }
    });
    let older = (kinds, any::<i64>(), texts()).prop_map(|(kind, at, detail)| What::Older { kind, at, detail });
    let act = select(&InstallAct::ALL[..]);
    let install =
        (act, any::<u64>(), vec(texts(), 4), any::<[u8; 32]>()).prop_map(|(act, attempt, texts, manifest_sha256)| {
            What::InstallStep(InstallStep {
                act,
                attempt,
                image: texts[0].clone(),
                version: texts[1].clone(),
                manifest_sha256,
                baseline: texts[2].clone(),
                reason: texts[3].clone(),
            })
        });
    prop_oneof![
        step, entry, imported, removed, file, authority, rollback, install, older
    ]
    .boxed()
}

fn events() -> impl Strategy<Value = Event> {
    let outcomes = select(vec![
        Outcome::Accepted,
        Outcome::Refused,
        Outcome::Pending,
        Outcome::Issued,
        Outcome::Failed,
        Outcome::Interrupted,
        Outcome::Done,
    ]);
    let what = prop_oneof![verdicts(), svids(), acts()];
    (texts(), outcomes, texts(), what).prop_map(|(subject, outcome, code, what)| Event {
        subject: subject.into(),
        outcome,
        code: code.into(),
        what,
    })
}

fn groups() -> impl Strategy<Value = Vec<Transaction>> {
    let one = (any::<[u8; 16]>(), any::<i64>(), texts(), vec(events(), 0..4));
    let one = one.prop_map(|(id, at, actor, events)| Transaction {
        id,
        at,
        actor: actor.into(),
        ..transaction(Vec::new(), events)
    });
    vec(one, 0..4)
}

/// What the encoding has of a transaction.
type Kept = ([u8; 16], i64, Arc<str>, Vec<Event>);

fn kept(group: &[Transaction]) -> Vec<Kept> {
    let kept = group.iter();
    kept.map(|it| (it.id, it.at, Arc::clone(&it.actor), it.events.clone()))
        .collect()
}

proptest! {
    #[test]
    fn what_is_encoded_reads_back(group in groups()) {
        let bytes = encode(&group);
        let read = decode(&bytes).unwrap();
        prop_assert_eq!(kept(&read), kept(&group));
        prop_assert_eq!(kept(&decode_events(&bytes).unwrap()), kept(&group));
        prop_assert_eq!(encode(&read), bytes);
    }

    #[test]
    fn each_event_has_bytes_of_its_own(one in events(), other in events()) {
        prop_assert_eq!(event_bytes(&one) == event_bytes(&other), one == other);
        // They are the bytes that stand in the journal.
        let bytes = event_bytes(&one);
        let group = encode(&[transaction(Vec::new(), vec![one])]);
        prop_assert!(group.ends_with(&bytes));
    }

    /// Whatever is done to the bytes: they are refused, or they are those of other transactions.
    #[test]
    fn changed_bytes_are_refused_or_say_something_else(
        group in groups(),
        at in any::<proptest::sample::Index>(),
        new in any::<u8>(),
        how in 0..4_u8,
    ) {
        let bytes = encode(&group);
        let mut changed = bytes.clone();
        let at = at.index(bytes.len() + 1);
        match how {
            0 => changed.insert(at, new),
            1 => changed.truncate(at),
            2 if at < bytes.len() => drop(changed.remove(at)),
            _ if at < bytes.len() => changed[at] = new,
            _ => changed.push(new),
        }
        if let Ok(read) = decode(&changed) {
            prop_assert_eq!(encode(&read), changed.clone());
            prop_assert_eq!(kept(&read) == kept(&group), changed == bytes);
        }
    }

    #[test]
    fn no_bytes_stop_the_decoder(bytes in vec(any::<u8>(), 0..512)) {
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
    }
}

/// One transaction in which field 1 is `id`, followed by `rest`.
fn group(id: &[u8], rest: &[u8]) -> Vec<u8> {
    let inner = [&[0x0a, u8::try_from(id.len()).unwrap()], id, rest].concat();
    [&[0x0a, u8::try_from(inner.len()).unwrap()][..], &inner].concat()
}

#[test]
fn the_same_in_other_words_is_refused() {
    // The control: a time, an actor and an event about two SVIDs, by hand.
    let outcome = [0x10, 4, 0x42, 4, 0x08, 3, 0x10, 4];
    let rest = [&[0x10, 5, 0x1a, 1, b'x', 0x22, 8][..], &outcome].concat();
    let canonical = group(&[7; 16], &rest);
    let read = decode(&canonical).unwrap();
    assert_eq!((read[0].at, &*read[0].actor), (5, "x"));
    let expected = What::SvidOutcome { first: 3, last: 4 };
    assert_eq!(
        (read[0].events[0].outcome, &read[0].events[0].what),
        (Outcome::Issued, &expected)
    );
    for (why, bytes) in [
        ("id of 15 bytes", group(&[7; 15], &rest)),
        ("id of 17 bytes", group(&[7; 17], &rest)),
        (
            "number in more bytes than it takes",
            group(&[7; 16], &[&[0x10, 0x85, 0x00][..], &rest[2..]].concat()),
        ),
        (
            "default written",
            group(&[7; 16], &[&[0x10, 0][..], &rest[2..]].concat()),
        ),
        ("field twice", group(&[7; 16], &[&[0x10, 6][..], &rest].concat())),
        (
            "fields in another order",
            group(&[7; 16], &[&rest[2..5], &rest[..2], &rest[5..]].concat()),
        ),
        ("unknown field", group(&[7; 16], &[&rest[..], &[0x30, 1]].concat())),
        ("unknown field of the group", [&canonical[..], &[0x10, 1]].concat()),
        (
            "no such outcome",
            group(&[7; 16], &[&rest[..8], &[9], &rest[9..]].concat()),
        ),
        ("event without a kind", group(&[7; 16], &[0x22, 2, 0x10, 4])),
        (
            "two kinds",
            group(&[7; 16], &[0x22, 10, 0x10, 4, 0x32, 0, 0x42, 4, 0x08, 3, 0x10, 4]),
        ),
        ("longer than there are bytes", canonical[..canonical.len() - 1].to_vec()),
        ("length beyond all bytes", vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("text that is no UTF-8", group(&[7; 16], &[0x1a, 1, 0xff])),
    ] {
        assert!(decode(&bytes).is_err(), "{why}");
    }
    assert!(decode(&[]).unwrap().is_empty());
}

/// Names and texts have one form each.
#[test]
fn what_is_spelt_otherwise_is_refused() {
    let step = What::NodeStep {
        act: "x".into(),
        from: Some(NodeState::Active),
        to: None,
        reason: String::new(),
    };
    let sorted = Entry {
        selectors: ["unix:uid:1", "unix:uid:2"]
            .map(|text| Selector::parse(text).unwrap())
            .into(),
        ..entry("web", "/web", node_id(A))
    };
    let created = What::Entry {
        act: EntryAct::Created,
        entry: Arc::new(sorted),
        before: None,
        reason: String::new(),
    };
    let accepted = What::Accepted {
        remote: "[::1]:80".parse().unwrap(),
        attestation_type: "tpm2".into(),
        facts: AttestedFacts::default().into(),
        evidence_sha256: None,
    };
    for (what, from, to) in [
        (&step, "active", "Active"),
        (&created, "unix:uid:1", "unix:uid:3"),
        (&created, "entry-created", "entry-creates"),
        (&created, "spiffe://example.org/web", "spiffe://Example.org/web"),
        (&accepted, "[::1]:80", "[0::1]:8"),
    ] {
        let bytes = encode(&[transaction(Vec::new(), vec![Event::done("s", what.clone())])]);
        assert!(decode(&bytes).is_ok());
        let at = bytes
            .windows(from.len())
            .position(|part| part == from.as_bytes())
            .unwrap();
        let mut changed = bytes;
        changed[at..at + from.len()].copy_from_slice(to.as_bytes());
        assert!(decode(&changed).is_err(), "{from} as {to}");
    }
}

/// Many empty messages in few bytes: refused in a time and a memory that go with the bytes.
#[test]
fn many_empty_messages_are_refused() {
    let count = 200_000;
    assert!(decode(&[0x0a, 0x00].repeat(count)).is_err());
    let events = [0x22, 0x00].repeat(count);
    let mut length = Vec::new();
    let mut left = events.len();
    while left >= 0x80 {
        length.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    length.push(u8::try_from(left).unwrap());
    assert!(decode(&[&[0x0a][..], &length, &events].concat()).is_err());
}

/// Changes of every kind read back as the same bytes, and no two of them have the same.
#[test]
fn changes_read_back_and_have_bytes_of_their_own() {
    let mut all = Vec::new();
    for (name, change) in changes_of_others() {
        let body = match &change {
            Change::PutPolicyFile(file) => vec![file.payload.clone(), file.signed.as_bytes().to_vec()],
            _ => Vec::new(),
        };
        let mut find = |sha256_: &[u8; 32]| body.iter().find(|body| sha256(body) == *sha256_).cloned();
        let mut keys = BTreeSet::new();
        change.keys(|key| {
            keys.insert(key);
        });
        let bytes = encode(&[transaction(vec![change], Vec::new())]);
        let read = encoding::decode(&bytes, &mut find).unwrap();
        assert_eq!(read[0].changes.len(), 1, "{name}");
        assert_eq!(encode(&read), bytes, "{name}");
        // It touches what the one that was made touched.
        let mut read_keys = BTreeSet::new();
        read[0].changes[0].keys(|key| {
            read_keys.insert(key);
        });
        assert_eq!(read_keys, keys, "{name}");
        assert!(decode_events(&bytes).unwrap()[0].changes.is_empty());
        // Cut short, or with a byte more, it is refused.
        assert!(
            encoding::decode(&bytes[..bytes.len() - 1], &mut find).is_err(),
            "{name}"
        );
        let longer = [&bytes[..], &[0]].concat();
        assert!(encoding::decode(&longer, &mut find).is_err(), "{name}");
        all.push((name, bytes));
    }
    for (n, (name, bytes)) in all.iter().enumerate() {
        let same = all[..n].iter().find(|(_, other)| other == bytes);
        assert!(same.is_none(), "{name} and {:?}", same.map(|(name, _)| name));
    }
}

/// The texts of policies stand beside: without them, or with others, a record is not whole.
#[test]
fn a_body_that_is_missing_or_another_one_is_refused() {
    let file = Change::PutPolicyFile(Arc::new(PolicyFile {
        payload: b"one".to_vec(),
        ..PolicyFile::clone(&policy_file("p"))
    }));
    let bytes = encode(&[transaction(vec![file], Vec::new())]);
    let with = |body: Option<&[u8]>| encoding::decode(&bytes, &mut |_| body.map(<[u8]>::to_vec));
    assert!(with(Some(b"one")).is_ok());
    assert!(with(Some(b"two")).is_err());
    assert!(with(None).is_err());
    // Readers of events do not need it.
    assert!(decode_events(&bytes).is_ok());
}
