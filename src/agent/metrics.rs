//! What `/metrics` of an agent shows. Labels are bounded by what the host has: its RNIC ports, and at most
//! [`MOST_PER_PORT`](crate::hardware::MOST_PER_PORT) hardware counters of each; never a peer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::endpoint::EndpointCounters;
use super::health::Health;
use crate::hardware::Ports;
use crate::measure::Outcome;
use crate::probe::{ProbeKind, ProbeResult};
use crate::service::trace::{TracerCounters, TracerStatus};
use crate::telemetry::metrics::{register_build_info, rtt_histogram};
use crate::transport::{CompletionClock, RnicName};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// What the agent's tasks report, and the registry that exposes it. Clones share their values.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    state: Arc<SharedState>,
    rtt: Rtts,
}

/// One histogram for each kind of probes.
#[derive(Debug, Clone)]
struct Rtts {
    tor_mesh: Histogram,
    inter_tor: Histogram,
    focus: Histogram,
    service_tracing: Histogram,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let state = Arc::new(SharedState::default());
        let rtt: Family<KindLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(rtt_histogram);
        let of = |kind| rtt.get_or_create(&KindLabels { kind }).clone();
        let rtts = Rtts {
            tor_mesh: of("tor_mesh"),
            inter_tor: of("inter_tor"),
            focus: of("focus"),
            service_tracing: of("service_tracing"),
        };
        let mut registry = Registry::with_prefix("rpingmesh_agent");
        register_build_info(&mut registry);
        registry.register(
            "network_rtt_seconds",
            "Network round-trip time of the probes measured here",
            rtt,
        );
        registry.register_collector(Box::new(StateCollector(Arc::clone(&state))));
        Self {
            registry: Arc::new(registry),
            state,
            rtt: rtts,
        }
    }

    /// What shows them.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    pub(super) fn measured(&self, result: &ProbeResult) {
        if let Outcome::Complete(measurement) = &result.outcome {
            let histogram = match result.kind {
                ProbeKind::TorMesh => &self.rtt.tor_mesh,
                ProbeKind::InterTor => &self.rtt.inter_tor,
                ProbeKind::Focus => &self.rtt.focus,
                ProbeKind::ServiceTracing => &self.rtt.service_tracing,
            };
            histogram.observe(measurement.network_rtt.0 as f64 / 1e9);
        }
    }

    /// Who stamps the completions of each open RNIC, and how many RNICs cannot be used.
    pub(super) fn rnics(&self, open: &[CompletionClock], failed: usize) {
        let clocks = CompletionClock::ALL.map(|clock| {
            let alike = open.iter().filter(|one| **one == clock);
            (clock, alike.count())
        });
        self.state.change(|state| {
            state.rnics = (open.len(), failed);
            state.clocks = clocks.into();
        });
    }

    pub(super) fn focus(&self, focus: FocusState) {
        self.state.change(|state| state.focus = focus);
    }

    pub(super) fn tracing(&self, tracing: TracingState) {
        self.state.change(|state| state.tracing = tracing);
    }

    pub(super) fn hardware(&self, ports: Ports) {
        self.state.change(|state| state.hardware = ports);
    }

    pub(super) fn flushed<'a>(
        &self,
        health: Health,
        endpoints: impl Iterator<Item = (&'a RnicName, &'a EndpointCounters)>,
    ) {
        self.state.change(|state| {
            state.health = health;
            for (name, counters) in endpoints {
                state.endpoints.insert(name.clone(), *counters);
            }
        });
    }
}

/// What this agent is to probe more, and what it refused of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FocusState {
    /// 5-tuples that are probed more now.
    pub(super) tuples: u64,
    /// Requests since the start.
    pub(super) requests: u64,
    /// 5-tuples that were not in the pinglist.
    pub(super) unknown: u64,
    /// 5-tuples, and RNICs, that got less than was asked for.
    pub(super) cut: u64,
}

/// What the tracer of the services' connections does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TracingState {
    /// [`TracerStatus::name`]; `None` where none was started.
    pub(super) tracer: Option<&'static str>,
    /// What it counted.
    pub(super) traced: TracerCounters,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    focus: FocusState,
    tracing: TracingState,
    rnics: (usize, usize),
    clocks: Vec<(CompletionClock, usize)>,
    endpoints: BTreeMap<RnicName, EndpointCounters>,
    hardware: Ports,
}

#[derive(Debug, Default)]
struct SharedState(Mutex<State>);

impl SharedState {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug)]
struct StateCollector(Arc<SharedState>);

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let encoder = &mut encoder;
        encode_health(encoder, &state)?;
        encode_tracing(encoder, &state.tracing)?;
        encode_endpoints(encoder, &state.endpoints)?;
        encode_hardware(encoder, &state.hardware)
    }
}

