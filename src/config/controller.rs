//! The controller's configuration: [`ControllerSettings`] as people write them, [`ControllerConfig`] as it runs.

mod validate;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::otlp::OtlpSettings;
use super::prefix::Prefix;
use super::settings::{Check, at_least, between, hours, millis, mins, rate_up_to, secs, settings};
use super::{HumanDuration, LogSettings, TlsSettings};
use crate::cluster_key::rotation::Spans;
use crate::net::tls::Security;
use crate::pinglist::Policy;
use crate::store::Location;
use crate::telemetry::otlp::OtlpConfig;
use crate::transport::Class;

settings! {
    /// What the controller can be told.
    ControllerSettings {
        /// Address of the gRPC service; port 0 lets the system choose
        ///
        /// Anything but loopback needs `[tls]`.
        listen: SocketAddr = (Ipv4Addr::LOCALHOST, 7470).into(), value("ADDR");
        /// Address of GET /metrics, without TLS [default: none, no metrics]
        metrics: Option<SocketAddr>, value("ADDR"), example("127.0.0.1:9470");
        /// Where the registry is kept: sqlite:PATH, made if missing, sqlite::memory: for none that lasts, or
        /// postgres://USER@HOST/DATABASE?fleet=NAME
        ///
        /// One controller owns the file, or one at a time the database. docs/deployment.md has the parameters.
        store: String = "sqlite:/var/lib/rpingmesh-controller/registry.db".to_owned();
        [registry]: RegistrySettings;
        [pinglist]: PinglistSettings;
        [agents]: AgentsSettings;
        [focus]: FocusSettings;
        [cluster_key]: ClusterKeySettings;
        [otlp]: OtlpSettings;
        [tls]: TlsSettings;
        [log]: LogSettings;
    }
}

settings! {
    /// How long registrations last.
    RegistrySettings in "registry" {
        /// Silence after which an agent counts as stale; it is told to send a heartbeat three times as often
        ///
        /// The GIDs of a stale agent may be taken over.
        lease: HumanDuration = secs(30), value("D"), check(between(millis(100), hours(1)));
        /// Silence after which an agent is forgotten and leaves the pinglists
        ///
        /// Until then others go on probing it, which is how a dead host is noticed.
        retention: HumanDuration = mins(10), value("D"), check(between(millis(100), hours(24 * 30)));
    }
}

settings! {
    /// How pinglists are made.
    PinglistSettings in "pinglist" {
        /// Decides which UDP source ports are drawn; the same in all controllers of one fabric
        seed: u64 = 0, value("N");
        /// Probability that the 5-tuples between two ToRs touch all parallel paths, P of Eq. (1)
        ///
        /// Equation (1) is in section 4 of the R-Pingmesh paper.
        coverage: f64 = 0.99, value("P"), check(between(0.5, 0.999_999));
        /// JSON file that describes the fabric's links and hosts, as `rpingmesh localize` reads it; gives the number of
        /// parallel paths of each pair of ToRs [default: none]
        topology: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/fabric.json");
        /// Parallel paths between two ToRs, N of Eq. (1), where the topology does not say it
        parallel_paths: u32 = 16, value("N");
        /// ToR-mesh probes per second of each RNIC
        tor_mesh_rate: f64 = 10.0, value("R"), check(rate_up_to(MAX_RATE));
        /// Inter-ToR probes per second that each link above a ToR gets per direction
        link_rate: f64 = 10.0, value("R"), check(rate_up_to(MAX_RATE));
        /// Probes per second that all lists together may ask of one RNIC; what it cuts off is reported
        ///
        /// The default leaves room for service tracing below the agent's 150 per second. What is cut off is logged, counted in
        /// the metrics and told to the agents.
        rnic_budget: f64 = 100.0, value("R"), check(rate_up_to(MAX_RATE));
        /// Inter-ToR 5-tuples of one RNIC; what it cuts off is reported
        max_tuples_per_rnic: u32 = 8192, value("N"), check(at_least(1));
        /// How often a fifth of the inter-ToR 5-tuples changes
        rotation: HumanDuration = hours(1), value("D"), check(between(secs(1), hours(24 * 30)));
        /// The longest time between two probes of an inter-ToR 5-tuple, 1s to 1h; it bounds how many ToRs a ToR probes at a time
        ///
        /// While all pairs of ToRs fit into it, all are probed. The longest windows of the analyzer have 120 s.
        tuple_interval: HumanDuration = secs(10), value("D"), check(between(secs(1), hours(1)));
        /// Ratio of a ToR's partners that are of its own rail, 0 to 1, where hosts have RNICs under several ToRs
        ///
        /// It counts in fabrics that are too large for all pairs.
        same_rail: f64 = 0.75, value("RATIO"), check(between(0.0, 1.0));
    }
}

