//! Messages of the rows of the state: entries, nodes, lines of the inventory, how far evidence goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hallmark_evidence::LogKind;
use hallmark_node::{EkId, InventoryItem, Maker, Model, TpmClass};
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};

use super::{EncodingError, wrong};
use crate::{
    Appraised, Approval, Approvals, AttestationState, Entry, EntryId, HeldEvidence, LINES, Node, NodeState, NodeSvid,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct EntryMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    spiffe_id: String,
    #[prost(string, tag = "3")]
    parent_id: String,
    #[prost(string, repeated, tag = "4")]
    selectors: Vec<String>,
    #[prost(uint64, tag = "5")]
    x509_svid_ttl: u64,
    #[prost(uint64, tag = "6")]
    jwt_svid_ttl: u64,
    #[prost(string, repeated, tag = "7")]
    federates_with: Vec<String>,
    #[prost(bool, tag = "8")]
    admin: bool,
    #[prost(bool, tag = "9")]
    downstream: bool,
    #[prost(int64, optional, tag = "10")]
    expires_at: Option<i64>,
    #[prost(string, repeated, tag = "11")]
    dns_names: Vec<String>,
    #[prost(int64, tag = "12")]
    revision: i64,
    #[prost(bool, tag = "13")]
    store_svid: bool,
    #[prost(string, tag = "14")]
    hint: String,
    #[prost(int64, tag = "15")]
    created_at: i64,
    #[prost(bool, tag = "16")]
    disable_x509_svid_prefetch: bool,
    #[prost(bool, tag = "17")]
    jwt_svid_include_jti: bool,
    #[prost(bool, tag = "18")]
    over_tls: bool,
}

pub(super) fn entry_message(entry: &Entry) -> EntryMessage {
    EntryMessage {
        id: entry.id.to_string(),
        spiffe_id: entry.spiffe_id.to_string(),
        parent_id: entry.parent_id.to_string(),
        selectors: entry.selectors.iter().map(ToString::to_string).collect(),
        x509_svid_ttl: entry.x509_svid_ttl.as_secs(),
        jwt_svid_ttl: entry.jwt_svid_ttl.as_secs(),
        federates_with: entry.federates_with.iter().map(ToString::to_string).collect(),
        admin: entry.admin,
        downstream: entry.downstream,
        expires_at: entry.expires_at,
        dns_names: entry.dns_names.clone(),
        revision: entry.revision,
        store_svid: entry.store_svid,
        hint: entry.hint.clone(),
        created_at: entry.created_at,
        disable_x509_svid_prefetch: entry.disable_x509_svid_prefetch,
        jwt_svid_include_jti: entry.jwt_svid_include_jti,
        over_tls: entry.over_tls,
    }
}

