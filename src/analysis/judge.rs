//! From windows to findings: what is wrong right now, where, and why that is believed.
//!
//! In this order (R-Pingmesh, section 5): results that hosts caused are set aside ([`snapshot`], by [`filter`](super::filter)); hosts
//! that are down are named; anomalous RNICs are found ([`rnic`]) and their paths left out; what is
//! left is explained by links, switches and single RNICs ([`localize`](super::localize)) over several horizons; slow round
//! trips are explained in the same way. Traces also show whether switches divide 5-tuples evenly (`spread`).
//!
//! Each run looks at four [`Horizon`]s. The shortest holds the slot that is still being filled, so that a hard fault is
//! seen two or three seconds after it began; the longest finds gray loss. A suspect that only an old part of a horizon
//! speaks against is no finding: see `is_over`.

mod crossed;
mod effort;
mod hosts;
mod locate;
mod merge;
mod recent;
mod selective;
pub mod snapshot;
mod spread;
mod stalled;
mod sums;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crossed::{Coarse, Crossings};
use effort::Effort;

use super::filter::Reason;
use super::localize::{Component, ProblemError, Settings};
use super::rnic;
use super::routes::{Origin, Routes};
use super::windows::Slot;
use crate::id::{Gid, RnicName, ServiceName};
use crate::time::{Nanos, WallTime};

pub use effort::Pace;
pub use recent::Recent;
pub use snapshot::{Counts, Coverage, Horizon, PathCounts, SilentHost, Snapshot};

/// What an operator calls it (FIELD.md's list of problem classes).
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
    pub const ALL: [Self; 25] = [
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
    /// PathCounts over this horizon, the shortest that shows it.
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
    /// Lines that explain it.
    pub evidence: Vec<String>,
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
    /// Work that was done, in evaluations of one observation.
    pub work: u64,
}

/// A loss rate from which on a fault is hard.
pub const HARD: f64 = 0.2;
/// How sure a suspect must be.
pub const LEAST_CONFIDENCE: f64 = 0.9;
/// Share of slow round trips below which nothing is reported.
pub const LEAST_SLOW: f64 = 0.2;
/// Paths from which on coarse scopes are looked at first.
const MANY_PATHS: usize = 20_000;
/// Findings over the longest horizon are looked for this often: they cannot change faster.
const LONG_EVERY: Duration = Duration::from_secs(5);

/// Judges snapshots, and remembers between them what is usual.
#[derive(Debug)]
pub struct Judge {
    /// What is known of paths.
    pub routes: Routes,
    /// Work that a run may do, in evaluations of one observation: the role that runs it knows how long that takes.
    pub budget: u64,
    settings: Settings,
    /// The slot that was being filled when the last snapshot was taken.
    slot: Slot,
    /// Usual round trip by the number of links that a probe and its ACK cross.
    usual: HashMap<u32, Nanos>,
    long_at: Option<WallTime>,
    /// Findings of the longest horizon, until it is looked at again.
    long: Vec<Finding>,
    /// RNICs that were anomalous lately, and when last: longer horizons still hold what they lost.
    bad_rnics: HashMap<RnicName, WallTime>,
    /// Hard faults of lately: not every run sees them.
    hard: Vec<Hard>,
    /// Switches that divide 5-tuples unevenly, until that is looked at again.
    spread: spread::Spread,
}

/// A fault that explains what others show.
#[derive(Debug, Clone)]
struct Hard {
    subject: Component,
    /// The most that it lost lately, 0 to 1.
    share: f64,
    /// It is dead, or swallows whole 5-tuples: whatever is bad inside it is of it.
    whole: bool,
    /// When it was last seen.
    last: WallTime,
}

/// How long the paths of an anomalous RNIC are left out after it was last seen to be one.
const LEFT_OUT: Duration = Duration::from_mins(1);
/// How long a hard fault counts as there after it was last seen.
const REMEMBERED: Duration = Duration::from_secs(10);
/// How long after a fault uneven ECMP around it is put down to it: traces show the return of a path late.
const AVOIDED: Duration = Duration::from_mins(3);

