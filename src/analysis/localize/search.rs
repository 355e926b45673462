//! The search for the most probable set of suspects.

mod describe;
mod posterior;

use std::cell::Cell;
use std::collections::HashMap;

use serde::{Deserialize, Serialize, Serializer};

use super::component::{Component, ComponentId};
use super::evidence::Evidence;
use super::likelihood::{Fit, gain, is_link, most_gain};
use super::problem::Problem;

/// The prior, one for all fabrics and windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Nats for saying that anything is wrong at all.
    pub any_fault: f64,
    /// Nats for each suspect, beside `ln C(m, k)`.
    pub each_fault: f64,
    /// Nats for each e-fold by which a suspect's hazard is below the mean of those that it shares losses with.
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
    /// Suspects that lose a smaller share of their packets than this, 0 to 1, are not named.
    pub least_rate: f64,
    /// The search is given up after so much work, in evaluations of one observation at one hazard.
    pub most_work: u64,
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
            least_rate: 0.0,
            most_work: u64::MAX,
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
    /// Packets come late (a problem of [`Signal::Slow`](super::Signal::Slow)).
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
    /// Probability, 0 to 1, that it is this one or one of `or`.
    #[serde(default, serialize_with = "rounded")]
    pub group_confidence: f64,
    /// Lost probes that it explains.
    #[serde(serialize_with = "rounded")]
    pub explains_lost: f64,
    /// Estimated share of its packets (for a blackhole: of its 5-tuples) that it loses, or that come late, 0 to 1.
    #[serde(serialize_with = "rounded")]
    pub loss_rate: f64,
    /// The 95 % interval of `loss_rate` (Wilson score interval), low and high.
    #[serde(default, serialize_with = "both_rounded")]
    pub loss_interval: [f64; 2],
    /// By how many nats (natural logarithms of odds) the observations favour it over nothing being wrong there, after
    /// the price of naming one of many components. Grows with the evidence where `confidence` is already 1.
    #[serde(serialize_with = "rounded")]
    pub evidence_nats: f64,
    /// Components that would explain the same nearly as well, most likely first: the observations cannot tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Component>,
}

