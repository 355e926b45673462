//! Likelihood of a set of suspects, and of what one more would add.
//!
//! # Paths that are not certain
//! Where a 5-tuple may take one of several paths, all of its probes take the same one. So its likelihood is a mixture over
//! the paths, not that of a share of the hazard: `Σ w·L`. Here each component that the path may cross is crossed with the
//! probability `s`, independently of the others: an observation without a loss is then `Π (s·e^{−n·r} + 1 − s)`, a product
//! over components, and one with losses a sum over which suspects are crossed ([`Hazards`]).
//!
//! A traced path may be out of date. With the probability `1 − e` it is the one that was told, and all of it is crossed; else
//! it is another one, which crosses each suspect with the share of all paths that do. So a path that contradicts all others
//! neither convicts nor acquits: it costs `ln e` nats at most.

use super::component::Component;
use super::component::ComponentId;
use super::evidence::{Evidence, Lossy, Posting, Spared};
use super::hazards::{Case, Hazards, Level, Path, failure, ln_loss};

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

    /// Hazards of every lossy observation, leaving out one member.
    ///
    /// A suspect's hazard comes on top of the background, so taking it away leaves a healthy component.
    pub(super) fn hazards(&self, evidence: &Evidence, leave_out: Option<ComponentId>) -> Hazards {
        let members = || {
            self.members
                .iter()
                .filter(move |(member, _)| Some(*member) != leave_out)
        };
        let mut certain: Vec<f64> = evidence
            .lossy
            .iter()
            .map(|lossy| lossy.links * self.background)
            .collect();
        let mut open: Vec<(u32, (f64, f64))> = Vec::new();
        for (member, hazard) in members() {
            for posting in &evidence.postings[member.index()] {
                let own = posting.times * hazard;
                if posting.is_sure() {
                    certain[posting.index()] += own;
                } else {
                    open.push((posting.at, (posting.share, own)));
                }
            }
        }
        // What the observations may cross without its having been told: shares of all paths.
        let others: Vec<(f64, f64)> = members()
            .map(|(member, hazard)| {
                let crossing = f64::from(evidence.sums[member.index()].crossing);
                (crossing / evidence.observations.max(1.0), *hazard)
            })
            .collect();
        let mut hazards = Hazards::of(certain);
        if !others.is_empty() {
            hazards.open(evidence, open, &others);
        }
        hazards
    }

    /// Log-likelihood in nats, up to a constant of the evidence.
    pub(super) fn log_likelihood(&self, evidence: &Evidence) -> f64 {
        let hazards = self.hazards(evidence, None);
        let lost: f64 = evidence
            .lossy
            .iter()
            .enumerate()
            .map(|(at, lossy)| hazards.nats(at, lossy) + lossy.passed() * hazards.certain[at])
            .sum();
        let passed: f64 = self
            .members
            .iter()
            .map(|(member, hazard)| {
                let spared = &evidence.spared[member.index()];
                evidence.sums[member.index()].passed * hazard
                    - spared.iter().map(|some| some.nats(*hazard)).sum::<f64>()
            })
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
            .enumerate()
            .map(|(at, lossy)| {
                let own = lossy.links * self.background;
                let share: f64 = hazards
                    .all(at)
                    .map(|case| case.weight * (own / case.hazard).min(1.0))
                    .sum();
                lossy.lost * share
            })
            .sum();
        self.background =
            (explained / evidence.passed_links.max(1.0)).clamp(self.range.0, self.range.1);
    }
}

impl Spared {
    /// Log-likelihood of these observations at a hazard of the component.
    fn nats(&self, hazard: f64) -> f64 {
        let pass = (-self.each() * hazard).exp();
        self.count * (self.share * pass + 1.0 - self.share).ln()
    }

    /// Its derivative.
    fn slope(&self, hazard: f64) -> f64 {
        let each = self.each();
        let pass = self.share * (-each * hazard).exp();
        -self.count * each * pass / (pass + 1.0 - self.share)
    }
}

/// A lossy observation of the component whose gain is sought.
struct Term<'a> {
    posting: &'a Posting,
    lossy: &'a Lossy,
    hazards: &'a Hazards,
}

/// Sums over the cases of an observation, all scaled by `e^{-top}`: growths of hundreds of nats have no exponential.
struct CaseSums {
    top: f64,
    /// `Σ w·((1 − s) + s·e^g)`.
    likelihood: f64,
    /// Its derivative.
    slope: f64,
}

