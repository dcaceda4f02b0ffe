//! Things to store.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hallmark_node::EkId;
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{
    Appraised, Approvals, AttestedFacts, Change, Configured, Entry, EntryId, Event, EventRange, Expect,
    ImageAssignment, ImageOrder, InstallStage, Node, NodeState, NodeSvid, Outcome, Record, RecordQuery, State,
    StoredRecord, Transaction, What,
};
use hallmark_store::{Follower, Store};

/// When transactions are decided.
pub(crate) const AT: i64 = 1_800_000_000;
/// Who decides them.
pub(crate) const ACTOR: &str = "spiffe://example.org/spire/agent/tpm2/00ff";

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn spiffe_id(path: &str) -> SpiffeId {
    SpiffeId::new(&trust_domain(), path).unwrap()
}

pub(crate) fn selectors<S: FromIterator<Selector>>(texts: &[&str]) -> S {
    texts.iter().map(|text| Selector::parse(text).unwrap()).collect()
}

/// A transaction that rests on nothing.
pub(crate) fn transaction(changes: Vec<Change>, events: Vec<Event>) -> Transaction {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Ids are unique also among the processes that use one store.
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(()));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Transaction {
        id: ((u128::from(process) << 64) | u128::from(number)).to_be_bytes(),
        at: AT,
        actor: ACTOR.into(),
        expect: Expect::default(),
        changes,
        events,
    }
}

pub(crate) fn changed(changes: Vec<Change>) -> Transaction {
    transaction(changes, Vec::new())
}

pub(crate) fn happened(events: Vec<Event>) -> Transaction {
    transaction(Vec::new(), events)
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

/// An entry in which every field differs from that of a plain one, with text that needs quoting; but it is not stored by the
/// agent, which goes with other fields.
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
        hint: "it's \"quoted\"; DROP TABLE entries".into(),
        disable_x509_svid_prefetch: true,
        jwt_svid_include_jti: true,
        over_tls: true,
        ..plain_entry(id, created_at)
    }
}

pub(crate) fn create(entry: Entry) -> Change {
    Change::PutEntry {
        entry: Arc::new(entry),
        replaces: None,
    }
}

pub(crate) fn node(path: &str) -> Node {
    Node {
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
        untrusted_reason: String::new(),
        appraised: Appraised {
            rules: 3,
            stale_at: Some(1_800_086_400),
        },
        can_reattest: true,
        agent_version: "0.1.0".into(),
        facts: r#"{"ek":"x"}"#.into(),
        attested_at: AT,
    }
}

/// A verdict: accepted, or refused.
pub(crate) fn verdict(subject: &str, outcome: Outcome) -> Event {
    let (remote, attestation_type) = ("127.0.0.1:1".parse().unwrap(), "tpm2".to_owned());
    let (code, what) = if outcome == Outcome::Refused {
        let (text, compared) = ("no".to_owned(), Some("1, 2".to_owned()));
        let what = What::Refused {
            remote,
            attestation_type,
            text,
            compared,
            evidence_sha256: Some([0xe1; 32]),
        };
        ("HM-VERIFY-0001", what)
    } else {
        let facts = AttestedFacts {
            ek_sha256: vec![0xa1; 32],
            verdict: "trusted".to_owned(),
            ..AttestedFacts::default()
        };
        let what = What::Accepted {
            remote,
            attestation_type,
            facts: facts.into(),
            evidence_sha256: Some([0xe1; 32]),
        };
        ("", what)
    };
    Event {
        subject: subject.into(),
        outcome,
        code: code.into(),
        what,
    }
}

pub(crate) fn accepted(subject: &str) -> Event {
    verdict(subject, Outcome::Accepted)
}

pub(crate) fn intents(count: u8) -> Vec<Event> {
    let intent = |n: u8| {
        let id = format!("spiffe://example.org/w/{n}");
        let entry = format!("entry-{n}");
        Event::svid_intent(id.into(), u128::from(n) + 0xabc, 1_800_003_600, entry.into(), None)
    };
    (0..count).map(intent).collect()
}

pub(crate) fn outcome(intents: EventRange, outcome: Outcome) -> Event {
    let code = (outcome == Outcome::Failed).then_some(hallmark_store::INTERRUPTED);
    Event::svid_outcome(intents, outcome, code)
}

/// Every event, oldest first.
pub(crate) async fn all_events(store: &impl Store) -> Vec<StoredRecord> {
    let query = RecordQuery {
        limit: u32::MAX,
        ..Default::default()
    };
    store.records(query).await.unwrap()
}

/// The state as the store has it.
pub(crate) async fn state_of(store: &impl Store) -> State {
    let configured = Configured {
        trust: Arc::default(),
        set: Arc::default(),
    };
    State::new(&trust_domain(), store.load().await.unwrap(), configured)
}

/// Keeps every record that it learns of.
#[derive(Default)]
pub(crate) struct Learned(Mutex<Vec<Record>>);

impl Learned {
    pub(crate) fn of(store: &impl Store) -> Arc<Self> {
        let learned = Arc::new(Self::default());
        store.follow(Arc::<Self>::clone(&learned));
        learned
    }

    pub(crate) fn all(&self) -> Vec<Record> {
        self.0.lock().unwrap().clone()
    }

    /// The number of the last record; 0 without one.
    pub(crate) fn revision(&self) -> u64 {
        self.0.lock().unwrap().last().map_or(0, |record| record.revision)
    }
}

impl Follower for Learned {
    fn follow(&self, records: &[Record]) {
        self.0.lock().unwrap().extend_from_slice(records);
    }
}

/// An image that is assigned under this key.
pub(crate) fn image_assignment(ek: EkId, attempt: u64) -> ImageAssignment {
    ImageAssignment {
        ek,
        attempt,
        order: ImageOrder {
            image: "hallmark-edge".into(),
            version: format!("2026.{attempt}"),
            chunks: 300,
            manifest_url: "http://images.example/edge/manifest".into(),
            manifest_sha256: [7; 32],
            disk: String::new(),
            overwrite: attempt.is_multiple_of(2),
            baseline: "edge".into(),
        },
        stage: InstallStage::Assigned,
        returns: 0,
        restarted_in: None,
        assigned_at: AT,
        since: AT,
    }
}

/// Facts that read back, others for each firmware.
pub(crate) fn machine_facts(firmware: u64) -> String {
    let quote = hallmark_verify::history::QuoteClock {
        reset_count: 1,
        restart_count: 2,
        clock: 3,
        safe: true,
        firmware_version: firmware,
        seen_at: 4,
    };
    let tpm = serde_json::json!({
        "ek_sha256": "00", "class": "virtual", "enrolled_by": "inventory", "inventory": null, "certificate": null,
        "firmware_version": firmware,
    });
    serde_json::json!({ "tpm": tpm, "sighting": quote, "pcrs": {}, "boot": null }).to_string()
}
