//! The state is a fold: what a server has in memory is what a start makes of the store.

use std::sync::{Arc, Mutex};

use hallmark_evidence::{LogKind, ima::ImaReplay};
use hallmark_node::{EkId, InventoryItem};
use hallmark_spiffe::SpiffeId;
use hallmark_state::{
    Action, Appraised, Approvals, AttestationState, Authority, AuthorityState, Change, EkCertificate, Entry,
    FirstRequest, ImageAssignment, InstallStage, JwtKey, LINES, LogPart, Manifest, NewEvidence, Node, NodeEvidence,
    NodeFacts, NodeState, PolicyFile, PublishedJwtKey, Record, State, TpmName, Transaction, UpstreamBundle,
    UpstreamJwtKey, UpstreamRoot, UpstreamRootState,
    journal::{encoding::encode, sha256},
};
use hallmark_store::{Follower, Store};
use hallmark_tpm_wire::{HashAlg, Name};
use hallmark_verify::history::AgentRunId;
use proptest::{collection::vec, prelude::*};

use super::{
    Place, accepted, changed, full_entry, image_assignment, machine_facts, node, plain_entry, quote_clock, selectors,
    spiffe_id, state_of, transaction,
};

/// A state that follows, and what it learned.
struct Followed(Mutex<(State, Vec<Record>)>);

impl Follower for Followed {
    fn follow(&self, records: &[Record]) {
        let mut followed = self.0.lock().unwrap();
        records.iter().for_each(|record| followed.0.apply(record));
        followed.1.extend_from_slice(records);
    }
}

/// Every record after `revision`, read in pages.
async fn records_after(store: &impl Store, mut revision: u64) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let page = store.records_after(revision, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { return all };
        revision = last.revision;
        all.extend(page);
    }
}

/// What a record says, but for what it rested on.
fn said(record: &Record) -> (u64, u64, Vec<u8>) {
    let bytes = encode([&*record.transaction]);
    (record.revision, record.first_event, bytes)
}

/// Which change, and what it is about.
type Step = (u8, u8, u8, u8);
/// Kinds of step.
const KINDS: u8 = 29;

fn name(byte: u8) -> Name {
    Name::parse(&[&[0x00, 0x0b][..], &[byte; 32]].concat()).unwrap()
}

fn node_id(a: u8) -> SpiffeId {
    spiffe_id(&format!("/spire/agent/tpm2/{}", a % 3))
}

fn ek(a: u8) -> EkId {
    if a.is_multiple_of(4) {
        EkId::of_name(&name(a)).unwrap()
    } else {
        EkId::Spki([a % 8; 32])
    }
}