fn encode_health(encoder: &mut DescriptorEncoder<'_>, state: &State) -> Result<(), fmt::Error> {
    let health = &state.health;
    for (name, help, value) in [
        (
            "results_dropped",
            "Results that were dropped because the buffer was full",
            health.results_dropped,
        ),
        (
            "batches_dropped",
            "Batches that were dropped because the spool was full",
            health.batches_dropped,
        ),
        (
            "batches_damaged",
            "Batches that could not be read back from the spool, or that the analyzer could not read",
            health.spool.damaged,
        ),
        (
            "spool_files_set_aside",
            "Files of the spool that were renamed because they could not be read",
            health.spool.set_aside,
        ),
        (
            "spool_rollbacks",
            "Times that the spool was found to be an older copy, and went on under a new identity",
            health.spool.rolled_back,
        ),
    ] {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let focus = &state.focus;
    for (name, help, value) in [
        (
            "focus_requests",
            "Requests of the controller to probe some 5-tuples more",
            focus.requests,
        ),
        (
            "focus_tuples_unknown",
            "5-tuples to be probed more that are not in the pinglist",
            focus.unknown,
        ),
        (
            "focus_cut",
            "5-tuples, and RNICs, that were to be probed more than this agent allows",
            focus.cut,
        ),
    ] {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    gauge(focus.tuples).encode(encoder.encode_descriptor(
        "focus_tuples",
        "5-tuples that are probed more right now",
        None,
        MetricType::Gauge,
    )?)?;
    let waiting = gauge(health.batches_waiting);
    waiting.encode(encoder.encode_descriptor(
        "batches_waiting",
        "Batches in the spool that the analyzer has not acknowledged",
        None,
        MetricType::Gauge,
    )?)?;
    let in_memory = gauge(u64::from(health.spool.trouble.is_some()));
    in_memory.encode(encoder.encode_descriptor(
        "spool_in_memory",
        "1 while the spool's disk takes nothing and batches are kept in memory, else 0",
        None,
        MetricType::Gauge,
    )?)?;
    let mut rnics = encoder.encode_descriptor(
        "rnics",
        "RNIC ports of this host, by whether the agent can use them",
        None,
        MetricType::Gauge,
    )?;
    for (label, count) in [("open", state.rnics.0), ("failed", state.rnics.1)] {
        gauge(count as u64).encode(rnics.encode_family(&[("state", label)])?)?;
    }
    let mut clocks = encoder.encode_descriptor(
        "rnics_by_clock",
        "RNIC ports in use, by what stamps their completions",
        None,
        MetricType::Gauge,
    )?;
    for (clock, count) in &state.clocks {
        let labels = [("clock", clock.name())];
        gauge(*count as u64).encode(clocks.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_tracing(
    encoder: &mut DescriptorEncoder<'_>,
    tracing: &TracingState,
) -> Result<(), fmt::Error> {
    let mut states = encoder.encode_descriptor(
        "tracing",
        "1 for what the tracer of the services' connections does, 0 for everything else",
        None,
        MetricType::Gauge,
    )?;
    for name in TracerStatus::NAMES {
        let holds = u64::from(tracing.tracer == Some(name));
        gauge(holds).encode(states.encode_family(&[("state", name)])?)?;
    }
    let traced = &tracing.traced;
    ConstCounter::new(traced.events).encode(encoder.encode_descriptor(
        "tracing_events",
        "Changes of queue pairs that the tracer has seen",
        None,
        MetricType::Counter,
    )?)?;
    let mut lost = encoder.encode_descriptor(
        "tracing_events_lost",
        "Changes of queue pairs that the tracer has not seen, by the reason: no room in the ring buffer, too many calls under way, \
         not understood",
        None,
        MetricType::Counter,
    )?;
    for (reason, count) in [
        ("ring_full", traced.ring_full),
        ("calls_full", traced.calls_full),
        ("undecodable", traced.undecodable),
    ] {
        ConstCounter::new(count).encode(lost.encode_family(&[("reason", reason)])?)?;
    }
    Ok(())
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// One metric for each of a session's counters, one value for each RNIC port.
fn encode_endpoints(
    encoder: &mut DescriptorEncoder<'_>,
    endpoints: &BTreeMap<RnicName, EndpointCounters>,
) -> Result<(), fmt::Error> {
    let mut columns: Vec<(&str, &str, Vec<u64>)> = Vec::new();
    for counters in endpoints.values() {
        let own = [
            (
                "source_ports_as_meant",
                "Own probes that a responder received from the intended UDP source port.",
                counters.driver.source_ports_as_meant,
            ),
            (
                "source_ports_otherwise",
                "Own probes that a responder received from another UDP source port than intended.",
                counters.driver.source_ports_otherwise,
            ),
            (
                "requests_dropped",
                "Send requests that were dropped because the queue of the endpoint was full.",
                counters.driver.requests_dropped,
            ),
            (
                "port_downs",
                "Times that the port went down.",
                counters.driver.port_downs,
            ),
            (
                "endpoints_reopened",
                "Times that a lost endpoint was replaced by a new one.",
                counters.reopened,
            ),
        ];
        for (at, (name, help, value)) in counters.session.iter().chain(own).enumerate() {
            if columns.len() == at {
                columns.push((name, help, Vec::new()));
            }
            columns[at].2.push(value);
        }
    }
    for (name, help, values) in columns {
        // The encoder ends the text with a full stop.
        let help = help.trim().trim_end_matches('.');
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (rnic, value) in endpoints.keys().zip(values) {
            let port = rnic.port.to_string();
            let labels = [("device", rnic.device.as_str()), ("port", port.as_str())];
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_hardware(
    encoder: &mut DescriptorEncoder<'_>,
    hardware: &Ports,
) -> Result<(), fmt::Error> {
    if hardware.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(
        "hardware_counter",
        "Counters of the RNIC port as its driver names them",
        None,
        MetricType::Counter,
    )?;
    for (rnic, counters) in hardware {
        let port = rnic.port.to_string();
        for (name, value) in counters {
            let labels = [
                ("device", rnic.device.as_str()),
                ("port", port.as_str()),
                ("counter", name.as_str()),
            ];
            ConstCounter::new(*value).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
