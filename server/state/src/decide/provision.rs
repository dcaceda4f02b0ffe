//! Installing machines over the network: what operators assign, what machines report, and when it is done.

use std::{collections::BTreeSet, sync::Arc};

use hallmark_node::EkId;
use hallmark_policy::BaselineState;
use hallmark_spiffe::Selector;

use super::image_order;
use crate::{
    Change, Decision, Event, ImageAssignment, ImageOrder, InstallAct, InstallStage, Key, NodeState, ProvisionError,
    View, node::node_id,
};

/// How often a machine comes back from the network before its attempt has failed: firmware that forgets the new boot entry once
/// is seen, a disk that does not start ends here.
const MAX_RETURNS: u32 = 3;
/// The longest reason of a failure, in bytes.
const MAX_REASON: usize = 2000;
/// The longest reason code, in bytes.
const MAX_CODE: usize = 32;

/// What an operator asks for.
#[derive(Debug, Clone, Copy)]
pub struct ProvisionAsk<'a> {
    /// Of which machine: any of its endorsement keys.
    pub machine: &'a EkId,
    /// Why, in their words.
    pub reason: &'a str,
    /// Whether it is only to be said what would happen.
    pub dry_run: bool,
}

/// What a machine reports of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// The attempt.
    pub attempt: u64,
    /// The SHA-256 of the manifest that the machine goes by.
    pub manifest_sha256: Vec<u8>,
    /// The step.
    pub step: ReportedStep,
}

/// A step that a machine reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedStep {
    /// It writes.
    Writing {
        /// Chunks that hold what they should.
        done: u32,
        /// All chunks.
        of: u32,
    },
    /// All chunks were written and read back.
    Written,
    /// It restarts from its disk.
    Restarting,
    /// It was installed, came back from the network, and restarts from its disk again.
    Returned,
    /// It gave up.
    Failed {
        /// The reason code.
        code: String,
        /// Why.
        reason: String,
    },
}