/// A round trip is slow above this many times the usual one,
const SLOW_FACTOR: i64 = 3;
/// plus this.
const SLOW_MARGIN: Nanos = Nanos(5_000);

impl Judge {
    /// With what is known of paths, without a limit to its work. Links, switches and RNICs that lose less than `least_loss` (0
    /// to 1) of their packets are not reported.
    pub fn new(routes: Routes, least_loss: f64) -> Self {
        Self {
            routes,
            budget: u64::MAX,
            settings: Settings {
                least_rate: least_loss,
                ..Settings::default()
            },
            slot: Slot::of(WallTime::from_nanos(0)),
            usual: HashMap::new(),
            long_at: None,
            long: Vec::new(),
            bad_rnics: HashMap::new(),
            hard: Vec::new(),
            spread: spread::Spread::default(),
        }
    }

    /// Round trips that take longer are slow, by the number of links crossed; `None` while nothing is known.
    pub fn limits(&self) -> HashMap<u32, Nanos> {
        self.usual
            .iter()
            .map(|(links, usual)| {
                let limit = usual
                    .0
                    .saturating_mul(SLOW_FACTOR)
                    .saturating_add(SLOW_MARGIN.0);
                (*links, Nanos(limit))
            })
            .collect()
    }

    /// Judges a snapshot.
    ///
    /// # Errors
    /// Counts that cannot be: more lost than sent.
    pub fn judge(&mut self, snapshot: &Snapshot) -> Result<Judgement, ProblemError> {
        self.usual.clone_from(&snapshot.usual);
        self.slot = Slot::of(snapshot.now);
        let mut judgement = Judgement {
            at: Some(snapshot.now),
            set_aside: snapshot.set_aside.clone(),
            judged: snapshot.judged,
            judged_rnics: Arc::clone(&snapshot.judged_rnics),
            coverage: snapshot.coverage,
            ..Judgement::default()
        };
        let mut effort = Effort::of(self.budget);
        let mut findings = hosts::judge(snapshot);
        self.bad_rnics
            .retain(|_, last| snapshot.now.since(*last) < LEFT_OUT);
        self.still_down(&mut findings, snapshot.now);
        // The first look comes before all that may take long.
        let is_large = snapshot.seen.len() >= MANY_PATHS;
        let rough = if is_large {
            self.first_look(snapshot, &mut effort)?
        } else {
            Vec::new()
        };
        if let Some(verdicts) = self.rnics(snapshot, &mut effort)? {
            for verdict in verdicts {
                if merge::is_of_some_tuples(&verdict, snapshot) {
                    continue;
                }
                for rnic in verdict.rnics() {
                    self.bad_rnics.insert(rnic, snapshot.now);
                }
                findings.push(hosts::of_rnic(verdict, snapshot));
            }
        } else {
            judgement.unfinished.push("RNICs");
        }
        let observed = self.observed(self.left(snapshot));
        for seen in &observed {
            *judgement.paths.entry(seen.origin()).or_default() += 1;
        }
        let crossings = Crossings::of(&observed)?;
        let mut losses = Vec::new();
        for horizon in [Horizon::Now, Horizon::Short, Horizon::Middle] {
            let located = self.locate_losses(&observed, &crossings, horizon, &mut effort)?;
            if located.is_cut {
                judgement.unfinished.push(horizon.name());
            }
            let is_rough = located.is_cut && is_large;
            let found = if is_rough { &rough } else { &located.findings };
            losses.extend(
                found
                    .iter()
                    .filter(|found| found.horizon == horizon)
                    .cloned(),
            );
        }
        if self.long_is_due(snapshot.now) {
            let located = self.locate_losses(&observed, &crossings, Horizon::Long, &mut effort)?;
            if located.is_cut {
                judgement.unfinished.push(Horizon::Long.name());
            } else {
                self.long = located.findings;
            }
        }
        losses.extend(self.long.iter().cloned());
        findings.extend(self.without_explained(&observed, losses, snapshot.now));
        let slow = self.locate_slow(&observed, &crossings, &mut effort)?;
        if slow.is_cut {
            judgement.unfinished.push("slow round trips");
        }
        findings.extend(slow.findings);
        findings.extend(self.uneven(&observed, snapshot.now));
        findings.retain(|finding| !self.is_detour(finding, snapshot.now));
        judgement.findings = merge::cables(merge::merge(findings));
        judgement.work = effort.spent();
        Ok(judgement)
    }

