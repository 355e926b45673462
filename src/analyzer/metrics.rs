//! What `/metrics` shows. Labels are bounded: at most [`TOR_PAIRS`] pairs of ToRs, never a GID or host.

mod focus;
mod labels;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderMap;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use focus::FocusMetrics;
use labels::ReasonLabels;

use super::alerts::metrics::AlertMetrics;
use super::readiness::Readiness;
use super::view::View;
use crate::analysis::filter::Reason;
use crate::analysis::incident::Change;
use crate::analysis::paths::Learned;
use crate::analysis::report::{Batch, PathReport};
use crate::analysis::sizing::Sizing;
use crate::analysis::windows::{Memory, Placement};
use crate::api::status::Coverage;
use crate::id::TorId;
use crate::net::server::{RefusalKind, ServerCounters};
use crate::pinglist::focus::FocusCounts;
use crate::probe::ProbeKind;
use crate::probe::trace::Trace;
use crate::telemetry::metrics::{
    self, MetricFamily, metric_set, register_build_info, rtt_histogram,
};

/// Pairs of ToRs (and kinds) that have their own labels; all others share the pair `other`, `other`.
const TOR_PAIRS: usize = 2048;

/// Labels of what was measured between two ToRs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PairLabels {
    source_tor: String,
    target_tor: String,
    kind: &'static str,
}

/// Labels of incidents: what is wrong and how bad, never where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IncidentLabels {
    category: &'static str,
    severity: &'static str,
}

/// The exemplar of a counted incident: its number, by which dashboard and API know it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IncidentLabel {
    incident: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    reason: &'static str,
    learned: &'static str,
}

/// What was measured between two ToRs.
#[derive(Clone)]
struct Pair {
    sent: Counter,
    lost: Counter,
    invalid: Counter,
    network_rtt: Histogram,
}

metric_set! {
    /// What was measured.
    struct Measured {
        /// Probes sent, by ToR pair and kind
        probes_sent: Family<PairLabels, Counter>,
        /// Probes without an ACK in time
        probes_lost: Family<PairLabels, Counter>,
        /// Probes that say nothing about the network
        probes_invalid: Family<PairLabels, Counter>,
        /// Probes that say nothing about the network, by reason
        probes_invalid_by_reason: Family<ReasonLabels, Counter>,
        /// Network round-trip time
        network_rtt_seconds: Family<PairLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(rtt_histogram as fn() -> Histogram),
    }
}

metric_set! {
    /// What the judge makes of it.
    struct Verdicts {
        /// Open incidents
        incidents_open: Family<IncidentLabels, Gauge>,
        /// Incidents opened since the start; the exemplar has the number of the last one
        incidents_opened: Family<IncidentLabels, CounterWithExemplar<IncidentLabel>>,
        /// Probes of the last 20 s that are not judged because a host caused their results, by reason
        probes_set_aside: Family<ReasonLabels, Gauge>,
        /// Probes of the last 20 s that are judged
        probes_judged: Gauge,
        /// Share of the RNICs that are judged right now; NaN while none is known
        fabric_judged_ratio: Gauge<f64, AtomicU64> = no_data(),
    }
}

metric_set! {
    /// The judge's runs.
    struct JudgeTask {
        /// Runs of the judge
        judge_runs: Counter,
        /// Runs of the judge that used up their budget: fine scopes were not looked at
        judge_runs_unfinished: Counter,
        /// Findings of the last run of the judge that one host alone supports: they wait for a second one
        findings_held: Gauge,
        /// 5-tuples whose traces contradict each other: switches spray their packets, and they count as crossing all paths by shares
        sprayed_paths: Gauge,
        /// How long the last run of the judge took
        judge_seconds: Gauge<f64, AtomicU64>,
        /// Changes of incidents that are not stored yet
        incidents_waiting: Gauge,
    }
}

