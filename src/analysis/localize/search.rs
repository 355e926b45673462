//! The search for the most probable set of suspects.

use serde::{Deserialize, Serialize, Serializer};

use super::component::Component;
use super::interval::wilson;
use super::likelihood::{Fit, gain, is_link};
use super::problem::{ComponentId, Evidence, Problem};

/// The prior, one for all fabrics and windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Nats for saying that anything is wrong at all.
    pub any_fault: f64,
    /// Nats for each suspect, beside `ln C(m, k)`.
    pub each_fault: f64,
    /// Nats for each e-fold by which a suspect's hazard is below the mean of the suspects'.
    pub milder: f64,
    /// Further nats for a switch or host: cables fail more often.
    pub node: f64,
    /// A fabric with fewer links is judged as if it had so many: a link's failing is not more likely in a small one.
    pub least_links: f64,
    /// Steps that the search goes on past the best set that it has found.
    pub look_ahead: usize,
    /// At most this many suspects.
    pub most: usize,
    /// Suspects are named from this probability on, that of components which look exactly alike added together.
    pub least_confidence: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            any_fault: 1.75,
            each_fault: 0.3,
            milder: 3.0,
            node: 1.0,
            least_links: 700.0,
            look_ahead: 3,
            most: 64,
            least_confidence: 0.5,
        }
    }
}

/// How a suspect loses packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Symptom {
    /// A share of the packets, whatever their 5-tuple.
    Loss,
    /// All packets.
    Down,
    /// All packets of some 5-tuples, the others pass.
    Blackhole,
    /// Packets come late (a problem of [`Signal::Slow`]).
    Slow,
}

/// What a suspect's rate is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trials {
    /// Single probes on paths that pass some.
    Probes,
    /// Paths (5-tuples), each dead or alive.
    Paths,
}

/// A component that probably loses packets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Which one.
    #[serde(flatten)]
    pub component: Component,
    /// How it loses packets.
    pub symptom: Symptom,
    /// What was counted.
    pub trials: Trials,
    /// Probability, 0 to 1, that it is this one, from the likelihood with and without it and with others in its place.
    #[serde(serialize_with = "rounded")]
    pub confidence: f64,
    /// Lost probes that it explains.
    #[serde(serialize_with = "rounded")]
    pub explains_lost: f64,
    /// Estimated share of its packets (for a blackhole: of its 5-tuples) that it loses, or that come late, 0 to 1.
    #[serde(serialize_with = "rounded")]
    pub loss_rate: f64,
    /// The 95 % interval of `loss_rate` (Wilson score interval), low and high.
    #[serde(skip)]
    pub loss_interval: [f64; 2],
    /// By how many nats (natural logarithms of odds) the observations favour it over nothing being wrong there, after
    /// the price of naming one of many components. Grows with the evidence where `confidence` is already 1.
    #[serde(serialize_with = "rounded")]
    pub evidence_nats: f64,
    /// Components that would explain the same nearly as well, most likely first: the observations cannot tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Component>,
}

/// Four significant digits: more are noise, and differ between processors.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the exponent of a finite number fits by far"
)]
fn four_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    four_digits(*value).serialize(serializer)
}

/// What the observations say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Most certain first.
    pub suspects: Vec<Suspect>,
    /// Share of packets that a healthy link loses, 0 to 1.
    #[serde(serialize_with = "rounded")]
    pub background_loss_rate: f64,
}

/// Hazard of a healthy link for single probes, at the least: a fabric without losses has a likelihood too.
/// At the most, so that in a small fabric, where one fault is a large share of everything, the fault stands out.
pub(super) const PROBE_BACKGROUND: (f64, f64) = (1e-9, 1e-3);
/// Share of healthy links at the least that may kill a path for other reasons (a route that changed, a peer that went):
/// one dead path alone names nothing, two that meet somewhere do.
pub(super) const PATH_BACKGROUND: (f64, f64) = (1e-4, 1e-2);
/// Alternatives are listed from this share of the suspect's own likelihood.
const ALTERNATIVE: f64 = 0.05;
/// Links that may stand in the place of a switch or host: both directions of a cable.
const LINKS_FOR_NODE: usize = 2;
/// Alternatives look exactly alike from this share on.
const ALIKE: f64 = 0.95;

pub(super) struct Search<'a> {
    problem: &'a Problem,
    evidence: &'a Evidence,
    settings: &'a Settings,
    /// Links that any trial crossed, for the price of naming one.
    links: f64,
    healthy: Fit,
    healthy_nats: f64,
}

