//! Likelihood of a set of suspects, and of what one more would add.

use super::component::Component;
use super::problem::{ComponentId, Evidence};

/// The largest hazard that is told apart: a component that loses all but `e^{-12}` of its packets.
const MAX_HAZARD: f64 = 12.0;
/// Rounds of coordinate ascent after each change of the set; hazards settle in three or four.
const REFIT_ROUNDS: usize = 5;

/// A set of suspects with their fitted hazards.
#[derive(Debug, Clone, Default)]
pub(super) struct Fit {
    pub(super) members: Vec<(ComponentId, f64)>,
    /// Hazard of a healthy link.
    pub(super) background: f64,
    /// What the background cannot leave.
    range: (f64, f64),
}

/// What adding a component would bring.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gain {
    /// Growth of the log-likelihood, in nats.
    pub(super) nats: f64,
    /// The hazard that brings it.
    pub(super) hazard: f64,
}

/// `ln(1 − e^{−x})`
pub(super) fn ln_loss(x: f64) -> f64 {
    (-(-x).exp_m1()).ln()
}

/// Derivative of [`ln_loss`]: `1 / (e^x − 1)`
fn slope(x: f64) -> f64 {
    1.0 / x.exp_m1()
}

impl Fit {
    /// The fit without any suspect.
    pub(super) fn healthy(evidence: &Evidence, range: (f64, f64)) -> Self {
        let links = evidence.passed_links.max(1.0);
        Self {
            members: Vec::new(),
            background: (evidence.lost() / links).clamp(range.0, range.1),
            range,
        }
    }

    pub(super) fn contains(&self, id: ComponentId) -> bool {
        self.members.iter().any(|(member, _)| *member == id)
    }

    /// The fit without one of its members; to be re-fitted.
    pub(super) fn without(&self, index: usize) -> Self {
        let mut fit = self.clone();
        fit.members.remove(index);
        fit
    }

    /// Hazard of every lossy observation, leaving out one member.
    ///
    /// A suspect's hazard comes on top of the background, so taking it away leaves a healthy component.
    pub(super) fn hazards(&self, evidence: &Evidence, leave_out: Option<ComponentId>) -> Vec<f64> {
        let mut hazards: Vec<f64> = evidence
            .lossy
            .iter()
            .map(|lossy| lossy.links * self.background)
            .collect();
        for (member, hazard) in &self.members {
            if Some(*member) != leave_out {
                for (index, share) in &evidence.postings[member.index()] {
                    hazards[*index as usize] += share * hazard;
                }
            }
        }
        hazards
    }

    /// Log-likelihood in nats, up to a constant of the evidence.
    pub(super) fn log_likelihood(&self, evidence: &Evidence) -> f64 {
        let hazards = self.hazards(evidence, None);
        let lost: f64 = evidence
            .lossy
            .iter()
            .zip(&hazards)
            .map(|(lossy, hazard)| lossy.lost * ln_loss(*hazard))
            .sum();
        let passed: f64 = self
            .members
            .iter()
            .map(|(member, hazard)| evidence.sums[member.index()].passed * hazard)
            .sum();
        lost - passed - evidence.passed_links * self.background
    }

    /// Fits the background and all members' hazards, in turn, a few rounds.
    pub(super) fn refit(&mut self, evidence: &Evidence) {
        for _ in 0..REFIT_ROUNDS {
            self.refit_background(evidence);
            for index in 0..self.members.len() {
                let (member, _) = self.members[index];
                let rest = self.hazards(evidence, Some(member));
                self.members[index].1 = gain(evidence, member, &rest).hazard;
            }
        }
    }

    /// One step of expectation–maximisation: the share of the losses that the background explains.
    fn refit_background(&mut self, evidence: &Evidence) {
        let hazards = self.hazards(evidence, None);
        let explained: f64 = evidence
            .lossy
            .iter()
            .zip(&hazards)
            .map(|(lossy, hazard)| lossy.lost * (lossy.links * self.background / hazard).min(1.0))
            .sum();
        self.background =
            (explained / evidence.passed_links.max(1.0)).clamp(self.range.0, self.range.1);
    }
}

/// What `component` adds on top of the hazards `rest`: maximises over its own hazard by Newton's method, safeguarded
/// by bisection (the likelihood is concave in it).
pub(super) fn gain(evidence: &Evidence, component: ComponentId, rest: &[f64]) -> Gain {
    let postings = &evidence.postings[component.index()];
    let passed = evidence.sums[component.index()].passed;
    let derivative = |x: f64| -> f64 {
        let up: f64 = postings
            .iter()
            .map(|(index, share)| {
                let index = *index as usize;
                evidence.lossy[index].lost * share * slope(rest[index] + share * x)
            })
            .sum();
        up - passed
    };
    if postings.is_empty() || derivative(0.0) <= 0.0 {
        return Gain::default();
    }
    let hazard = root(derivative);
    let nats: f64 = postings
        .iter()
        .map(|(index, share)| {
            let index = *index as usize;
            let growth = ln_loss(rest[index] + share * hazard) - ln_loss(rest[index]);
            evidence.lossy[index].lost * growth
        })
        .sum::<f64>()
        - passed * hazard;
    Gain { nats, hazard }
}

/// The zero of a falling function on `[0, MAX_HAZARD]`, by the Illinois method.
fn root(f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, MAX_HAZARD);
    let (mut at_low, mut at_high) = (f(low), f(high));
    if at_high >= 0.0 {
        return high;
    }
    // Hazards span many decades: bracket the zero from below first.
    let mut step = 1e-6;
    while step < high {
        let value = f(step);
        if value <= 0.0 {
            (high, at_high) = (step, value);
            break;
        }
        (low, at_low) = (step, value);
        step *= 8.0;
    }
    for _ in 0..24 {
        if high - low <= 1e-4 * high {
            break;
        }
        let middle = ((low * at_high - high * at_low) / (at_high - at_low))
            .clamp(low + 0.05 * (high - low), high - 0.05 * (high - low));
        let value = f(middle);
        if value > 0.0 {
            (low, at_low) = (middle, value);
            at_high /= 2.0;
        } else {
            (high, at_high) = (middle, value);
            at_low /= 2.0;
        }
    }
    f64::midpoint(low, high)
}

/// Whether a component is a link: only links carry background.
pub(super) const fn is_link(component: &Component) -> bool {
    matches!(component, Component::Link { .. })
}
