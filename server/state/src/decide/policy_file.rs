//! Policies and baselines: applied and withdrawn.

use std::sync::Arc;

use hallmark_policy::{
    PolicySet,
    signed::{FileKind, SignedFile, Signer},
};

use crate::{Change, Decision, Event, Expect, Manifest, PolicyFile, View, What};

/// A policy or baseline that is to be in force, or no longer.
#[derive(Debug, Clone)]
pub struct PolicyFileChange<'a> {
    /// What it is.
    pub kind: FileKind,
    /// The file, as it is to be kept.
    pub file: Arc<PolicyFile>,
    /// `apply` or `withdraw`.
    pub act: &'a str,
    /// All that machines are held against then.
    pub set: Arc<PolicySet>,
    /// What that is made of.
    pub manifest: Manifest,
    /// Why, in the operator's words.
    pub reason: &'a str,
    /// Whose baseline had the name, where it passes to another signer.
    pub replaced_signer: Option<Signer>,
}

/// What a change of policies and baselines is made of: nothing of it may change until it is durable.
#[must_use]
pub fn policy_files(view: View<'_>) -> Expect {
    let _ = (view.policy_files(), view.rules());
    view.into_expect()
}

/// Puts a policy or baseline in force, or takes it out; `expect` is what it was made of.
pub fn put_policy_file(expect: Expect, change: &PolicyFileChange<'_>) -> Decision {
    let file = &change.file;
    let image_signer = match SignedFile::signer_of(&file.signed) {
        Signer::Operators => String::new(),
        Signer::Images(key) => key.to_string(),
    };
    let what = What::PolicyFile {
        act: change.act.to_owned(),
        kind: file.kind.clone(),
        serial: file.serial,
        signed: !file.signed.is_empty(),
        reason: change.reason.to_owned(),
        image_signer,
        replaced_signer: change
            .replaced_signer
            .map(|signer| signer.to_string())
            .unwrap_or_default(),
    };
    let event = Event::done(format!("{}:{}", file.kind, file.name), what);
    let rules = Change::put_rules(Arc::clone(&change.set), change.manifest.clone());
    Decision {
        expect,
        changes: vec![Change::PutPolicyFile(Arc::clone(file)), rules],
        events: vec![event],
    }
}