/// The best set so far.
struct Best {
    fit: Fit,
    score: f64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        evidence: &'a Evidence,
        settings: &'a Settings,
        background: (f64, f64),
    ) -> Self {
        let healthy = Fit::healthy(evidence, background);
        let links = problem
            .components
            .iter()
            .zip(&evidence.sums)
            .filter(|(component, sums)| is_link(component) && sums.sent > 0.0)
            .count();
        Self {
            problem,
            evidence,
            settings,
            links: (links as f64).max(settings.least_links),
            healthy_nats: healthy.log_likelihood(evidence),
            healthy,
        }
    }

    pub(super) fn run(&self) -> Fit {
        let mut best = Best {
            fit: self.healthy.clone(),
            score: 0.0,
        };
        let mut fit = best.fit.clone();
        let mut behind = 0;
        while behind < self.settings.look_ahead && fit.members.len() < self.settings.most {
            let Some((next, hazard)) = self.most_telling(&fit, self.ids()) else {
                break;
            };
            fit.members.push((next, hazard));
            fit.refit(self.evidence);
            if self.offer(&fit, &mut best) {
                behind = 0;
                self.thin_out(&mut best);
                fit = best.fit.clone();
            } else {
                behind += 1;
            }
        }
        self.take_apart(&mut best);
        best.fit
    }

    /// Puts links in the place of a switch or host where that makes the set more probable. A switch that stands for both
    /// directions of a cable hides them from the steps of the search: each alone adds little to it.
    fn take_apart(&self, best: &mut Best) {
        while (0..best.fit.members.len()).any(|index| self.take_one_apart(index, best)) {}
    }

    /// True if that found a better set.
    fn take_one_apart(&self, index: usize, best: &mut Best) -> bool {
        let (node, _) = best.fit.members[index];
        if is_link(self.problem.component(node)) {
            return false;
        }
        let links: Vec<ComponentId> = self
            .beside(node)
            .filter(|id| is_link(self.problem.component(*id)))
            .collect();
        let mut fit = best.fit.without(index);
        fit.refit(self.evidence);
        for _ in 0..LINKS_FOR_NODE {
            let Some((next, hazard)) = self.most_telling(&fit, links.iter().copied()) else {
                return false;
            };
            fit.members.push((next, hazard));
            fit.refit(self.evidence);
            if self.offer(&fit, best) {
                self.thin_out(best);
                return true;
            }
        }
        false
    }

    /// The other components on the lossy paths across one.
    fn beside(&self, member: ComponentId) -> impl Iterator<Item = ComponentId> {
        let mut others: Vec<ComponentId> = self.evidence.postings[member.index()]
            .iter()
            .flat_map(|(observation, _)| &self.evidence.lossy[*observation as usize].parts)
            .map(|part| part.component)
            .filter(|id| *id != member)
            .collect();
        others.sort_unstable();
        others.dedup();
        others.into_iter()
    }

    /// Log posterior of a set, relative to the healthy fabric.
    fn score(&self, fit: &Fit) -> f64 {
        fit.log_likelihood(self.evidence) - self.healthy_nats - self.price(fit)
    }

    pub(super) fn price(&self, fit: &Fit) -> f64 {
        let count = fit.members.len();
        if count == 0 {
            return 0.0;
        }
        let naming: f64 = (0..count).map(|others| self.price_beside(others)).sum();
        let nodes: f64 = fit
            .members
            .iter()
            .map(|(member, _)| self.price_of(*member))
            .sum();
        naming + nodes + self.settings.milder * mildness(fit)
    }

    /// What naming a link costs beside `others` that are suspects already: the first one says that something is wrong at
    /// all, each further one of `ln C(m, k)` is cheaper than the one before.
    fn price_beside(&self, others: usize) -> f64 {
        let first = if others == 0 {
            self.settings.any_fault
        } else {
            0.0
        };
        let left = (self.links - others as f64).max(1.0);
        first + self.settings.each_fault + (left / (others + 1) as f64).ln()
    }

    /// What naming this component costs beyond naming a link.
    fn price_of(&self, id: ComponentId) -> f64 {
        if is_link(self.problem.component(id)) {
            0.0
        } else {
            self.settings.node
        }
    }

    fn ids(&self) -> impl Iterator<Item = ComponentId> + use<> {
        (0..u32::try_from(self.problem.components.len()).unwrap_or(u32::MAX)).map(ComponentId)
    }

    /// The component that gains most, after its own price, with the hazard that does it.
    fn most_telling(
        &self,
        fit: &Fit,
        among: impl Iterator<Item = ComponentId>,
    ) -> Option<(ComponentId, f64)> {
        let rest = fit.hazards(self.evidence, None);
        among
            .filter(|id| !fit.contains(*id))
            .map(|id| (id, gain(self.evidence, id, &rest)))
            .filter(|(_, found)| found.nats > 0.0)
            .map(|(id, found)| (found.nats - self.price_of(id), id, found.hazard))
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)))
            .map(|(_, id, hazard)| (id, hazard))
    }

    fn offer(&self, fit: &Fit, best: &mut Best) -> bool {
        let score = self.score(fit);
        let better = score > best.score;
        if better {
            *best = Best {
                fit: fit.clone(),
                score,
            };
        }
        better
    }

    /// Takes members out as long as that makes the set more probable.
    fn thin_out(&self, best: &mut Best) {
        while (0..best.fit.members.len()).any(|index| {
            let mut fit = best.fit.without(index);
            fit.refit(self.evidence);
            self.offer(&fit, best)
        }) {}
    }

    /// The members that are probable enough to be named; `lost` tells the probes lost in a lossy observation.
    pub(super) fn describe_all(&self, fit: &Fit, lost: impl Fn(usize) -> f64) -> Vec<Suspect> {
        (0..fit.members.len())
            .filter_map(|index| self.describe(fit, index, &lost))
            .collect()
    }

    /// A member with its confidence, if that suffices for naming it.
    fn describe(&self, fit: &Fit, index: usize, lost: impl Fn(usize) -> f64) -> Option<Suspect> {
        let (member, hazard) = fit.members[index];
        let rest = fit.hazards(self.evidence, Some(member));
        let explained = |at: usize, share: f64| share * hazard / (rest[at] + share * hazard);
        let (mut explains_lost, mut failures) = (0.0, 0.0);
        for (observation, share) in &self.evidence.postings[member.index()] {
            let at = *observation as usize;
            explains_lost += lost(at) * explained(at, *share);
            failures += self.evidence.lossy[at].lost * explained(at, *share);
        }
        let loss_rate = -(-hazard).exp_m1();
        let own = gain(self.evidence, member, &rest).nats - self.price_of(member);
        let evidence_nats = own - self.price_beside(fit.members.len() - 1);
        let nothing = (-evidence_nats).exp();
        let others = self.instead(fit, member, own, &rest);
        let all: f64 = others.iter().map(|(_, likelihood)| likelihood).sum();
        let alike: f64 = others
            .iter()
            .map(|(_, likelihood)| likelihood)
            .filter(|likelihood| **likelihood >= ALIKE)
            .sum();
        let confidence = 1.0 / (1.0 + nothing + all);
        (confidence * (1.0 + alike) >= self.settings.least_confidence).then(|| Suspect {
            component: self.problem.component(member).clone(),
            symptom: Symptom::Loss,
            trials: Trials::Probes,
            confidence,
            explains_lost,
            loss_rate,
            // As many trials as make the estimate of what the failures are that it explains.
            loss_interval: wilson(failures, failures / loss_rate.max(f64::MIN_POSITIVE)),
            evidence_nats,
            or: others
                .into_iter()
                .filter(|(_, likelihood)| *likelihood >= ALTERNATIVE)
                .map(|(id, _)| self.problem.component(id).clone())
                .collect(),
        })
    }

    /// Components that could stand in a member's place, with their likelihood relative to its own, most likely first.
    fn instead(
        &self,
        fit: &Fit,
        member: ComponentId,
        own: f64,
        rest: &[f64],
    ) -> Vec<(ComponentId, f64)> {
        let mut rated: Vec<(ComponentId, f64)> = self
            .beside(member)
            .filter(|id| !fit.contains(*id))
            .map(|id| {
                (
                    id,
                    (gain(self.evidence, id, rest).nats - self.price_of(id) - own).exp(),
                )
            })
            .collect();
        rated.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        rated
    }
}

/// By how many e-folds the members stay below the mean of their hazards, summed up.
fn mildness(fit: &Fit) -> f64 {
    let mean = fit.members.iter().map(|(_, hazard)| hazard).sum::<f64>() / fit.members.len() as f64;
    fit.members
        .iter()
        .map(|(_, hazard)| (mean / hazard.max(f64::MIN_POSITIVE)).max(1.0).ln())
        .sum()
}
