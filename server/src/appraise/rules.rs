//! The rules in force: the configuration's, the policies and baselines that were applied, and who is revoked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hallmark_policy::{
    PolicySet, Rules,
    signed::{FileKind, SignedFile, SignedFileError},
};
use hallmark_reason::Coded as _;
use hallmark_state::{Change, Manifest, PolicyFile, decide::put_trust, journal::sha256};
use hallmark_store::StoreError;
use hallmark_verify::Trust;

use super::Appraiser;
use crate::journal::Failed;

/// Everything that is in force of the stored `files`, under the configuration's `rules`. What was signed before files named a
/// trust domain stays in force, as nothing else says that its rules are no longer wanted; that it is to be signed again is
/// told.
///
/// # Errors
/// When a policy or baseline does not read back: without it machines would be let in that it refuses.
pub fn in_force<'a>(files: impl IntoIterator<Item = &'a PolicyFile>, rules: Rules) -> Result<PolicySet, StoreError> {
    let mut set = PolicySet::from(rules);
    for file in files {
        let kind = FileKind::from_name(&file.kind).ok_or_else(|| undecodable(file, "an unknown kind"))?;
        if !file.in_force {
            continue;
        }
        let added = set.add_file(kind, &file.name, &file.payload);
        added.map_err(|error| undecodable(file, &error.to_string()))?;
        if !file.signed.is_empty() && !SignedFile::names_trust_domain(&file.signed) {
            let error = SignedFileError::NoTrustDomain { kind };
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

fn undecodable(file: &PolicyFile, reason: &str) -> StoreError {
    StoreError::Undecodable {
        what: format!("{} {}", file.kind, file.name),
        reason: reason.to_owned(),
    }
}

/// What rules are made of: nodes that were judged by rules of which a part differs are judged again. The version of the program
/// is a part.
#[must_use]
pub fn manifest<'a>(files: impl IntoIterator<Item = &'a PolicyFile>, set: &PolicySet) -> Manifest {
    let files = files.into_iter().filter(|file| file.in_force).map(|file| {
        let content = [&file.serial.to_be_bytes()[..], &sha256(&file.payload)].concat();
        (format!("{} {}", file.kind, file.name), sha256(&content))
    });
    // Rules always have a JSON form.
    let rules = serde_json::to_vec(&set.rules).unwrap_or_default();
    let revoked = set.revoked.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let own = [
        ("program", env!("CARGO_PKG_VERSION").as_bytes()),
        ("configuration", &rules),
        ("revoked EKs", revoked.as_bytes()),
    ];
    let own = own.map(|(name, content)| (name.to_owned(), sha256(content)));
    let unreadable = set.unreadable.iter().map(|(ek, damage)| {
        let name = format!("EK certificate that does not read back: {ek}");
        (name, sha256(damage.as_bytes()))
    });
    Manifest::new(files.chain(own).chain(unreadable))
}

/// What changes of the rules, beside policies and baselines.
#[derive(Debug, Clone)]
pub enum RuleChange {
    /// The configuration's rules are these.
    Configured(Rules),
    /// These EKs are revoked, and no others.
    Revoked {
        /// The EKs: SHA-256 of the SPKI, hex.
        revoked: BTreeSet<String>,
        /// Those of which nobody can say that they are not, since their stored certificates do not read back; and what is damaged.
        unreadable: BTreeMap<String, String>,
    },
}

impl Appraiser {
    /// Puts other rules in force, where they are others. Nodes are behind then, until they have been judged again.
    ///
    /// # Errors
    /// The store's.
    pub async fn change_rules(&self, change: &RuleChange) -> Result<(), StoreError> {
        let decided = self.journal.decide("server", |view| {
            let state = view.policy_files();
            let mut set = PolicySet::clone(&view.rules().set);
            match change {
                RuleChange::Configured(rules) => set.rules = rules.clone(),
                RuleChange::Revoked { revoked, unreadable } => {
                    set.revoked.clone_from(revoked);
                    set.unreadable.clone_from(unreadable);
                }
            }
            let files = state.policy_files().values().map(|file| &**file);
            let manifest = manifest(files, &set);
            let is_news = manifest.digest() != view.rules().digest;
            let changes = is_news.then(|| Change::put_rules(Arc::new(set), manifest));
            Ok::<_, std::convert::Infallible>((view.decide(changes.into_iter().collect(), Vec::new()), ()))
        });
        match decided.await {
            Ok(_) => Ok(()),
            Err(Failed::Store(error)) => Err(error),
            Err(Failed::Refused(never)) => match never {},
        }
    }

    /// Puts other trust anchors, another configured inventory or other revocation lists in force. Attestations under way that
    /// were judged by those before find that they are stale.
    ///
    /// # Errors
    /// The store's.
    pub async fn set_trust(&self, trust: impl Fn(&Trust) -> Trust) -> Result<(), StoreError> {
        let decided = self.journal.decide("server", |view| {
            Ok::<_, std::convert::Infallible>((put_trust(view, &trust), ()))
        });
        match decided.await {
            Ok(_) => Ok(()),
            Err(Failed::Store(error)) => Err(error),
            Err(Failed::Refused(never)) => match never {},
        }
    }
}
