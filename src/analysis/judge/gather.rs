//! Problems for the localisation, made of the paths of one run.
//!
//! Only components on the paths that have lost something can be suspects. All other paths enter as sums over these components, so a
//! problem is as large as what was lost, and not as the fabric.

use std::rc::Rc;

use super::board::Board;
use super::board::parts::Parts;
use super::counts::{Counts, Horizon};
use super::effort::Effort;
use super::listed::Listed;
use super::path_counts::{PathCounts, weighed};
use super::view::{Observed, View};
use crate::analysis::localize::{
    ComponentId, Crossing, PassedPath, PassedSums, Posterior, Problem, ProblemError, Signal,
};

/// What a problem is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Lost probes over a horizon.
    Lost(Horizon),
    /// Slow round trips of 20 s; a path counts as at most so many.
    Slow { most: u64 },
}

impl Counted {
    /// What a path counts.
    pub(super) fn of(self, seen: &PathCounts) -> Counts {
        match self {
            Self::Lost(horizon) => seen.weighed(horizon),
            Self::Slow { most } => weighed(seen.slow(), most),
        }
    }

    /// The paths that have lost something of it.
    fn lossy<'v>(self, view: &'v View<'_>) -> Box<dyn Iterator<Item = &'v u32> + 'v> {
        match self {
            Self::Lost(horizon) => Box::new(view.lossy.over(horizon)),
            Self::Slow { .. } => Box::new(view.lossy.slow.iter()),
        }
    }

    /// The second ACKs of a path, where they are evidence, too.
    fn acks_of(self, view: &View<'_>, seen: Observed<'_>) -> Counts {
        match self {
            Self::Lost(horizon) if view.takes_acks(seen, horizon) => seen.second_acks(horizon),
            Self::Lost(_) | Self::Slow { .. } => Counts::default(),
        }
    }

    const fn signal(self) -> Signal {
        match self {
            Self::Lost(_) => Signal::Loss,
            Self::Slow { .. } => Signal::Slow,
        }
    }
}

/// A problem with the numbers that its components have on the board.
pub(super) struct Gathered {
    pub(super) problem: Problem,
    ids: Rc<[ComponentId]>,
}

impl Gathered {
    /// What is possible by the problem, with the numbers that components have on the board.
    pub(super) fn on_board(&self, mut posterior: Posterior) -> Posterior {
        let components = posterior.suspects.iter_mut();
        for possible in components.flat_map(|suspects| &mut suspects.components) {
            if let Some(id) = self.ids.get(possible.component.0 as usize) {
                possible.component = *id;
            }
        }
        posterior
    }
}

/// Lossy paths over all horizons up to which their problems are gathered together: each takes memory.
const TOGETHER: usize = 50_000;

/// Work of a pass over all paths, in evaluations of one observation.
pub(super) fn work(view: &View<'_>) -> u64 {
    view.len() as u64 / 4
}

/// Work of bringing so many lossy paths into a problem.
pub(super) const fn lossy_work(paths: usize) -> u64 {
    (paths as u64).saturating_mul(20)
}

/// The problems of the horizons with losses.
pub(super) struct Problems(Vec<(Horizon, Gathered)>);

impl Problems {
    /// Those that there is work left for; none where so much is lost that each is gathered when it is taken.
    pub(super) fn of(
        view: &View<'_>,
        due: &[Horizon],
        effort: &mut Effort,
    ) -> Result<Self, ProblemError> {
        let lossy = |horizon: Horizon| view.lossy.len_over(horizon);
        if due.iter().copied().map(lossy).sum::<usize>() > TOGETHER {
            return Ok(Self(Vec::new()));
        }
        let mut wanted = Vec::new();
        let mut pass = work(view);
        for horizon in due.iter().copied().filter(|horizon| lossy(*horizon) > 0) {
            let work = pass + lossy_work(lossy(horizon));
            if effort.has(work) {
                effort.spend(work);
                wanted.push(horizon);
                // One pass serves all.
                pass = 0;
            }
        }
        if wanted.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let counted: Vec<Counted> = wanted.iter().copied().map(Counted::Lost).collect();
        let gathered = gather(view, &counted)?;
        Ok(Self(wanted.into_iter().zip(gathered).collect()))
    }

