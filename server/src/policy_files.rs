//! Policies and baselines, applied and taken back: what is in force, what it rests on, and what follows for the nodes.

mod change;
mod error;
mod sweep;

pub use change::{Applied, apply, withdraw};
pub use error::PolicyFileError;
pub use sweep::{judge, judge_linked, keep_judging, set_revoked, set_rules, sweep, sweep_if_due};

use std::{collections::BTreeMap, sync::atomic::AtomicBool};

use hallmark_policy::{
    PolicySet, Rules,
    signed::{FileKind, OperatorKeys, SignedFile, SignedFileError},
};
use hallmark_reason::Coded as _;
use hallmark_store::{PolicyFile, StoreError};
use tokio::sync::Mutex;

type Files = BTreeMap<(FileKind, String), PolicyFile>;

/// Every policy and baseline that was ever applied, and who may apply them.
#[derive(Debug)]
pub struct PolicyFiles {
    /// Held by whoever applies one, until memory has followed the store and every node was judged again.
    files: Mutex<Files>,
    keys: OperatorKeys,
    /// Whether there may be nodes that were not judged by the rules in force: a sweep did not come to its end, perhaps in
    /// the process before this one.
    sweep_is_due: AtomicBool,
}

impl PolicyFiles {
    /// As the store has them. With any operator's key only signed files are taken.
    ///
    /// # Errors
    /// When a row is of a kind that this program does not know.
    pub fn new(rows: Vec<PolicyFile>, keys: OperatorKeys) -> Result<Self, StoreError> {
        let files = rows.into_iter().map(|row| {
            let kind = FileKind::from_name(&row.kind).ok_or_else(|| undecodable(&row, "an unknown kind"))?;
            Ok(((kind, row.name.clone()), row))
        });
        Ok(Self {
            files: Mutex::new(files.collect::<Result<_, StoreError>>()?),
            keys,
            sweep_is_due: AtomicBool::new(true),
        })
    }

    /// Everything that is in force at the start. What was signed before files named a trust domain stays in force, as nothing
    /// else says that its rules are no longer wanted; that it is to be signed again is told.
    ///
    /// # Errors
    /// When a policy or baseline does not read back: without it machines would be let in that it refuses.
    pub fn in_force(&mut self, rules: Rules) -> Result<PolicySet, StoreError> {
        let mut set = PolicySet::from(rules);
        for ((kind, _), file) in self.files.get_mut().iter().filter(|(_, file)| file.in_force) {
            let added = set.add_file(*kind, &file.name, &file.payload);
            added.map_err(|error| undecodable(file, &error.to_string()))?;
            if !file.signed.is_empty() && !SignedFile::names_trust_domain(&file.signed) {
                let error = SignedFileError::NoTrustDomain { kind: *kind };
                tracing::warn!(
                    code = %error.code(),
                    name = file.name,
                    serial = file.serial,
                    next = error.next_step(),
                    "{error}: it stays in force; sign it again, with the same serial, and apply it"
                );
            }
        }
        Ok(set)
    }

    /// All of them, by kind and name, withdrawn ones too.
    pub async fn all(&self) -> Vec<PolicyFile> {
        self.files.lock().await.values().cloned().collect()
    }

    /// One of them.
    pub async fn find(&self, kind: FileKind, name: &str) -> Option<PolicyFile> {
        self.files.lock().await.get(&(kind, name.to_owned())).cloned()
    }
}

fn undecodable(file: &PolicyFile, reason: &str) -> StoreError {
    StoreError::Undecodable {
        what: format!("{} {}", file.kind, file.name),
        reason: reason.to_owned(),
    }
}