/// Nats as they are compared: smaller differences are those of the order of sums.
fn fine(nats: f64) -> f64 {
    (nats * 1e6).round()
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

fn both_rounded<S: Serializer>(values: &[f64; 2], serializer: S) -> Result<S::Ok, S::Error> {
    values.map(four_digits).serialize(serializer)
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
    /// Work that was done, in evaluations of one observation at one hazard.
    #[serde(skip)]
    pub work: u64,
    /// Whether the search came to its end, rather than to that of [`Settings::most_work`].
    #[serde(skip)]
    pub complete: bool,
}

/// Work that searches do, and how much they may. They share it, and none of them is changed by counting.
pub(super) struct Work {
    most: u64,
    done: Cell<u64>,
}

impl Work {
    pub(super) const fn of(most: u64) -> Self {
        Self {
            most,
            done: Cell::new(0),
        }
    }

    fn spend(&self, evaluations: usize) {
        self.done
            .set(self.done.get().saturating_add(evaluations as u64));
    }

    pub(super) const fn done(&self) -> u64 {
        self.done.get()
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.done.get() >= self.most
    }
}

/// By how many nats `ln C(m, k)` makes the second suspect cheaper than the first: ln 2.
const SECOND: f64 = std::f64::consts::LN_2;
/// Hazards at which one component is looked at in each step of the search.
const EVALUATIONS: usize = 16;
/// What the bound of a gain may be too small by, in nats, as numbers are rounded.
const BOUND_SLACK: f64 = 1e-6;
/// What fitting one member again costs, by lossy observation.
const REFIT: usize = 6;

/// Hazard of a healthy link for single probes, at the least: a fabric without losses has a likelihood too.
/// At the most, so that in a small fabric, where one fault is a large share of everything, the fault stands out.
pub(super) const PROBE_BACKGROUND: (f64, f64) = (1e-9, 1e-3);
/// Share of healthy links at the least that may kill a path for other reasons (a route that changed, a peer that went):
/// one dead path alone names nothing, two that meet somewhere do.
pub(super) const PATH_BACKGROUND: (f64, f64) = (1e-4, 1e-2);
/// Links that may stand in the place of a switch or host: both directions of a cable.
const LINKS_FOR_NODE: usize = 2;

pub(super) struct Search<'a> {
    problem: &'a Problem,
    evidence: &'a Evidence,
    settings: &'a Settings,
    work: &'a Work,
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
        work: &'a Work,
    ) -> Self {
        let healthy = Fit::healthy(evidence, background);
        let links = problem
            .components()
            .iter()
            .zip(&evidence.sums)
            .filter(|(component, sums)| is_link(component) && sums.sent > 0.0)
            .count()
            .saturating_add(problem.unlisted_links);
        Self {
            problem,
            evidence,
            settings,
            work,
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
        while behind < self.settings.look_ahead
            && fit.members.len() < self.settings.most
            && !self.work.is_used_up()
        {
            let Some((next, hazard)) = self.most_telling(&fit, self.ids()) else {
                break;
            };
            fit.members.push((next, hazard));
            self.refit(&mut fit);
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
        while !self.work.is_used_up()
            && (0..best.fit.members.len()).any(|index| self.take_one_apart(index, best))
        {}
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
        self.refit(&mut fit);
        for _ in 0..LINKS_FOR_NODE {
            let Some((next, hazard)) = self.most_telling(&fit, links.iter().copied()) else {
                return false;
            };
            fit.members.push((next, hazard));
            self.refit(&mut fit);
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
            .flat_map(|posting| &self.evidence.lossy[posting.index()].parts)
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
        // What a strong fault spills shows on its own paths. Elsewhere a mild suspect is no less likely than the first one was.
        let elsewhere = self.settings.any_fault + SECOND;
        let milder: f64 = mildness(self.evidence, fit)
            .map(|(beside, all)| {
                let [beside, all] = [beside, all].map(|folds| self.settings.milder * folds);
                beside.max(all.min(elsewhere))
            })
            .sum();
        naming + nodes + milder
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
        (0..u32::try_from(self.problem.components().len()).unwrap_or(u32::MAX)).map(ComponentId)
    }

    /// The component that gains most, after its own price, with the hazard that does it.
    ///
    /// Those that may gain most are looked at first, so that the others need not be.
    fn most_telling(
        &self,
        fit: &Fit,
        among: impl Iterator<Item = ComponentId>,
    ) -> Option<(ComponentId, f64)> {
        let rest = fit.hazards(self.evidence, None);
        self.work.spend(self.evidence.lossy.len());
        let mut bounds: Vec<(f64, ComponentId)> = among
            .filter(|id| !self.evidence.postings[id.index()].is_empty() && !fit.contains(*id))
            .map(|id| (most_gain(self.evidence, id, &rest) - self.price_of(id), id))
            .collect();
        bounds.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut best: Option<(f64, ComponentId, f64)> = None;
        for (bound, id) in bounds {
            if best.is_some_and(|(nats, ..)| bound + BOUND_SLACK < nats) {
                break;
            }
            // What was looked at before the work ran out need not hold the best.
            if self.work.is_used_up() {
                return None;
            }
            self.work
                .spend(EVALUATIONS * self.evidence.postings[id.index()].len());
            let found = gain(self.evidence, id, &rest);
            let nats = found.nats - self.price_of(id);
            let is_better = best.is_none_or(|(most, first, _)| {
                let by_name = || {
                    self.problem
                        .component(id)
                        .cmp(self.problem.component(first))
                };
                fine(most).total_cmp(&fine(nats)).then_with(by_name).is_lt()
            });
            if found.nats > 0.0 && is_better {
                best = Some((nats, id, found.hazard));
            }
        }
        best.filter(|_| !self.work.is_used_up())
            .map(|(_, id, hazard)| (id, hazard))
    }

    fn refit(&self, fit: &mut Fit) {
        let lossy = self.evidence.lossy.len();
        self.work.spend(REFIT * lossy * (1 + fit.members.len()));
        fit.refit(self.evidence);
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
            if self.work.is_used_up() {
                return false;
            }
            let mut fit = best.fit.without(index);
            self.refit(&mut fit);
            self.offer(&fit, best)
        }) {}
    }
}

/// By how many e-folds the members stay below the mean of their own hazard and those of the members with which they share
/// losses; and below the mean of all.
fn mildness<'a>(evidence: &'a Evidence, fit: &'a Fit) -> impl Iterator<Item = (f64, f64)> + 'a {
    let hazards: HashMap<ComponentId, f64> = fit.members.iter().copied().collect();
    let mean = hazards.values().sum::<f64>() / hazards.len().max(1) as f64;
    fit.members.iter().map(move |(member, hazard)| {
        let (mut lost, mut shared, mut weighed) = (0.0, 0.0, 0.0);
        for posting in &evidence.postings[member.index()] {
            let lossy = &evidence.lossy[posting.index()];
            lost += lossy.lost;
            for part in lossy.parts.iter().filter(|part| part.component != *member) {
                if let Some(other) = hazards.get(&part.component) {
                    shared += lossy.lost * part.share;
                    weighed += lossy.lost * part.share * other;
                }
            }
        }
        let own = hazard.max(f64::MIN_POSITIVE);
        let beside = (lost * hazard + weighed) / (lost + shared).max(f64::MIN_POSITIVE);
        ((beside / own).max(1.0).ln(), (mean / own).max(1.0).ln())
    })
}

#[cfg(test)]
mod tests;