    /// The problem of a horizon that has losses. `None`: the run has no work left for it.
    pub(super) fn take(
        &mut self,
        view: &View<'_>,
        horizon: Horizon,
        effort: &mut Effort,
    ) -> Result<Option<Gathered>, ProblemError> {
        if let Some(at) = self.0.iter().position(|(known, _)| *known == horizon) {
            return Ok(Some(self.0.swap_remove(at).1));
        }
        let work = work(view) + lossy_work(view.lossy.len_over(horizon));
        if !effort.has(work) {
            return Ok(None);
        }
        effort.spend(work);
        Ok(gather(view, &[Counted::Lost(horizon)])?.pop())
    }
}

/// One of the problems that are gathered together.
struct Part {
    counted: Counted,
    problem: Problem,
    passed: PassedSums,
}

/// Makes problems of what the paths count, in one pass over them.
///
/// # Errors
/// More lost than sent.
pub(super) fn gather(view: &View<'_>, counted: &[Counted]) -> Result<Vec<Gathered>, ProblemError> {
    let listed = Listed::of(view, counted.iter().flat_map(|counted| counted.lossy(view)));
    let mut made = problems(&listed, view, counted)?;
    // For each leg the problems in which a path takes it, as bits.
    let mut taken = vec![0_u8; view.board.legs()];
    let mut parts = Parts::default();
    let mut counts = vec![Counts::default(); counted.len()];
    let mut acks = vec![Counts::default(); counted.len()];
    for seen in view.iter() {
        let mut among = 0_u8;
        for (number, part) in made.iter().enumerate() {
            counts[number] = part.counted.of(&seen);
            acks[number] = part.counted.acks_of(view, seen);
            among |= u8::from(counts[number].sent > 0) << number;
        }
        if among == 0 {
            continue;
        }
        for leg in view.board.place(seen.at).legs() {
            taken[leg] |= among;
        }
        if !listed.may_cross(view.board, seen.at) {
            debug_assert!(listed.crosses_no_other(view, seen.at));
            let fabric = listed.fabric(view.board, seen.at);
            add_elsewhere(&mut made, fabric, view.board.links(seen.at), &counts);
            add_acks_elsewhere(&mut made, view.board.ack_links(seen.at), &acks);
            continue;
        }
        view.board.parts(seen.at, view.with_fabric, &mut parts);
        for (part, counts) in made.iter_mut().zip(&counts) {
            if counts.lost > 0 {
                add_lossy(&mut part.problem, &listed, &parts, *counts)?;
            }
        }
        add_passed(&mut made, &listed, &parts, &counts);
        if view.board.ack_parts(seen.at, view.with_fabric, &mut parts) {
            add_acks(&mut made, &listed, &parts, &acks)?;
        }
    }
    let crossed = crossed(view.board, &taken);
    let gathered = made.into_iter().enumerate().map(|(number, part)| {
        let mut problem = part.problem;
        problem.add_passed(&part.passed);
        let unlisted = crossed.iter().enumerate().filter(|(at, crossed)| {
            **crossed >> number & 1 == 1 && !listed.has_place(*at) && view.board.is_link(*at)
        });
        problem.count_unlisted(unlisted.count());
        Gathered {
            problem,
            ids: Rc::clone(&listed.ids),
        }
    });
    Ok(gathered.collect())
}

fn problems(
    listed: &Listed,
    view: &View<'_>,
    counted: &[Counted],
) -> Result<Vec<Part>, ProblemError> {
    let mut first = Problem::new();
    for id in &*listed.ids {
        first.intern(view.board.component(*id).clone())?;
    }
    let parts = counted.iter().map(|counted| {
        let mut problem = Problem::of(counted.signal());
        problem.take_components(&first);
        Part {
            counted: *counted,
            problem,
            passed: PassedSums::new(listed.ids.len()),
        }
    });
    Ok(parts.collect())
}

