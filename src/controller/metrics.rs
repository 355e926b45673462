//! What the controller counts. Labels are bounded: never an agent, a GID or a ToR.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::net::server::{RefusalKind, ServerCounters};
use crate::telemetry::metrics::{metric_set, register_build_info};

/// How an announcement was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Verdict {
    Accepted,
    Conflict,
    /// Another machine has the agent's name.
    Twin,
    /// The client's certificate names another host.
    OtherHost,
    /// An address that agents may not register.
    Address,
    /// It knows nothing of the cluster's key, with which the others sign.
    Keyless,
    Invalid,
}

/// How a pinglist request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Answer {
    Unchanged,
    /// What has changed since the list that the agent has.
    Delta,
    List,
    UnknownAgent,
    /// The client's certificate names another host.
    OtherHost,
}

/// How an agent stands to the present phase of the cluster's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum KeyStanding {
    Ready,
    Awaited,
    /// It knows nothing of keys.
    Unable,
    /// It has keys of its own configuration.
    Own,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByStanding {
    pub(super) state: KeyStanding,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPhase {
    pub(super) phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByVerdict {
    pub(super) result: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByAnswer {
    pub(super) answer: Answer,
}

type FloatGauge = Gauge<f64, AtomicU64>;

metric_set! {
    /// Handles of all metrics; clones share their values.
    #[derive(Debug, Clone)]
    pub(super) struct Metrics {
        /// Announcements of agents by result
        pub(super) announcements: Family<ByVerdict, Counter>,
        /// Pinglist requests by result
        pub(super) pinglist_requests: Family<ByAnswer, Counter>,
        /// Heartbeats received
        pub(super) heartbeats: Counter,
        /// Change notices that were sent to agents on their streams
        pub(super) changes_pushed: Counter,
        /// Registered agents with a valid lease
        pub(super) live_agents: Gauge,
        /// Registered agents whose lease has expired
        pub(super) stale_agents: Gauge,
        /// Registered RNICs
        pub(super) rnics: Gauge,
        /// ToR switches with registered RNICs
        pub(super) tors: Gauge,
        /// Requests of the analyzer for what to probe more
        pub(super) focus_requests: Counter,
        /// Requests for what to probe more that were refused: not an analyzer, or an older one
        pub(super) focus_requests_refused: Counter,
        /// 5-tuples to be probed more that were passed on to their agents
        pub(super) focus_tuples_passed_on: Counter,
        /// 5-tuples to be probed more whose RNICs are not registered or whose agent is not connected
        pub(super) focus_tuples_unknown: Counter,
        /// 5-tuples to be probed more that were beyond the budgets of a target or of all agents
        pub(super) focus_tuples_beyond: Counter,
        /// Number of the newest key of the cluster, 0 where none is handed out
        pub(super) cluster_key_generation: Gauge,
        /// 1 for the phase of the newest key of the cluster, 0 for the others
        pub(super) cluster_key_phase: Family<ByPhase, Gauge>,
        /// Registered agents by how they stand to the present phase of the key
        pub(super) cluster_key_agents: Family<ByStanding, Gauge>,
        /// Open registration streams
        pub(super) sessions: Gauge,
        /// Writes that the registry refused; what it refused is served from memory and stored later
        pub(super) store_failures: Counter,
        /// Agents whose registration is in memory only because the registry takes nothing
        pub(super) agents_unstored: Gauge,
        /// Ordered ToR pairs whose path coverage is below the wanted one
        pub(super) coverage_short_tor_pairs: Gauge,
        /// Lowest path coverage of all ordered ToR pairs below the wanted one, else 1
        pub(super) coverage_lowest_ratio: FloatGauge,
        /// ToR switches whose uplinks get fewer probes than wanted
        pub(super) link_rate_short_tors: Gauge,
        /// Probes per second of the uplink with the fewest, else the wanted rate
        pub(super) link_rate_lowest: FloatGauge,
    }
}

impl Metrics {
    /// All metrics and the registry that exposes them.
    pub(super) fn registered(server: Arc<ServerCounters>) -> (Registry, Self) {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("rpingmesh_controller");
        register_build_info(&mut registry);
        metrics.register(&mut registry);
        registry.register_collector(Box::new(Connections(server)));
        (registry, metrics)
    }
}

/// Shows a number; one that is too large as the largest.
pub(super) fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Counters that the listener keeps.
#[derive(Debug)]
struct Connections(Arc<ServerCounters>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let accepted = ConstCounter::new(self.0.accepted());
        let descriptor = encoder.encode_descriptor(
            "connections_accepted",
            "Connections accepted",
            None,
            accepted.metric_type(),
        )?;
        accepted.encode(descriptor)?;
        let mut refused = encoder.encode_descriptor(
            "connections_refused",
            "Connections refused before their first request",
            None,
            accepted.metric_type(),
        )?;
        for (kind, reason) in RefusalKind::ALL {
            let counter = ConstCounter::new(self.0.refused(kind));
            counter.encode(refused.encode_family(&[("reason", reason)])?)?;
        }
        let evicted = ConstCounter::new(self.0.evicted());
        let descriptor = encoder.encode_descriptor(
            "connections_evicted",
            "Connections without a call that were closed because others needed their place",
            None,
            evicted.metric_type(),
        )?;
        evicted.encode(descriptor)
    }
}

#[cfg(test)]
pub(super) mod tests;