/// What a step changes; `None` where the state has nothing to change.
fn change(state: &State, (kind, a, b, c): Step) -> Option<Change> {
    let known = || state.node(&node_id(a)).cloned();
    let appraised = Appraised {
        // Nothing is judged by rules of a record that is not there yet.
        rules: u64::from(b % 4).min(state.revision()),
        stale_at: (c % 3 > 0).then_some(i64::from(c)),
    };
    Some(match kind % KINDS {
        0 => put_entry(state, a, b, c),
        1 => Change::DeleteEntry(Arc::clone(state.entries().entry(format!("e{}", a % 4).as_str())?)),
        2 => Change::PutNode(Arc::new(a_node(a, b, c, appraised))),
        3 => Change::DeleteNode(known()?.id.clone()),
        4 => Change::PutAppraised {
            node: known()?.id.clone(),
            appraised,
        },
        5 => Change::PutInventoryLine(Arc::new(InventoryItem {
            other_eks: [ek(b), ek(c)].into_iter().filter(|other| *other != ek(a)).collect(),
            serial: format!("SN {b}"),
            expires: Some(i64::from(c)),
            ..InventoryItem::new(ek(a))
        })),
        6 => Change::DeleteInventoryLine(Arc::clone(state.inventory().lines().get(&ek(a))?)),
        7 => put_evidence(state, a, b, c),
        8 => Change::PutQuoteTime {
            node: node_id(a),
            state: Arc::new(state.attestation(&node_id(a))?.without_time()),
        },
        9 => Change::put_facts(Arc::new(NodeFacts {
            node: state.attestation(&node_id(a)).map(|_| node_id(a))?,
            facts: machine_facts(b.into()),
            revision: 0,
        })),
        10 => Change::put_ek_certificate(Arc::new(EkCertificate {
            ek_sha256: [a; 32],
            certificate: b.to_string(),
        })),
        11 => Change::PutTpmName(TpmName {
            name: name(a % 6),
            ek_sha256: [b % 4; 32],
        }),
        12 => Change::PutMachineEks([ek(a), ek(b), ek(c)].into()),
        13 => put_policy_file(a, b, c),
        14 => Change::put_rules(
            Arc::clone(&state.rules().set),
            Manifest::new([("rules".to_owned(), [c; 32])]),
        ),
        15 => Change::put_trust(Arc::default()),
        16 => put_authority(a, b, c),
        17 => Change::PutBundleSequence(state.bundle_sequence() + u64::from(a % 3)),
        18 => Change::PutRequests {
            node: node_id(a),
            action: [Action::Unban, Action::Resume][usize::from(b % 2)],
            requests: (0..c % 3).map(|n| request(n, b)).collect(),
        },
        19 => Change::PutRoleSvid {
            serial: u128::from(a % 16),
            agent: node_id(b),
            issued_at: 5,
            expires_at: 6 + i64::from(c),
        },
        20 => Change::DeleteAuthority {
            certificate: state.authorities().first()?.certificate.clone(),
        },
        21 => Change::PutImageAssignment(Arc::new(ImageAssignment {
            stage: stage(b),
            returns: u32::from(b),
            ..image_assignment(ek(a), u64::from(c))
        })),
        22 => Change::DeleteImageAssignment(*state.image_assignments().keys().next()?),
        23 => put_jwt_key(a, b, c),
        24 => Change::DeleteJwtKey {
            key_id: state.jwt_keys().first()?.key_id.clone(),
        },
        25 | 26 => published_jwt_key(state, (kind, a, b, c))?,
        28 => put_upstream(a, b, c),
        // What is not there, and what is there already.
        27 => Change::DeleteEntry(Arc::new(plain_entry("absent", 1))),
        _ => Change::PutEntry {
            entry: Arc::clone(state.entries().entry(format!("e{}", a % 4).as_str())?),
            replaces: None,
        },
    })
}

/// Makes one change of each kind that leaves a row behind.
pub(crate) async fn a_change_of_each_kind_is_taken(store: &impl Store) {
    for kind in [2, 0, 5, 7, 10, 11, 12, 13, 14, 16, 17, 18, 19, 4, 21, 23, 25, 28] {
        let state = state_of(store).await;
        let change = change(&state, (kind, 1, 2, 5)).unwrap();
        let events = vec![accepted(&format!("step {kind}"))];
        let transaction = Transaction {
            events,
            ..changed(vec![change])
        };
        store.commit(transaction).await.unwrap();
    }
}

fn put_upstream(a: u8, b: u8, c: u8) -> Change {
    let roots = (0..a % 3).map(|n| UpstreamRoot {
        certificate: vec![0x30, n],
        added_at: i64::from(b),
        state: [UpstreamRootState::Current, UpstreamRootState::Revoked][usize::from(c % 2)],
    });
    let jwt_keys = (0..b % 3).map(|n| UpstreamJwtKey {
        key_id: format!("above{n}"),
        public_key: vec![0x30, c],
        expires_at: i64::from(c),
        tainted: a % 2 == 1,
    });
    Change::PutUpstream(Arc::new(UpstreamBundle {
        roots: roots.collect(),
        jwt_keys: jwt_keys.collect(),
    }))
}

fn put_authority(a: u8, b: u8, c: u8) -> Change {
    Change::PutAuthority(Arc::new(Authority {
        upstream: (0..c % 3).map(|n| vec![0x30, n]).collect(),
        label: format!("key{}", b % 3),
        certificate: vec![0x30, a % 5],
        created_at: i64::from(c % 3),
        state: [AuthorityState::Prepared, AuthorityState::Active, AuthorityState::Old][usize::from(b % 3)],
    }))
}