impl CaseSums {
    const NONE: Self = Self {
        top: f64::NEG_INFINITY,
        likelihood: 0.0,
        slope: 0.0,
    };

    /// Makes room for terms of up to `e^top`.
    fn raise(&mut self, top: f64) {
        if top > self.top {
            let scale = (self.top - top).exp();
            self.likelihood *= scale;
            self.slope *= scale;
            self.top = top;
        }
    }
}

impl Term<'_> {
    /// Probability that the component is crossed in a case.
    fn crossed(&self, case: Case) -> f64 {
        match case.path {
            _ if self.posting.is_sure() => 1.0,
            Path::Any => self.posting.share,
            Path::Told => self.lossy.told(self.posting.share),
            Path::Elsewhere => 0.0,
        }
    }

    /// Growth of the log-likelihood in a case where the component with this hazard is crossed, and its derivative.
    fn growth(&self, case: Case, hazard: f64) -> Level {
        let times = self.posting.times;
        let own = times * hazard;
        let failed = failure(case.hazard + own);
        let lost = self.lossy.lost;
        // What a component that is surely crossed takes from the trials that passed is in the sums.
        let passed = if self.posting.is_sure() {
            0.0
        } else {
            self.lossy.passed()
        };
        Level {
            nats: lost * (failed.nats - case.ln_loss) - passed * own,
            slope: times * (lost * failed.slope - passed),
        }
    }

    /// The only case of an observation that surely crosses the component.
    fn only(&self) -> Option<Case> {
        let at = self.posting.index();
        (self.posting.is_sure() && self.hazards.cases(at).is_empty()).then(|| self.hazards.only(at))
    }

    /// The log-likelihood at a hazard, relative to that without the component.
    fn nats(&self, hazard: f64) -> f64 {
        match self.only() {
            Some(only) => {
                let failed = ln_loss(only.hazard + self.posting.times * hazard);
                self.lossy.lost * (failed - only.ln_loss)
            }
            None => self.level(hazard).nats,
        }
    }

    /// Its derivative.
    fn slope(&self, hazard: f64) -> f64 {
        let times = self.posting.times;
        match self.only() {
            Some(only) => times * self.lossy.lost / (only.hazard + times * hazard).exp_m1(),
            None => self.level(hazard).slope,
        }
    }

    /// Both: `ln Σ w·((1 − s) + s·e^g)` over the cases, and the derivative.
    fn level(&self, hazard: f64) -> Level {
        let at = self.posting.index();
        let is_sure = self.posting.is_sure();
        let mut sums = CaseSums::NONE;
        let ln_elsewhere = self.hazards.ln_elsewhere(at);
        if ln_elsewhere > f64::NEG_INFINITY && !is_sure {
            sums.raise(ln_elsewhere);
            sums.likelihood += 1.0;
        }
        let nearly_passed = self.lossy.passed() * self.posting.times * hazard;
        for case in self.hazards.all(at) {
            let share = self.crossed(case);
            if share <= 0.0 {
                continue;
            }
            let growth = self.growth(case, hazard);
            let grown = case.ln_weight + growth.nats;
            let most = if share < 1.0 {
                grown.max(case.ln_weight)
            } else {
                grown
            };
            if most == f64::NEG_INFINITY {
                continue;
            }
            sums.raise(most);
            let crossed = share * (grown - sums.top).exp();
            let spared = if share < 1.0 {
                (1.0 - share) * (case.ln_weight - sums.top).exp()
            } else {
                0.0
            };
            sums.likelihood += crossed + spared;
            // Nearly certain, and its trials that passed say little against it.
            let is_certain = share > NEARLY && (is_sure || nearly_passed < LITTLE);
            let responsible = if is_certain {
                crossed + spared
            } else {
                crossed
            };
            sums.slope += responsible * growth.slope;
        }
        Level {
            nats: sums.top + sums.likelihood.ln(),
            slope: sums.slope / sums.likelihood,
        }
    }
}

/// Growth of the log-likelihood, in nats, where `component` has this hazard on top of the hazards `rest`.
pub(super) fn growth(
    evidence: &Evidence,
    component: ComponentId,
    rest: &Hazards,
    hazard: f64,
) -> f64 {
    let lossy = evidence.postings[component.index()].iter();
    let up: f64 = lossy
        .map(|posting| Term {
            posting,
            lossy: &evidence.lossy[posting.index()],
            hazards: rest,
        })
        .map(|term| term.nats(hazard))
        .sum();
    let spared = evidence.spared[component.index()].iter();
    let down: f64 = spared.map(|some| some.nats(hazard)).sum();
    up + down - evidence.sums[component.index()].passed * hazard
}

