//! Messages of changes. Bodies stand beside, and are named by their SHA-256.

use std::sync::Arc;

use hallmark_spiffe::SpiffeId;
use hallmark_tpm_wire::Name;

use super::{
    EncodingError, MissingBody,
    assignment::{AssignmentMessage, assignment, assignment_message},
    authority::{
        AuthorityMessage, JwtKeyMessage, PublishedJwtKeyMessage, authority, authority_message, jwt_key,
        jwt_key_message, published_jwt_key, published_jwt_key_message,
    },
    rows::{
        AttestationMessage, EntryMessage, LineMessage, NodeMessage, attestation, attestation_message, ek, eks, entry,
        entry_message, hash, line, line_message, node, node_message, serial, spiffe_id,
    },
    upstream::{UpstreamMessage, upstream, upstream_message},
    wrong,
};
use crate::{
    Action, Appraised, AttestationState, Change, FirstRequest, Manifest, PolicyFile, TpmName, journal::sha256,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ChangeMessage {
    #[prost(
        oneof = "Kind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 29"
    )]
    kind: Option<Kind>,
}

// Boxed where they are large: many small messages are not to take the room of as many large ones.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    PutEntry(PutEntryMessage),
    #[prost(message, boxed, tag = "2")]
    DeleteEntry(Box<EntryMessage>),
    #[prost(message, boxed, tag = "3")]
    PutNode(Box<NodeMessage>),
    #[prost(string, tag = "4")]
    DeleteNode(String),
    #[prost(message, tag = "5")]
    PutAppraised(AppraisedMessage),
    #[prost(message, boxed, tag = "6")]
    PutInventoryLine(Box<LineMessage>),
    #[prost(message, boxed, tag = "7")]
    DeleteInventoryLine(Box<LineMessage>),
    #[prost(message, boxed, tag = "8")]
    PutEvidence(Box<EvidenceMessage>),
    #[prost(message, boxed, tag = "9")]
    PutQuoteTime(Box<NodeAttestationMessage>),
    #[prost(message, tag = "10")]
    PutFacts(FactsMessage),
    #[prost(message, tag = "11")]
    PutEkCertificate(EkCertificateMessage),
    #[prost(message, tag = "12")]
    PutTpmName(TpmNameMessage),
    #[prost(message, tag = "13")]
    PutMachineEks(MachineMessage),
    #[prost(message, boxed, tag = "14")]
    PutPolicyFile(Box<PolicyFileMessage>),
    #[prost(message, tag = "15")]
    PutRules(ManifestMessage),
    #[prost(message, tag = "16")]
    PutTrust(ManifestMessage),
    #[prost(message, boxed, tag = "17")]
    PutAuthority(Box<AuthorityMessage>),
    #[prost(uint64, tag = "18")]
    PutBundleSequence(u64),
    #[prost(message, boxed, tag = "19")]
    PutRequests(Box<RequestsMessage>),
    #[prost(message, boxed, tag = "20")]
    PutRoleSvid(Box<RoleSvidMessage>),
    #[prost(bytes = "vec", tag = "21")]
    DeleteAuthority(Vec<u8>),
    #[prost(message, boxed, tag = "22")]
    PutImageAssignment(Box<AssignmentMessage>),
    #[prost(string, tag = "23")]
    DeleteImageAssignment(String),
    #[prost(message, boxed, tag = "24")]
    PutJwtKey(Box<JwtKeyMessage>),
    #[prost(string, tag = "25")]
    DeleteJwtKey(String),
    #[prost(message, boxed, tag = "26")]
    PutUpstream(Box<UpstreamMessage>),
    #[prost(message, boxed, tag = "28")]
    PutPublishedJwtKey(Box<PublishedJwtKeyMessage>),
    #[prost(string, tag = "29")]
    DeletePublishedJwtKey(String),
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutEntryMessage {
    #[prost(message, optional, boxed, tag = "1")]
    entry: Option<Box<EntryMessage>>,
    #[prost(message, optional, boxed, tag = "2")]
    replaces: Option<Box<EntryMessage>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AppraisedMessage {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(uint64, tag = "2")]
    rules: u64,
    #[prost(int64, optional, tag = "3")]
    stale_at: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EvidenceMessage {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(message, optional, tag = "2")]
    state: Option<AttestationMessage>,
    #[prost(bytes = "vec", optional, tag = "3")]
    facts_sha256: Option<Vec<u8>>,
    #[prost(bool, tag = "4")]
    drops_logs: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeAttestationMessage {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(message, optional, tag = "2")]
    state: Option<AttestationMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FactsMessage {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EkCertificateMessage {
    #[prost(bytes = "vec", tag = "1")]
    ek_sha256: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TpmNameMessage {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    ek_sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MachineMessage {
    #[prost(string, repeated, tag = "1")]
    eks: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PolicyFileMessage {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint64, tag = "3")]
    serial: u64,
    #[prost(bytes = "vec", tag = "4")]
    payload_sha256: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "5")]
    signed_sha256: Option<Vec<u8>>,
    #[prost(int64, tag = "6")]
    applied_at: i64,
    #[prost(bool, tag = "7")]
    in_force: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ManifestMessage {
    #[prost(message, repeated, tag = "1")]
    parts: Vec<PartMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PartMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestsMessage {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(string, tag = "2")]
    action: String,
    #[prost(message, repeated, tag = "3")]
    requests: Vec<RequestMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    agent: String,
    #[prost(int64, tag = "3")]
    issued_at: i64,
    #[prost(int64, tag = "4")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RoleSvidMessage {
    #[prost(bytes = "vec", tag = "1")]
    serial: Vec<u8>,
    #[prost(string, tag = "2")]
    agent: String,
    #[prost(int64, tag = "3")]
    issued_at: i64,
    #[prost(int64, tag = "4")]
    expires_at: i64,
}

pub(super) fn change_message(change: &Change) -> ChangeMessage {
    ChangeMessage {
        kind: Some(kind(change)),
    }
}

fn kind(change: &Change) -> Kind {
    match change {
        Change::PutEntry { entry, replaces } => Kind::PutEntry(PutEntryMessage {
            entry: Some(Box::new(entry_message(entry))),
            replaces: replaces.as_deref().map(entry_message).map(Box::new),
        }),
        Change::DeleteEntry(entry) => Kind::DeleteEntry(Box::new(entry_message(entry))),
        Change::PutNode(node) => Kind::PutNode(Box::new(node_message(node))),
        Change::DeleteNode(node) => Kind::DeleteNode(node.to_string()),
        Change::PutAppraised { node, appraised } => Kind::PutAppraised(AppraisedMessage {
            node: node.to_string(),
            rules: appraised.rules,
            stale_at: appraised.stale_at,
        }),
        Change::PutInventoryLine(line) => Kind::PutInventoryLine(Box::new(line_message(line))),
        Change::DeleteInventoryLine(line) => Kind::DeleteInventoryLine(Box::new(line_message(line))),
        Change::PutEvidence {
            node,
            state,
            facts_sha256,
            drops_logs,
            ..
        } => evidence_kind(node, state, *facts_sha256, *drops_logs),
        Change::PutQuoteTime { node, state } => Kind::PutQuoteTime(Box::new(NodeAttestationMessage {
            node: node.to_string(),
            state: Some(attestation_message(state)),
        })),
        Change::PutFacts { node, sha256, .. } => Kind::PutFacts(FactsMessage {
            node: node.to_string(),
            sha256: sha256.to_vec(),
        }),
        Change::PutEkCertificate { ek_sha256, sha256, .. } => Kind::PutEkCertificate(EkCertificateMessage {
            ek_sha256: ek_sha256.to_vec(),
            sha256: sha256.to_vec(),
        }),
        Change::PutTpmName(it) => Kind::PutTpmName(TpmNameMessage {
            name: it.name.as_bytes().to_vec(),
            ek_sha256: it.ek_sha256.to_vec(),
        }),
        Change::PutMachineEks(eks) => Kind::PutMachineEks(MachineMessage {
            eks: eks.iter().map(ToString::to_string).collect(),
        }),
        Change::PutPolicyFile(file) => Kind::PutPolicyFile(Box::new(PolicyFileMessage {
            kind: file.kind.clone(),
            name: file.name.clone(),
            serial: file.serial,
            payload_sha256: sha256(&file.payload).to_vec(),
            signed_sha256: (!file.signed.is_empty()).then(|| sha256(file.signed.as_bytes()).to_vec()),
            applied_at: file.applied_at,
            in_force: file.in_force,
        })),
        Change::PutRules { manifest, .. } => Kind::PutRules(manifest_message(manifest)),
        Change::PutTrust { manifest, .. } => Kind::PutTrust(manifest_message(manifest)),
        Change::PutAuthority(it) => Kind::PutAuthority(Box::new(authority_message(it))),
        Change::DeleteAuthority { certificate } => Kind::DeleteAuthority(certificate.clone()),
        Change::PutJwtKey(it) => Kind::PutJwtKey(Box::new(jwt_key_message(it))),
        Change::DeleteJwtKey { key_id } => Kind::DeleteJwtKey(key_id.clone()),
        Change::PutPublishedJwtKey(it) => Kind::PutPublishedJwtKey(Box::new(published_jwt_key_message(it))),
        Change::DeletePublishedJwtKey { key_id } => Kind::DeletePublishedJwtKey(key_id.clone()),
        Change::PutUpstream(it) => Kind::PutUpstream(Box::new(upstream_message(it))),
        Change::PutBundleSequence(sequence) => Kind::PutBundleSequence(*sequence),
        Change::PutRequests { node, action, requests } => Kind::PutRequests(Box::new(RequestsMessage {
            node: node.to_string(),
            action: action.as_str().to_owned(),
            requests: requests.iter().map(request_message).collect(),
        })),
        Change::PutRoleSvid {
            serial,
            agent,
            issued_at,
            expires_at,
        } => Kind::PutRoleSvid(Box::new(RoleSvidMessage {
            serial: serial.to_be_bytes().to_vec(),
            agent: agent.to_string(),
            issued_at: *issued_at,
            expires_at: *expires_at,
        })),
        Change::PutImageAssignment(it) => Kind::PutImageAssignment(Box::new(assignment_message(it))),
        Change::DeleteImageAssignment(ek) => Kind::DeleteImageAssignment(ek.to_string()),
    }
}

fn evidence_kind(node: &SpiffeId, state: &AttestationState, facts_sha256: Option<[u8; 32]>, drops_logs: bool) -> Kind {
    Kind::PutEvidence(Box::new(EvidenceMessage {
        node: node.to_string(),
        state: Some(attestation_message(state)),
        facts_sha256: facts_sha256.map(|sha256| sha256.to_vec()),
        drops_logs,
    }))
}

fn manifest_message(manifest: &Manifest) -> ManifestMessage {
    let part = |(name, sha256): (&str, &[u8; 32])| PartMessage {
        name: name.to_owned(),
        sha256: sha256.to_vec(),
    };
    ManifestMessage {
        parts: manifest.parts().map(part).collect(),
    }
}

fn request_message(request: &FirstRequest) -> RequestMessage {
    RequestMessage {
        id: request.id.to_string(),
        agent: request.agent.to_string(),
        issued_at: request.issued_at,
        at: request.at,
    }
}

/// The change of a message.
pub(super) enum Decoded {
    Whole(Change),
    /// What stands beside the journal is not there, or another one.
    Bodiless(ChangeMessage, MissingBody),
}

/// Decodes a message. `body` gives what stands beside the journal under a SHA-256.
pub(super) fn change(
    message: ChangeMessage,
    body: &mut dyn FnMut(&[u8; 32]) -> Option<Vec<u8>>,
) -> Result<Decoded, EncodingError> {
    let kind = match message.kind.ok_or_else(|| wrong("kind of change"))? {
        Kind::PutPolicyFile(it) => {
            return Ok(match policy_file(&it, body)? {
                Ok(file) => Decoded::Whole(Change::PutPolicyFile(Arc::new(file))),
                Err(missing) => {
                    let kind = Some(Kind::PutPolicyFile(it));
                    Decoded::Bodiless(ChangeMessage { kind }, missing)
                }
            });
        }
        other => other,
    };
    without_body(kind).map(Decoded::Whole)
}

/// A change that is whole without what stands beside the journal.
fn without_body(kind: Kind) -> Result<Change, EncodingError> {
    Ok(match kind {
        Kind::PutEntry(it) => Change::PutEntry {
            entry: Arc::new(entry(*it.entry.ok_or_else(|| wrong("entry"))?)?),
            replaces: it.replaces.map(|it| entry(*it)).transpose()?.map(Arc::new),
        },
        Kind::DeleteEntry(it) => Change::DeleteEntry(Arc::new(entry(*it)?)),
        Kind::PutNode(it) => Change::PutNode(Arc::new(node(*it)?)),
        Kind::DeleteNode(id) => Change::DeleteNode(spiffe_id(&id)?),
        Kind::PutAppraised(it) => Change::PutAppraised {
            node: spiffe_id(&it.node)?,
            appraised: Appraised {
                rules: it.rules,
                stale_at: it.stale_at,
            },
        },
        Kind::PutInventoryLine(it) => Change::PutInventoryLine(Arc::new(line(*it)?)),
        Kind::DeleteInventoryLine(it) => Change::DeleteInventoryLine(Arc::new(line(*it)?)),
        Kind::PutEvidence(it) => {
            let node = spiffe_id(&it.node)?;
            let state = it.state.ok_or_else(|| wrong("state of an attestation"))?;
            Change::PutEvidence {
                state: Arc::new(attestation(&node, state)?),
                node,
                facts_sha256: it.facts_sha256.as_deref().map(hash).transpose()?,
                drops_logs: it.drops_logs,
                body: None,
            }
        }
        Kind::PutQuoteTime(it) => {
            let node = spiffe_id(&it.node)?;
            let state = it.state.ok_or_else(|| wrong("state of an attestation"))?;
            Change::PutQuoteTime {
                state: Arc::new(attestation(&node, state)?),
                node,
            }
        }
        Kind::PutFacts(it) => Change::PutFacts {
            node: spiffe_id(&it.node)?,
            sha256: hash(&it.sha256)?,
            body: None,
        },
        Kind::PutEkCertificate(it) => Change::PutEkCertificate {
            ek_sha256: hash(&it.ek_sha256)?,
            sha256: hash(&it.sha256)?,
            body: None,
        },
        Kind::PutTpmName(it) => Change::PutTpmName(TpmName {
            name: Name::parse(&it.name).map_err(|_| wrong("Name"))?,
            ek_sha256: hash(&it.ek_sha256)?,
        }),
        Kind::PutMachineEks(it) => Change::PutMachineEks(eks(&it.eks)?),
        Kind::PutPolicyFile(_) => return Err(wrong("kind of change")),
        Kind::PutRules(it) => Change::PutRules {
            set: None,
            manifest: manifest(it)?,
        },
        Kind::PutTrust(it) => Change::PutTrust {
            trust: None,
            manifest: manifest(it)?,
        },
        Kind::PutAuthority(it) => Change::PutAuthority(Arc::new(authority(*it)?)),
        Kind::DeleteAuthority(certificate) => Change::DeleteAuthority { certificate },
        Kind::PutJwtKey(it) => Change::PutJwtKey(Arc::new(jwt_key(*it)?)),
        Kind::DeleteJwtKey(key_id) => Change::DeleteJwtKey { key_id },
        Kind::PutPublishedJwtKey(it) => Change::PutPublishedJwtKey(Arc::new(published_jwt_key(*it)?)),
        Kind::DeletePublishedJwtKey(key_id) => Change::DeletePublishedJwtKey { key_id },
        Kind::PutUpstream(it) => Change::PutUpstream(Arc::new(upstream(*it)?)),
        Kind::PutBundleSequence(sequence) => Change::PutBundleSequence(sequence),
        Kind::PutRequests(it) => Change::PutRequests {
            node: spiffe_id(&it.node)?,
            action: Action::from_name(&it.action).ok_or_else(|| wrong("action"))?,
            requests: it.requests.into_iter().map(request).collect::<Result<_, _>>()?,
        },
        Kind::PutRoleSvid(it) => role_svid(*it)?,
        Kind::PutImageAssignment(it) => Change::PutImageAssignment(Arc::new(assignment(*it)?)),
        Kind::DeleteImageAssignment(key) => Change::DeleteImageAssignment(ek(&key)?),
    })
}

fn role_svid(it: RoleSvidMessage) -> Result<Change, EncodingError> {
    Ok(Change::PutRoleSvid {
        serial: serial(it.serial)?,
        agent: spiffe_id(&it.agent)?,
        issued_at: it.issued_at,
        expires_at: it.expires_at,
    })
}

fn manifest(it: ManifestMessage) -> Result<Manifest, EncodingError> {
    let parts = it.parts.into_iter().map(|part| Ok((part.name, hash(&part.sha256)?)));
    Ok(Manifest::new(parts.collect::<Result<Vec<_>, EncodingError>>()?))
}

fn request(it: RequestMessage) -> Result<FirstRequest, EncodingError> {
    Ok(FirstRequest {
        id: spiffe_id(&it.id)?,
        agent: spiffe_id(&it.agent)?,
        issued_at: it.issued_at,
        at: it.at,
    })
}

fn policy_file(
    it: &PolicyFileMessage,
    body: &mut dyn FnMut(&[u8; 32]) -> Option<Vec<u8>>,
) -> Result<Result<PolicyFile, MissingBody>, EncodingError> {
    let payload = hash(&it.payload_sha256)?;
    let signed = it.signed_sha256.as_deref().map(hash).transpose()?;
    if signed == Some(sha256(b"")) {
        return Err(wrong("signed text"));
    }
    let missing = |sha256: [u8; 32], reason: &str| MissingBody {
        kind: it.kind.clone(),
        name: it.name.clone(),
        sha256,
        reason: reason.to_owned(),
    };
    let mut text = |wanted: [u8; 32]| match body(&wanted) {
        Some(found) if sha256(&found) == wanted => Ok(found),
        Some(_) => Err(missing(wanted, "it is another one")),
        None => Err(missing(wanted, "it is not there")),
    };
    let file = |text: &mut dyn FnMut([u8; 32]) -> Result<Vec<u8>, MissingBody>| {
        let payload = text(payload)?;
        let signed = signed.map(|wanted| Ok((wanted, text(wanted)?))).transpose()?;
        let signed = signed.map(|(wanted, text)| String::from_utf8(text).map_err(|_| missing(wanted, "it is no text")));
        Ok(PolicyFile {
            kind: it.kind.clone(),
            name: it.name.clone(),
            serial: it.serial,
            payload,
            signed: signed.transpose()?.unwrap_or_default(),
            applied_at: it.applied_at,
            in_force: it.in_force,
        })
    };
    Ok(file(&mut text))
}