fn published_jwt_key(state: &State, (kind, a, b, c): (u8, u8, u8, u8)) -> Option<Change> {
    if kind == 26 {
        let key_id = state.published_jwt_keys().first()?.key_id.clone();
        return Some(Change::DeletePublishedJwtKey { key_id });
    }
    Some(Change::PutPublishedJwtKey(Arc::new(PublishedJwtKey {
        key_id: format!("below{}", a % 4),
        public_key: vec![0x30, c],
        publisher: node_id(b),
        agent: node_id(c),
        published_at: i64::from(b),
        expires_at: i64::from(c),
    })))
}

fn put_jwt_key(a: u8, b: u8, c: u8) -> Change {
    Change::PutJwtKey(Arc::new(JwtKey {
        key_id: format!("kid{}", a % 4),
        label: format!("jwt{}", b % 3),
        public_key: vec![0x30, c],
        created_at: i64::from(b),
        expires_at: i64::from(c),
        state: [AuthorityState::Active, AuthorityState::Old, AuthorityState::Tainted][usize::from(c % 3)],
    }))
}

fn put_policy_file(a: u8, b: u8, c: u8) -> Change {
    Change::PutPolicyFile(Arc::new(PolicyFile {
        kind: ["policy", "baseline"][usize::from(a % 2)].to_owned(),
        name: format!("p{}", b % 3),
        serial: u64::from(c),
        payload: vec![a, b, c],
        signed: String::new(),
        applied_at: 5,
        in_force: c.is_multiple_of(2),
    }))
}

fn put_entry(state: &State, a: u8, b: u8, c: u8) -> Change {
    let id = format!("e{}", a % 4);
    let replaces = state.entries().entry(id.as_str()).cloned();
    let whole = if b.is_multiple_of(2) {
        full_entry(&id, 1)
    } else {
        plain_entry(&id, 1)
    };
    let entry = Entry {
        created_at: replaces.as_ref().map_or(i64::from(b), |before| before.created_at),
        spiffe_id: spiffe_id(&format!("/w/{}", c % 3)),
        parent_id: if c.is_multiple_of(2) {
            spiffe_id("/spire/server")
        } else {
            node_id(c)
        },
        ..whole
    };
    Change::PutEntry {
        entry: Arc::new(entry),
        replaces,
    }
}

fn a_node(a: u8, b: u8, c: u8, appraised: Appraised) -> Node {
    Node {
        ek_sha256: (!c.is_multiple_of(5)).then_some([a; 32]),
        // Names that were never proven as such, too.
        ak_name: if b.is_multiple_of(3) {
            Vec::new()
        } else {
            name(0x40 + b % 4).as_bytes().to_vec()
        },
        next: None,
        selectors: selectors(&[&format!("tpm2:x:{c}")]),
        state: NodeState::ALL[usize::from(b) % NodeState::ALL.len()],
        approvals: Approvals::default(),
        untrusted_reason: if c.is_multiple_of(2) {
            String::new()
        } else {
            "HM-POLICY-0102".into()
        },
        appraised,
        ..node(&format!("/spire/agent/tpm2/{}", a % 3))
    }
}

fn stage(b: u8) -> InstallStage {
    match b % 6 {
        0 => InstallStage::Assigned,
        1 => InstallStage::Writing { done: u32::from(b) },
        2 => InstallStage::Written,
        3 => InstallStage::Restarting,
        4 => InstallStage::Done,
        _ => InstallStage::Failed {
            code: "HM-IMAGE-0022".into(),
            reason: format!("disk {b}"),
        },
    }
}

fn request(n: u8, b: u8) -> FirstRequest {
    FirstRequest {
        id: spiffe_id(&format!("/ops/{n}")),
        agent: node_id(b),
        issued_at: i64::from(n),
        at: i64::from(b),
    }
}

