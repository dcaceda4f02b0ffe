//! The server's metrics, as OpenMetrics text. Every label has few values, and none is a SPIFFE ID.

mod counters;
mod keys;

pub use counters::{Counters, SharedCount};
pub(crate) use keys::TimedKeys;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use hallmark_authority::Age;
use hallmark_host::{health::Report, log::lost_lines};
use hallmark_reason::ReasonCode;
use hallmark_state::NodeCounts;
use hallmark_store::Statistics;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

type Label = [(&'static str, &'static str); 1];
type PartLabel = [(&'static str, String); 1];
type ReasonLabel = [(&'static str, String); 2];
type Times<L> = Family<L, Histogram, fn() -> Histogram>;
type Seconds = Gauge<f64, AtomicU64>;

/// From work in memory to a node that takes its time.
fn times() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

/// A step of an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The claim is read and judged, and a challenge made.
    Claim,
    /// The node answers the challenge: its TPM's time, and the way there and back.
    Answer,
    /// The answer is judged.
    Proof,
    /// The logs arrive.
    Logs,
    /// Logs and policies are judged.
    Appraisal,
    /// The verdict is recorded, and the SVID signed.
    Issue,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Answer => "answer",
            Self::Proof => "proof",
            Self::Logs => "logs",
            Self::Appraisal => "appraisal",
            Self::Issue => "issue",
        }
    }
}

/// What a request of OIDC discovery was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OidcAnswer {
    /// The discovery document.
    Configuration,
    /// The keys.
    Keys,
    /// That the asker has the document.
    NotModified,
    /// Whether the listener works.
    Probe,
    /// A host, path or method that is not served.
    Refused,
    /// The keys could not be published.
    Failed,
    /// Nothing: there was no place for the connection.
    TurnedAway,
}

impl OidcAnswer {
    const ALL: [Self; 7] = [
        Self::Configuration,
        Self::Keys,
        Self::NotModified,
        Self::Probe,
        Self::Refused,
        Self::Failed,
        Self::TurnedAway,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Keys => "keys",
            Self::NotModified => "not-modified",
            Self::Probe => "probe",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TurnedAway => "turned-away",
        }
    }
}

/// The stages of one attestation, one after the other.
pub(crate) struct Stages<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Stages<'_> {
    /// A stage has ended, and the next begins.
    pub(crate) fn ended(&mut self, stage: Stage) {
        let now = Instant::now();
        let took = now.duration_since(self.since).as_secs_f64();
        let label = [("stage", stage.name())];
        self.metrics.stages.get_or_create(&label).observe(took);
        self.since = now;
    }
}

/// What is exported.
#[derive(Debug)]
pub struct Metrics {
    /// Counts since the store was made.
    pub counters: Counters,
    registry: Registry,
    verdicts: Family<ReasonLabel, Counter>,
    stages: Times<Label>,
    svids: Family<Label, Counter>,
    failed_svids: Counter,
    pub(crate) signing: Histogram,
    ready: Gauge,
    parts: Family<PartLabel, Gauge>,
    reload_failed: Gauge,
    cut_short: Counter,
    floods: Counter,
    oidc: Family<Label, Counter>,
    authority: Seconds,
    stage: Gauge,
    nodes: Family<Label, Gauge>,
    entries: Gauge,
    hsm_queue: Gauge,
    hsm_sessions: Gauge,
    hsm_stuck: Gauge,
    hsm: Family<Label, Counter>,
    store: Family<Label, Counter>,
    store_bytes: Family<Label, Gauge>,
    records: Gauge,
    lost_lines: Counter,
}

/// What is read from the parts when somebody asks for the metrics.
pub(crate) struct Reading<'a> {
    /// What was found when somebody looked last.
    pub(crate) report: &'a Report,
    /// Whether the last reload was refused.
    pub(crate) reload_refused: bool,
    /// How old the authority is.
    pub(crate) age: Age,
    /// How many seconds the authority has left.
    pub(crate) authority_left: i64,
    /// The nodes.
    pub(crate) nodes: NodeCounts,
    /// How many nodes get nothing signed since what is kept of them does not read back.
    pub(crate) unjudged: usize,
    /// How many entries there are.
    pub(crate) entries: usize,
    /// The token.
    pub(crate) hsm: hallmark_hsm::Status,
    /// The store.
    pub(crate) store: Statistics,
}

