//! `GET /api/v1/paths`: what was measured per path in a window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::list::{Column, Listed, Value};
use super::name::{FidelityName, ProbeKindName, WindowName};
use super::query::{Number, PageSize, ProbeKindChoice, WindowChoice};

/// Paths in one answer unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 1000;

/// Parameters; each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PathsQuery {
    /// how far back; 20s if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowChoice>,
    /// GID, host or ToR of the probing RNIC; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// GID, host or ToR of the answering RNIC; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// kind of the probes; focus: paths that focus has probed in the window; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProbeKindChoice>,
    /// name of a service; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// paths in the answer; 1000 if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<PageSize>,
    /// paths to leave out; 0 if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Number>,
}

impl Request for PathsQuery {
    const PATH: &'static str = "/api/v1/paths";
    const SUMMARY: &'static str = "What was measured per path in a window";
    type Answer = Paths;
}

/// What was measured per path in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Paths {
    /// the window asked for
    pub window: WindowName,
    /// where it begins
    pub start_unix_ns: i64,
    /// where it ends
    pub end_unix_ns: i64,
    /// paths that match, on all pages
    pub total: usize,
    /// as asked
    pub offset: usize,
    /// offset of the next page, null on the last
    pub next_offset: Option<usize>,
    /// the paths
    pub paths: Vec<Path>,
}

/// One path: a 5-tuple, and the kind of its probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Path {
    /// the probing RNIC
    pub source: End,
    /// the answering RNIC
    pub target: End,
    /// `tor_mesh`, `inter_tor` or `service_tracing`
    pub kind: ProbeKindName,
    /// UDP source port of the probes, null where the driver hides it
    pub source_port: Option<u16>,
    /// service that uses the path, null unless kind is `service_tracing`
    pub service: Option<String>,
    /// DSCP and ECN bits of the probes; null where the agent does not tell
    #[serde(default)]
    pub traffic_class: Option<u8>,
    /// service level of the probes; null where the agent does not tell
    #[serde(default)]
    pub service_level: Option<u8>,
    /// whether it is the path of the service's connections: `own_path`; `unknown_port`: their UDP source port or that of the
    /// probes is not known; `other_path`; null unless kind is `service_tracing`, and where the agent does not tell
    #[serde(default)]
    pub fidelity: Option<FidelityName>,
    /// all probes but those of `focused`: lost + all of invalid + complete
    pub sent: u64,
    /// probes without an ACK in time
    pub lost: u64,
    /// counts by reason of measurements that say nothing about the network; reasons without any are left out
    pub invalid: BTreeMap<String, u64>,
    /// time on the network, both directions together; null without a complete probe
    pub network_rtt: Option<Distribution>,
    /// time that the prober's host added; null without a complete probe
    pub prober_delay: Option<Distribution>,
    /// time that the responder's host added; null without a complete probe
    pub responder_delay: Option<Distribution>,
    /// what was sent beside the schedule, because of present suspects; not in the other numbers
    #[serde(default)]
    pub focused: Focused,
}

impl Listed for Path {
    const COLUMNS: &'static [Column] = &[
        Column::text("from", "From"),
        Column::text("to", "To"),
        Column::text("from-tor", "From ToR"),
        Column::text("to-tor", "To ToR"),
        Column::text("kind", "Kind"),
        Column::text("service", "Service"),
        Column::count("port", "Port"),
        Column::count("sent", "Sent"),
        Column::count("lost", "Lost"),
        Column::ratio("loss", "Loss"),
        Column::time("p50", "RTT median"),
        Column::time("p99", "RTT p99"),
        Column::time("max", "RTT max"),
        Column::time("prober", "Prober p99"),
        Column::time("responder", "Responder p99"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        let span = |of: &Option<Distribution>, value: fn(&Distribution) -> i64| {
            Value::nanos(of.as_ref().map(value))
        };
        match column {
            "from" => self.source.names(),
            "to" => self.target.names(),
            "from-tor" => Value::text(&self.source.tor),
            "to-tor" => Value::text(&self.target.tor),
            "kind" => Value::text(self.kind.to_string()),
            "service" => self.service.as_ref().map_or(Value::Missing, Value::text),
            "port" => self
                .source_port
                .map_or(Value::Missing, |port| Value::count(port.into())),
            "sent" => Value::count(self.sent),
            "lost" => Value::count(self.lost),
            "loss" => Value::ratio(self.lost, self.sent),
            "p50" => span(&self.network_rtt, |rtt| rtt.p50_ns),
            "p99" => span(&self.network_rtt, |rtt| rtt.p99_ns),
            "max" => span(&self.network_rtt, |rtt| rtt.max_ns),
            "prober" => span(&self.prober_delay, |delay| delay.p99_ns),
            "responder" => span(&self.responder_delay, |delay| delay.p99_ns),
            _ => Value::Missing,
        }
    }
}

impl End {
    /// By what a list finds it: host, `HOST/DEVICE`, GID.
    fn names(&self) -> Value<'_> {
        let rnic = format!("{}/{}", self.host, self.device);
        Value::Texts(vec![
            self.host.as_str().into(),
            rnic.into(),
            self.gid.as_str().into(),
        ])
    }
}

/// Probes of focus on a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Focused {
    /// all
    pub sent: u64,
    /// without an ACK in time
    pub lost: u64,
}

/// An RNIC at one end of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct End {
    /// GID of the RNIC
    pub gid: String,
    /// its queue pair
    pub qpn: u32,
    /// its host
    pub host: String,
    /// its ToR
    pub tor: String,
    /// its name on the host
    pub device: String,
}

/// How a duration is distributed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Distribution {
    /// complete probes; of `network_rtt` those whose responder took at most 10 ms: beyond, clocks that run apart
    /// falsify the RTT
    pub count: u64,
    /// smallest, to 0.8 % like the others
    pub min_ns: i64,
    /// median
    pub p50_ns: i64,
    /// 90 % are not above it
    pub p90_ns: i64,
    /// 99 % are not above it
    pub p99_ns: i64,
    /// largest
    pub max_ns: i64,
}
