//! Judging a file: by what a server judged it by, or by what is given.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_evidence::{EvidenceFile, Judged, Source};
use hallmark_policy::{KnownMachine, MachineFacts, Policy, PolicySet, Reason, RuleFileError, Rules, signed::FileKind};
use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_verify::{ExpiredPolicy, Trust, offline};

use super::read;
use crate::{
    command::{Context, baseline::operators, policy::digests},
    error::CliError,
    exit::Exit,
    output::show,
    timestamp,
    view::evidence::{Detail, EvidenceView, JudgedBy},
};

/// What a file is judged by. A file that a server saved brings what that server judged it by; what is given here counts
/// in its place.
#[derive(Debug, clap::Args)]
pub(crate) struct Judge {
    /// The evidence file
    file: PathBuf,
    /// Trusted roots for its EK certificate, PEM or DER; may be given several times; else those in the file
    #[arg(long, value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// A policy to hold it against; may be given several times; else those in the file
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// A baseline that policies name; may be given several times
    #[arg(long, value_name = "FILE")]
    baseline: Vec<PathBuf>,
    /// A list of digests that policies name, of `sha256sum` or as JSON; may be given several times
    #[arg(long, value_name = "NAME=FILE", value_parser = named_file)]
    digest_list: Vec<(String, PathBuf)>,
    /// Public keys of those who may have signed the policies and baselines that are given, PEM. A signed one must be for the
    /// machine's trust domain, where the evidence names it
    #[arg(long, value_name = "FILE")]
    operator_key: Vec<PathBuf>,
    /// The time as of which it is judged, RFC 3339; else when a server judged it last, or when the file was made
    #[arg(long, value_name = "TIME", value_parser = timestamp::parse_rfc3339)]
    at: Option<i64>,
}

/// Everything that the facts are held against.
struct Grounds {
    set: PolicySet,
    /// Whether the set has the rules of a server's configuration.
    configured: bool,
    trust: Option<Trust>,
    known: Option<KnownMachine>,
}

impl Judge {
    /// What `policy` alone finds in an evidence file, with the baselines and lists that are given or that the file
    /// brings; nothing where the policy is not for the machine.
    ///
    /// # Errors
    /// When a file cannot be read, or the evidence proves nothing that a policy could be held against.
    pub(crate) fn by_policy(
        evidence: PathBuf,
        policy: &Policy,
        baseline: Vec<PathBuf>,
        digest_list: Vec<(String, PathBuf)>,
    ) -> Result<Vec<Reason>, CliError> {
        let judge = Self {
            file: evidence,
            anchors: Vec::new(),
            policy: Vec::new(),
            baseline,
            digest_list,
            operator_key: Vec::new(),
            at: None,
        };
        let file = judge.read()?;
        let mut grounds = judge.grounds(&file)?;
        let others: Vec<String> = grounds.set.policies().map(|other| other.name.clone()).collect();
        for other in others {
            grounds.set.withdraw(&other);
        }
        grounds.set.apply(policy.clone());
        let now = time_of(judge.at(&file));
        let (report, state) = offline::proven_state(&file, grounds.trust.as_ref(), now);
        let Some(state) = state else {
            let wrong = report.checks.iter().find(|check| check.holds == Some(false));
            let detail = wrong.map_or("nothing is proven by it", |check| check.text.as_str());
            return Err(judge.unfit("evidence", detail));
        };
        let facts = MachineFacts::of_kept(&state, grounds.known.clone());
        let result = grounds.set.judge(&facts, now);
        let of_policy = result.reasons().iter().filter(|reason| reason.policy == policy.name);
        Ok(of_policy.cloned().collect())
    }

    fn read(&self) -> Result<EvidenceFile, CliError> {
        let bytes = read::limited(&self.file, EvidenceFile::MAX_LEN)?;
        EvidenceFile::parse(&bytes).map_err(|cause| CliError::Evidence {
            file: self.file.clone(),
            cause,
        })
    }

    /// As of when the file is judged, in Unix seconds. Not by the clock of whoever asks: the same file gives the same
    /// verdict on every day.
    fn at(&self, file: &EvidenceFile) -> i64 {
        let made_at = || timestamp::parse_rfc3339(&file.made_at).ok();
        let kept = file.judged.as_ref().map(|kept| kept.at);
        self.at.or(kept).or_else(made_at).unwrap_or_else(timestamp::now)
    }

    pub(super) fn run(self, context: &Context, detail: Detail) -> Result<Exit, CliError> {
        let file = self.read()?;
        let kept = file.judged.as_ref();
        let at = self.at(&file);
        let now = time_of(at);
        // Only policies name baselines and lists: alone they would change nothing.
        let named = self.baseline.first().or(self.digest_list.first().map(|(_, path)| path));
        if let Some(path) = named.filter(|_| self.policy.is_empty() && kept.is_none()) {
            return Err(CliError::Unfit {
                what: "ground to judge by",
                file: path.clone(),
                detail: "no policy names it: give the policy beside it (--policy FILE)".to_owned(),
            });
        }
        let grounds = self.grounds(&file)?;
        let by = JudgedBy {
            at: timestamp::rfc3339(at).unwrap_or_default(),
            anchors: whose(
                !self.anchors.is_empty(),
                kept.is_some_and(|kept| !kept.anchors.is_empty()),
            ),
            rules: whose(!self.policy.is_empty(), kept.is_some_and(|kept| !kept.rules.is_empty())),
        };
        let (report, state) = offline::proven_state(&file, grounds.trust.as_ref(), now);
        let facts = state.map(|state| MachineFacts::of_kept(&state, grounds.known.clone()));
        let reasons = facts.map_or_else(Vec::new, |facts| grounds.judge(&facts, now));
        let view = EvidenceView::new(&self.file, &file, by, report, reasons, detail);
        let exit = if view.is_trusted() { Exit::Done } else { Exit::Refused };
        show(context.format, &view)?;
        Ok(exit)
    }

