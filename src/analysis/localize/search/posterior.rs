//! The odds of each component, beside what the search has found.

use std::collections::HashMap;

use super::super::component::ComponentId;
use super::super::hazards::Hazards;
use super::super::likelihood::{Fit, growth};
use super::super::posterior::{Alternatives, EXPECTED_FAULTS, HAZARDS, Posterior};
use super::Search;

impl Search<'_> {
    /// What the observations leave possible beside what was found. See [`super::super::posterior`].
    pub(in super::super) fn posterior(&self, fit: &Fit) -> Posterior {
        let mut suspects: Vec<Alternatives> = (0..fit.members.len())
            .map(|index| self.alternatives(fit, index))
            .collect();
        let rest = fit.hazards(self.evidence, None);
        let further = self
            .ids()
            .filter(|id| !fit.contains(*id))
            .filter_map(|id| self.possible(id, &rest))
            .map(|possible| Alternatives::of([possible]));
        suspects.extend(further);
        suspects.retain(|some| !some.components.is_empty());
        Posterior {
            suspects,
            background: fit.background,
        }
    }

    /// A member of the most probable set with what may stand in its place.
    fn alternatives(&self, fit: &Fit, index: usize) -> Alternatives {
        let (member, _) = fit.members[index];
        let rest = fit.hazards(self.evidence, Some(member));
        let others = self.rivals(member);
        let others = others.into_iter().filter(|id| !fit.contains(*id));
        let odds = std::iter::once(member)
            .chain(others)
            .filter_map(|id| self.possible(id, &rest));
        Alternatives::of(odds)
    }

    /// Components on the paths of most of a member's losses: only these can stand in its place.
    fn rivals(&self, member: ComponentId) -> Vec<ComponentId> {
        let mut shared: HashMap<ComponentId, f64> = HashMap::new();
        let mut all = 0.0;
        for posting in &self.evidence.postings[member.index()] {
            let lossy = &self.evidence.lossy[posting.index()];
            all += lossy.lost;
            for part in lossy.parts.iter().filter(|part| part.component != member) {
                *shared.entry(part.component).or_default() += lossy.lost;
            }
        }
        let mut rivals: Vec<ComponentId> = shared
            .into_iter()
            .filter(|(_, lost)| *lost >= SHARED * all)
            .map(|(id, _)| id)
            .collect();
        rivals.sort_unstable();
        rivals
    }

    /// The logarithm of a component's odds, and its hazard; `None` where no hazard explains the losses better than those of the
    /// others do.
    fn possible(&self, id: ComponentId, rest: &Hazards) -> Option<(f64, ComponentId, f64)> {
        let lossy = self.evidence.postings[id.index()].len();
        if lossy == 0 {
            return None;
        }
        self.work.spend(HAZARDS.len() * lossy);
        let nats = HAZARDS.map(|hazard| growth(self.evidence, id, rest, hazard));
        let most = nats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if most <= 0.0 {
            return None;
        }
        // Relative to the largest: it may be too large for a number.
        let ratios = nats.map(|nats| (nats - most).exp());
        let sum: f64 = ratios.iter().sum();
        let weighed: f64 = ratios
            .iter()
            .zip(HAZARDS)
            .map(|(ratio, hazard)| ratio * hazard)
            .sum();
        let prior = (EXPECTED_FAULTS / self.links).ln() - self.price_of(id);
        let odds = prior + most + (sum / HAZARDS.len() as f64).ln();
        Some((odds, id, weighed / sum))
    }
}

/// Share of a suspect's losses that lie on the paths of what may stand in its place, at the least.
const SHARED: f64 = 0.5;
