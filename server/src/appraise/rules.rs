//! The rules in force: the configuration's, the policies and baselines that were applied, and who is revoked.

use std::{collections::BTreeSet, sync::Arc};

use aws_lc_rs::digest::{Context, SHA256};
use hallmark_policy::{
    PolicySet, Rules,
    signed::{FileKind, SignedFile, SignedFileError},
};
use hallmark_reason::Coded as _;
use hallmark_state::{Change, Decision, PolicyFile, View};
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

/// What tells rules from others, over restarts and versions of the program: nodes that were judged by rules with another
/// digest are judged again.
#[must_use]
pub fn digest<'a>(
    files: impl IntoIterator<Item = &'a PolicyFile>,
    rules: &Rules,
    revoked: &BTreeSet<String>,
) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let mut put = |text: &[u8]| {
        context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(text);
    };
    put(env!("CARGO_PKG_VERSION").as_bytes());
    // Rules always have a JSON form.
    put(&serde_json::to_vec(rules).unwrap_or_default());
    let mut files: Vec<&PolicyFile> = files.into_iter().filter(|file| file.in_force).collect();
    files.sort_by(|one, other| (&one.kind, &one.name).cmp(&(&other.kind, &other.name)));
    for file in files {
        put(file.kind.as_bytes());
        put(file.name.as_bytes());
        put(&file.serial.to_be_bytes());
        put(&file.payload);
    }
    put(b"revoked");
    revoked.iter().for_each(|ek| put(ek.as_bytes()));
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// What changes of the rules, beside policies and baselines.
#[derive(Debug, Clone)]
pub enum RuleChange {
    /// The configuration's rules are these.
    Configured(Rules),
    /// The EKs of these machines are revoked (SHA-256 of the SPKI, hex), and no others.
    Revoked(BTreeSet<String>),
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
                RuleChange::Revoked(revoked) => set.revoked.clone_from(revoked),
            }
            let files = state.policy_files().values().map(|file| &**file);
            let digest = digest(files, &set.rules, &set.revoked);
            let is_news = digest != view.rules().digest;
            let set = Arc::new(set);
            let changes = is_news.then_some(Change::PutRules { set, digest });
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
        let decided = self.journal.decide("server", |view: View<'_>| {
            let _ = view.rules();
            let trust = trust(view.unprotected().inventory().configured());
            let decision: Decision = view.decide(vec![Change::PutTrust(Arc::new(trust))], Vec::new());
            Ok::<_, std::convert::Infallible>((decision, ()))
        });
        match decided.await {
            Ok(_) => Ok(()),
            Err(Failed::Store(error)) => Err(error),
            Err(Failed::Refused(never)) => match never {},
        }
    }
}
