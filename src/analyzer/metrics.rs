//! What `/metrics` shows. Labels are bounded: at most [`TOR_PAIRS`] pairs of ToRs, never a GID or host.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::CounterWithExemplar;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::alerts::metrics::AlertMetrics;
use super::readiness::Readiness;
use super::view::View;
use crate::analysis::filter::Reason;
use crate::analysis::incident::Change;
use crate::analysis::paths::Learned;
use crate::analysis::report::{Batch, PathReport};
use crate::analysis::windows::{Memory, Placement};
use crate::api::status::Coverage;
use crate::id::TorId;
use crate::net::server::{RefusalKind, ServerCounters};
use crate::probe::ProbeKind;
use crate::probe::trace::Trace;
use crate::telemetry::metrics::{self, MetricFamily, register_build_info, rtt_histogram};

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
struct ReasonLabels {
    reason: &'static str,
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

/// Everything that is counted. Counters are shared handles; only the map of pairs has a lock, taken by the state thread
/// alone.
pub(super) struct Metrics {
    registry: Registry,
    pairs: Mutex<HashMap<(TorId, TorId, ProbeKind), Pair>>,
    sent: Family<PairLabels, Counter>,
    lost: Family<PairLabels, Counter>,
    invalid: Family<PairLabels, Counter>,
    network_rtt: Family<PairLabels, Histogram, fn() -> Histogram>,
    batches: Family<ReasonLabels, Counter>,
    refused_uploads: Family<ReasonLabels, Counter>,
    invalid_reasons: Family<ReasonLabels, Counter>,
    pub(super) refused_reports: Counter,
    pub(super) duplicates: Counter,
    lost_batches: Counter,
    pub(super) store_failures: Counter,
    /// Files and rows of the store that were damaged.
    pub(super) store_set_aside: Counter,
    /// Whether uploads are taken.
    pub(super) readiness: Readiness,
    pub(super) streams: Gauge,
    agents: Gauge,
    paths: Gauge,
    buckets: Gauge,
    bytes: Gauge,
    evicted: Counter,
    expired: Counter,
    traces: Family<TraceLabels, Counter>,
    traced_paths: Gauge,
    traced_paths_evicted: Counter,
    unlisted: Counter,
    connections: Arc<ServerCounters>,
    refused_peers: Family<ReasonLabels, Counter>,
    evicted_peers: Counter,
    accepted: Counter,
    incidents_open: Family<IncidentLabels, Gauge>,
    incidents_opened: Family<IncidentLabels, CounterWithExemplar<IncidentLabel>>,
    set_aside: Family<ReasonLabels, Gauge>,
    judged_probes: Gauge,
    judged_ratio: Gauge<f64, AtomicU64>,
    judge_runs: Counter,
    judge_unfinished: Counter,
    findings_held: Gauge,
    judge_seconds: Gauge<f64, AtomicU64>,
    incidents_waiting: Gauge,
    pub(super) alerts: AlertMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(super) fn new(connections: Arc<ServerCounters>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("rpingmesh"),
            pairs: Mutex::default(),
            sent: Family::default(),
            lost: Family::default(),
            invalid: Family::default(),
            network_rtt: Family::new_with_constructor(rtt_histogram as fn() -> Histogram),
            batches: Family::default(),
            refused_uploads: Family::default(),
            invalid_reasons: Family::default(),
            refused_reports: Counter::default(),
            duplicates: Counter::default(),
            lost_batches: Counter::default(),
            store_failures: Counter::default(),
            store_set_aside: Counter::default(),
            readiness: Readiness::default(),
            streams: Gauge::default(),
            agents: Gauge::default(),
            paths: Gauge::default(),
            buckets: Gauge::default(),
            bytes: Gauge::default(),
            evicted: Counter::default(),
            expired: Counter::default(),
            traces: Family::default(),
            traced_paths: Gauge::default(),
            traced_paths_evicted: Counter::default(),
            unlisted: Counter::default(),
            connections,
            refused_peers: Family::default(),
            evicted_peers: Counter::default(),
            accepted: Counter::default(),
            incidents_open: Family::default(),
            incidents_opened: Family::default(),
            set_aside: Family::default(),
            judged_probes: Gauge::default(),
            judged_ratio: no_data(),
            judge_runs: Counter::default(),
            judge_unfinished: Counter::default(),
            findings_held: Gauge::default(),
            judge_seconds: Gauge::default(),
            incidents_waiting: Gauge::default(),
            alerts: AlertMetrics::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let mut registry = std::mem::take(&mut self.registry);
        {
            let r = &mut registry;
            r.register(
                "probes_sent",
                "Probes sent, by ToR pair and kind",
                self.sent.clone(),
            );
            r.register(
                "probes_lost",
                "Probes without an ACK in time",
                self.lost.clone(),
            );
            r.register(
                "probes_invalid",
                "Probes that say nothing about the network",
                self.invalid.clone(),
            );
            r.register(
                "probes_invalid_by_reason",
                "Probes that say nothing about the network, by reason",
                self.invalid_reasons.clone(),
            );
            r.register(
                "network_rtt_seconds",
                "Network round-trip time",
                self.network_rtt.clone(),
            );
            self.register_incidents(r);
            let r = r.sub_registry_with_prefix("analyzer");
            register_build_info(r);
            self.alerts.register(r);
            r.register(
                "batches",
                "Batches taken: counted, late or future",
                self.batches.clone(),
            );
            r.register(
                "batches_duplicate",
                "Batches received a second time",
                self.duplicates.clone(),
            );
            r.register(
                "batches_lost",
                "Batches that agents dropped before the upload",
                self.lost_batches.clone(),
            );
            r.register(
                "reports_refused",
                "Reports that contradict themselves",
                self.refused_reports.clone(),
            );
            r.register(
                "uploads_refused",
                "Upload streams ended with an error",
                self.refused_uploads.clone(),
            );
            r.register(
                "store_failures",
                "Groups of batches that could not be stored",
                self.store_failures.clone(),
            );
            r.register(
                "store_set_aside",
                "Files and rows of the store that could not be read and were set aside",
                self.store_set_aside.clone(),
            );
            r.register("streams", "Open upload streams", self.streams.clone());
            r.register("agents", "Agents listed", self.agents.clone());
            r.register("paths", "Paths in the windows", self.paths.clone());
            r.register("buckets", "Buckets of all paths", self.buckets.clone());
            r.register("windows_bytes", "Memory of the windows", self.bytes.clone());
            r.register(
                "paths_evicted",
                "Paths that were dropped because of a limit",
                self.evicted.clone(),
            );
            r.register(
                "paths_expired",
                "Paths that were dropped because they had no new results",
                self.expired.clone(),
            );
            self.register_traces(r);
            r.register(
                "connections",
                "gRPC connections accepted",
                self.accepted.clone(),
            );
            r.register(
                "connections_refused",
                "gRPC connections refused before their first request",
                self.refused_peers.clone(),
            );
            r.register(
                "connections_evicted",
                "gRPC connections without a call that were closed because others needed their place",
                self.evicted_peers.clone(),
            );
        }
        self.registry = registry;
    }