impl Metrics {
    /// Nothing counted yet but `counters`.
    #[must_use]
    pub fn new(counters: Counters) -> Self {
        let mut all = Self {
            counters,
            registry: Registry::with_prefix("hallmark_server"),
            verdicts: Family::default(),
            stages: Family::new_with_constructor(times),
            svids: Family::default(),
            failed_svids: Counter::default(),
            signing: times(),
            ready: Gauge::default(),
            parts: Family::default(),
            reload_failed: Gauge::default(),
            cut_short: Counter::default(),
            floods: Counter::default(),
            oidc: Family::default(),
            authority: Seconds::default(),
            stage: Gauge::default(),
            nodes: Family::default(),
            entries: Gauge::default(),
            hsm_queue: Gauge::default(),
            hsm_sessions: Gauge::default(),
            hsm_stuck: Gauge::default(),
            hsm: Family::default(),
            store: Family::default(),
            store_bytes: Family::default(),
            records: Gauge::default(),
            lost_lines: Counter::default(),
        };
        all.register();
        all
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        let info = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        to.register("build", "The server's version", info);
        add(
            to,
            "ready",
            "Whether the server is ready: 1 or 0, as found last",
            &self.ready,
        );
        add(
            to,
            "part_ok",
            "Whether a part does its work: 1 or 0, as found last",
            &self.parts,
        );
        let verdicts = "Attestations, by outcome and by the class of the refusal, which is what the node was told";
        add(to, "verdicts", verdicts, &self.verdicts);
        let stages = "How long the steps of attestations took";
        add(to, "attestation_stage_seconds", stages, &self.stages);
        add(to, "svids_issued", "SVIDs issued, by who asked", &self.svids);
        let failed = "SVIDs that were granted and not issued: store or token failed";
        add(to, "svids_failed", failed, &self.failed_svids);
        let cut_short = "SVIDs issued for less than was granted, since none outlives the authority";
        let reload = "Whether the configuration was refused when it was read again last: 1 or 0";
        add(to, "reload_failed", reload, &self.reload_failed);
        add(to, "svids_cut_short", cut_short, &self.cut_short);
        let floods =
            "Connections of clients without a certificate that were cut, since they sent too many HTTP/2 frames";
        add(to, "connections_cut", floods, &self.floods);
        let oidc = "Requests of OIDC discovery, by what was answered, and connections to it that were turned away";
        add(to, "oidc_requests", oidc, &self.oidc);
        for answer in OidcAnswer::ALL {
            drop(self.oidc.get_or_create(&[("answer", answer.name())]));
        }
        let stage = "How far the authority is: 1 from half of its life, 2 from five sixths, 3 in the last lifetime of an SVID, 4 ended";
        add(to, "authority_stage", stage, &self.stage);
        let authority = "Time left of the X.509 authority";
        add(to, "authority_expiry_seconds", authority, &self.authority);
        add(
            to,
            "nodes",
            "Nodes, by what stands out of them; all, with those",
            &self.nodes,
        );
        add(to, "entries", "Registration entries", &self.entries);
        let signing = "How long the token took to sign a batch, its queue included";
        add(to, "hsm_sign_seconds", signing, &self.signing);
        add(
            to,
            "hsm_queue",
            "Jobs that wait for a session of the token",
            &self.hsm_queue,
        );
        add(
            to,
            "hsm_sessions",
            "Sessions of the token: jobs side by side",
            &self.hsm_sessions,
        );
        let stuck = "Calls into the token that hang: their threads were given up";
        add(to, "hsm_stuck_calls", stuck, &self.hsm_stuck);
        add(
            to,
            "hsm_events",
            "Signatures made, jobs failed, tokens opened again",
            &self.hsm,
        );
        let store = "Transactions made durable, the commits that they shared, and failures";
        add(to, "store_events", store, &self.store);
        let bytes = "How large the store's file and its write-ahead log are";
        add(to, "store_bytes", bytes, &self.store_bytes);
        add(to, "records", "Records of verdicts, SVIDs and changes", &self.records);
        add(
            to,
            "log_lines_lost",
            "Log lines that could not be written",
            &self.lost_lines,
        );
    }