impl ReportedStep {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Writing { .. } => "writing",
            Self::Written => "written",
            Self::Restarting => "restarting",
            Self::Returned => "returned",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Assigns an image, in the place of whatever was assigned to the machine before.
///
/// # Errors
/// [`ProvisionError::Order`] for a value that cannot be used, [`ProvisionError::NoBaseline`] where no machine could match,
/// [`ProvisionError::OutOfService`] for a machine that an operator has put out for good.
pub fn assign_image(
    view: View<'_>,
    ask: &ProvisionAsk<'_>,
    order: &ImageOrder,
    now: i64,
) -> Result<(Decision, ImageAssignment), ProvisionError> {
    image_order::check(order)?;
    let found = match view.rules().set.baseline(&order.baseline).map(|it| it.state) {
        Some(BaselineState::Active) => None,
        Some(BaselineState::Retired) => Some("a retired one"),
        None => Some("none"),
    };
    if let Some(found) = found {
        let baseline = order.baseline.clone();
        return Err(ProvisionError::NoBaseline { baseline, found });
    }
    require_in_service(&view, ask.machine)?;
    let assigned = ImageAssignment {
        ek: *ask.machine,
        attempt: next_attempt(&view),
        order: order.clone(),
        stage: InstallStage::Assigned,
        returns: 0,
        restarted_in: None,
        assigned_at: now,
        since: now,
    };
    let before = of_machine(&view, ask.machine);
    let others = before.iter().filter(|it| it.ek != assigned.ek);
    let mut changes: Vec<Change> = others.map(|it| Change::DeleteImageAssignment(it.ek)).collect();
    changes.push(Change::PutImageAssignment(Arc::new(assigned.clone())));
    Ok((decided(view, ask, InstallAct::Assigned, &assigned, changes), assigned))
}

/// Has a machine try again from the beginning, with what is assigned.
///
/// # Errors
/// [`ProvisionError::NotAssigned`]; [`ProvisionError::NothingToRetry`] where it has not begun, or is done.
pub fn retry_image(
    view: View<'_>,
    ask: &ProvisionAsk<'_>,
    now: i64,
) -> Result<(Decision, ImageAssignment), ProvisionError> {
    let before = newest_of_machine(&view, ask.machine).ok_or_else(|| not_assigned(&view, ask.machine))?;
    if matches!(before.stage, InstallStage::Assigned | InstallStage::Done) {
        let stage = before.stage.as_str();
        return Err(ProvisionError::NothingToRetry { stage });
    }
    let assigned = ImageAssignment {
        attempt: next_attempt(&view),
        stage: InstallStage::Assigned,
        returns: 0,
        restarted_in: None,
        since: now,
        ..ImageAssignment::clone(before)
    };
    let changes = vec![Change::PutImageAssignment(Arc::new(assigned.clone()))];
    Ok((decided(view, ask, InstallAct::Retried, &assigned, changes), assigned))
}

/// Takes back what is assigned to a machine; gives what that was. A machine that is at it is refused from its next report on.
///
/// # Errors
/// [`ProvisionError::NotAssigned`].
pub fn remove_image(view: View<'_>, ask: &ProvisionAsk<'_>) -> Result<(Decision, ImageAssignment), ProvisionError> {
    let before = newest_of_machine(&view, ask.machine).ok_or_else(|| not_assigned(&view, ask.machine))?;
    let removed = ImageAssignment::clone(before);
    let all = of_machine(&view, ask.machine);
    let changes = all.iter().map(|it| Change::DeleteImageAssignment(it.ek)).collect();
    Ok((decided(view, ask, InstallAct::Removed, &removed, changes), removed))
}

/// Takes a machine's report. The same one again changes nothing, nor does progress of less than a hundredth. The inner result is
/// what the machine hears: where it came back from the network too often, the attempt fails by the report itself.
///
/// # Errors
/// [`ProvisionError`] for a report of another attempt, one that does not follow, and one with values that cannot be.
pub fn report_step(
    view: View<'_>,
    ek: &[u8; 32],
    report: &StepReport,
    now: i64,
) -> Result<(Decision, Result<(), ProvisionError>), ProvisionError> {
    let machine = EkId::Spki(*ek);
    let before = newest_of_machine(&view, &machine).ok_or_else(|| not_assigned(&view, &machine))?;
    if report.attempt != before.attempt {
        return Err(ProvisionError::OtherAttempt {
            assigned: before.attempt,
            reported: report.attempt,
        });
    }
    if report.manifest_sha256 != before.order.manifest_sha256 {
        return Err(ProvisionError::Report {
            what: "another manifest than the one that is assigned",
            compared: format!(
                "expected SHA-256 {}, got {}",
                hex::encode(before.order.manifest_sha256),
                hex::encode(report.manifest_sha256.get(..32).unwrap_or(&report.manifest_sha256))
            ),
        });
    }
    require_sound(&report.step, before.order.chunks)?;
    let boot = match report.step {
        ReportedStep::Restarting | ReportedStep::Returned => boot_of(&view, ek),
        _ => None,
    };
    let Some((stage, returns)) = next_stage(before, &report.step, boot)? else {
        return Ok((view.decide(Vec::new(), Vec::new()), Ok(())));
    };
    let (stage, answer) = if returns > MAX_RETURNS {
        let error = ProvisionError::NotFromDisk { returns };
        let failed = InstallStage::Failed {
            code: hallmark_reason::Coded::code(&error).to_string(),
            reason: error.to_string(),
        };
        (failed, Err(error))
    } else {
        (stage, Ok(()))
    };
    let restarted_in = boot.filter(|_| stage == InstallStage::Restarting);
    let is_progress = stage.as_str() == before.stage.as_str() && returns == before.returns;
    let after = ImageAssignment {
        since: if is_progress { before.since } else { now },
        stage,
        returns,
        restarted_in,
        ..ImageAssignment::clone(before)
    };
    let event = (!is_progress).then(|| step_event(&view, &after));
    let changes = vec![Change::PutImageAssignment(Arc::new(after))];
    Ok((view.decide(changes, event.into_iter().collect()), answer))
}

/// The reset count of the machine's TPM, as its last attestation shows it.
fn boot_of(view: &View<'_>, ek: &[u8; 32]) -> Option<u32> {
    let node = node_id(view.unprotected().trust_domain(), ek)?;
    Some(view.attestation(&node)?.quote_clock.reset_count)
}

/// What an accepted attestation brings for a machine that restarts from its disk: where it has booted since then (its TPM's reset
/// count is another one), and the verdict says that it matches the assigned baseline, the installation is done.
pub(super) fn installed(
    view: &View<'_>,
    ek: &[u8; 32],
    selectors: &BTreeSet<Selector>,
    reset_count: u32,
    now: i64,
) -> Option<(Change, Event)> {
    let before = view.unprotected().image_assignment_of(&EkId::Spki(*ek))?;
    if !before.has_booted_in(reset_count) || !before.is_matched_by(selectors) {
        return None;
    }
    view.rests_on(Key::ImageAssignment(before.ek));
    let done = ImageAssignment {
        stage: InstallStage::Done,
        returns: 0,
        since: now,
        ..ImageAssignment::clone(before)
    };
    let event = step_event(view, &done);
    Some((Change::PutImageAssignment(Arc::new(done)), event))
}

/// The stage after a report, and how often the machine came back from the network; `None` where the report is no news.
/// `boot` is the TPM's reset count in the boot that reports.
fn next_stage(
    before: &ImageAssignment,
    step: &ReportedStep,
    boot: Option<u32>,
) -> Result<Option<(InstallStage, u32)>, ProvisionError> {
    let (stage, returns) = (&before.stage, before.returns);
    let out_of_order = || ProvisionError::OutOfOrder {
        stage: stage.as_str(),
        step: step.as_str(),
    };
    Ok(match (stage, step) {
        (InstallStage::Failed { code, .. }, ReportedStep::Failed { code: again, .. }) if code == again => None,
        (InstallStage::Failed { .. }, _) => return Err(out_of_order()),
        // Also of one that was done: its disk is no longer what was installed.
        (_, ReportedStep::Failed { code, reason }) => {
            let (code, reason) = (code.clone(), reason.clone());
            Some((InstallStage::Failed { code, reason }, returns))
        }
        // The same boot has reported it before.
        (InstallStage::Restarting, ReportedStep::Returned) if before.restarted_in == boot => None,
        (InstallStage::Restarting | InstallStage::Done, ReportedStep::Returned) => {
            Some((InstallStage::Restarting, returns.saturating_add(1)))
        }
        (InstallStage::Writing { done: before }, ReportedStep::Writing { done, of })
            if hundredths(*before, *of) == hundredths(*done, *of) =>
        {
            None
        }
        // A report that was late.
        (InstallStage::Written, ReportedStep::Writing { done, of }) if done == of => None,
        // Power was lost: the machine goes through its disk again, and on from there.
        (
            InstallStage::Assigned | InstallStage::Writing { .. } | InstallStage::Written,
            ReportedStep::Writing { done, .. },
        ) => Some((InstallStage::Writing { done: *done }, returns)),
        (InstallStage::Written, ReportedStep::Written) | (InstallStage::Restarting, ReportedStep::Restarting) => None,
        (InstallStage::Writing { .. }, ReportedStep::Written) => Some((InstallStage::Written, returns)),
        (InstallStage::Written, ReportedStep::Restarting) => Some((InstallStage::Restarting, returns)),
        (InstallStage::Assigned, ReportedStep::Written | ReportedStep::Restarting | ReportedStep::Returned)
        | (InstallStage::Writing { .. }, ReportedStep::Restarting | ReportedStep::Returned)
        | (InstallStage::Written, ReportedStep::Returned)
        | (InstallStage::Restarting, ReportedStep::Writing { .. } | ReportedStep::Written)
        | (InstallStage::Done, _) => return Err(out_of_order()),
    })
}

/// So many are recorded of an attempt at most, however often a machine reports.
fn hundredths(done: u32, of: u32) -> u64 {
    u64::from(done)
        .saturating_mul(100)
        .checked_div(u64::from(of))
        .unwrap_or_default()
}

fn require_sound(step: &ReportedStep, chunks: u32) -> Result<(), ProvisionError> {
    let wrong = |what, compared| Err(ProvisionError::Report { what, compared });
    match step {
        ReportedStep::Writing { of, .. } if *of != chunks => wrong(
            "another number of chunks than the manifest has",
            format!("expected {chunks}, got {of}"),
        ),
        ReportedStep::Writing { done, of } if done > of => {
            wrong("more chunks than there are", format!("at most {of}, got {done}"))
        }
        ReportedStep::Failed { code, .. } if !is_code(code) => wrong(
            "the code is not a reason code",
            format!(
                "expected HM-AREA-0000 of at most {MAX_CODE} bytes, got {} bytes",
                code.len()
            ),
        ),
        ReportedStep::Failed { reason, .. }
            if reason.len() > MAX_REASON || hallmark_reason::misleading(reason).is_some() =>
        {
            let got = reason.len();
            wrong(
                "the reason has control or format characters, or is too long",
                format!("at most {MAX_REASON} bytes in one line, got {got}"),
            )
        }
        _ => Ok(()),
    }
}

/// `HM-`, an area of capital letters, `-`, four digits.
fn is_code(code: &str) -> bool {
    let parts = code.strip_prefix("HM-").and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(area, number)| {
        let is_area = !area.is_empty() && area.bytes().all(|c| c.is_ascii_uppercase());
        code.len() <= MAX_CODE && is_area && number.len() == 4 && number.bytes().all(|c| c.is_ascii_digit())
    })
}