metric_set! {
    /// Uploads, and the store that takes them.
    pub(super) struct Intake {
        /// Batches taken: counted, late or future
        batches: Family<ReasonLabels, Counter>,
        /// Batches received a second time
        pub(super) batches_duplicate: Counter,
        /// Batches that agents dropped before the upload
        batches_lost: Counter,
        /// Reports that contradict themselves
        pub(super) reports_refused: Counter,
        /// Upload streams ended with an error
        uploads_refused: Family<ReasonLabels, Counter>,
        /// Groups of batches that could not be stored
        pub(super) store_failures: Counter,
        /// Files and rows of the store that could not be read and were set aside
        pub(super) store_set_aside: Counter,
        /// Open upload streams
        pub(super) streams: Gauge,
    }
}

metric_set! {
    /// What the state thread keeps.
    struct Kept {
        /// Agents listed
        agents: Gauge,
        /// Paths in the windows
        paths: Gauge,
        /// Paths that the windows keep at most
        paths_limit: Gauge,
        /// 5-tuples of the pinglists of all agents that tell
        pinglist_tuples: Gauge,
        /// Buckets of all paths
        buckets: Gauge,
        /// Memory of the windows
        windows_bytes: Gauge,
        /// Paths that were dropped because of a limit
        paths_evicted: Counter,
        /// Paths that were dropped because they had no new results
        paths_expired: Counter,
        /// Traces received, by reason and result
        traces: Family<TraceLabels, Counter>,
        /// Paths known from traces
        traced_paths: Gauge,
        /// Traced paths that were dropped because of a limit
        traced_paths_evicted: Counter,
        /// Reports about hosts and RNICs that found no place because of a limit
        reports_unlisted: Counter,
    }
}

metric_set! {
    /// Where several analyzers share the fleet.
    pub(super) struct Shared {
        /// Whether this analyzer judges: 1 if so
        pub(super) judge: Gauge,
        /// Shards whose results this analyzer takes
        pub(super) shards_owned: Gauge,
        /// Age of the oldest batch that this analyzer has and the judge has not
        pub(super) relay_lag_seconds: Gauge<f64, AtomicU64>,
        /// Frames of evidence sent to the judge
        pub(super) relay_frames: Counter,
        /// Bytes of these, compressed
        pub(super) relay_bytes: Counter,
        /// Messages of agents that the judge has not counted, because their shard had another analyzer
        pub(super) evidence_refused: Counter,
        /// Batches that agents have sent again, after their shard had got another analyzer
        pub(super) batches_again: Counter,
    }
}

metric_set! {
    /// Connections of agents.
    struct Peers {
        /// gRPC connections accepted
        connections: Counter,
        /// gRPC connections refused before their first request
        connections_refused: Family<ReasonLabels, Counter>,
        /// gRPC connections without a call that were closed because others needed their place
        connections_evicted: Counter,
    }
}

/// Everything that is counted. Counters are shared handles; only the map of pairs has a lock, taken by the state thread
/// alone.
pub(super) struct Metrics {
    registry: Registry,
    pairs: Mutex<HashMap<(TorId, TorId, ProbeKind), Pair>>,
    measured: Measured,
    judged: Verdicts,
    runs: JudgeTask,
    focus: FocusMetrics,
    pub(super) uploads: Intake,
    kept: Kept,
    pub(super) shared: Shared,
    peers: Peers,
    /// Where connections are counted.
    connections: Arc<ServerCounters>,
    /// Whether uploads are taken.
    pub(super) readiness: Readiness,
    pub(super) alerts: AlertMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// The controller did not take what is to be probed more.
    pub(super) fn focus_failed(&self) {
        self.focus.failed();
    }

    /// The controller took a request, and has made this of it.
    pub(super) fn focus_passed(&self, counts: FocusCounts) {
        self.focus.passed(counts);
    }

