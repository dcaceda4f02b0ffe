//! Applying and withdrawing.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_policy::{
    Baseline, BaselineState, PolicySet, RuleFileError,
    signed::{FileKind, SignedFile, Signer, require_newer, require_same_signer},
};
use hallmark_state::{
    Expect, PolicyFile, RulesInForce, View,
    decide::{PolicyFileChange, policy_files, put_policy_file},
};
use hallmark_store::StoreError;

use super::{Appraiser, Judged, PolicyFileError, rules::manifest};
use crate::journal::{Act, Journal};

/// A file that an operator wants in force.
#[derive(Debug)]
pub struct Offered {
    /// What it is.
    pub kind: FileKind,
    /// The file, signed or not.
    pub content: Vec<u8>,
    /// Whether a baseline may take the place of another signer's.
    pub replace_signer: bool,
}

impl Offered {
    /// A file that takes no other signer's place.
    #[must_use]
    pub const fn new(kind: FileKind, content: Vec<u8>) -> Self {
        Self {
            kind,
            content,
            replace_signer: false,
        }
    }
}

/// What was applied, or would be.
#[derive(Debug)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// Its serial number.
    pub serial: u64,
    /// The nodes whose verdict or selectors change.
    pub changes: Vec<hallmark_policy::AppraisalChange>,
    /// How many nodes cannot be judged, since what is kept of them does not read back: they get nothing signed.
    pub unreadable: usize,
    /// What policies name and is not in force.
    pub missing: Vec<Missing>,
}

impl Applied {
    fn of(name: String, serial: u64, judged: Judged, missing: Vec<Missing>) -> Self {
        Self {
            name,
            serial,
            changes: judged.changes,
            unreadable: judged.unreadable,
            missing,
        }
    }
}

/// A policy names a baseline or list of digests that is not in force, or is retired: it may refuse every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The policy's name.
    pub policy: String,
    /// The kind of what it names.
    pub kind: FileKind,
    /// The name that it names.
    pub name: String,
}

impl Missing {
    fn of(set: &PolicySet) -> Vec<Self> {
        let missing = |kind, names: BTreeSet<(String, String)>| {
            let missing = names.into_iter();
            missing.map(move |(policy, name)| Self { policy, kind, name })
        };
        let baselines = missing(FileKind::Baseline, set.dangling_baselines());
        baselines
            .chain(missing(FileKind::DigestList, set.dangling_digest_lists()))
            .collect()
    }
}

impl Appraiser {
    /// Puts a policy or baseline in force; from then on no node gets anything signed that it does not allow. Every node is judged
    /// again then. With `dry_run` it is only told what would follow. The very file that is in force changes nothing.
    /// `offered` has the file as the operator has it, signed or not; `by` is who asks, and why.
    ///
    /// # Errors
    /// [`PolicyFileError`]; then nothing was changed, unless the store failed while the nodes were judged: that is made up for.
    pub async fn apply(&self, offered: Offered, dry_run: bool, by: &Act) -> Result<Applied, PolicyFileError> {
        let Offered {
            kind,
            content,
            replace_signer,
        } = offered;
        let (payload, signed) = self.opened(kind, content)?;
        loop {
            let basis = Basis::of(&self.journal);
            let mut set = PolicySet::clone(&basis.rules.set);
            let (name, serial) = set.add_file(kind, "the policy", &payload)?;
            let missing = Missing::of(&set);
            let there = basis.find(kind, &name);
            let is_there = |it: &PolicyFile| it.in_force && it.serial == serial && it.payload == payload;
            match there.filter(|it| is_there(it)) {
                Some(it) if it.signed == signed => {
                    return Ok(Applied::of(name, serial, Judged::default(), missing));
                }
                // The same file with another signature takes its place: one from before that named no trust domain.
                Some(_) => {}
                None => require_newer(kind, &name, there.map(|file| file.serial), serial)?,
            }
            let (applied, offered) = (
                there.map(|file| SignedFile::signer_of(&file.signed)),
                SignedFile::signer_of(&signed),
            );
            if kind == FileKind::Baseline {
                require_same_signer(&name, applied, offered, is_retired(&payload), replace_signer)?;
            }
            let file = PolicyFile {
                kind: kind.as_str().to_owned(),
                name: name.clone(),
                serial,
                payload: payload.clone(),
                signed: signed.clone(),
                applied_at: self.journal.clock().unix(),
                in_force: true,
            };
            let act = Step {
                name: "apply",
                dry_run,
                by,
                replaced_signer: applied.filter(|applied| *applied != offered),
            };
            if let Some(judged) = self.put(basis, kind, file, set, &act).await? {
                return Ok(Applied::of(name, serial, judged, missing));
            }
        }
    }