/// What is assigned to a machine, by whichever of its keys.
fn of_machine<'a>(view: &View<'a>, machine: &EkId) -> Vec<&'a Arc<ImageAssignment>> {
    let links = view.machines();
    for key in links.keys_of_machine(machine) {
        view.rests_on(Key::ImageAssignment(key));
        // Whichever of these is news may tell of another key.
        match (key.name(), key) {
            (Some(name), _) => view.rests_on(Key::TpmName(name)),
            (None, EkId::Spki(ek)) => view.rests_on(Key::NamesOf(ek)),
            (None, EkId::Name(_)) => {}
        }
    }
    view.unprotected().image_assignments_of(machine).collect()
}

fn newest_of_machine<'a>(view: &View<'a>, machine: &EkId) -> Option<&'a Arc<ImageAssignment>> {
    let _ = of_machine(view, machine);
    view.unprotected().image_assignment_of(machine)
}

/// A machine that was banned or retired is told nothing, whatever is assigned to it.
fn require_in_service(view: &View<'_>, machine: &EkId) -> Result<(), ProvisionError> {
    let keys = view.machines().keys_of_machine(machine);
    let eks = keys.iter().filter_map(|key| view.machines().ek_of_key(key));
    let mut nodes = eks.filter_map(|ek| view.node_of_ek(&ek));
    match nodes.find(|node| matches!(node.state, NodeState::Banned | NodeState::Retired)) {
        None => Ok(()),
        Some(node) => Err(ProvisionError::OutOfService {
            node: node.id.to_string(),
            state: node.state,
        }),
    }
}

