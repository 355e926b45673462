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

mod asked;
mod counts;
mod crossed;
mod effort;
pub(crate) mod finding;
mod flows;
mod hosts;
mod locate;
mod merge;
mod recent;
mod selective;
pub(crate) mod sight;
mod silent;
pub(crate) mod snapshot;
mod spread;
mod stalled;
mod sums;
mod witness;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use counts::MANY_PATHS;
use crossed::{Coarse, Crossings, Observed};
use effort::Effort;

use super::focus::Bounds;
use super::localize::{Component, Posterior, ProblemError, Settings};
use super::rnic;
use super::routes::Routes;
use super::windows::Slot;
use crate::id::RnicName;
use crate::time::{Nanos, WallTime};

pub use counts::{Counts, Horizon};
pub use effort::Pace;
pub use finding::{Asked, Category, Finding, Judgement, Question};
pub(crate) use finding::{HARD, LEAST_CONFIDENCE, LEAST_SLOW};
pub use recent::Recent;
pub use sight::Coverage;
pub use silent::SilentHost;
pub use snapshot::{PathCounts, Snapshot};

/// Findings over the longest horizon are looked for this often: they cannot change faster.
const LONG_EVERY: Duration = Duration::from_secs(5);

/// Judges snapshots, and remembers between them what is usual.
#[derive(Debug)]
pub struct Judge {
    /// What is known of paths.
    pub routes: Routes,
    /// Work that a run may do, in evaluations of one observation: the role that runs it knows how long that takes.
    pub budget: u64,
    /// Whether it asks for probes that would tell most about its suspects, and within which bounds.
    pub focus: Option<Bounds>,
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
    /// What the last run leaves possible: what further probes are asked for by.
    posterior: Posterior,
    /// What the last run has asked for.
    asked: Vec<Asked>,
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
            focus: None,
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
            posterior: Posterior::default(),
            asked: Vec::new(),
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
        let left: Vec<_> = self.left(snapshot).collect();
        let mut observed = crossed::observed(&mut self.routes, left);
        let rough = if is_large {
            self.first_look(&observed, &mut effort)?
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
        let left_out = self.left_out();
        observed.retain(|seen| !seen.touches(&left_out));
        for seen in &observed {
            *judgement.paths.entry(seen.origin()).or_default() += 1;
        }
        let crossings = Crossings::of(&observed)?;
        self.posterior = Posterior::default();
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
        losses.extend(
            self.long
                .iter()
                .map(|finding| sums::revised(finding, &observed)),
        );
        self.ask(
            &observed,
            &crossings,
            (&losses, &mut judgement),
            &mut effort,
        );
        findings.extend(self.without_explained(&observed, losses, snapshot.now));
        let slow = self.locate_slow(&observed, &crossings, &mut effort)?;
        if slow.is_cut {
            judgement.unfinished.push("slow round trips");
        }
        findings.extend(slow.findings);
        findings.extend(self.spread.findings(&self.routes, &observed, snapshot.now));
        findings.retain(|finding| !self.is_detour(finding, snapshot.now));
        let (findings, held) = witness::confirmed(findings, snapshot, &observed);
        judgement.held = held;
        let findings = merge::whole_hosts(merge::merge(findings), snapshot);
        judgement.findings = merge::cables(findings);
        flows::mark_deciding(&mut judgement.findings, &observed, &judgement.asked);
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

    /// RNICs whose paths say nothing about what lies between RNICs.
    fn left_out(&self) -> BTreeSet<RnicName> {
        self.bad_rnics.keys().cloned().collect()
    }

    /// The paths that say something about what lies between RNICs.
    fn left<'a>(&self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a PathCounts> + use<'a> {
        let left_out = self.left_out();
        snapshot.seen.iter().filter(move |seen| {
            !seen.touches(&left_out) && !snapshot.is_waited_for(&seen.target.host)
        })
    }

    /// Findings of coarse scopes (the fabric, ToRs, switches and links by what ECMP may choose), where there are so many paths
    /// that the fine ones may not be looked at in time.
    fn first_look(
        &mut self,
        observed: &[Observed<'_>],
        effort: &mut Effort,
    ) -> Result<Vec<Finding>, ProblemError> {
        let coarse = Coarse::of(&mut self.routes, observed)?;
        let mut found = Vec::new();
        for horizon in [Horizon::Now, Horizon::Short, Horizon::Middle] {
            found.extend(self.locate_coarsely(observed, &coarse, horizon, effort)?);
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
