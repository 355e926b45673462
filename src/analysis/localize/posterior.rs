//! How probable it is that each component is faulty, weak suspects included.
//!
//! A [`Diagnosis`](super::Diagnosis) names what is at least as probable as not. What further probes could tell depends on all
//! that is still possible ([`focus`](crate::analysis::focus)): also on a link that lost two probes where chance gives one, and on
//! the links that explain the same losses as a suspect.
//!
//! # Model
//! A component is faulty with small odds before anything is seen: [`EXPECTED_FAULTS`] in a fabric. If it is faulty, its hazard is
//! one of [`HAZARDS`], each as likely as the others. So the odds after the observations are those before times the mean over these
//! hazards of the likelihood ratio (Bayes factor). What the search has found is taken as it is, beside the component at hand.
//!
//! Components that explain the losses of one suspect stand together as [`Alternatives`]: at most one of them is faulty.

use super::component::ComponentId;

/// Faults that are expected in a fabric that loses packets, for the odds of each component before anything is seen.
pub(super) const EXPECTED_FAULTS: f64 = 2.0;
/// Hazards that a faulty component may have: a quarter of a thousandth of its packets to nearly all of them.
pub(super) const HAZARDS: [f64; 10] = [
    2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016, 0.064, 0.25, 1.0,
];
/// Alternatives that are less probable than this are left out.
const LEAST_PROBABILITY: f64 = 1e-6;

/// A component that may be faulty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Possible {
    /// Which one.
    pub component: ComponentId,
    /// Probability, 0 to 1, that it is faulty.
    pub probability: f64,
    /// Its hazard if it is faulty, on average over what the observations allow: −ln of the probability that it passes a packet.
    pub hazard: f64,
}

/// Components of which at most one is faulty: they explain the same losses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Alternatives {
    /// Most probable first. Their probabilities add up to at most 1; the rest is the probability that none is faulty.
    pub components: Vec<Possible>,
}

/// What the observations leave possible.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Posterior {
    /// Independent of each other: any number of them may hold a fault.
    pub suspects: Vec<Alternatives>,
    /// Hazard of a healthy link.
    pub background: f64,
}

impl Alternatives {
    /// From components with the logarithm of the odds of each against "none of them", and their hazards.
    pub(super) fn of(odds: impl IntoIterator<Item = (f64, ComponentId, f64)>) -> Self {
        let odds: Vec<_> = odds.into_iter().collect();
        // Relative to the largest: odds may be too large for a number.
        let most = odds.iter().map(|(nats, ..)| *nats).fold(0.0, f64::max);
        let likelihood = |nats: f64| (nats - most).exp();
        let sum: f64 = odds.iter().map(|(nats, ..)| likelihood(*nats)).sum();
        let all = sum + likelihood(0.0);
        let mut components: Vec<Possible> = odds
            .into_iter()
            .map(|(nats, component, hazard)| Possible {
                component,
                probability: likelihood(nats) / all,
                hazard,
            })
            .filter(|possible| possible.probability >= LEAST_PROBABILITY)
            .collect();
        components.sort_by(|a, b| {
            b.probability
                .total_cmp(&a.probability)
                .then_with(|| a.component.cmp(&b.component))
        });
        Self { components }
    }
}

#[cfg(test)]
mod tests;
