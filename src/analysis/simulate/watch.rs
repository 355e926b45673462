//! A fabric that is watched second by second, with or without focus.
//!
//! Probes are round trips: the ACK takes one of the shortest paths back, with its own ECMP choice. Each second the localisation
//! looks at the last window; what it asks for reaches the probers after [`LAG`].

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::draw::{Losses, binomial, draw_faults, draw_tuple};
use super::fabric::Fabric;
use super::fault::Truth;
use super::{PlanError, SimulationPlan};
use crate::analysis::focus::{Ask, Bounds, Candidate, Focus, Standing, rank};
use crate::analysis::localize::{
    Component, ComponentId, Crossing, DOUBT, Posterior, Problem, Settings, localize_with_posterior,
};
use crate::time::HostTime;

/// Steps in a second.
const STEPS: u64 = 2;
/// Steps from the end of a second to the moment at which probers follow what it has shown: a second to rank, and half a second
/// on the way.
const LAG: u64 = 3;

/// What is watched, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchPlan {
    /// The fabric, its faults and the base schedule. All paths are known. The window, in whole seconds, is what the localisation
    /// looks at, and the time from the beginning of the faults to the answer.
    pub simulation: SimulationPlan,
    /// Whole seconds before the faults begin.
    pub healthy_s: u32,
    /// Whether 5-tuples are asked for, and within which bounds.
    pub focus: Option<Bounds>,
}

/// What was seen in the last window.
#[derive(Debug)]
pub struct Watched {
    /// The faults.
    pub truth: Vec<Truth>,
    /// The observations.
    pub problem: Problem,
    /// Probes in the last window.
    pub sent: u64,
    tuples: Vec<Tuple>,
}

/// A 5-tuple: what it crosses, how often it is probed and what came of it.
#[derive(Debug)]
struct Tuple {
    prober: usize,
    target: usize,
    /// What a probe and its ACK cross: the ends up to `ends`, what lies between them behind.
    crossing: Vec<(ComponentId, f64)>,
    ends: usize,
    links: f64,
    /// Probes per second: base schedule, and now.
    base: f64,
    rate: f64,
    /// Fraction of a probe that is due.
    due: f64,
    /// Probability that a probe or its ACK is lost, without and with the faults.
    healthy: f64,
    faulty: f64,
    /// Sent and lost in the current second,
    now: (u64, u64),
    /// and in the window before it, by second.
    seconds: VecDeque<(u64, u64)>,
}

impl Tuple {
    fn window(&self) -> (u64, u64) {
        let sum = |sum: (u64, u64), of: &(u64, u64)| (sum.0 + of.0, sum.1 + of.1);
        self.seconds.iter().fold((0, 0), sum)
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            prober: self.prober,
            target: self.target,
            base: self.base,
            crossing: &self.crossing,
            links: self.links,
        }
    }
}

/// The components of a round trip under construction, each once.
struct Gathered(Vec<(ComponentId, f64, bool)>);

impl Gathered {
    fn add(&mut self, id: ComponentId, between: bool, most: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == id) {
            Some((_, sum, _)) => *sum = (*sum + 1.0).min(most),
            None => self.0.push((id, 1.0, between)),
        }
    }

    /// Adds a direction. A node that both directions cross counts once, as in the observations of round trips.
    fn path(&mut self, problem: &mut Problem, path: &[String]) {
        let last = path.len() - 1;
        let mut intern = |component| problem.intern(component).expect("few components");
        for (index, pair) in path.windows(2).enumerate() {
            let link = Component::Link {
                from: pair[0].clone(),
                to: pair[1].clone(),
            };
            self.add(intern(link), index > 0 && index + 1 < last, f64::INFINITY);
        }
        for (index, name) in path.iter().enumerate() {
            let name = name.clone();
            let node = if index > 0 && index < last {
                Component::Switch { name }
            } else {
                name.parse()
                    .map_or(Component::Host { name }, Component::rnic)
            };
            self.add(intern(node), index > 1 && index + 2 <= last, 1.0);
        }
    }
}