/// Higher than of every decision before: it is made at a later revision.
fn next_attempt(view: &View<'_>) -> u64 {
    view.unprotected().revision().saturating_add(1)
}

fn not_assigned(view: &View<'_>, machine: &EkId) -> ProvisionError {
    ProvisionError::NotAssigned {
        machine: subject(view, machine),
    }
}

/// The node's id as far as the key tells it; else the key.
fn subject(view: &View<'_>, machine: &EkId) -> String {
    let ek = view.unprotected().links().ek_of_key(machine);
    let id = ek.and_then(|ek| node_id(view.unprotected().trust_domain(), &ek));
    id.map_or_else(|| machine.to_string(), |id| id.to_string())
}

fn decided(
    view: View<'_>,
    ask: &ProvisionAsk<'_>,
    act: InstallAct,
    about: &ImageAssignment,
    changes: Vec<Change>,
) -> Decision {
    if ask.dry_run {
        return view.decide(Vec::new(), Vec::new());
    }
    let event = Event::install_step(&subject(&view, &about.ek), act, about, ask.reason);
    view.decide(changes, vec![event])
}

fn step_event(view: &View<'_>, about: &ImageAssignment) -> Event {
    let reason = match &about.stage {
        InstallStage::Failed { reason, .. } => reason,
        InstallStage::Restarting if about.returns > 0 => "the machine came back from the network",
        _ => "",
    };
    let act = InstallAct::of(&about.stage);
    Event::install_step(&subject(view, &about.ek), act, about, reason)
}