    /// A connection was cut that had sent too many frames.
    pub(crate) fn add_flood(&self) {
        self.floods.inc();
    }

    /// A request of OIDC discovery was answered, or turned away.
    pub(crate) fn oidc_answered(&self, answer: OidcAnswer) {
        self.oidc.get_or_create(&[("answer", answer.name())]).inc();
    }

    /// An attestation begins.
    pub(crate) fn stages(&self) -> Stages<'_> {
        Stages {
            metrics: self,
            since: Instant::now(),
        }
    }

    /// An attestation has ended; refused or failed ones have the code that the node was told.
    pub(crate) fn verdict(&self, outcome: &'static str, class: Option<ReasonCode>) {
        let class = class.map_or_else(String::new, |class| class.to_string());
        let label = [("outcome", outcome.to_owned()), ("class", class)];
        self.verdicts.get_or_create(&label).inc();
    }

    /// What became of orders of `holder`.
    pub(crate) fn issued(&self, holder: &str, issued: usize, failed: usize) {
        let holder = match holder {
            "server" => "server",
            "local" => "local",
            _ => "remote",
        };
        let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
        self.svids.get_or_create(&[("holder", holder)]).inc_by(count(issued));
        self.failed_svids.inc_by(count(failed));
    }

    /// SVIDs were issued for less than was granted.
    pub(crate) fn add_cut_short(&self, count: usize) {
        self.cut_short.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// How many SVIDs were issued for less than was granted.
    pub(crate) fn cut_short(&self) -> u64 {
        self.cut_short.get()
    }

    /// The metrics, with what is read now.
    pub(crate) fn text(&self, now: &Reading<'_>) -> String {
        self.ready.set(i64::from(now.report.ok));
        self.reload_failed.set(i64::from(now.reload_refused));
        for part in &now.report.parts {
            let label = [("part", part.name.clone())];
            self.parts.get_or_create(&label).set(i64::from(part.works()));
        }
        self.stage.set(match now.age {
            Age::Young => 0,
            Age::Half => 1,
            Age::FiveSixths => 2,
            Age::LastLifetime => 3,
            Age::Ended => 4,
        });
        let left = i32::try_from(now.authority_left).unwrap_or(i32::MAX);
        self.authority.set(f64::from(left));
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let nodes = &now.nodes;
        for (state, count) in [
            ("all", nodes.admitted),
            ("pending", nodes.pending),
            ("suspended", nodes.suspended),
            ("banned", nodes.banned),
            ("untrusted", nodes.untrusted),
            ("unjudged", u64::try_from(now.unjudged).unwrap_or(u64::MAX)),
        ] {
            self.nodes.get_or_create(&[("state", state)]).set(signed(count));
        }
        let sized = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.entries.set(sized(now.entries));
        let hsm = &now.hsm;
        self.hsm_queue.set(sized(hsm.queued));
        self.hsm_sessions.set(sized(hsm.sessions));
        self.hsm_stuck.set(sized(hsm.stuck));
        let store = &now.store;
        self.records.set(signed(store.last_event));
        for (file, bytes) in [("store", store.file_bytes), ("log", store.log_bytes)] {
            self.store_bytes.get_or_create(&[("file", file)]).set(signed(bytes));
        }
        for (family, event, count) in [
            (&self.hsm, "signature", hsm.signatures),
            (&self.hsm, "failure", hsm.failures),
            (&self.hsm, "reopening", hsm.reopened),
            (&self.store, "change", store.jobs),
            (&self.store, "commit", store.commits),
            (
                &self.store,
                "failure",
                store.failures.saturating_add(store.later_failures),
            ),
        ] {
            let counter = family.get_or_create(&[("event", event)]);
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.lost_lines.inner().store(lost_lines(), Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a string fails nowhere.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn add(to: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    to.register(name, help, metric.clone());
}