/// More than `component` can add on top of the hazards `rest`, in nats: all that the failures of its observations are unlikely
/// without it.
pub(super) fn most_gain(evidence: &Evidence, component: ComponentId, rest: &Hazards) -> f64 {
    evidence.postings[component.index()]
        .iter()
        .map(|posting| -evidence.lossy[posting.index()].lost * rest.least_ln_loss(posting.index()))
        .sum()
}

/// What `component` adds on top of the hazards `rest`: maximises over its own hazard by the zero of the derivative. Where all
/// paths are known the likelihood is concave in it.
pub(super) fn gain(evidence: &Evidence, component: ComponentId, rest: &Hazards) -> Gain {
    let postings = &evidence.postings[component.index()];
    let passed = evidence.sums[component.index()].passed;
    let spared = &evidence.spared[component.index()];
    let terms = || {
        postings.iter().map(|posting| Term {
            posting,
            lossy: &evidence.lossy[posting.index()],
            hazards: rest,
        })
    };
    let derivative = |x: f64| -> f64 {
        let up: f64 = terms().map(|term| term.slope(x)).sum();
        let down: f64 = spared.iter().map(|some| some.slope(x)).sum();
        up + down - passed
    };
    let nats = |x: f64| growth(evidence, component, rest, x);
    if postings.is_empty() {
        return Gain::default();
    }
    let mut best = Gain::default();
    if derivative(0.0) > 0.0 {
        let lost: f64 = terms().map(|term| term.lossy.lost).sum();
        let sent = evidence.sums[component.index()].sent;
        let hazard = root(derivative, lost / sent.max(1.0));
        best = Gain {
            nats: nats(hazard),
            hazard,
        };
    }
    if postings.iter().any(|posting| posting.share < OPEN) {
        // Few of the 5-tuples that may cross it do: the likelihood may have a second, higher summit.
        for hazard in SUMMITS {
            let nats = nats(hazard);
            if nats > best.nats {
                best = Gain { nats, hazard };
            }
        }
    }
    best
}

/// Above this share it is nearly certain that a 5-tuple crosses a component,
const NEARLY: f64 = 0.95;
/// and stays so while the trials that passed take no more nats than this.
const LITTLE: f64 = 0.2;
/// Below this share it is open whether a 5-tuple crosses a component.
const OPEN: f64 = 0.75;
/// Hazards at which a second summit is looked for.
const SUMMITS: [f64; 14] = [
    3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 0.016, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 3.0, MAX_HAZARD,
];

/// Of a lossy observation's failures, the share that a suspect with this hazard explains beside `rest`, 0 to 1.
pub(super) fn explained(
    evidence: &Evidence,
    posting: &Posting,
    hazard: f64,
    rest: &Hazards,
) -> f64 {
    let lossy = &evidence.lossy[posting.index()];
    let term = Term {
        posting,
        lossy,
        hazards: rest,
    };
    let own = posting.times * hazard;
    let all = term.nats(hazard);
    rest.all(posting.index())
        .map(|case| {
            let share = term.crossed(case);
            if share <= 0.0 {
                return 0.0;
            }
            // Probability of the case, and of the suspect's being crossed in it, given the losses.
            let crossed =
                (case.ln_weight + share.ln() + term.growth(case, hazard).nats - all).exp();
            crossed * own / (case.hazard + own)
        })
        .sum::<f64>()
        .min(1.0)
}

/// The first zero of a function that is positive at 0 and falls, on `[0, MAX_HAZARD]`, by the Illinois method. Far beyond the zero
/// the function may come back to 0: nothing tells such hazards apart.
fn root(f: impl Fn(f64) -> f64, about: f64) -> f64 {
    let (mut low, mut at_low) = (0.0, f(0.0));
    // Hazards span many decades: bracket the zero from below first.
    let mut high = (about / 64.0).clamp(1e-6, MAX_HAZARD);
    let mut at_high = f(high);
    while at_high > 0.0 {
        if high >= MAX_HAZARD {
            return MAX_HAZARD;
        }
        (low, at_low) = (high, at_high);
        high = (high * 8.0).min(MAX_HAZARD);
        at_high = f(high);
    }
    for _ in 0..24 {
        if high - low <= 1e-3 * high {
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

#[cfg(test)]
mod tests;
