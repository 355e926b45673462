//! Drawing faults, paths and losses.

use std::collections::HashMap;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::fabric::Fabric;
use super::{Plan, PlanError};
use crate::analysis::localize::Component;
use crate::analysis::localize::files::ObservationLine;

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// One direction of a cable between switches.
    Link,
    /// A switch: it loses on all its ports alike.
    Switch,
    /// A host: its RNIC loses in both directions.
    Host,
    /// A switch that loses all packets of some 5-tuples; the loss rate is the share of the 5-tuples.
    Blackhole,
}

/// A fault that was put in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Where.
    #[serde(flatten)]
    pub component: Component,
    /// Its loss rate, 0 to 1.
    pub loss_rate: f64,
}

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
    /// Draws a world.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn draw(plan: &Plan, seed: u64) -> Result<Self, PlanError> {
        plan.check()?;
        let fabric = Fabric::new(plan.shape)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let truth = draw_faults(plan, &fabric, &mut rng)?;
        let mut losses = Losses {
            plan,
            truth: &truth,
            background: HashMap::new(),
        };
        let mut observed = Vec::with_capacity(fabric.hosts() * plan.tuples_per_host);
        for source in 0..fabric.hosts() {
            for share in shares(plan, &mut rng) {
                let (destination, choice) = draw_tuple(&fabric, source, &mut rng);
                let path = fabric.path(source, destination, choice);
                let lost = losses.draw(&path, share, &mut rng);
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

/// How many probes each of a host's 5-tuples carries in the window.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked: positive, below 1e18"
)]
fn shares(plan: &Plan, rng: &mut ChaCha8Rng) -> Vec<u64> {
    let all = (plan.probes_per_second * plan.window_s).round() as u64;
    let tuples = plan.tuples_per_host as u64;
    let mut shares: Vec<u64> = (0..tuples)
        .map(|tuple| all / tuples + u64::from(tuple < all % tuples))
        .collect();
    shares.shuffle(rng);
    shares.retain(|share| *share > 0);
    shares
}

fn draw_tuple(fabric: &Fabric, source: usize, rng: &mut ChaCha8Rng) -> (usize, usize) {
    let other = rng.random_range(0..fabric.hosts() - 1);
    let destination = if other >= source { other + 1 } else { other };
    let choice = rng.random_range(0..fabric.path_count(source, destination));
    (destination, choice)
}

fn draw_faults(
    plan: &Plan,
    fabric: &Fabric,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Truth>, PlanError> {
    let candidates: Vec<Component> = match plan.kind {
        FaultKind::Link => fabric
            .fabric_links()
            .into_iter()
            .flat_map(|(a, b)| {
                [
                    Component::Link {
                        from: a.clone(),
                        to: b.clone(),
                    },
                    Component::Link { from: b, to: a },
                ]
            })
            .collect(),
        FaultKind::Switch | FaultKind::Blackhole => {
            let mut names: Vec<String> = fabric
                .fabric_links()
                .into_iter()
                .flat_map(|(a, b)| [a, b])
                .collect();
            names.sort();
            names.dedup();
            names
                .into_iter()
                .map(|name| Component::Switch { name })
                .collect()
        }
        FaultKind::Host => (0..fabric.hosts())
            .map(|host| Component::Host {
                name: Fabric::host(host),
            })
            .collect(),
    };
    if plan.faults > candidates.len() {
        return Err(PlanError::TooManyFaults {
            wanted: plan.faults,
            have: candidates.len(),
        });
    }
    let chosen: Vec<Component> = candidates
        .choose_multiple(rng, plan.faults)
        .cloned()
        .collect();
    Ok(chosen
        .into_iter()
        .map(|component| Truth {
            component,
            loss_rate: rng.random_range(plan.loss.clone()),
        })
        .collect())
}

struct Losses<'a> {
    plan: &'a Plan,
    truth: &'a [Truth],
    background: HashMap<(String, String), f64>,
}

impl Losses<'_> {
    fn draw(&mut self, path: &[String], sent: u64, rng: &mut ChaCha8Rng) -> u64 {
        let mut pass = 1.0;
        for pair in path.windows(2) {
            let key = (pair[0].clone(), pair[1].clone());
            let rate = *self
                .background
                .entry(key)
                .or_insert_with(|| rng.random_range(0.0..=self.plan.background));
            pass *= 1.0 - rate;
        }
        for fault in self.truth {
            if !crosses(path, &fault.component) {
                continue;
            }
            if self.plan.kind == FaultKind::Blackhole {
                if rng.random_bool(fault.loss_rate) {
                    return sent;
                }
            } else {
                pass *= 1.0 - fault.loss_rate;
            }
        }
        binomial(sent, 1.0 - pass, rng)
    }
}

fn crosses(path: &[String], component: &Component) -> bool {
    match component {
        Component::Link { from, to } => path
            .windows(2)
            .any(|pair| pair[0] == *from && pair[1] == *to),
        Component::Switch { name } | Component::Host { name } => path.contains(name),
    }
}

/// A binomial variate, by the lengths of the runs between successes: cheap for small `probability`.
fn binomial(n: u64, probability: f64, rng: &mut ChaCha8Rng) -> u64 {
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
