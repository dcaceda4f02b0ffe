//! A machine whose next boot is not the one that was approved, and the way back.

use crate::operator;
use crate::show::Show;
use anyhow::{Context as _, Result, ensure};
use hallmark_api::admin::{
    ApplyPolicyFileRequest, EvidenceSummary, GetEvidenceRequest, PolicyFileChange, get_evidence_response::Part,
};
use hallmark_kit::{AdminClient, Lab, RecordedBoot};
use hallmark_policy::{Baseline, MachineFacts};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Which machine of the lab.
const MACHINE: usize = 1;
const PATIENCE: Duration = Duration::from_secs(60);

/// The operator's view of one machine.
struct Machine<'a> {
    id: &'a str,
    runtime: &'a Runtime,
    admin: &'a mut AdminClient,
}

/// Boots machine B as it was approved, then with a kernel command line that nobody approved, and rolls out a new image.
pub(crate) fn boots(show: &Show, lab: &mut Lab, runtime: &Runtime, admin: &mut AdminClient, id: &str) -> Result<()> {
    let socket = lab.server().admin_socket();
    let mut machine = Machine { id, runtime, admin };
    let short: String = id.rsplit('/').next().unwrap_or_default().chars().take(12).collect();
    show.step("What booted decides: machine B's boot log is proven by its quote");
    show.timed(
        "machine B boots a unified kernel image; firmware, loader and kernel measure it",
        || {
            let node = lab.node(MACHINE)?;
            node.boot(&RecordedBoot::vector("base"))?;
            node.start()
        },
    )?;
    let facts = machine.facts()?;
    let boot = facts.boot.as_ref().context("no boot log was proven")?;
    show.value("events proven", &boot.facts.event_count.to_string());
    show.value(
        "secure boot",
        if boot.facts.secure_boot == Some(true) {
            "on"
        } else {
            "off"
        },
    );
    show.value(
        "PCR 11 (the image)",
        facts.pcrs.get("sha256:11").map_or("", String::as_str),
    );
    machine.promote("release-1")?;
    machine.demand(1, "\"release-1\"")?;
    show.value("baseline captured", "release-1");
    show.value("policy in force", "machine B boots release-1, or gets nothing");

    show.step("Refused: the next boot has another kernel command line (module.sig_enforce=0 evil=1)");
    let node = lab.node(MACHINE)?;
    node.boot(&RecordedBoot::vector("cmdline"))?;
    node.launch()?;
    let refused = machine.wait_refused()?;
    show.refused("machine B", &format!("no longer trusted: {}", refused.untrusted_reason));
    operator::types(show, &socket, &format!("node explain {short}"))?;
    show.timed("machine B boots release-1 again, and has its identity again", || {
        let node = lab.node(MACHINE)?;
        node.boot(&RecordedBoot::vector("base"))?;
        node.start()
    })?;

    show.step("Rolled out: a new image, whose initrd was built anew");
    let node = lab.node(MACHINE)?;
    node.boot(&RecordedBoot::vector("initrd"))?;
    node.launch()?;
    machine.wait_refused()?;
    show.value("machine B", "booted it first, and waits: no baseline has it yet");
    let line = format!("node diff {short} --baseline release-1");
    let difference = operator::run(&socket, &line)?;
    let telling = difference
        .lines()
        .filter(|line| line.contains("section") || line.contains("part at"));
    show.command(
        &format!("hallmark {line} | grep -e section -e 'part at'"),
        &telling.collect::<Vec<_>>().join("\n"),
    );
    machine.promote("release-2")?;
    let change = machine.demand(2, "\"release-1\", \"release-2\"")?;
    ensure!(
        change.changes.iter().any(|change| change.is_trusted),
        "the promotion changed nothing"
    );
    show.value("baseline promoted", "release-2, by the operator who built the image");
    show.value(
        "judged again",
        "machine B is trusted by what it proved, without being asked",
    );
    show.timed("machine B has its identity again", || {
        lab.node(MACHINE)?.wait_ready(PATIENCE)
    })?;
    Ok(())
}

impl Machine<'_> {
    fn evidence(&mut self) -> Result<EvidenceSummary> {
        let request = GetEvidenceRequest { id: self.id.to_owned() };
        let admin = &mut self.admin.admin;
        let first = self.runtime.block_on(async move {
            let mut parts = admin.get_evidence(request).await?.into_inner();
            parts.message().await
        })?;
        match first.and_then(|part| part.part) {
            Some(Part::Summary(summary)) => Ok(summary),
            _ => anyhow::bail!("no evidence of {} is kept", self.id),
        }
    }

    fn facts(&mut self) -> Result<MachineFacts> {
        Ok(serde_json::from_str(&self.evidence()?.facts)?)
    }

    fn wait_refused(&mut self) -> Result<EvidenceSummary> {
        let start = Instant::now();
        loop {
            let evidence = self.evidence()?;
            if !evidence.untrusted_reason.is_empty() {
                return Ok(evidence);
            }
            ensure!(start.elapsed() < PATIENCE, "a changed boot was accepted");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the machine proved last becomes a baseline.
    fn promote(&mut self, name: &str) -> Result<PolicyFileChange> {
        let facts = self.facts()?;
        let made_at = i64::try_from(facts.quote_clock.seen_at / 1000)?;
        let baseline = Baseline::capture(name, 1, made_at, self.id, &facts, None)?;
        self.apply("baseline", baseline.to_json())
    }

    /// The policy that machine B boots one of the named baselines.
    fn demand(&mut self, serial: u32, baselines: &str) -> Result<PolicyFileChange> {
        let ek = self.id.rsplit('/').next().unwrap_or_default();
        self.apply(
            "policy",
            format!(
                "version = 1\nname = \"machine-b\"\nserial = {serial}\napplies_to = [\"tpm2:ek-hash:{ek}\"]\n\
                 [boot]\nbaselines = [{baselines}]\n"
            ),
        )
    }

    fn apply(&mut self, kind: &str, content: String) -> Result<PolicyFileChange> {
        let request = ApplyPolicyFileRequest {
            kind: kind.to_owned(),
            content: content.into_bytes().into(),
            dry_run: false,
            replace_signer: false,
        };
        let answer = self.runtime.block_on(self.admin.admin.apply_policy_file(request))?;
        Ok(answer.into_inner())
    }
}
