//! Probing without I/O: which probe is due when, how an ACK is matched, what a responder answers.
//!
//! A [`Session`] is prober and responder of one endpoint. Its driver owns the endpoint and the clock:
//!
//! 1. wait for completions or for [`Session::next_wakeup`];
//! 2. [`Session::on_completions`] with what the endpoint has (first, so that an ACK which waited for a late process is
//!    not taken for lost);
//! 3. [`Session::poll`], and post what it appends; requests that the endpoint does not take yet stay with the driver;
//! 4. [`Session::drain_results`].

mod connections;
mod counters;
pub mod flow;
pub mod focus;
mod limit;
mod prober;
mod responder;
mod schedule;
mod session;
mod sources;
pub mod steering;
pub mod trace;
mod unanswered;
mod window;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{FlowLabel, Gid, ServiceName, UdpSourcePort};
use crate::measure::{Outcome, Timestamps};
use crate::time::HostTime;
use crate::topology::Peer;
use crate::transport::{Address, Class, CompletionClock};
use crate::wire::Sequence;

pub use crate::measure::Rate;
pub use counters::Counters;
pub use schedule::Grant;
pub use session::Session;

/// Why a probe is sent. The names are those of `ProbeKind` in `common.proto`. The most important kind is first; later
/// kinds get less if the rates exceed the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// Between RNICs under one ToR: finds bad RNICs.
    TorMesh,
    /// Across the fabric: covers links and switches above the ToR.
    InterTor,
    /// On the path of an [`InterTor`](Self::InterTor) 5-tuple, beside its schedule: present suspects are asked about (see [`focus`]).
    Focus,
    /// On the path of a service's own connection.
    ServiceTracing,
}

impl ProbeKind {
    /// Every kind, the most important first.
    pub const ALL: [Self; 4] = [
        Self::TorMesh,
        Self::InterTor,
        Self::Focus,
        Self::ServiceTracing,
    ];

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TorMesh => "tor_mesh",
            Self::InterTor => "inter_tor",
            Self::Focus => "focus",
            Self::ServiceTracing => "service_tracing",
        }
    }

    /// The kind under which the path of such a probe is known: focus has no 5-tuples of its own.
    #[must_use]
    pub const fn of_path(self) -> Self {
        match self {
            Self::Focus => Self::InterTor,
            Self::TorMesh | Self::InterTor | Self::ServiceTracing => self,
        }
    }
}

/// What is probed: a target, and the flow that chooses the path to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProbePath {
    /// The responder.
    pub target: Arc<Peer>,
    /// Decides the UDP source port of probes and ACKs.
    pub flow_label: FlowLabel,
    /// The service for whose connection this is probed ([`ProbeKind::ServiceTracing`] only).
    pub service: Option<ServiceName>,
    /// The traffic class of the connection, for probes and ACKs; `None` for the prober's and the responder's own. The service
    /// level is the prober's own in any case.
    pub traffic_class: Option<u8>,
    /// Whether the probes take the path of the service's connection ([`ProbeKind::ServiceTracing`] only).
    pub fidelity: Option<PathFidelity>,
}

/// Whether the probes of a service take the path of its connection, which ECMP chooses by addresses and UDP source port. The
/// most alike is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathFidelity {
    /// The connection's addresses and UDP source port: the same path.
    OwnPath,
    /// The UDP source port of the connection or that of the probes is not known: perhaps another path.
    UnknownPort,
    /// Another UDP source port or source address than the connection's: perhaps another path.
    OtherPath,
}

impl PathFidelity {
    /// Every degree.
    pub const ALL: [Self; 3] = [Self::OwnPath, Self::UnknownPort, Self::OtherPath];

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OwnPath => "own_path",
            Self::UnknownPort => "unknown_port",
            Self::OtherPath => "other_path",
        }
    }
}

/// One path that service connections take, as a number that its owner never uses again. Connections of one service on
/// the same path share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub u64);

/// Paths that share one rate; they are probed in turn, evenly paced.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Why.
    pub kind: ProbeKind,
    /// Probes per second of the whole group.
    pub rate: Rate,
    /// What. A path named twice is probed once; no paths, no probes.
    pub paths: Vec<Arc<ProbePath>>,
}