/// Evidence that goes on from what is kept, or begins anew.
fn put_evidence(state: &State, a: u8, b: u8, c: u8) -> Change {
    let node = node_id(a);
    let before = state.attestation(&node).filter(|_| !b.is_multiple_of(3));
    let mut runs = before.map(|before| before.runs.clone()).unwrap_or_default();
    let clock = before.map_or(100, |before| before.quote_clock.clock + 1);
    let quote = quote_clock(
        clock,
        before.map_or(1, |before| before.quote_clock.seen_at + u64::from(c)),
    );
    let _ = runs.observe(AgentRunId(u64::from(b % 2)), quote);
    let quote_clock = runs.last().copied().unwrap_or(quote);
    let mut lengths = before.map(|before| before.lengths().clone()).unwrap_or_default();
    let mut logs = Vec::new();
    let data = vec![c; usize::from(c % 4)];
    let kind = LogKind::ALL[usize::from(c) % LogKind::ALL.len()];
    let (held, added) = (lengths.get(&kind).copied().unwrap_or_default(), u64::from(c % 4));
    if added > 0 {
        lengths.insert(kind, held + added);
        logs.push(LogPart {
            kind: kind.number(),
            offset: held,
            data: data.clone(),
        });
    }
    let lines = before.map_or(0, |before| before.lines);
    logs.push(LogPart {
        kind: LINES,
        offset: lines,
        data,
    });
    let ima = (!c.is_multiple_of(5)).then(|| ImaReplay::at_boot(HashAlg::Sha256));
    let state = AttestationState::new(quote_clock, runs, ima, lines + added, lengths).of_evidence(sha256(b"{}"));
    let evidence = NodeEvidence {
        node,
        judged_at: i64::from(a),
        runs: state.runs_json(),
        file: "{}".into(),
        facts: machine_facts(a.into()),
        ima: state
            .ima
            .as_ref()
            .map_or_else(String::new, |ima| serde_json::to_string(ima).unwrap()),
        earlier: String::new(),
    };
    let new = NewEvidence {
        evidence,
        drops_logs: before.is_none(),
        logs,
    };
    Change::put_evidence(Arc::new(new), Arc::new(state))
}

/// The changes of one transaction. Of evidence it has one change: each goes on from what the state has.
fn changes(state: &State, steps: &[Step]) -> Vec<Change> {
    let mut of_evidence = 0;
    let steps = steps.iter().filter(|step| {
        of_evidence += usize::from((7..=9).contains(&(step.0 % KINDS)));
        of_evidence <= 1
    });
    steps.filter_map(|step| change(state, *step)).collect()
}

async fn follow_and_compare(place: &impl Place, rounds: &[Vec<Vec<Step>>]) {
    for round in rounds {
        let store = place.open();
        let mut second = state_of(&store).await;
        let begin = second.revision();
        let followed = Arc::new(Followed(Mutex::new((state_of(&store).await, Vec::new()))));
        store.follow(Arc::<Followed>::clone(&followed));
        for steps in round {
            let changes = changes(&followed.0.lock().unwrap().0, steps);
            let transaction = Transaction {
                events: vec![accepted("a")],
                ..changed(changes)
            };
            let before = followed.0.lock().unwrap().0.revision();
            match store.commit(transaction).await {
                Ok(committed) => assert_eq!(committed.revision, before + 1),
                Err(error) => assert!(error.is_refusal(), "{error:?}"),
            }
        }
        let same = |other: &State| {
            let followed = followed.0.lock().unwrap();
            assert_eq!(followed.0.differences(other), Vec::<&str>::new());
        };
        same(&state_of(&store).await);
        // A second state of the snapshot that was there before, and of the records since.
        let records = records_after(&store, begin).await;
        let learned: Vec<_> = followed.0.lock().unwrap().1.iter().map(said).collect();
        assert_eq!(records.iter().map(said).collect::<Vec<_>>(), learned);
        records.iter().for_each(|record| second.apply(record));
        same(&second);
        drop(store);
        place.examine();
        let store = place.open();
        same(&state_of(&store).await);
        let again = records_after(&store, begin).await;
        assert_eq!(again.iter().map(said).collect::<Vec<_>>(), learned);
    }
}