    /// An RNIC that was down when it was last probed, and still cannot send, is down: once its agent has taken it out of the
    /// pinglists nobody probes it any more.
    fn still_down(&mut self, findings: &mut [Finding], now: WallTime) {
        for finding in findings {
            if finding.category != Category::MissingRoute || finding.probes.sent > 0 {
                continue;
            }
            let Component::Rnic { host, device } = &finding.subject else {
                continue;
            };
            let rnic = RnicName::new(host.clone(), device.clone());
            if let Some(last) = self.bad_rnics.get_mut(&rnic) {
                *last = now;
                finding.category = Category::RnicDown;
                finding.evidence.push(
                    "it answered nothing when it was last probed, and nobody probes it any more"
                        .to_owned(),
                );
            }
        }
    }

    /// The paths that say something about what lies between RNICs.
    fn left<'a>(&self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a PathCounts> + use<'a> {
        let left_out: BTreeSet<RnicName> = self.bad_rnics.keys().cloned().collect();
        snapshot.seen.iter().filter(move |seen| {
            !seen.touches(&left_out) && !snapshot.is_waited_for(&seen.target.host)
        })
    }

    /// Findings of coarse scopes (the fabric, ToRs, switches and links by what ECMP may choose), where there are so many paths
    /// that the fine ones may not be looked at in time.
    fn first_look(
        &mut self,
        snapshot: &Snapshot,
        effort: &mut Effort,
    ) -> Result<Vec<Finding>, ProblemError> {
        let observed = self.observed(self.left(snapshot));
        let coarse = Coarse::of(self, &observed)?;
        let mut found = Vec::new();
        for horizon in [Horizon::Now, Horizon::Short, Horizon::Middle] {
            found.extend(self.locate_coarsely(&observed, &coarse, horizon, effort)?);
        }
        Ok(found)
    }

    fn long_is_due(&mut self, now: WallTime) -> bool {
        let due = self
            .long_at
            .is_none_or(|last| now.since(last) >= LONG_EVERY);
        if due {
            self.long_at = Some(now);
        }
        due
    }

    /// Anomalous RNICs over the shortest horizon that shows any, each once; `None` where there was no time for it.
    fn rnics(
        &self,
        snapshot: &Snapshot,
        effort: &mut Effort,
    ) -> Result<Option<Vec<rnic::Verdict>>, ProblemError> {
        let mut verdicts: Vec<rnic::Verdict> = Vec::new();
        for horizon in [Horizon::Now, Horizon::Short] {
            let pairs: Vec<_> = snapshot
                .seen
                .iter()
                .filter(|seen| !snapshot.is_waited_for(&seen.target.host))
                .map(|seen| rnic::Pair {
                    source: (&seen.source_name, seen.source.tor.as_str()),
                    target: (&seen.target_name, seen.target.tor.as_str()),
                    sent: seen.weighed(horizon).sent,
                    lost: seen.weighed(horizon).lost,
                    unsent: seen.unsent(horizon),
                })
                .filter(|pair| pair.sent > 0 || pair.unsent > 0)
                .collect();
            let judged = rnic::judge(&pairs, effort.left())?;
            effort.spend(judged.work);
            let Some(found) = judged.verdicts else {
                return Ok(None);
            };
            let loses_enough =
                |verdict: &rnic::Verdict| verdict.finding().loss >= self.settings.least_rate;
            for verdict in found.into_iter().filter(loses_enough) {
                let known = verdicts
                    .iter()
                    .any(|known| known.rnics().any(|rnic| verdict.rnics().any(|r| r == rnic)));
                if !known {
                    verdicts.push(verdict);
                }
            }
        }
        Ok(Some(verdicts))
    }
}

#[cfg(test)]
mod tests;