/// When a new group sends its first probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After a random part of its interval, and with a random path, so that the agents of a cluster do not send at the
    /// same time.
    RandomPhase,
    /// Without delay and with the first path, for commands such as `ping`.
    AtOnce,
}

/// Bounds of the responder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResponderConfig {
    /// Probes whose first ACK may be on its way out at once; more are dropped and counted.
    pub max_outstanding: usize,
    /// Answers per second that one prober gets once it is known.
    pub rate_per_source: Rate,
    /// Answers per second that all probers of one source GID which are not known yet share.
    pub rate_of_new_source: Rate,
    /// Answers that one prober, or all new ones of a source, get at once.
    pub burst_per_source: u32,
    /// Answers per second that all probers which are not known yet get together.
    pub rate_of_new: Rate,
    /// Answers that they get at once.
    pub burst_of_new: u32,
    /// Answers per second in all.
    pub rate: Rate,
    /// Answers at once.
    pub burst: u32,
    /// How long a send completion of a first ACK is waited for.
    pub completion_timeout: Duration,
}

impl Default for ResponderConfig {
    /// Ten times the load of a prober that keeps to the cap. New ones: a whole rail that restarts at once is known after
    /// seconds. In all: many times what the pinglists ask of one RNIC.
    fn default() -> Self {
        Self {
            max_outstanding: 1024,
            rate_per_source: const { Rate::per_second(1_500.0).expect("in range") },
            // A prober's cap.
            rate_of_new_source: const { Rate::per_second(150.0).expect("in range") },
            burst_per_source: 64,
            rate_of_new: const { Rate::per_second(5_000.0).expect("in range") },
            burst_of_new: 1_024,
            rate: const { Rate::per_second(50_000.0).expect("in range") },
            burst: 4_096,
            // The first ACK to a new peer waits for its address handle, which takes a second and more where the
            // neighbour is not known yet. Given up before, its probe would stay without a second ACK.
            completion_timeout: Duration::from_secs(5),
        }
    }
}

/// How a [`Session`] behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// How long ACKs are waited for.
    pub timeout: Duration,
    /// Cap over all kinds.
    pub max_rate: Rate,
    /// Probes that may be under way, counted from the oldest that is; slots beyond are skipped and counted.
    pub max_outstanding: usize,
    /// Between two probes of one service connection, as far as the cap allows it.
    pub service_interval: Duration,
    /// The class of what is sent, unless it is a service's.
    pub class: Class,
    /// When new groups begin.
    pub start: Start,
    /// The answering side.
    pub responder: ResponderConfig,
}

impl Default for Config {
    /// The paper's figures: 500 ms, 150 probes per second, a service connection every 10 ms.
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(500),
            max_rate: const { Rate::per_second(150.0).expect("in range") },
            max_outstanding: 4096,
            service_interval: Duration::from_millis(10),
            class: Class::default(),
            start: Start::RandomPhase,
            responder: ResponderConfig::default(),
        }
    }
}

/// What became of one probe. Every probe yields exactly one.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    /// Why it was sent.
    pub kind: ProbeKind,
    /// From where, at the time.
    pub source: Address,
    /// Where to, at the time, and by which flow.
    pub path: Arc<ProbePath>,
    /// Its UDP source port, where that is known.
    pub source_port: Option<UdpSourcePort>,
    /// The UDP source port that it had when it arrived, where the responder can see it and has answered.
    pub seen_port: Option<UdpSourcePort>,
    /// Its number.
    pub sequence: Sequence,
    /// What was measured, as far as it came.
    pub timestamps: Timestamps,
    /// What follows from that.
    pub outcome: Outcome,
    /// Which clock stamped T2 and T5.
    pub clock: CompletionClock,
    /// The class that it was sent in.
    pub class: Class,
}

/// A flow whose probes an endpoint answers, and whose prober asks for the reverse path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The prober.
    pub to: Gid,
    /// The label of its probes and of the ACKs.
    pub label: FlowLabel,
    /// Probes which report that the previous probe was answered.
    pub healthy: u64,
    /// Probes which report that the previous probe was lost.
    pub failing: u64,
}

impl ProbeResult {
    /// T1: when the probe was handed to the endpoint.
    pub const fn sent_at(&self) -> HostTime {
        self.timestamps.posted
    }
}

#[cfg(test)]
mod tests;
