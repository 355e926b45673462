//! What is said of the members of the most probable set: confidence, rate, and what they may be instead.

use super::super::component::Component;
use super::super::component::ComponentId;
use super::super::evidence::Part;
use super::super::hazards::Hazards;
use super::super::interval::wilson;
use super::super::likelihood::{Fit, explained, gain};
use super::{Search, Suspect, Symptom, Trials};

/// Alternatives are listed from this share of the suspect's own likelihood.
const ALTERNATIVE: f64 = 0.05;
/// Alternatives look exactly alike from this share on.
const ALIKE: f64 = 0.95;
/// Share of a switch's losses that a cable must be able to explain to stand in its place.
const COVERED: f64 = 0.9;
/// Rounds in which the hazards of a cable's two directions settle.
const ROUNDS: usize = 3;

/// What may stand in a member's place.
struct Other {
    components: Vec<ComponentId>,
    /// How likely it is, relative to the member.
    likelihood: f64,
}

impl Search<'_> {
    /// The members that are probable enough to be named; `lost` tells the probes lost in a lossy observation.
    pub(in super::super) fn describe_all(
        &self,
        fit: &Fit,
        lost: impl Fn(usize) -> f64,
    ) -> Vec<Suspect> {
        (0..fit.members.len())
            .filter_map(|index| self.describe(fit, index, &lost))
            .collect()
    }

    /// A member with its confidence, if that suffices for naming it.
    fn describe(&self, fit: &Fit, index: usize, lost: impl Fn(usize) -> f64) -> Option<Suspect> {
        let (member, hazard) = fit.members[index];
        let rest = fit.hazards(self.evidence, Some(member));
        let (mut explains_lost, mut failures) = (0.0, 0.0);
        for posting in &self.evidence.postings[member.index()] {
            let at = posting.index();
            let share = explained(self.evidence, posting, hazard, &rest);
            explains_lost += lost(at) * share;
            failures += self.evidence.lossy[at].lost * share;
        }
        let loss_rate = -(-hazard).exp_m1();
        let base = fit.without(index);
        let healthy = base.log_likelihood(self.evidence);
        let own = fit.log_likelihood(self.evidence) - healthy - self.price_of(member);
        let evidence_nats = own - self.price_beside(fit.members.len() - 1);
        let nothing = (-evidence_nats).exp();
        let mut others = self.instead(fit, member, own, &rest);
        others.extend(self.cables_instead(&base, (member, hazard), own));
        others.sort_by(|a, b| {
            b.likelihood
                .total_cmp(&a.likelihood)
                .then_with(|| a.components.cmp(&b.components))
        });
        let sum = |least: f64| -> f64 {
            others
                .iter()
                .map(|other| other.likelihood)
                .filter(|likelihood| *likelihood >= least)
                .sum()
        };
        let confidence = 1.0 / (1.0 + nothing + sum(0.0));
        (confidence * (1.0 + sum(ALIKE)) >= self.settings.least_confidence).then(|| Suspect {
            component: self.problem.component(member).clone(),
            symptom: Symptom::Loss,
            trials: Trials::Probes,
            confidence,
            group_confidence: confidence * (1.0 + sum(ALTERNATIVE)),
            explains_lost,
            loss_rate,
            // As many trials as make the estimate of what the failures are that it explains.
            loss_interval: wilson(failures, failures / loss_rate.max(f64::MIN_POSITIVE)),
            evidence_nats,
            or: self.named(&others),
        })
    }

    /// The components of those others that are nearly as likely, each once.
    fn named(&self, others: &[Other]) -> Vec<Component> {
        let mut named = Vec::new();
        for id in others
            .iter()
            .filter(|other| other.likelihood >= ALTERNATIVE)
            .flat_map(|other| &other.components)
        {
            let component = self.problem.component(*id);
            if !named.contains(component) {
                named.push(component.clone());
            }
        }
        named
    }

    /// Components that could stand in a member's place.
    fn instead(&self, fit: &Fit, member: ComponentId, own: f64, rest: &Hazards) -> Vec<Other> {
        self.beside(member)
            .filter(|id| !fit.contains(*id))
            .map(|id| Other {
                components: vec![id],
                likelihood: (gain(self.evidence, id, rest).nats - self.price_of(id) - own).exp(),
            })
            .collect()
    }

    /// Cables of a switch that explain the same as the switch: where few ToRs are probed, all that crosses the switch may
    /// cross one cable, this way or that. A cable with both its directions is one thing that fails.
    fn cables_instead(
        &self,
        base: &Fit,
        (member, hazard): (ComponentId, f64),
        own: f64,
    ) -> Vec<Other> {
        let switch = self.problem.component(member);
        if !matches!(switch, Component::Switch { .. }) {
            return Vec::new();
        }
        let healthy = base.log_likelihood(self.evidence);
        self.beside(member)
            .filter_map(|id| {
                let link = self.problem.component(id);
                let back = self.problem.id(&link.reverse()?)?;
                // Each cable once.
                (switch.is_end_of(link) && id < back).then_some([id, back])
            })
            .filter(|cable| !cable.iter().any(|id| base.contains(*id)))
            .filter(|cable| self.covers(cable, member))
            .map(|cable| {
                let nats = self.fitted(base, cable, hazard) - healthy;
                Other {
                    components: cable.to_vec(),
                    likelihood: (nats - own).exp(),
                }
            })
            .collect()
    }

    /// Whether nearly all losses of a component may be those of the others.
    fn covers(&self, others: &[ComponentId], component: ComponentId) -> bool {
        let (mut all, mut covered) = (0.0, 0.0);
        for posting in &self.evidence.postings[component.index()] {
            let lossy = &self.evidence.lossy[posting.index()];
            all += lossy.lost;
            let is_on = |part: &Part| others.contains(&part.component);
            if lossy.parts.iter().any(is_on) {
                covered += lossy.lost;
            }
        }
        covered >= COVERED * all
    }

    /// Log-likelihood with further members: with this hazard, or with hazards fitted in turn from there.
    fn fitted(&self, base: &Fit, further: [ComponentId; 2], hazard: f64) -> f64 {
        let mut fit = base.clone();
        let first = fit.members.len();
        fit.members.extend(further.map(|id| (id, hazard)));
        let alike = fit.log_likelihood(self.evidence);
        for _ in 0..ROUNDS {
            for (at, id) in (first..).zip(further) {
                let rest = fit.hazards(self.evidence, Some(id));
                fit.members[at].1 = gain(self.evidence, id, &rest).hazard;
            }
        }
        fit.members.retain(|(_, hazard)| *hazard > 0.0);
        fit.log_likelihood(self.evidence).max(alike)
    }
}