    fn unfit(&self, what: &'static str, detail: impl ToString) -> CliError {
        CliError::Unfit {
            what,
            file: self.file.clone(),
            detail: detail.to_string(),
        }
    }

    fn grounds(&self, file: &EvidenceFile) -> Result<Grounds, CliError> {
        let mut grounds = Grounds {
            set: PolicySet::default(),
            configured: false,
            trust: None,
            known: None,
        };
        if let Some(kept) = &file.judged {
            self.take(kept, file, &mut grounds)?;
        }
        if !self.anchors.is_empty() {
            let mut trust = Trust::default();
            for path in &self.anchors {
                let bytes = read::limited(path, read::MAX_RULES)?;
                trust.roots.add(&path.display().to_string(), &bytes)?;
            }
            grounds.trust = Some(trust);
        }
        let (keys, audience) = (operators(&self.operator_key)?, trust_domain(file));
        let rules = |path: &Path, what| read::rules(path, what, &keys, audience.as_ref());
        for path in &self.policy {
            let text = rules(path, (FileKind::Policy, Policy::MAX_BYTES))?;
            let text = String::from_utf8(text).map_err(|_| RuleFileError::NotText)?;
            let mut policy = Policy::from_toml(&path.display().to_string(), &text)?;
            // Who names a policy for a file means it for this machine.
            policy.applies_to.clear();
            grounds.set.apply(policy);
        }
        for path in &self.baseline {
            let content = rules(path, (FileKind::Baseline, read::MAX_RULES))?;
            grounds
                .set
                .add_file(FileKind::Baseline, &path.display().to_string(), &content)?;
        }
        for (name, path) in &self.digest_list {
            let list = digests(path, name, 1)?;
            grounds.set.add_digest_list(list);
        }
        Ok(grounds)
    }

    /// What the server judged by, as the file says. Given policies stand in the place of all of its policies.
    fn take(&self, kept: &Judged, file: &EvidenceFile, grounds: &mut Grounds) -> Result<(), CliError> {
        grounds.known = self.known(kept, file)?;
        let enrolled_by = grounds.known.as_ref().map(|known| known.tpm.enrolled_by.as_str());
        let mut trust = Trust {
            // Whether an expired certificate counts was for the server to say, which knew whether the TPM was enrolled.
            expired: match enrolled_by {
                Some("certificate") => ExpiredPolicy::Ignore,
                _ => ExpiredPolicy::default(),
            },
            ..Trust::default()
        };
        for anchor in &kept.anchors {
            let added = trust.roots.add("the evidence file", anchor);
            added.map_err(|error| self.unfit("trusted root", error))?;
        }
        // Where the inventory vouched for the TPM, the server let nobody in by the certificate.
        let counts = !kept.anchors.is_empty() && enrolled_by != Some("inventory");
        grounds.trust = counts.then_some(trust);
        for rule in &kept.rules {
            let given = !self.policy.is_empty();
            match (rule.kind.as_str(), FileKind::from_name(&rule.kind)) {
                ("configuration" | "policy", _) if given => {}
                ("configuration", _) => {
                    let rules = serde_json::from_slice::<Rules>(&rule.content);
                    grounds.set.rules = rules.map_err(|error| self.unfit("configuration", error))?;
                    grounds.configured = true;
                }
                (_, Some(kind)) => {
                    grounds.set.add_file(kind, "the evidence file", &rule.content)?;
                }
                (other, None) => return Err(self.unfit("rules", format!("unknown kind of rules {other:?}"))),
            }
        }
        Ok(())
    }

    /// What the server knew of the machine.
    fn known(&self, kept: &Judged, file: &EvidenceFile) -> Result<Option<KnownMachine>, CliError> {
        if kept.machine.is_null() {
            return Ok(None);
        }
        let known: KnownMachine =
            serde_json::from_value(kept.machine.clone()).map_err(|error| self.unfit("machine", error))?;
        let named = known.tpm.certificate.as_ref().map(|certificate| &certificate.sha256);
        let held = file.ek_certificate.as_deref().and_then(offline::certificate_sha256);
        if named.is_some() && named != held.as_ref() {
            return Err(self.unfit(
                "machine",
                "it names another EK certificate than the one that the file holds",
            ));
        }
        Ok(Some(known))
    }
}

fn time_of(at: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or(0))
}

impl Grounds {
    /// What the rules find. The rules of a configuration have a say only where there is one.
    fn judge(&self, facts: &MachineFacts, now: SystemTime) -> Vec<Reason> {
        let result = self.set.judge(facts, now);
        let reasons = result.reasons().iter();
        reasons
            .filter(|reason| self.configured || reason.policy != Reason::BUILT_IN)
            .cloned()
            .collect()
    }
}

/// Where something came from.
const fn whose(given: bool, kept: bool) -> &'static str {
    match (given, kept) {
        (true, _) => "given",
        (false, true) => "file",
        (false, false) => "none",
    }
}

/// The trust domain of the machine that the evidence is about, where it names it.
fn trust_domain(file: &EvidenceFile) -> Option<TrustDomain> {
    match &file.source {
        Source::Attestation { node, .. } => SpiffeId::parse(node).ok().map(|id| id.trust_domain().clone()),
        _ => None,
    }
}

/// `NAME=FILE`.
pub(crate) fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("NAME=FILE is wanted")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}