impl Watched {
    /// Watches a fabric.
    ///
    /// # Errors
    /// [`PlanError`].
    ///
    /// # Panics
    /// If there are more components than fit into 32 bits.
    pub fn new(plan: &WatchPlan, seed: u64) -> Result<Self, PlanError> {
        plan.simulation.check()?;
        let fabric = Fabric::new(plan.simulation.shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let truth = draw_faults(&plan.simulation, &fabric, &mut rng)?;
        let mut losses = Losses::new(&plan.simulation, &truth, rng.random(), 0);
        let mut watched = Self {
            truth: truth.clone(),
            problem: Problem::new(),
            sent: 0,
            tuples: Vec::new(),
        };
        for prober in 0..fabric.ends() {
            for _ in 0..plan.simulation.tuples_per_host {
                let (target, choice) = draw_tuple(&fabric, prober, &mut rng);
                let there = fabric.path(prober, target, choice);
                let choice = rng.random_range(0..fabric.path_count(target, prober));
                let back = fabric.path(target, prober, choice);
                let tuple = watched.tuples.len() as u64;
                let healthy = losses.healthy(&there) * losses.healthy(&back);
                let faulty = losses.faulty(&there, tuple) * losses.faulty(&back, tuple);
                let base =
                    plan.simulation.probes_per_second / plan.simulation.tuples_per_host as f64;
                watched.add((prober, target), [&there, &back], base);
                let added = watched.tuples.last_mut().expect("just added");
                added.due = rng.random();
                added.healthy = 1.0 - healthy;
                added.faulty = 1.0 - healthy * faulty;
            }
        }
        watched.run(plan, &mut rng);
        Ok(watched)
    }

    fn add(&mut self, (prober, target): (usize, usize), paths: [&[String]; 2], base: f64) {
        let mut gathered = Gathered(Vec::new());
        for path in paths {
            gathered.path(&mut self.problem, path);
        }
        let (between, ends): (Vec<_>, Vec<_>) =
            gathered.0.into_iter().partition(|(_, _, between)| *between);
        let links: usize = paths.iter().map(|path| path.len() - 1).sum();
        self.tuples.push(Tuple {
            prober,
            target,
            ends: ends.len(),
            crossing: ends
                .into_iter()
                .chain(between)
                .map(|(id, sum, _)| (id, sum))
                .collect(),
            links: links as f64,
            base,
            rate: base,
            due: 0.0,
            healthy: 0.0,
            faulty: 0.0,
            now: (0, 0),
            seconds: VecDeque::new(),
        });
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: positive, below 1e9"
    )]
    fn run(&mut self, plan: &WatchPlan, rng: &mut ChaCha8Rng) {
        let window = plan.simulation.window_s.round() as u64;
        let healthy = u64::from(plan.healthy_s);
        let components = self.problem.clone();
        let mut asked: VecDeque<(u64, Focus)> = VecDeque::new();
        let (mut standing, mut newest) = (Standing::default(), Vec::new());
        let last = (healthy + window) * STEPS;
        for step in 0..last {
            let nanos = i64::try_from(step * 1_000_000_000 / STEPS).unwrap_or(i64::MAX);
            let now = HostTime::from_nanos(nanos);
            while let Some((_, focus)) = asked.pop_front_if(|(due, _)| *due <= step) {
                standing = Standing::new(focus, now);
            }
            if let Some(bounds) = &plan.focus {
                self.follow(standing.asks(now), bounds);
            }
            for tuple in &mut self.tuples {
                tuple.send(step >= healthy * STEPS, rng);
            }
            if !(step + 1).is_multiple_of(STEPS) {
                continue;
            }
            for tuple in &mut self.tuples {
                tuple.end_second(window as usize);
            }
            let is_last = step + 1 == last;
            if plan.focus.is_some() || is_last {
                self.observe(&components);
            }
            if let Some(bounds) = &plan.focus
                && !is_last
            {
                let focus = self.rank(&newest, bounds);
                newest.clone_from(&focus.asks);
                asked.push_back((step + 1 + LAG, focus));
            }
        }
    }

    /// Sets the rates of all 5-tuples by what is asked for.
    fn follow(&mut self, asks: &[Ask], bounds: &Bounds) {
        let probers = self.tuples.last().map_or(0, |tuple| tuple.prober + 1);
        let mut sums = vec![(0.0, 0.0); probers];
        for tuple in &mut self.tuples {
            tuple.rate = 0.0;
            sums[tuple.prober].0 += tuple.base;
        }
        for ask in asks {
            let tuple = &mut self.tuples[ask.candidate];
            tuple.rate += ask.rate;
            sums[tuple.prober].1 += ask.rate;
        }
        for tuple in &mut self.tuples {
            let (base, asked) = sums[tuple.prober];
            tuple.rate += tuple.base * bounds.kept(base, asked);
        }
    }

    /// Makes the problem of the window that has ended.
    fn observe(&mut self, components: &Problem) {
        let mut problem = Problem::new();
        problem.take_components(components);
        self.sent = 0;
        for tuple in &self.tuples {
            let (sent, lost) = tuple.window();
            self.sent += sent;
            let between = &tuple.crossing[tuple.ends..];
            let crossing = Crossing {
                ends: &tuple.crossing[..tuple.ends],
                between,
                elsewhere: if between.is_empty() {
                    0.0
                } else {
                    1.0 - (1.0 - DOUBT).powi(2)
                },
                links: tuple.links,
            };
            if sent > 0 {
                problem
                    .add_crossing(&crossing, sent, lost)
                    .expect("no more lost than sent");
            }
        }
        self.problem = problem;
    }

    /// What the last window leaves possible, and the 5-tuples that it asks for.
    pub fn rank(&self, before: &[Ask], bounds: &Bounds) -> Focus {
        let (_, posterior) = localize_with_posterior(&self.problem, &Settings::default());
        self.focus(&posterior, before, bounds)
    }

    /// The 5-tuples that are asked for.
    pub fn focus(&self, posterior: &Posterior, before: &[Ask], bounds: &Bounds) -> Focus {
        let candidates: Vec<Candidate<'_>> = self.tuples.iter().map(Tuple::candidate).collect();
        rank(posterior, &candidates, before, bounds)
    }
}

impl Tuple {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: not negative, below 1e9"
    )]
    fn send(&mut self, is_faulty: bool, rng: &mut ChaCha8Rng) {
        self.due += self.rate / STEPS as f64;
        let sent = self.due.floor();
        self.due -= sent;
        let probability = if is_faulty { self.faulty } else { self.healthy };
        self.now.0 += sent as u64;
        self.now.1 += binomial(sent as u64, probability, rng);
    }

    /// Moves the current second into the window of so many seconds.
    fn end_second(&mut self, window: usize) {
        self.seconds.push_back(std::mem::take(&mut self.now));
        while self.seconds.len() > window {
            self.seconds.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