pub(super) fn entry(it: EntryMessage) -> Result<Entry, EncodingError> {
    let selectors = it.selectors.iter().map(|text| Selector::parse(text));
    let federates_with = it.federates_with.iter().map(|name| TrustDomain::parse(name));
    Ok(Entry {
        id: EntryId::parse(&it.id).map_err(|_| wrong("entry id"))?,
        spiffe_id: spiffe_id(&it.spiffe_id)?,
        parent_id: spiffe_id(&it.parent_id)?,
        selectors: selectors.collect::<Result<_, _>>().map_err(|_| wrong("selector"))?,
        x509_svid_ttl: Duration::from_secs(it.x509_svid_ttl),
        jwt_svid_ttl: Duration::from_secs(it.jwt_svid_ttl),
        federates_with: federates_with
            .collect::<Result<_, _>>()
            .map_err(|_| wrong("trust domain"))?,
        admin: it.admin,
        downstream: it.downstream,
        expires_at: it.expires_at,
        dns_names: it.dns_names,
        revision: it.revision,
        store_svid: it.store_svid,
        hint: it.hint,
        created_at: it.created_at,
        disable_x509_svid_prefetch: it.disable_x509_svid_prefetch,
        jwt_svid_include_jti: it.jwt_svid_include_jti,
        over_tls: it.over_tls,
    })
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NodeMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    attestation_type: String,
    #[prost(bytes = "vec", optional, tag = "3")]
    ek_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", tag = "4")]
    ak_name: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    current: Option<NodeSvidMessage>,
    #[prost(message, optional, tag = "6")]
    next: Option<NodeSvidMessage>,
    #[prost(string, repeated, tag = "7")]
    selectors: Vec<String>,
    #[prost(string, tag = "8")]
    state: String,
    #[prost(int64, tag = "9")]
    since: i64,
    #[prost(message, repeated, tag = "10")]
    approvals: Vec<ApprovalMessage>,
    #[prost(string, tag = "11")]
    untrusted_reason: String,
    #[prost(uint64, tag = "12")]
    appraised_rules: u64,
    #[prost(int64, optional, tag = "13")]
    stale_at: Option<i64>,
    #[prost(bool, tag = "14")]
    can_reattest: bool,
    #[prost(string, tag = "15")]
    agent_version: String,
    #[prost(string, tag = "16")]
    facts: String,
    #[prost(int64, tag = "17")]
    attested_at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeSvidMessage {
    #[prost(bytes = "vec", tag = "1")]
    serial: Vec<u8>,
    #[prost(int64, tag = "2")]
    expires_at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ApprovalMessage {
    #[prost(uint32, tag = "1")]
    uid: u32,
    #[prost(bytes = "vec", tag = "2")]
    ek_sha256: Vec<u8>,
    #[prost(int64, tag = "3")]
    at: i64,
}

pub(super) fn node_message(node: &Node) -> NodeMessage {
    let svid = |svid: NodeSvid| NodeSvidMessage {
        serial: svid.serial.to_be_bytes().to_vec(),
        expires_at: svid.expires_at,
    };
    let approval = |yes: &Approval| ApprovalMessage {
        uid: yes.uid,
        ek_sha256: yes.ek_sha256.to_vec(),
        at: yes.at,
    };
    NodeMessage {
        id: node.id.to_string(),
        attestation_type: node.attestation_type.clone(),
        ek_sha256: node.ek_sha256.map(|ek| ek.to_vec()),
        ak_name: node.ak_name.clone(),
        current: node.current.map(svid),
        next: node.next.map(svid),
        selectors: node.selectors.iter().map(ToString::to_string).collect(),
        state: node.state.as_str().to_owned(),
        since: node.since,
        approvals: node.approvals.all().iter().map(approval).collect(),
        untrusted_reason: node.untrusted_reason.clone(),
        appraised_rules: node.appraised.rules,
        stale_at: node.appraised.stale_at,
        can_reattest: node.can_reattest,
        agent_version: node.agent_version.clone(),
        facts: node.facts.clone(),
        attested_at: node.attested_at,
    }
}

pub(super) fn node(it: NodeMessage) -> Result<Node, EncodingError> {
    let svid = |svid: NodeSvidMessage| {
        Ok(NodeSvid {
            serial: serial(svid.serial)?,
            expires_at: svid.expires_at,
        })
    };
    let approval = |yes: ApprovalMessage| {
        Ok(Approval {
            uid: yes.uid,
            ek_sha256: hash(&yes.ek_sha256)?,
            at: yes.at,
        })
    };
    let approvals = it.approvals.into_iter().map(approval);
    let selectors = it.selectors.iter().map(|text| Selector::parse(text));
    Ok(Node {
        id: spiffe_id(&it.id)?,
        attestation_type: it.attestation_type,
        ek_sha256: it.ek_sha256.as_deref().map(hash).transpose()?,
        ak_name: it.ak_name,
        current: it.current.map(svid).transpose()?,
        next: it.next.map(svid).transpose()?,
        selectors: selectors.collect::<Result<_, _>>().map_err(|_| wrong("selector"))?,
        state: NodeState::from_name(&it.state).ok_or_else(|| wrong("state of a node"))?,
        since: it.since,
        approvals: Approvals::new(approvals.collect::<Result<Vec<_>, EncodingError>>()?),
        untrusted_reason: it.untrusted_reason,
        appraised: Appraised {
            rules: it.appraised_rules,
            stale_at: it.stale_at,
        },
        can_reattest: it.can_reattest,
        agent_version: it.agent_version,
        facts: it.facts,
        attested_at: it.attested_at,
    })
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LineMessage {
    #[prost(string, tag = "1")]
    ek: String,
    #[prost(string, repeated, tag = "2")]
    other_eks: Vec<String>,
    #[prost(string, tag = "3")]
    serial: String,
    #[prost(string, tag = "4")]
    owner: String,
    #[prost(message, repeated, tag = "5")]
    labels: Vec<LabelMessage>,
    #[prost(int64, optional, tag = "6")]
    expires: Option<i64>,
    #[prost(string, optional, tag = "7")]
    class: Option<String>,
    #[prost(string, optional, tag = "8")]
    manufacturer: Option<String>,
    #[prost(string, optional, tag = "9")]
    model: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LabelMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

pub(super) fn line_message(line: &InventoryItem) -> LineMessage {
    let label = |(name, value): (&String, &String)| LabelMessage {
        name: name.clone(),
        value: value.clone(),
    };
    LineMessage {
        ek: line.ek.to_string(),
        other_eks: line.other_eks.iter().map(ToString::to_string).collect(),
        serial: line.serial.clone(),
        owner: line.owner.clone(),
        labels: line.labels.iter().map(label).collect(),
        expires: line.expires,
        class: line.class.map(|class| class.as_str().to_owned()),
        manufacturer: line.manufacturer.as_ref().map(|it| it.as_str().to_owned()),
        model: line.model.as_ref().map(|it| it.as_str().to_owned()),
    }
}

pub(super) fn line(it: LineMessage) -> Result<InventoryItem, EncodingError> {
    let class = |name: String| TpmClass::from_name(&name).ok_or_else(|| wrong("class of a TPM"));
    Ok(InventoryItem {
        ek: ek(&it.ek)?,
        other_eks: eks(&it.other_eks)?,
        serial: it.serial,
        owner: it.owner,
        labels: it
            .labels
            .into_iter()
            .map(|label| (label.name, label.value))
            .collect::<BTreeMap<_, _>>(),
        expires: it.expires,
        class: it.class.map(class).transpose()?,
        manufacturer: it.manufacturer.map(Maker::from),
        model: it.model.map(Model::from),
    })
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AttestationMessage {
    #[prost(string, tag = "1")]
    runs: String,
    #[prost(string, tag = "2")]
    ima: String,
    #[prost(message, repeated, tag = "3")]
    lengths: Vec<LengthMessage>,
    #[prost(uint64, tag = "4")]
    revision: u64,
    #[prost(bytes = "vec", optional, tag = "5")]
    evidence: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LengthMessage {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    bytes: u64,
}

pub(super) fn attestation_message(state: &AttestationState) -> AttestationMessage {
    let length = |(kind, bytes): (&LogKind, &u64)| LengthMessage {
        kind: u32::from(kind.number()),
        bytes: *bytes,
    };
    let lines = (state.lines > 0).then_some(LengthMessage {
        kind: u32::from(LINES),
        bytes: state.lines,
    });
    AttestationMessage {
        runs: state.runs_json(),
        ima: state.ima_json(),
        lengths: state.lengths().iter().map(length).chain(lines).collect(),
        revision: state.revision,
        evidence: state.evidence_sha256.map(|digest| digest.to_vec()),
    }
}

pub(super) fn attestation(node: &SpiffeId, it: AttestationMessage) -> Result<AttestationState, EncodingError> {
    let length = |length: LengthMessage| {
        let kind = u8::try_from(length.kind).map_err(|_| wrong("kind of log"))?;
        Ok((kind, length.bytes))
    };
    let row = HeldEvidence {
        node: node.clone(),
        runs: it.runs,
        ima: it.ima,
        lengths: it
            .lengths
            .into_iter()
            .map(length)
            .collect::<Result<_, EncodingError>>()?,
        revision: it.revision,
        evidence_sha256: it.evidence.as_deref().map(hash).transpose()?,
    };
    AttestationState::read(&row).map_err(|_| wrong("state of an attestation"))
}

pub(super) fn spiffe_id(text: &str) -> Result<SpiffeId, EncodingError> {
    SpiffeId::parse(text).map_err(|_| wrong("SPIFFE ID"))
}

pub(super) fn ek(text: &str) -> Result<EkId, EncodingError> {
    EkId::parse(text).map_err(|_| wrong("EK"))
}

pub(super) fn eks(texts: &[String]) -> Result<BTreeSet<EkId>, EncodingError> {
    texts.iter().map(|text| ek(text)).collect()
}

pub(super) fn hash(bytes: &[u8]) -> Result<[u8; 32], EncodingError> {
    bytes.try_into().map_err(|_| wrong("hash"))
}

pub(super) fn serial(bytes: Vec<u8>) -> Result<u128, EncodingError> {
    Ok(u128::from_be_bytes(
        bytes.try_into().map_err(|_| wrong("serial number"))?,
    ))
}
