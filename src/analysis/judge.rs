//! From windows to findings: what is wrong right now, where, and why that is believed.
//!
//! In this order (R-Pingmesh, section 5): results that hosts caused are set aside ([`snapshot`], by [`filter`](super::filter)); hosts
//! that are down are named; anomalous RNICs are found ([`rnic`](super::rnic)) and their paths left out; what is
//! left is explained by links, switches and single RNICs ([`localize`](super::localize)) over several horizons; slow round
//! trips are explained in the same way. Traces also show whether switches divide 5-tuples evenly (`spread`).
//!
//! Each run looks at four [`Horizon`]s. The shortest holds the slot that is still being filled, so that a hard fault is
//! seen two or three seconds after it began; the longest finds gray loss. A suspect that only an old part of a horizon
//! speaks against is no finding: see `is_over`.

mod asked;
mod board;
mod bonds;
mod coarse;
mod counts;
mod effort;
pub(crate) mod finding;
mod flows;
mod following;
mod gather;
mod hosts;
mod listed;
mod locate;
mod merge;
mod path_counts;
mod recent;
mod rnics;
mod second_acks;
mod selective;
pub(crate) mod sight;
mod silent;
pub(crate) mod snapshot;
mod spread;
mod stalled;
mod sums;
mod view;
mod witness;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use board::Board;
use coarse::Coarse;
use counts::MANY_PATHS;
use effort::Effort;
use gather::Problems;
use view::View;

use super::focus::Bounds;
use super::localize::{Component, Posterior, ProblemError, Settings};
use super::routes::Routes;
use super::windows::Slot;
use crate::id::RnicName;
use crate::time::{Nanos, WallTime};

pub use counts::{Counts, Horizon};
pub use effort::Pace;
pub use finding::{Asked, Category, Finding, Judgement, Question};
pub(crate) use finding::{HARD, LEAST_CONFIDENCE, LEAST_SLOW};
pub use path_counts::PathCounts;
pub use recent::Recent;
pub use sight::Coverage;
pub use silent::SilentHost;
pub use snapshot::Snapshot;

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
    /// What the paths cross.
    board: Board,
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

/// Paths with losses over one horizon from which on a large fabric is looked at coarsely first: what is fine may take too long.
const MANY_LOSSY: usize = 5_000;
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
            board: Board::default(),
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
        let mut board = std::mem::take(&mut self.board);
        board.follow(&mut self.routes, snapshot);
        let judgement = self.judge_on(&board, snapshot);
        self.board = board;
        judgement
    }

    fn judge_on(&mut self, board: &Board, snapshot: &Snapshot) -> Result<Judgement, ProblemError> {
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
        let mut view = View::new(board, snapshot, self.left_out());
        // The first look comes before all that may take long.
        let mut rough = if view.len() >= MANY_PATHS && view.most_lossy() >= MANY_LOSSY {
            Some(self.first_look(&view, &mut effort)?)
        } else {
            None
        };
        if let Some(verdicts) = self.rnics(&view, &mut effort)? {
            for verdict in verdicts {
                let paths = view.touching(&Component::rnic(verdict.finding().rnic.clone()));
                if merge::is_of_some_tuples(&verdict, snapshot, &paths) {
                    continue;
                }
                for rnic in verdict.rnics() {
                    self.bad_rnics.insert(rnic, snapshot.now);
                }
                findings.push(hosts::of_rnic(verdict, snapshot, &paths));
            }
        } else {
            judgement.unfinished.push("RNICs");
        }
        view.leave_out(self.left_out());
        judgement.paths.clone_from(&view.origins);
        let losses = self.losses(&view, &mut rough, &mut judgement, &mut effort)?;
        self.ask(&view, (&losses, &mut judgement), &mut effort);
        findings.extend(self.without_explained(&view, losses, snapshot.now));
        let slow = self.locate_slow(&view, &mut effort)?;
        if slow.is_cut {
            judgement.unfinished.push("slow round trips");
        }
        findings.extend(slow.findings);
        findings.extend(self.spread.findings(&self.routes, &view, snapshot.now));
        findings.retain(|finding| !self.is_detour(finding, snapshot.now));
        let (findings, held) = witness::confirmed(findings, &view);
        judgement.held = held;
        let findings = merge::whole_hosts(merge::merge(findings), snapshot);
        judgement.findings = merge::cables(findings);
        flows::mark_deciding(&mut judgement.findings, &view, &judgement.asked);
        judgement.work = effort.spent();
        Ok(judgement)
    }

    /// What explains the losses, over all horizons that are due. Coarse findings stand in where the work ran out; `rough` are those
    /// that were looked for already.
    fn losses(
        &mut self,
        view: &View<'_>,
        rough: &mut Option<Vec<Finding>>,
        judgement: &mut Judgement,
        effort: &mut Effort,
    ) -> Result<Vec<Finding>, ProblemError> {
        let mut due = vec![Horizon::Now, Horizon::Short, Horizon::Middle];
        let is_long_due = self.long_is_due(view.snapshot.now);
        due.extend(is_long_due.then_some(Horizon::Long));
        let mut problems = Problems::of(view, &due, effort)?;
        self.posterior = Posterior::default();
        let mut losses = Vec::new();
        for horizon in due {
            let located = self.locate_losses(view, &mut problems, horizon, effort)?;
            if located.is_cut {
                judgement.unfinished.push(horizon.name());
            }
            if horizon == Horizon::Long {
                if !located.is_cut {
                    self.long = located.findings;
                }
                continue;
            }
            if !located.is_cut || view.len() < MANY_PATHS {
                losses.extend(located.findings);
                continue;
            }
            let rough = match rough {
                Some(rough) => rough,
                // There were few losses, and yet no time for them.
                None => rough.insert(self.first_look(view, &mut Effort::of(self.budget))?),
            };
            let of_horizon = rough.iter().filter(|found| found.horizon == horizon);
            losses.extend(of_horizon.cloned());
        }
        let long = self.long.iter();
        losses.extend(long.map(|finding| sums::revised(finding, view)));
        Ok(losses)
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

    /// Findings of coarse scopes (the fabric, ToRs, switches and links by what ECMP may choose), where there are so many paths
    /// that the fine ones may not be looked at in time.
    fn first_look(
        &mut self,
        view: &View<'_>,
        effort: &mut Effort,
    ) -> Result<Vec<Finding>, ProblemError> {
        let coarse = Coarse::of(&mut self.routes, view)?;
        let mut found = Vec::new();
        for horizon in [Horizon::Now, Horizon::Short, Horizon::Middle] {
            found.extend(self.locate_coarsely(view, &coarse, horizon, effort)?);
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
}

#[cfg(test)]
mod tests;
