//! What a run of the judge says: findings with their categories.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::counts::{Counts, Horizon};
use super::recent::Recent;
use super::sight::Coverage;
use crate::analysis::filter::Reason;
use crate::analysis::localize::Component;
use crate::analysis::routes::Origin;
use crate::id::{Gid, ServiceName, UdpSourcePort};
use crate::time::WallTime;

/// A loss rate from which on a fault is hard.
pub(crate) const HARD: f64 = 0.2;
/// How sure a suspect must be.
pub(crate) const LEAST_CONFIDENCE: f64 = 0.9;
/// Share of slow round trips below which nothing is reported.
pub(crate) const LEAST_SLOW: f64 = 0.2;
/// What an operator calls it: the classes of problems in docs/guide.md.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A host does not answer and its agent is silent.
    HostDown,
    /// An agent uploads nothing, its RNICs answer.
    AgentSilent,
    /// An RNIC loses (nearly) all probes.
    RnicDown,
    /// An RNIC or its cable loses a share of the probes.
    RnicLoss,
    /// An RNIC or a port goes and comes back again and again.
    Flapping,
    /// A link loses (nearly) everything in one direction.
    LinkDown,
    /// A link loses a share in one direction: corruption, gray loss.
    LinkLoss,
    /// A switch loses (nearly) everything.
    SwitchDown,
    /// A switch loses a share.
    SwitchLoss,
    /// Some 5-tuples get through, others never: blackhole, or a misconfigured ACL.
    Blackhole,
    /// Queues: round trips take longer.
    Congestion,
    /// Round trips take too long for queueing (milliseconds): PFC pauses.
    PauseStorm,
    /// Round trips over one RNIC take longer: PCIe, or the RNIC itself.
    RnicSlow,
    /// A host is starved of CPU: not the network.
    CpuOverload,
    /// An RNIC cannot send: no route, or a GID index that moved.
    MissingRoute,
    /// ECMP uses some paths far more than others.
    UnevenEcmp,
    /// Something loses probes, and the observations cannot tell which of several.
    Undecided,
    /// A host or an RNIC was there and is missing: its agent is gone, or has withdrawn it.
    Withdrawn,
    /// The clock of an agent is off.
    Clock,
    /// Most of the probes, of all or under some ToRs, are set aside: nothing is judged there.
    MonitoringBlind,
    /// So many hosts fell silent at once that the monitoring is the likelier cause than they.
    MonitoringSilence,
    /// RNICs of the topology file that report nothing.
    MonitoringMissing,
    /// The judge takes so long that incidents come late.
    MonitoringLate,
    /// The windows are full: paths were dropped.
    MonitoringEvicted,
    /// The store takes nothing.
    MonitoringStore,
    /// The table of incidents is full: findings wait.
    MonitoringFull,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 26] = [
        Self::HostDown,
        Self::AgentSilent,
        Self::RnicDown,
        Self::RnicLoss,
        Self::Flapping,
        Self::LinkDown,
        Self::LinkLoss,
        Self::SwitchDown,
        Self::SwitchLoss,
        Self::Blackhole,
        Self::Congestion,
        Self::PauseStorm,
        Self::RnicSlow,
        Self::CpuOverload,
        Self::MissingRoute,
        Self::UnevenEcmp,
        Self::Undecided,
        Self::Withdrawn,
        Self::Clock,
        Self::MonitoringBlind,
        Self::MonitoringSilence,
        Self::MonitoringMissing,
        Self::MonitoringLate,
        Self::MonitoringEvicted,
        Self::MonitoringStore,
        Self::MonitoringFull,
    ];

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HostDown => "host_down",
            Self::AgentSilent => "agent_silent",
            Self::RnicDown => "rnic_down",
            Self::RnicLoss => "rnic_loss",
            Self::Flapping => "flapping",
            Self::LinkDown => "link_down",
            Self::LinkLoss => "link_loss",
            Self::SwitchDown => "switch_down",
            Self::SwitchLoss => "switch_loss",
            Self::Blackhole => "blackhole",
            Self::Congestion => "congestion",
            Self::PauseStorm => "pause_storm",
            Self::RnicSlow => "rnic_slow",
            Self::CpuOverload => "cpu_overload",
            Self::MissingRoute => "missing_route",
            Self::UnevenEcmp => "uneven_ecmp",
            Self::Undecided => "undecided",
            Self::Withdrawn => "withdrawn",
            Self::Clock => "clock",
            Self::MonitoringBlind => "monitoring_blind",
            Self::MonitoringSilence => "monitoring_silence",
            Self::MonitoringMissing => "monitoring_missing",
            Self::MonitoringLate => "monitoring_late",
            Self::MonitoringEvicted => "monitoring_evicted",
            Self::MonitoringStore => "monitoring_store",
            Self::MonitoringFull => "monitoring_full",
        }
    }

    /// Whether it says that the network, RNICs included, is at fault.
    pub const fn is_network(self) -> bool {
        !matches!(
            self,
            Self::HostDown
                | Self::AgentSilent
                | Self::CpuOverload
                | Self::MissingRoute
                | Self::Withdrawn
                | Self::Clock
        ) && !self.is_monitoring()
    }

    /// Whether it says that the monitoring itself is at fault.
    pub const fn is_monitoring(self) -> bool {
        matches!(
            self,
            Self::MonitoringBlind
                | Self::MonitoringSilence
                | Self::MonitoringMissing
                | Self::MonitoringLate
                | Self::MonitoringEvicted
                | Self::MonitoringStore
                | Self::MonitoringFull
        )
    }
}