    /// Takes a policy or baseline out of force, and judges every node again; with `dry_run` only tells what would follow.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub async fn withdraw(
        &self,
        kind: FileKind,
        name: &str,
        dry_run: bool,
        by: &Act,
    ) -> Result<Applied, PolicyFileError> {
        let keys = &self.keys;
        if !keys.is_empty() {
            return Err(PolicyFileError::Withdrawal {
                keys: keys.ids().map(|id| id.to_string()).collect(),
            });
        }
        loop {
            let basis = Basis::of(&self.journal);
            let Some(file) = basis.find(kind, name).filter(|file| file.in_force) else {
                return Err(PolicyFileError::NotInForce {
                    kind: kind.to_string(),
                    name: name.to_owned(),
                    in_force: basis.in_force(kind),
                });
            };
            let mut set = PolicySet::clone(&basis.rules.set);
            set.remove_file(kind, name);
            let missing = Missing::of(&set);
            let file = PolicyFile {
                in_force: false,
                applied_at: self.journal.clock().unix(),
                ..PolicyFile::clone(file)
            };
            let serial = file.serial;
            let act = Step {
                name: "withdraw",
                dry_run,
                by,
                replaced_signer: None,
            };
            if let Some(judged) = self.put(basis, kind, file, set, &act).await? {
                return Ok(Applied::of(name.to_owned(), serial, judged, missing));
            }
        }
    }

    /// The payload, and the signed file that it came in.
    fn opened(&self, kind: FileKind, content: Vec<u8>) -> Result<(Vec<u8>, String), PolicyFileError> {
        let keys = &self.keys;
        let text = String::from_utf8(content).map_err(|_| RuleFileError::NotText)?;
        if SignedFile::is_one(&text) {
            let opened = SignedFile::parse(&text)?.open(kind, Some(self.journal.trust_domain()), keys)?;
            return Ok((opened.payload, text));
        }
        if keys.is_empty() {
            return Ok((text.into_bytes(), String::new()));
        }
        Err(PolicyFileError::NotSigned {
            keys: keys.ids().map(|id| id.to_string()).collect(),
        })
    }

    /// Makes the change durable, and judges the nodes by it. `None` where another change came in between: it is to be made again.
    async fn put(
        &self,
        basis: Basis,
        kind: FileKind,
        file: PolicyFile,
        set: PolicySet,
        act: &Step<'_>,
    ) -> Result<Option<Judged>, PolicyFileError> {
        let set = Arc::new(set);
        if act.dry_run {
            return self.would_change(&set).await.map(Some);
        }
        let is_other = |it: &&Arc<PolicyFile>| (&it.kind, &it.name) != (&file.kind, &file.name);
        let mut files: Vec<&PolicyFile> = basis.files.iter().filter(is_other).map(|it| &**it).collect();
        files.push(&file);
        let manifest = manifest(files, &set);
        let cause = format!("{} {} serial {}: {}", file.kind, file.name, file.serial, act.name);
        let change = PolicyFileChange {
            kind,
            file: Arc::new(file),
            act: act.name,
            set,
            manifest,
            reason: &act.by.reason,
            replaced_signer: act.replaced_signer,
        };
        match self
            .journal
            .commit(&act.by.by, put_policy_file(basis.expect, &change))
            .await
        {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(cause, by = act.by.by, "the rules changed; every node is judged again");
        self.judge_behind(&cause).await.map(Some)
    }
}

/// What a change is made of.
struct Basis {
    expect: Expect,
    rules: RulesInForce,
    files: Vec<Arc<PolicyFile>>,
}

impl Basis {
    fn of(journal: &Journal) -> Self {
        let state = journal.state();
        Self {
            expect: policy_files(View::new(&state)),
            rules: state.rules().clone(),
            files: state.policy_files().values().cloned().collect(),
        }
    }

    fn find(&self, kind: FileKind, name: &str) -> Option<&Arc<PolicyFile>> {
        let mut files = self.files.iter();
        files.find(|file| file.kind == kind.as_str() && file.name == name)
    }

    fn in_force(&self, kind: FileKind) -> Vec<String> {
        let files = self.files.iter();
        let in_force = files.filter(|file| file.in_force && file.kind == kind.as_str());
        in_force.map(|file| file.name.clone()).collect()
    }
}

/// Whether a baseline says of itself that it is retired.
fn is_retired(payload: &[u8]) -> bool {
    let baseline = Baseline::from_json(&String::from_utf8_lossy(payload));
    baseline.is_ok_and(|baseline| baseline.state == BaselineState::Retired)
}

/// What an operator does with a file.
struct Step<'a> {
    name: &'a str,
    dry_run: bool,
    by: &'a Act,
    /// Whose baseline had the name, where it passes to another signer.
    replaced_signer: Option<Signer>,
}