    pub(super) fn new(connections: Arc<ServerCounters>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("rpingmesh"),
            pairs: Mutex::default(),
            measured: Measured::default(),
            judged: Verdicts::default(),
            runs: JudgeTask::default(),
            focus: FocusMetrics::default(),
            uploads: Intake::default(),
            kept: Kept::default(),
            shared: Shared::default(),
            peers: Peers::default(),
            connections,
            readiness: Readiness::default(),
            alerts: AlertMetrics::default(),
        };
        let registry = &mut metrics.registry;
        metrics.measured.register(registry);
        metrics.judged.register(registry);
        let registry = registry.sub_registry_with_prefix("analyzer");
        register_build_info(registry);
        metrics.runs.register(registry);
        metrics.focus.register(registry);
        metrics.alerts.register(registry);
        metrics.uploads.register(registry);
        metrics.kept.register(registry);
        metrics.shared.register(registry);
        metrics.peers.register(registry);
        metrics
    }

    /// Counts a batch that was taken, and batches before it that were skipped.
    pub(super) fn took(&self, batch: &Batch, placement: Placement, skipped: u64) {
        let reason = match placement {
            Placement::Counted => "counted",
            Placement::Late(_) => "late",
            Placement::Future(_) => "future",
        };
        self.uploads
            .batches
            .get_or_create(&ReasonLabels { reason })
            .inc();
        self.uploads.batches_lost.inc_by(skipped);
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        for report in &batch.paths {
            self.measured(&mut pairs, report);
        }
    }

    fn measured(&self, pairs: &mut HashMap<(TorId, TorId, ProbeKind), Pair>, report: &PathReport) {
        let path = &report.path;
        let mut key = (path.source.tor.clone(), path.target.tor.clone(), path.kind);
        if !pairs.contains_key(&key) && pairs.len() >= TOR_PAIRS {
            key = (TorId::new("other"), TorId::new("other"), path.kind);
        }
        let pair = pairs.entry(key).or_insert_with_key(|key| self.pair(key));
        pair.sent.inc_by(report.sent());
        pair.lost.inc_by(report.lost);
        pair.invalid.inc_by(report.invalid_total());
        for sample in &report.samples {
            pair.network_rtt.observe(sample.network_rtt.0 as f64 / 1e9);
        }
        for (reason, count) in &report.invalid {
            let labels = ReasonLabels {
                reason: reason.name(),
            };
            self.measured
                .probes_invalid_by_reason
                .get_or_create(&labels)
                .inc_by(*count);
        }
    }

    fn pair(&self, key: &(TorId, TorId, ProbeKind)) -> Pair {
        let labels = PairLabels {
            source_tor: key.0.to_string(),
            target_tor: key.1.to_string(),
            kind: key.2.name(),
        };
        Pair {
            sent: self.measured.probes_sent.get_or_create(&labels).clone(),
            lost: self.measured.probes_lost.get_or_create(&labels).clone(),
            invalid: self.measured.probes_invalid.get_or_create(&labels).clone(),
            network_rtt: self
                .measured
                .network_rtt_seconds
                .get_or_create(&labels)
                .clone(),
        }
    }

    /// Counts an upload stream that was ended with an error.
    pub(super) fn refuse_upload(&self, reason: &'static str) {
        self.uploads
            .uploads_refused
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    /// Counts what became of an incident.
    pub(super) fn incident(&self, change: &Change) {
        if let Change::Opened(incident) = change {
            let labels = IncidentLabels {
                category: incident.category.name(),
                severity: incident.severity.name(),
            };
            let exemplar = IncidentLabel {
                incident: incident.id,
            };
            self.judged
                .incidents_opened
                .get_or_create(&labels)
                .inc_by(1, Some(exemplar), None);
        }
    }

    /// Takes over what a run of the judge published.
    pub(super) fn judged(&self, view: &View) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.runs.judge_runs.inc();
        if !view.judgement.unfinished.is_empty() {
            self.runs.judge_runs_unfinished.inc();
        }
        self.runs
            .findings_held
            .set(number(view.judgement.held as u64));
        self.focus.judged(view);
        self.runs.sprayed_paths.set(number(view.sprayed as u64));
        self.runs.judge_seconds.set(view.took.as_secs_f64());
        self.runs.incidents_waiting.set(number(view.waiting as u64));
        self.judged
            .probes_judged
            .set(number(view.judgement.judged.sent));
        let coverage = Coverage {
            judged_rnics: view.judgement.coverage.judged,
            known_rnics: view.judgement.coverage.known,
            missing: view.missing,
        };
        self.judged
            .fabric_judged_ratio
            .set(coverage.share().unwrap_or(f64::NAN));
        for reason in Reason::ALL {
            let counts = view.judgement.set_aside.get(&reason);
            let labels = ReasonLabels {
                reason: reason.name(),
            };
            self.judged
                .probes_set_aside
                .get_or_create(&labels)
                .set(counts.map_or(0, |counts| number(counts.sent)));
        }
        let mut open: HashMap<IncidentLabels, i64> = HashMap::new();
        for incident in &view.open {
            let labels = IncidentLabels {
                category: incident.category.name(),
                severity: incident.severity.name(),
            };
            *open.entry(labels).or_default() += 1;
        }
        self.judged.incidents_open.clear();
        for (labels, count) in open {
            self.judged.incidents_open.get_or_create(&labels).set(count);
        }
    }

    pub(super) fn set_memory(&self, memory: Memory, agents: usize) {
        let set = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.kept.agents, agents);
        set(&self.kept.paths, memory.paths);
        set(&self.kept.buckets, memory.buckets);
        set(&self.kept.windows_bytes, memory.bytes);
        follow(&self.kept.paths_evicted, memory.evicted);
        follow(&self.kept.paths_expired, memory.expired);
    }

    /// How many paths are kept, and how many 5-tuples are probed.
    pub(super) fn set_sizing(&self, sizing: Sizing) {
        let limit = i64::try_from(sizing.paths()).unwrap_or(i64::MAX);
        self.kept.paths_limit.set(limit);
        let tuples = i64::try_from(sizing.tuples()).unwrap_or(i64::MAX);
        self.kept.pinglist_tuples.set(tuples);
    }

    /// Counts a trace.
    pub(super) fn traced(&self, trace: &Trace, learned: Learned) {
        let labels = TraceLabels {
            reason: trace.reason.name(),
            learned: match learned {
                Learned::New => "new",
                Learned::Confirmed => "confirmed",
                Learned::Changed => "changed",
                Learned::Silent => "silent",
                Learned::Old => "old",
            },
        };
        self.kept.traces.get_or_create(&labels).inc();
    }

    pub(super) fn set_traced(&self, paths: usize, evicted: u64) {
        self.kept
            .traced_paths
            .set(i64::try_from(paths).unwrap_or(i64::MAX));
        follow(&self.kept.traced_paths_evicted, evicted);
    }

    pub(super) fn set_unlisted(&self, reports: u64) {
        follow(&self.kept.reports_unlisted, reports);
    }

    /// In the format that a scraper prefers.
    pub(super) fn response(&self, headers: &HeaderMap) -> Response {
        self.follow_connections();
        metrics::response(&self.registry, headers)
    }

    /// The OpenMetrics text.
    #[cfg(test)]
    pub(super) fn encode(&self) -> Result<String, fmt::Error> {
        self.follow_connections();
        metrics::text(&self.registry)
    }

    /// The values as data.
    pub(super) fn values(&self) -> Result<Vec<MetricFamily>, fmt::Error> {
        self.follow_connections();
        metrics::values(&self.registry)
    }

    fn follow_connections(&self) {
        follow(&self.peers.connections, self.connections.accepted());
        follow(&self.peers.connections_evicted, self.connections.evicted());
        for (kind, reason) in RefusalKind::ALL {
            let counter = self
                .peers
                .connections_refused
                .get_or_create(&ReasonLabels { reason });
            follow(&counter, self.connections.refused(kind));
        }
    }
}

/// A gauge before there is anything to show.
fn no_data() -> Gauge<f64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(f64::NAN);
    gauge
}

/// Brings a counter to a total that is counted elsewhere and only grows.
fn follow(counter: &Counter<u64, AtomicU64>, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
pub(super) mod tests;
