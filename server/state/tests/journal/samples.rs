//! A small trust domain: nodes a and b, a further EK of a's machine, entries below a, an authority.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_node::{EkId, InventoryItem, NodeId};
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{
    Appraised, Approvals, AttestationState, Authority, AuthorityState, Change, Configured, Entry, EntryDraft, EntryId,
    Event, Expect, NewEvidence, Node, NodeEvidence, NodeState, NodeSvid, Record, Snapshot, State, TpmName, Transaction,
};
use hallmark_tpm_wire::Name;
use hallmark_verify::history::{AgentRunId, AgentRuns, QuoteClock};

pub(crate) const NOW: i64 = 1_795_392_000;
/// The EK of node a, of its machine's second key, of node b, and of a machine that nobody has seen.
pub(crate) const A: [u8; 32] = [0xaa; 32];
pub(crate) const A2: [u8; 32] = [0xa2; 32];
pub(crate) const B: [u8; 32] = [0xbb; 32];
pub(crate) const NEW: [u8; 32] = [0xee; 32];
pub(crate) const SERIAL: u128 = 77;

pub(crate) fn td() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn id(path: &str) -> SpiffeId {
    SpiffeId::new(&td(), path).unwrap()
}

pub(crate) fn node_id(ek: [u8; 32]) -> SpiffeId {
    NodeId::new(&td(), &ek).unwrap().into_spiffe_id()
}

pub(crate) fn eid(text: &str) -> EntryId {
    EntryId::parse(text).unwrap()
}

pub(crate) fn name(byte: u8) -> Name {
    Name::parse(&[&[0x00, 0x0b][..], &[byte; 32]].concat()).unwrap()
}

pub(crate) fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

pub(crate) fn draft(path: &str, parent: SpiffeId) -> EntryDraft {
    EntryDraft::new(id(path), parent, vec![selector("unix:uid:1")])
}

pub(crate) fn entry(name: &str, path: &str, parent: SpiffeId) -> Entry {
    draft(path, parent).validate(&td(), |_| true, eid(name), NOW).unwrap()
}

pub(crate) fn put_entry(entry: Entry) -> Change {
    Change::PutEntry {
        entry: Arc::new(entry),
        replaces: None,
    }
}

pub(crate) fn node(ek: [u8; 32]) -> Node {
    Node {
        id: node_id(ek),
        attestation_type: "tpm2".into(),
        ek_sha256: Some(ek),
        ak_name: name(ek[0]).as_bytes().to_vec(),
        current: None,
        next: Some(NodeSvid {
            serial: SERIAL,
            expires_at: NOW + 3600,
        }),
        selectors: [selector("tpm2:class:simulator")].into(),
        state: NodeState::Active,
        since: NOW - 100,
        approvals: Approvals::default(),
        untrusted_reason: String::new(),
        appraised: Appraised::default(),
        can_reattest: true,
        agent_version: String::new(),
        facts: "{}".into(),
        attested_at: NOW - 100,
    }
}

/// How far evidence goes whose quote was made at this time of the TPM's clock.
pub(crate) fn attestation(clock: u64) -> AttestationState {
    attestation_in(1, clock)
}

/// The same, in this boot of the machine.
pub(crate) fn attestation_in(reset_count: u32, clock: u64) -> AttestationState {
    let quote = QuoteClock {
        reset_count,
        restart_count: 0,
        clock,
        safe: true,
        firmware_version: 7,
        seen_at: u64::try_from(NOW).unwrap() * 1000 + clock,
    };
    let mut runs = AgentRuns::default();
    runs.observe(AgentRunId(5), quote).unwrap();
    AttestationState::new(quote, runs, None, 0, BTreeMap::new())
}

pub(crate) fn new_evidence(ek: [u8; 32], clock: u64) -> NewEvidence {
    let evidence = NodeEvidence {
        node: node_id(ek),
        judged_at: NOW,
        runs: attestation(clock).runs_json(),
        file: "{}".into(),
        facts: "{}".into(),
        ima: String::new(),
        earlier: String::new(),
    };
    NewEvidence {
        evidence,
        drops_logs: false,
        logs: Vec::new(),
    }
}

pub(crate) fn put_evidence(ek: [u8; 32], clock: u64) -> Change {
    Change::put_evidence(Arc::new(new_evidence(ek, clock)), Arc::new(attestation(clock)))
}

pub(crate) fn line(ek: [u8; 32]) -> InventoryItem {
    InventoryItem::new(EkId::Spki(ek))
}

pub(crate) fn put_name(byte: u8, ek_sha256: [u8; 32]) -> Change {
    Change::PutTpmName(TpmName {
        name: name(byte),
        ek_sha256,
    })
}

pub(crate) fn authority(label: &str) -> Authority {
    Authority {
        upstream: Vec::new(),
        label: label.into(),
        certificate: label.as_bytes().to_vec(),
        created_at: NOW,
        state: AuthorityState::Active,
    }
}

pub(crate) fn transaction(changes: Vec<Change>, events: Vec<Event>) -> Transaction {
    Transaction {
        id: [7; 16],
        at: NOW,
        actor: "uid:0".into(),
        expect: Expect::default(),
        changes,
        events,
    }
}

/// The state of the trust domain, at revision 1.
pub(crate) fn state() -> State {
    let configured = Configured {
        trust: Arc::default(),
        set: Arc::default(),
    };
    let mut state = State::new(&td(), Snapshot::default(), configured);
    let a = node_id(A);
    let expired = Entry {
        expires_at: Some(NOW - 1),
        ..entry("expired", "/expired", a.clone())
    };
    let changes = vec![
        Change::PutNode(Arc::new(node(A))),
        Change::PutNode(Arc::new(node(B))),
        put_evidence(A, 100),
        put_evidence(B, 100),
        put_entry(entry("web", "/web", a.clone())),
        put_entry(entry("child", "/child", id("/web"))),
        put_entry(entry("unrelated", "/unrelated", node_id(B))),
        put_entry(expired),
        put_name(A[0], A),
        put_name(B[0], B),
        Change::PutInventoryLine(Arc::new(line(A))),
        Change::PutMachineEks([EkId::Spki(A), EkId::Spki(A2)].into()),
        Change::PutAuthority(Arc::new(authority("key"))),
        Change::PutBundleSequence(1),
    ];
    state.apply(&Record {
        revision: 1,
        first_event: 1,
        transaction: Arc::new(transaction(changes, Vec::new())),
    });
    state
}