    fn register_traces(&self, r: &mut Registry) {
        r.register(
            "traces",
            "Traces received, by reason and result",
            self.traces.clone(),
        );
        r.register(
            "traced_paths",
            "Paths known from traces",
            self.traced_paths.clone(),
        );
        r.register(
            "traced_paths_evicted",
            "Traced paths that were dropped because of a limit",
            self.traced_paths_evicted.clone(),
        );
        r.register(
            "reports_unlisted",
            "Reports about hosts and RNICs that found no place because of a limit",
            self.unlisted.clone(),
        );
    }

    fn register_incidents(&self, r: &mut Registry) {
        r.register(
            "incidents_open",
            "Open incidents",
            self.incidents_open.clone(),
        );
        r.register(
            "incidents_opened",
            "Incidents opened since the start; the exemplar has the number of the last one",
            self.incidents_opened.clone(),
        );
        r.register(
                "probes_set_aside",
                "Probes of the last 20 s that are not judged because a host caused their results, by reason",
                self.set_aside.clone(),
            );
        r.register(
            "probes_judged",
            "Probes of the last 20 s that are judged",
            self.judged_probes.clone(),
        );
        r.register(
            "fabric_judged_ratio",
            "Share of the RNICs that are judged right now; NaN while none is known",
            self.judged_ratio.clone(),
        );
        let r = r.sub_registry_with_prefix("analyzer");
        r.register("judge_runs", "Runs of the judge", self.judge_runs.clone());
        r.register(
            "judge_runs_unfinished",
            "Runs of the judge that used up their budget: fine scopes were not looked at",
            self.judge_unfinished.clone(),
        );
        r.register(
            "findings_held",
            "Findings of the last run of the judge that one host alone supports: they wait for a second one",
            self.findings_held.clone(),
        );
        r.register(
            "judge_seconds",
            "How long the last run of the judge took",
            self.judge_seconds.clone(),
        );
        r.register(
            "incidents_waiting",
            "Changes of incidents that are not stored yet",
            self.incidents_waiting.clone(),
        );
    }

