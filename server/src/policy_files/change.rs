//! Applying and withdrawing.

use std::{collections::BTreeMap, sync::Arc};

use hallmark_policy::{
    PolicySet, RuleFileError,
    signed::{FileKind, SignedFile, require_newer},
};
use hallmark_store::{Change, Outcome, PolicyFile, Record, RecordKind};

use super::{Files, PolicyFileError, sweep};
use crate::{caller::Act, state::Server};

/// What was applied, or would be.
#[derive(Debug)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// Its serial number.
    pub serial: u64,
    /// The nodes whose verdict or selectors change.
    pub changes: Vec<hallmark_policy::AppraisalChange>,
}

/// Puts a policy or baseline in force, and judges every node again; with `dry_run` only tells what would follow. The very
/// file that is in force changes nothing.
/// `content` is the file as the operator has it, signed or not; `by` is who asks, and why.
///
/// # Errors
/// [`PolicyFileError`]; then nothing was changed, unless the store failed while the nodes were judged: that is made up for.
pub async fn apply(
    server: &Arc<Server>,
    kind: FileKind,
    content: Vec<u8>,
    dry_run: bool,
    by: &Act,
) -> Result<Applied, PolicyFileError> {
    let mut files = server.policy_files.files.lock().await;
    let (payload, signed) = opened(server, kind, content)?;
    let mut set = PolicySet::clone(&server.attestation.policies.load());
    let (name, serial) = set.add_file(kind, "the policy", &payload)?;
    let key = (kind, name.clone());
    let is_there = |it: &PolicyFile| it.in_force && it.serial == serial && it.payload == payload;
    match files.get(&key).filter(|it| is_there(it)) {
        Some(it) if it.signed == signed => {
            return Ok(Applied {
                name,
                serial,
                changes: Vec::new(),
            });
        }
        // The same file with another signature takes its place: one from before that named no trust domain.
        Some(_) => {}
        None => require_newer(kind, &name, files.get(&key).map(|file| file.serial), serial)?,
    }
    let file = PolicyFile {
        kind: kind.as_str().to_owned(),
        name: name.clone(),
        serial,
        payload,
        signed,
        applied_at: server.clock.unix(),
        in_force: true,
    };
    let changes = put(
        server,
        &mut files,
        set,
        (key, file),
        Step {
            name: "apply",
            dry_run,
            by,
        },
    )
    .await?;
    Ok(Applied { name, serial, changes })
}

/// Takes a policy or baseline out of force, and judges every node again; with `dry_run` only tells what would follow.
///
/// # Errors
/// As for [`apply`].
pub async fn withdraw(
    server: &Arc<Server>,
    kind: FileKind,
    name: &str,
    dry_run: bool,
    by: &Act,
) -> Result<Applied, PolicyFileError> {
    let keys = &server.policy_files.keys;
    if !keys.is_empty() {
        return Err(PolicyFileError::Withdrawal {
            keys: keys.ids().map(|id| id.to_string()).collect(),
        });
    }
    let mut files = server.policy_files.files.lock().await;
    let key = (kind, name.to_owned());
    let Some(file) = files.get(&key).filter(|file| file.in_force) else {
        let same_kind = files
            .iter()
            .filter(|((other, _), file)| *other == kind && file.in_force);
        return Err(PolicyFileError::NotInForce {
            kind: kind.to_string(),
            name: name.to_owned(),
            in_force: same_kind.map(|((_, name), _)| name.clone()).collect(),
        });
    };
    let mut set = PolicySet::clone(&server.attestation.policies.load());
    set.remove_file(kind, name);
    let file = PolicyFile {
        in_force: false,
        applied_at: server.clock.unix(),
        ..file.clone()
    };
    let serial = file.serial;
    let act = Step {
        name: "withdraw",
        dry_run,
        by,
    };
    let changes = put(server, &mut files, set, (key, file), act).await?;
    Ok(Applied {
        name: name.to_owned(),
        serial,
        changes,
    })
}

/// The payload, and the signed file that it came in.
fn opened(server: &Server, kind: FileKind, content: Vec<u8>) -> Result<(Vec<u8>, String), PolicyFileError> {
    let keys = &server.policy_files.keys;
    let text = String::from_utf8(content).map_err(|_| RuleFileError::NotText)?;
    if SignedFile::is_one(&text) {
        let opened = SignedFile::parse(&text)?.open(kind, Some(&server.trust_domain), keys)?;
        return Ok((opened.payload, text));
    }
    if keys.is_empty() {
        return Ok((text.into_bytes(), String::new()));
    }
    Err(PolicyFileError::NotSigned {
        keys: keys.ids().map(|id| id.to_string()).collect(),
    })
}

/// What an operator does with a file.
struct Step<'a> {
    name: &'a str,
    dry_run: bool,
    by: &'a Act,
}

/// The store first, then memory, then the nodes.
async fn put(
    server: &Arc<Server>,
    files: &mut Files,
    set: PolicySet,
    (key, file): ((FileKind, String), PolicyFile),
    act: Step<'_>,
) -> Result<Vec<hallmark_policy::AppraisalChange>, PolicyFileError> {
    let set = Arc::new(set);
    // Judged before anything is changed: what does not read back is told while it does no harm.
    let changes = sweep::judge_all(server, &set).await?;
    if act.dry_run {
        return Ok(changes);
    }
    let lost = changes.iter().filter(|change| change.lost_trust()).count();
    let detail: BTreeMap<&str, serde_json::Value> = BTreeMap::from([
        ("act", act.name.into()),
        ("by", act.by.by.as_str().into()),
        ("reason", act.by.reason.as_str().into()),
        ("kind", file.kind.as_str().into()),
        ("serial", file.serial.into()),
        ("signed", (!file.signed.is_empty()).into()),
        ("lost_trust", lost.into()),
    ]);
    let record = Record {
        at: server.clock.unix(),
        kind: RecordKind::Admin,
        subject: format!("{}:{}", file.kind, file.name),
        outcome: Outcome::Done,
        code: String::new(),
        detail: serde_json::to_string(&detail).unwrap_or_default(),
    };
    let stored = vec![Change::PutPolicyFile(Box::new(file.clone())), Change::Record(record)];
    server.store.commit(stored).await?;
    server.attestation.policies.store(set);
    let cause = format!("{} {} serial {}: {}", file.kind, file.name, file.serial, act.name);
    files.insert(key, file);
    // Attestations that were judged by the old rules have come to their end, or will find that the rules changed.
    server.agents.settle().await;
    tracing::info!(
        cause,
        by = act.by.by,
        lost,
        "the rules changed; every node is judged again"
    );
    sweep::sweep(server, &cause).await
}
