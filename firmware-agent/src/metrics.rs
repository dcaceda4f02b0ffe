//! The agent's metrics, as OpenMetrics text. Every label has few values, and none is a SPIFFE ID.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use hallmark_host::{
    health::{Report, State},
    log::lost_lines,
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use crate::{
    cache::Snapshot,
    condition::{Noted, TpmUse},
    workload_api::Usage,
};

type Label = [(&'static str, &'static str); 1];
type PartLabel = [(&'static str, String); 1];
type Seconds = Gauge<f64, AtomicU64>;

/// What is exported.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    ready: Gauge,
    /// Whether the last reload was refused.
    pub(crate) reload_failed: Gauge,
    parts: Family<PartLabel, Gauge>,
    identity: Seconds,
    sync_age: Seconds,
    not_taken: Gauge,
    svids: Family<Label, Gauge>,
    svid: Seconds,
    attestations: Family<Label, Counter>,
    connections: Gauge,
    streams: Gauge,
    cut_answers: Counter,
    lost_lines: Counter,
}

impl Metrics {
    /// Metrics of an agent that works with this TPM.
    pub(crate) fn new(tpm: &TpmUse) -> Self {
        let mut registry = Registry::with_prefix("hallmark_agent");
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent's version", info);
        let all = Self {
            ready: Gauge::default(),
            reload_failed: Gauge::default(),
            parts: Family::default(),
            identity: Seconds::default(),
            sync_age: Seconds::default(),
            not_taken: Gauge::default(),
            svids: Family::default(),
            svid: Seconds::default(),
            attestations: Family::default(),
            connections: Gauge::default(),
            streams: Gauge::default(),
            cut_answers: Counter::default(),
            lost_lines: Counter::default(),
            registry: Registry::default(),
        };
        let mut add = Adding(&mut registry);
        add.metric("ready", "Whether the agent is ready: 1 or 0, as found last", &all.ready);
        add.metric(
            "reload_failed",
            "Whether the configuration was refused when it was read again last: 1 or 0",
            &all.reload_failed,
        );
        add.metric(
            "part_ok",
            "Whether a part does its work: 1 or 0, as found last",
            &all.parts,
        );
        add.metric(
            "identity_expiry_seconds",
            "Time left of the agent's own SVID; 0 where it has none",
            &all.identity,
        );
        add.metric(
            "sync_age_seconds",
            "Time since the server answered last; since the start where it never did",
            &all.sync_age,
        );
        add.metric(
            "entries_not_taken",
            "Entries of this node that are more than the agent takes, and are not served",
            &all.not_taken,
        );
        add.metric(
            "workload_svids",
            "Workload entries, by whether they have an SVID",
            &all.svids,
        );
        add.metric(
            "workload_svid_expiry_seconds",
            "Time left of the workload SVID that ends first; 0 where there is none",
            &all.svid,
        );
        add.metric("attestations", "Attestations, by how they ended", &all.attestations);
        add.metric(
            "workload_api_connections",
            "Open connections to the Workload API",
            &all.connections,
        );
        add.metric("workload_api_streams", "Open calls of the Workload API", &all.streams);
        add.metric(
            "workload_api_cut_answers",
            "Answers that left SVIDs out, since all of them do not fit a message",
            &all.cut_answers,
        );
        add.metric(
            "tpm_work_seconds",
            "How long the TPM took, by what was asked of it",
            &tpm.seconds,
        );
        add.metric(
            "tpm_errors",
            "What the TPM failed at, by what was asked of it",
            &tpm.errors,
        );
        add.metric("log_lines_lost", "Log lines that could not be written", &all.lost_lines);
        Self { registry, ..all }
    }

    /// The metrics now. `report` is what was found when somebody looked last.
    pub(crate) fn text(&self, report: Report, noted: &Noted, snapshot: &Snapshot, usage: &Usage) -> String {
        self.ready.set(i64::from(report.ok));
        for part in report.parts {
            let works = i64::from(part.state != State::Failed);
            self.parts.get_or_create(&[("part", part.name)]).set(works);
        }
        let now = SystemTime::now();
        let left = |end: Option<SystemTime>| {
            let left = end.and_then(|end| end.duration_since(now).ok());
            left.unwrap_or_default().as_secs_f64()
        };
        self.identity.set(left(noted.valid_until));
        let since = noted.synced.unwrap_or(noted.started).elapsed();
        self.sync_age.set(Duration::as_secs_f64(&since));
        let not_taken = noted.not_taken.as_ref().map_or(0, |(count, _)| *count);
        self.not_taken.set(i64::try_from(not_taken).unwrap_or(i64::MAX));
        let held = snapshot.entries.iter().filter_map(|entry| entry.x509.as_ref());
        let count = held.clone().count();
        let missing = snapshot.entries.iter().filter(|entry| entry.is_missing()).count();
        for (state, count) in [("valid", count), ("missing", missing)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.svids.get_or_create(&[("state", state)]).set(count);
        }
        self.svid.set(left(held.map(|x509| x509.not_after).min()));
        let ended = noted.attestations;
        for (outcome, count) in [
            ("accepted", ended.accepted),
            ("refused", ended.refused),
            ("failed", ended.failed),
        ] {
            let counter = self.attestations.get_or_create(&[("outcome", outcome)]);
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.connections.set(usage.connections().into());
        self.streams.set(usage.streams().into());
        let cut = usage.cuts.count.get();
        self.cut_answers.inner().store(cut, Ordering::Relaxed);
        self.lost_lines.inner().store(lost_lines(), Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a string fails nowhere.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

struct Adding<'a>(&'a mut Registry);

impl Adding<'_> {
    fn metric(&mut self, name: &str, help: &str, metric: &(impl prometheus_client::registry::Metric + Clone)) {
        self.0.register(name, help, metric.clone());
    }
}
