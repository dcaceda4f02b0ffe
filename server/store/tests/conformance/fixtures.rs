//! Things to store.

use std::{collections::BTreeSet, time::Duration};

use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{Approvals, Entry, EntryId, NodeState};
use hallmark_store::{Agent, NodeSvid, Outcome, Record, RecordKind, SvidIntent, SvidIntents};

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn spiffe_id(path: &str) -> SpiffeId {
    SpiffeId::new(&trust_domain(), path).unwrap()
}

pub(crate) fn selectors(texts: &[&str]) -> BTreeSet<Selector> {
    texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
}

/// An entry with nothing but what every entry has.
pub(crate) fn plain_entry(id: &str, created_at: i64) -> Entry {
    Entry {
        id: EntryId::parse(id).unwrap(),
        spiffe_id: spiffe_id("/web"),
        parent_id: spiffe_id("/node"),
        selectors: selectors(&["unix:uid:0"]),
        x509_svid_ttl: Duration::ZERO,
        jwt_svid_ttl: Duration::ZERO,
        federates_with: BTreeSet::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: String::new(),
        created_at,
        disable_x509_svid_prefetch: false,
        jwt_svid_include_jti: false,
        over_tls: false,
    }
}

/// An entry in which every field differs from that of a plain one, with text that needs quoting.
pub(crate) fn full_entry(id: &str, created_at: i64) -> Entry {
    Entry {
        spiffe_id: spiffe_id("/payments/api"),
        parent_id: spiffe_id("/spire/agent/tpm2/00ff"),
        selectors: selectors(&["unix:uid:1000", "unix:path:/opt/a \"b\"\\ü,[]", "k8s:ns:x:y"]),
        x509_svid_ttl: Duration::from_secs(61),
        jwt_svid_ttl: Duration::from_secs(62),
        federates_with: [TrustDomain::parse("other.test").unwrap()].into(),
        admin: true,
        downstream: true,
        expires_at: Some(4_000_000_000),
        dns_names: vec!["z.example.org".into(), "a.example.org".into()],
        revision: 3,
        store_svid: true,
        hint: "it's \"quoted\"; DROP TABLE entries".into(),
        disable_x509_svid_prefetch: true,
        jwt_svid_include_jti: true,
        over_tls: true,
        ..plain_entry(id, created_at)
    }
}

pub(crate) fn agent(path: &str) -> Agent {
    Agent {
        id: spiffe_id(path),
        attestation_type: "tpm2".into(),
        ek_sha256: Some([7; 32]),
        ak_name: vec![0, 11, 1, 2, 3],
        current: Some(NodeSvid {
            serial: u128::MAX,
            expires_at: 1_900_000_000,
        }),
        next: Some(NodeSvid {
            serial: 1,
            expires_at: 1_900_000_001,
        }),
        selectors: selectors(&["tpm2:class:simulator", "tpm2:pcr:sha256:7:00"]),
        state: NodeState::Active,
        since: 1,
        approvals: Approvals::default(),
        distrust: String::new(),
        can_reattest: true,
        agent_version: "0.1.0".into(),
        facts: r#"{"ek":"x"}"#.into(),
        attested_at: 1_800_000_000,
    }
}

pub(crate) fn verdict(subject: &str, outcome: Outcome) -> Record {
    Record {
        at: 1_800_000_000,
        kind: RecordKind::Verdict,
        subject: subject.into(),
        outcome,
        code: if outcome == Outcome::Refused {
            "HM-VERIFY-0001".into()
        } else {
            String::new()
        },
        detail: r#"{"why":"because"}"#.into(),
    }
}

pub(crate) fn intents(count: u8) -> SvidIntents {
    SvidIntents {
        at: 1_800_000_000,
        holder: "spiffe://example.org/spire/agent/tpm2/00ff".into(),
        svids: (0..count)
            .map(|n| SvidIntent {
                subject: format!("spiffe://example.org/w/{n}").into(),
                serial: u128::from(n) + 0xabc,
                expires_at: 1_800_003_600,
                entry: format!("entry-{n}").into(),
                has_role: false,
            })
            .collect(),
    }
}
