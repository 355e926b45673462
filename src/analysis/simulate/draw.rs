//! Drawing faults, paths and losses.

use std::collections::HashMap;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::fabric::Fabric;
use super::fault::{FaultPlan, Losing, Truth};
use super::{PlanError, SimulationPlan};
use crate::analysis::localize::files::ObservationLine;
use crate::analysis::localize::{Component, Symptom};

/// Observations of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The path that was taken.
    pub path: Vec<String>,
    /// All paths that could have been taken, when the taken one is not to be told.
    pub candidates: Option<Vec<Vec<String>>>,
    /// Probes sent.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
}

impl Observed {
    /// As a line of the observations file.
    pub fn line(&self, window_s: f64) -> ObservationLine {
        let known = self.candidates.is_none();
        ObservationLine {
            back: None,
            backs: None,
            src: self.path.first().cloned().unwrap_or_default(),
            dst: self.path.last().cloned().unwrap_or_default(),
            path: known.then(|| self.path.clone()),
            paths: self.candidates.clone(),
            sent: self.sent,
            lost: self.lost,
            window_s: Some(window_s),
        }
    }
}

/// A fabric with faults, observed for one window.
#[derive(Debug, Clone)]
pub struct World {
    /// The faults.
    pub truth: Vec<Truth>,
    /// What was observed.
    pub observed: Vec<Observed>,
}

impl World {
    /// Draws a world: its first window.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn draw(plan: &SimulationPlan, seed: u64) -> Result<Self, PlanError> {
        Self::draw_window(plan, seed, 0)
    }

    /// Draws a later window of the same world: the same faults, background and 5-tuples, other losses.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn draw_window(plan: &SimulationPlan, seed: u64, window: u64) -> Result<Self, PlanError> {
        plan.check()?;
        let fabric = Fabric::new(plan.shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let truth = draw_faults(plan, &fabric, &mut rng)?;
        let mut losses = Losses::new(plan, &truth, rng.random(), window);
        let mut observed = Vec::with_capacity(fabric.ends() * plan.tuples_per_host);
        for source in 0..fabric.ends() {
            for share in shares(plan, &mut rng) {
                let (destination, choice) = draw_tuple(&fabric, source, &mut rng);
                let path = fabric.path(source, destination, choice);
                let tuple = observed.len() as u64;
                let lost = losses.draw(&path, tuple, share);
                let candidates = (!plan.known_paths).then(|| {
                    (0..fabric.path_count(source, destination))
                        .map(|choice| fabric.path(source, destination, choice))
                        .collect()
                });
                observed.push(Observed {
                    path,
                    candidates,
                    sent: share,
                    lost,
                });
            }
        }
        Ok(Self { truth, observed })
    }
}

/// How many probes each of an end's 5-tuples carries in the window.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked: positive, below 1e18"
)]
fn shares(plan: &SimulationPlan, rng: &mut ChaCha8Rng) -> Vec<u64> {
    let all = (plan.probes_per_second * plan.window_s).round() as u64;
    let tuples = plan.tuples_per_host as u64;
    let mut shares: Vec<u64> = (0..tuples)
        .map(|tuple| all / tuples + u64::from(tuple < all % tuples))
        .collect();
    shares.shuffle(rng);
    shares.retain(|share| *share > 0);
    shares
}

pub(super) fn draw_tuple(fabric: &Fabric, source: usize, rng: &mut ChaCha8Rng) -> (usize, usize) {
    let destination = fabric.destination(source, rng);
    let choice = rng.random_range(0..fabric.path_count(source, destination));
    (destination, choice)
}