settings! {
    /// What the controller allows and sets for all agents. A key that is left out stays each agent's own setting.
    AgentsSettings in "agents" {
        /// Prefixes whose addresses agents may register; others are refused [default: private addresses, no loopback]
        ///
        /// Agents probe what others have registered: name the fabric's own prefixes, and do so where its addresses are public ones.
        /// Multicast, broadcast, reserved and unspecified addresses are refused in any case, public ones, those of clouds'
        /// metadata services and of loopback unless a prefix has them. Loopback is allowed where the controller listens on loopback without TLS. Link-local addresses are probed
        /// under their own ToR alone.
        prefixes: Vec<Prefix>, value("PREFIX"), example(vec!["10.0.0.0/8", "fd00::/8"]);
        /// After how long every agent counts a probe as lost [default: the agent's own]
        probe_timeout: Option<HumanDuration>, value("D"), example("500ms"), check(up_to_a_day());
        /// How often every agent probes a traced connection [default: the agent's own]
        service_probe_interval: Option<HumanDuration>, value("D"), example("10ms"), check(up_to_a_day());
        /// Upper bound over all kinds of probes, per RNIC of every agent [default: the agent's own]
        max_probes_per_second: Option<f64>, value("R"), example(150.0), check(rate_up_to(MAX_RATE));
        /// How often every agent puts its results into a batch [default: the agent's own]
        upload_interval: Option<HumanDuration>, value("D"), example("1s"), check(up_to_a_day());
        /// DSCP and ECN bits of the probes, ACKs and traces of every agent, 0 to 255 [default: the agent's own]
        ///
        /// DSCP times 4, plus the ECN bits: 106 is DSCP 26 with ECN. Probes must ride in the class of the services.
        traffic_class: Option<u8>, value("BYTE"), example(106);
        /// Service level of the probes and ACKs of every agent, 0 to 7 [default: the agent's own]
        ///
        /// What an RNIC maps to a priority of its own and to the PCP of VLAN tags: needed where switches trust PCP.
        service_level: Option<u8>, value("LEVEL"), example(3), check(between(*Class::LEVELS.start(), *Class::LEVELS.end()));
    }
}

settings! {
    /// Whether, and within which bounds, the analyzer may have some 5-tuples probed more for a short time.
    FocusSettings in "focus" {
        /// Names of the analyzers in their certificates (DNS names or SPIFFE ids) that may say what to probe more
        /// [default: none, focus is off]
        ///
        /// With tls.identity = "any", and without TLS, any client may, once a name is given here.
        analyzers: Vec<String>, value("NAME"), example(vec!["analyzer.example.net"]);
        /// Probes per second that one target may get beside those of the lists
        target_rate: f64 = 150.0, value("R"), check(rate_up_to(MAX_RATE));
        /// Probes per second that all agents together may move to what the analyzer asks for
        rate: f64 = 100_000.0, value("R"), check(rate_up_to(MAX_RATE));
    }
}

settings! {
    /// The key that probes are signed with. The controller makes it, keeps it in its store, and hands it out over TLS.
    ClusterKeySettings in "cluster_key" {
        /// Whether agents get the key; without TLS they never do
        ///
        /// Agents with keys of their own configuration take none. Agents that have one keep it when this is turned off.
        hand_out: bool = true;
        /// The age of a key at which the next one is offered
        ///
        /// `rpingmesh-controller rotate-key` does it at once.
        rotation: HumanDuration = hours(24 * 30), value("D"), check(between(mins(10), hours(24 * 366)));
        /// For how long at least the old key is accepted after the new one signs
        ///
        /// Agents that do not reach the controller go on with the old key meanwhile.
        overlap: HumanDuration = hours(1), value("D"), check(between(secs(1), hours(24 * 30)));
    }
}

/// Probing faster than this is a load test, not monitoring.
const MAX_RATE: f64 = 1_000_000.0;

fn up_to_a_day() -> Check<HumanDuration> {
    between(millis(1), hours(24))
}

/// What the controller sets for all agents; `None` leaves the agent's own setting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentOverrides {
    /// After how long a probe counts as lost.
    pub probe_timeout: Option<Duration>,
    /// How often a traced connection is probed.
    pub service_probe_interval: Option<Duration>,
    /// Probes per second and RNIC over all kinds.
    pub max_probes_per_second: Option<f64>,
    /// How often results are uploaded.
    pub upload_interval: Option<Duration>,
    /// DSCP and ECN bits of probes, ACKs and traces.
    pub traffic_class: Option<u8>,
    /// Service level of probes and ACKs.
    pub service_level: Option<u8>,
}

/// How long an agent may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Until it counts as stale.
    pub lease: Duration,
    /// Until it is forgotten.
    pub retention: Duration,
}

/// A configuration that the controller can run with.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// Every key, checked. What was made of keys follows; those keys are not read any more.
    pub settings: ControllerSettings,
    /// Where metrics are pushed to, if wanted.
    pub otlp: Option<OtlpConfig>,
    /// Where the registry is kept.
    pub store: Location,
    /// Protection of the gRPC service.
    pub security: Security,
    /// How pinglists are made.
    pub policy: Policy,
    /// Lease and retention of registrations.
    pub lifetimes: Lifetimes,
    /// What agents are told.
    pub agents: AgentOverrides,
    /// How long the phases of the cluster's key last; `None` where none is handed out.
    pub keys: Option<Spans>,
}

#[cfg(test)]
mod tests;