/// For each component the problems in which a path crosses it between the ToRs, as bits, by those in which a path takes a leg.
fn crossed(board: &Board, taken: &[u8]) -> Vec<u8> {
    let mut crossed = vec![0_u8; board.components()];
    for (leg, among) in taken.iter().enumerate().filter(|(_, among)| **among != 0) {
        for id in board.leg_components(leg) {
            crossed[id.0 as usize] |= among;
        }
    }
    crossed
}

/// Counts a path that crosses no component of the problems, or the fabric between the ToRs alone. It has lost nothing: what it crosses
/// would be a component of the problems.
fn add_elsewhere(made: &mut [Part], fabric: Option<ComponentId>, links: f64, counts: &[Counts]) {
    for (part, counts) in made.iter_mut().zip(counts) {
        if counts.sent > 0 {
            if let Some(fabric) = fabric {
                part.passed.cross_surely(fabric, 1, counts.sent);
            }
            part.passed.count(links, 1, counts.sent);
        }
    }
}

/// The second ACKs of a path that crosses no component of the problems: none is missing.
fn add_acks_elsewhere(made: &mut [Part], links: Option<f64>, acks: &[Counts]) {
    let Some(links) = links else {
        return;
    };
    for (part, acks) in made.iter_mut().zip(acks) {
        if acks.sent > 0 {
            part.passed.count_back(links, acks.sent);
        }
    }
}

/// Adds the second ACKs of a path: they cross these parts.
fn add_acks(
    made: &mut [Part],
    listed: &Listed,
    parts: &Parts,
    acks: &[Counts],
) -> Result<(), ProblemError> {
    for (part, acks) in made.iter_mut().zip(acks) {
        if acks.lost > 0 {
            let (ends, between) = (listed.locals(&parts.ends), listed.locals(&parts.between));
            let crossing = crossing(parts, &ends, &between);
            part.problem.add_acks(&crossing, acks.sent, acks.lost)?;
        } else if acks.sent > 0 {
            part.passed.count_back(parts.links, acks.sent);
            let path = PassedPath {
                sent: acks.sent,
                elsewhere: parts.elsewhere,
            };
            for (between, crossed) in [(false, &parts.ends), (true, &parts.between)] {
                for (id, sum) in crossed {
                    if let Some(local) = listed.local(*id) {
                        part.passed.cross_back(local, (*sum, between), path);
                    }
                }
            }
        }
    }
    Ok(())
}

const fn crossing<'p>(
    parts: &Parts,
    ends: &'p [(ComponentId, f64)],
    between: &'p [(ComponentId, f64)],
) -> Crossing<'p> {
    Crossing {
        ends,
        between,
        elsewhere: parts.elsewhere,
        links: parts.links,
    }
}

fn add_lossy(
    problem: &mut Problem,
    listed: &Listed,
    parts: &Parts,
    counts: Counts,
) -> Result<(), ProblemError> {
    let (ends, between) = (listed.locals(&parts.ends), listed.locals(&parts.between));
    problem.add_crossing(&crossing(parts, &ends, &between), counts.sent, counts.lost)
}

/// Adds a path to the sums of the problems in which it lost nothing.
fn add_passed(made: &mut [Part], listed: &Listed, parts: &Parts, counts: &[Counts]) {
    let mut add = |id: ComponentId, sum: f64, between: bool| {
        let Some(local) = listed.local(id) else {
            return;
        };
        for (part, counts) in made.iter_mut().zip(counts) {
            if counts.sent > 0 && counts.lost == 0 {
                let path = PassedPath {
                    sent: counts.sent,
                    elsewhere: parts.elsewhere,
                };
                part.passed.cross(local, (sum, between), path);
            }
        }
    };
    for (id, sum) in &parts.ends {
        add(*id, *sum, false);
    }
    for (id, sum) in &parts.between {
        add(*id, *sum, true);
    }
    for (part, counts) in made.iter_mut().zip(counts) {
        if counts.sent > 0 && counts.lost == 0 {
            part.passed.count(parts.links, 1, counts.sent);
        }
    }
}