    /// Counts a batch that was taken, and batches before it that were skipped.
    pub(super) fn took(&self, batch: &Batch, placement: Placement, skipped: u64) {
        let reason = match placement {
            Placement::Counted => "counted",
            Placement::Late(_) => "late",
            Placement::Future(_) => "future",
        };
        self.batches.get_or_create(&ReasonLabels { reason }).inc();
        self.lost_batches.inc_by(skipped);
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
            self.invalid_reasons.get_or_create(&labels).inc_by(*count);
        }
    }

    fn pair(&self, key: &(TorId, TorId, ProbeKind)) -> Pair {
        let labels = PairLabels {
            source_tor: key.0.to_string(),
            target_tor: key.1.to_string(),
            kind: key.2.name(),
        };
        Pair {
            sent: self.sent.get_or_create(&labels).clone(),
            lost: self.lost.get_or_create(&labels).clone(),
            invalid: self.invalid.get_or_create(&labels).clone(),
            network_rtt: self.network_rtt.get_or_create(&labels).clone(),
        }
    }

    /// Counts an upload stream that was ended with an error.
    pub(super) fn refuse_upload(&self, reason: &'static str) {
        self.refused_uploads
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
            self.incidents_opened
                .get_or_create(&labels)
                .inc_by(1, Some(exemplar), None);
        }
    }

    /// Takes over what a run of the judge published.
    pub(super) fn judged(&self, view: &View) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.judge_runs.inc();
        if !view.judgement.unfinished.is_empty() {
            self.judge_unfinished.inc();
        }
        self.findings_held.set(number(view.judgement.held as u64));
        self.judge_seconds.set(view.took.as_secs_f64());
        self.incidents_waiting.set(number(view.waiting as u64));
        self.judged_probes.set(number(view.judgement.judged.sent));
        let coverage = Coverage {
            judged_rnics: view.judgement.coverage.judged,
            known_rnics: view.judgement.coverage.known,
            missing: view.missing,
        };
        self.judged_ratio.set(coverage.share().unwrap_or(f64::NAN));
        for reason in Reason::ALL {
            let counts = view.judgement.set_aside.get(&reason);
            let labels = ReasonLabels {
                reason: reason.name(),
            };
            self.set_aside
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
        self.incidents_open.clear();
        for (labels, count) in open {
            self.incidents_open.get_or_create(&labels).set(count);
        }
    }

    pub(super) fn set_memory(&self, memory: Memory, agents: usize) {
        let set = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.agents, agents);
        set(&self.paths, memory.paths);
        set(&self.buckets, memory.buckets);
        set(&self.bytes, memory.bytes);
        follow(&self.evicted, memory.evicted);
        follow(&self.expired, memory.expired);
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
        self.traces.get_or_create(&labels).inc();
    }

    pub(super) fn set_traced(&self, paths: usize, evicted: u64) {
        self.traced_paths
            .set(i64::try_from(paths).unwrap_or(i64::MAX));
        follow(&self.traced_paths_evicted, evicted);
    }

    pub(super) fn set_unlisted(&self, reports: u64) {
        follow(&self.unlisted, reports);
    }

    /// The OpenMetrics text.
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
        follow(&self.accepted, self.connections.accepted());
        follow(&self.evicted_peers, self.connections.evicted());
        for (kind, reason) in RefusalKind::ALL {
            let counter = self.refused_peers.get_or_create(&ReasonLabels { reason });
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