/// Something that is wrong according to one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it is about.
    pub subject: Component,
    /// What is wrong.
    pub category: Category,
    /// Counts over this horizon, the shortest that shows it.
    pub horizon: Horizon,
    /// How sure this is, 0 to 1.
    pub confidence: f64,
    /// By how many nats the observations favour it over nothing being wrong; infinite where it was not inferred.
    pub nats: f64,
    /// Losses that the next run may see again; `None` where what was seen is a state, not losses.
    pub recent: Option<Recent>,
    /// A link of which the other direction is bad, too: the cable.
    pub both_directions: bool,
    /// What it may be instead; empty where the observations tell. With losses the category is then [`Category::Undecided`].
    pub or: Vec<Component>,
    /// Probes are asked for that cross one of these and not another: they will tell.
    pub deciding: bool,
    /// Share of probes (of 5-tuples for a blackhole, of round trips for latency) that it affects, 0 to 1.
    pub share: f64,
    /// The 95 % interval of `share`, low and high, over the same horizon; `None` where it is not a rate that was estimated.
    pub loss_interval: Option<[f64; 2]>,
    /// The same over other horizons that show it.
    pub shares: Vec<(Horizon, f64)>,
    /// Probes on the paths that cross it, and those lost or slow.
    pub probes: Counts,
    /// So plain that one confirmation is enough.
    pub hard: bool,
    /// Services with paths across it, and whether their own probes suffer.
    pub services: BTreeMap<ServiceName, bool>,
    /// Services whose probes cross it on other paths than their connections, or on unknown ones, and whether those probes
    /// suffer: their connections may cross it or not.
    pub perhaps: BTreeMap<ServiceName, bool>,
    /// Lines that explain it.
    pub evidence: Vec<String>,
}

/// A 5-tuple that is to be probed more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The RNIC that probes.
    pub source: Gid,
    /// The RNIC that answers.
    pub target: Gid,
    /// UDP source port of probes and ACKs.
    pub port: UdpSourcePort,
    /// How many times the rate that it has in its list is added to it.
    pub portions: u32,
}

/// What focus asks about: components of which at most one is at fault.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Question {
    /// Which, most probable first, with the probability that each is at fault; the rest of 1 is that none is.
    pub suspects: Vec<(Component, f64)>,
    /// What is not known yet: entropy in nats.
    pub entropy: f64,
    /// What a second of all probes that are asked for is expected to tell about it, in nats.
    pub information: f64,
    /// 5-tuples that are asked for because of it more than because of others,
    pub tuples: usize,
    /// and the probes per second that are added to them.
    pub rate: f64,
}

/// What one run says.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// When the snapshot was taken.
    pub at: Option<WallTime>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Probes of the last 20 s that were set aside, by reason.
    pub set_aside: BTreeMap<Reason, Counts>,
    /// Probes of the last 20 s that were judged.
    pub judged: Counts,
    /// RNICs with judged probes of the last 20 s from or to them,
    pub judged_rnics: Arc<HashSet<Gid>>,
    /// and how much of the fabric they are.
    pub coverage: Coverage,
    /// Paths judged, by where their legs are known from; those under one ToR count as traced.
    pub paths: BTreeMap<Origin, usize>,
    /// What the run had no time for: its budget was used up. Only coarse scopes were looked at there.
    pub unfinished: Vec<&'static str>,
    /// Findings that one host's agent alone supports: they wait for a second one.
    pub held: usize,
    /// 5-tuples that are to be probed more, because they would tell most; empty where focus is off.
    pub asked: Vec<Asked>,
    /// Why: those that something is asked about, most probes first.
    pub questions: Vec<Question>,
    /// Work that was done, in evaluations of one observation.
    pub work: u64,
}