pub(super) fn draw_faults(
    plan: &SimulationPlan,
    fabric: &Fabric,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Truth>, PlanError> {
    let mut truth: Vec<Truth> = Vec::new();
    for fault in &plan.faults {
        for component in draw_places(fault, fabric, &truth, rng)? {
            let loss_rate = rng.random_range(fault.loss.clone());
            let symptom = match fault.losing {
                _ if loss_rate >= 1.0 => Symptom::Down,
                Losing::Tuples => Symptom::Blackhole,
                Losing::ByChance => Symptom::Loss,
            };
            truth.push(Truth {
                component,
                symptom,
                loss_rate,
            });
        }
    }
    Ok(truth)
}

fn draw_places(
    fault: &FaultPlan,
    fabric: &Fabric,
    truth: &[Truth],
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Component>, PlanError> {
    let mut places = match &fault.name {
        None => fabric.components(fault.kind),
        Some(name) => fabric.named(fault.kind, name)?,
    };
    places.retain(|place| truth.iter().all(|known| known.component != *place));
    match (fault.count, &fault.name) {
        (None, Some(name)) if places.is_empty() => Err(PlanError::Taken(name.clone())),
        (None, _) => Ok(places),
        (Some(wanted), _) if wanted > places.len() => Err(PlanError::TooManyFaults {
            wanted,
            have: places.len(),
        }),
        (Some(count), _) => Ok(places.choose_multiple(rng, count).cloned().collect()),
    }
}

/// Draws losses; what does not change from window to window comes from the world's own seed.
pub(super) struct Losses<'a> {
    plan: &'a SimulationPlan,
    truth: &'a [Truth],
    seed: u64,
    fixed: ChaCha8Rng,
    rng: ChaCha8Rng,
    background: HashMap<(String, String), f64>,
}

impl<'a> Losses<'a> {
    pub(super) fn new(
        plan: &'a SimulationPlan,
        truth: &'a [Truth],
        seed: u64,
        window: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(window + 1);
        Self {
            plan,
            truth,
            seed,
            fixed: ChaCha8Rng::seed_from_u64(seed),
            rng,
            background: HashMap::new(),
        }
    }

    fn draw(&mut self, path: &[String], tuple: u64, sent: u64) -> u64 {
        let pass = self.healthy(path) * self.faulty(path, tuple);
        binomial(sent, 1.0 - pass, &mut self.rng)
    }

    /// Probability that a packet passes all links of a path by their background loss.
    pub(super) fn healthy(&mut self, path: &[String]) -> f64 {
        let mut pass = 1.0;
        for pair in path.windows(2) {
            let key = (pair[0].clone(), pair[1].clone());
            let rate = *self
                .background
                .entry(key)
                .or_insert_with(|| self.fixed.random_range(0.0..=self.plan.background));
            pass *= 1.0 - rate;
        }
        pass
    }

    /// Probability that a packet of a 5-tuple passes all faults on a path.
    pub(super) fn faulty(&self, path: &[String], tuple: u64) -> f64 {
        let mut pass = 1.0;
        for (index, fault) in self.truth.iter().enumerate() {
            if !crosses(path, &fault.component) {
                continue;
            }
            if fault.symptom == Symptom::Blackhole {
                // Whether a 5-tuple falls into it is the 5-tuple's fate for good.
                let mut fate = ChaCha8Rng::seed_from_u64(self.seed ^ tuple.rotate_left(32));
                fate.set_stream(index as u64);
                if fate.random_bool(fault.loss_rate) {
                    return 0.0;
                }
            } else {
                pass *= 1.0 - fault.loss_rate;
            }
        }
        pass
    }
}

fn crosses(path: &[String], component: &Component) -> bool {
    match component {
        Component::Link { from, to } => path
            .windows(2)
            .any(|pair| pair[0] == *from && pair[1] == *to),
        // A host is crossed with any of its RNICs.
        Component::Host { name } => path.iter().any(|other| {
            let rest = other.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }),
        node => node
            .node()
            .is_some_and(|name| path.iter().any(|other| *other == name)),
    }
}

/// A binomial variate, by the lengths of the runs between successes: cheap for small `probability`.
pub(super) fn binomial(n: u64, probability: f64, rng: &mut ChaCha8Rng) -> u64 {
    if probability <= 0.0 {
        return 0;
    }
    if probability >= 1.0 {
        return n;
    }
    let scale = (-probability).ln_1p();
    let (mut at, mut count) = (0.0, 0);
    loop {
        let uniform: f64 = 1.0 - rng.random::<f64>();
        at += (uniform.ln() / scale).floor() + 1.0;
        if at > n as f64 {
            return count;
        }
        count += 1;
    }
}