/// Steps of every kind, in transactions, between restarts.
fn rounds() -> impl Strategy<Value = Vec<Vec<Vec<Step>>>> {
    let step = (0..KINDS, any::<u8>(), any::<u8>(), any::<u8>());
    vec(vec(vec(step, 1..4), 1..25), 1..3)
}

pub(crate) fn a_state_that_followed_is_the_one_that_a_start_makes<P: Place>(fresh: impl Fn() -> P) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(40)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let done = runner.run(&rounds(), |rounds| {
        runtime.block_on(follow_and_compare(&fresh(), &rounds));
        Ok(())
    });
    done.unwrap();
}

/// The control: a state that missed one record differs, whichever it is.
pub(crate) async fn a_state_that_missed_a_record_differs(place: &impl Place) {
    let store = place.open();
    for (kind, part) in [
        (0, "entries"),
        (2, "nodes"),
        (5, "inventory"),
        (7, "attestations"),
        (11, "names of TPMs"),
        (12, "machines"),
        (13, "policy files"),
        (14, "rules"),
        (16, "authorities"),
        (17, "bundle"),
        (18, "requests"),
        (21, "image assignments"),
    ] {
        let before = state_of(&store).await;
        let change = change(&before, (kind, 1, 2, 5)).unwrap();
        store.commit(changed(vec![change])).await.unwrap();
        let differences = before.differences(&state_of(&store).await);
        assert!(
            differences.contains(&part) && differences.contains(&"revision"),
            "{part}: {differences:?}"
        );
    }
}

/// Of rules and trust that another server made of its configuration a record has what they are made of: a state that reads
/// them knows that it does not have them.
pub(crate) async fn rules_and_trust_of_others_are_known_as_such(store: &impl Store) {
    let control = state_of(store).await;
    assert_eq!(control.unknown(), None);
    let rules = Change::put_rules(Arc::default(), Manifest::new([("configuration".to_owned(), [1; 32])]));
    let trust = Change::put_trust(Arc::default());
    for (change, unknown) in [(rules, "rules"), (trust, "trust")] {
        let (mut own, mut other) = (state_of(store).await, state_of(store).await);
        let before = own.revision();
        let made = transaction(vec![change], Vec::new());
        let revision = store.commit(made.clone()).await.unwrap().revision;
        own.apply(&Record {
            revision,
            first_event: 1,
            transaction: Arc::new(made),
        });
        let read = store.records_after(before, 10).await.unwrap();
        read.iter().for_each(|record| other.apply(record));
        assert_eq!((own.unknown(), other.unknown()), (None, Some(unknown)));
        assert_eq!(own.rules().digest, other.rules().digest);
    }
    // Rules of the same parts are the same, whoever made them.
    let same = Change::put_rules(Arc::default(), Manifest::new([("configuration".to_owned(), [1; 32])]));
    let mut other = state_of(store).await;
    store.commit(changed(vec![same])).await.unwrap();
    for record in store.records_after(other.revision(), 10).await.unwrap() {
        other.apply(&record);
    }
    assert_eq!(other.unknown(), None);
}

/// A page has at most as many records as were asked for, and ends with the journal.
pub(crate) async fn records_are_read_in_pages(place: &impl Place) {
    let store = place.open();
    for n in 0..7_u8 {
        let id = format!("e{n}");
        let together = (0..=n).map(|k| {
            let create = super::create(plain_entry(&format!("{id}-{k}"), 1));
            store.commit(transaction(vec![create], vec![accepted("a")]))
        });
        for committed in futures_util::future::join_all(together).await {
            committed.unwrap();
        }
    }
    let last = store.statistics().revision;
    for limit in [1, 5, 100] {
        for after in 0..=last {
            let page = store.records_after(after, limit).await.unwrap();
            let revisions: Vec<u64> = page.iter().map(|record| record.revision).collect();
            let expected: Vec<u64> = (after + 1..=last.min(after + u64::from(limit))).collect();
            assert_eq!(revisions, expected);
            assert!(page.iter().all(|record| record.first_event == record.revision));
        }
    }
    assert!(store.records_after(last + 5, 1).await.unwrap().is_empty());
    assert!(store.records_after(0, 0).await.unwrap().is_empty());
}
