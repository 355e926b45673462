//! The hazards that lossy observations may have, where it is not certain what they cross. See [`super::likelihood`].

use super::evidence::{Evidence, Lossy};

/// Suspects of which it is open whether one observation crosses them; the hazards of further ones count by share.
const MOST_OPEN: usize = 4;
/// Failures of an observation from which on it may be laid to a suspect that its path, as it was told, does not cross:
/// fewer are chance rather.
const LEAST_ELSEWHERE: f64 = 2.0;

/// `ln(1 − e^{−x})`
pub(super) fn ln_loss(x: f64) -> f64 {
    (-(-x).exp_m1()).ln()
}

/// `ln(1 − e^{−x})` and its derivative `1 / (e^x − 1)`, of one exponential.
pub(super) fn failure(x: f64) -> Level {
    if x > SURELY_LOST {
        return Level {
            nats: -(-x).exp(),
            slope: (-x).exp(),
        };
    }
    let odds = x.exp_m1();
    Level {
        nats: odds.ln() - x,
        slope: 1.0 / odds,
    }
}

/// `ln Σ e^x`
pub(super) fn ln_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + values.map(|value| (value - most).exp()).sum::<f64>().ln()
}

/// Hazard from which on `1 − e^{−x}` is 1 but for less than a number can tell.
const SURELY_LOST: f64 = 40.0;

/// A log-likelihood, in nats, and its derivative by the hazard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) nats: f64,
    pub(super) slope: f64,
}

/// One of the ways in which an observation may have been lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Its probability before the losses are looked at.
    prior: f64,
    /// The same, given the losses.
    pub(super) weight: f64,
    /// Its logarithm, which is known where the weight is too small for a number.
    pub(super) ln_weight: f64,
    /// The hazard of the path.
    pub(super) hazard: f64,
    /// [`ln_loss`] of it.
    pub(super) ln_loss: f64,
    pub(super) path: Path,
}

/// Which path an observation took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// Any that it may have taken.
    Any,
    /// The one that was told.
    Told,
    /// Another than that.
    Elsewhere,
}

/// The cases of one observation.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The first in the list of all.
    first: u32,
    /// How many; 0 where nothing is open.
    count: u32,
    /// Logarithm of the weight of those in which the path is another than the one that was told.
    ln_elsewhere: f64,
}

impl Place {
    /// Where nothing is open.
    const NONE: Self = Self {
        first: 0,
        count: 0,
        ln_elsewhere: f64::NEG_INFINITY,
    };
}

/// The hazards of all lossy observations.
pub(super) struct Hazards {
    /// What is certain: the background, and suspects that are surely crossed.
    pub(super) certain: Vec<f64>,
    /// [`ln_loss`] of these.
    ln_losses: Vec<f64>,
    /// The cases of each observation that has several.
    places: Vec<Place>,
    cases: Vec<Case>,
}

impl Hazards {
    /// With what is certain alone.
    pub(super) fn of(certain: Vec<f64>) -> Self {
        Self {
            ln_losses: certain.iter().copied().map(ln_loss).collect(),
            certain,
            places: Vec::new(),
            cases: Vec::new(),
        }
    }

    /// The cases of an observation that has several.
    pub(super) fn cases(&self, at: usize) -> &[Case] {
        match self.places.get(at) {
            Some(place) => {
                let first = place.first as usize;
                &self.cases[first..first + place.count as usize]
            }
            None => &[],
        }
    }

    /// [`ln_loss`] of what is certain of an observation: every case has at least this hazard.
    pub(super) fn least_ln_loss(&self, at: usize) -> f64 {
        self.ln_losses[at]
    }

    /// Logarithm of the weight of the cases of an observation in which its path is another than the one that was told.
    pub(super) fn ln_elsewhere(&self, at: usize) -> f64 {
        self.places.get(at).unwrap_or(&Place::NONE).ln_elsewhere
    }

    /// What is certain of an observation, as its only case.
    pub(super) fn only(&self, at: usize) -> Case {
        Case {
            prior: 1.0,
            weight: 1.0,
            ln_weight: 0.0,
            hazard: self.certain[at],
            ln_loss: self.ln_losses[at],
            path: Path::Any,
        }
    }

    /// The cases of an observation; one where nothing is open.
    pub(super) fn all(&self, at: usize) -> impl Iterator<Item = Case> + Clone {
        let cases = self.cases(at);
        let only = self.only(at);
        cases
            .iter()
            .copied()
            .chain(std::iter::once(only).filter(move |_| cases.is_empty()))
    }

    /// Log-likelihood of the losses of an observation.
    pub(super) fn nats(&self, at: usize, lossy: &Lossy) -> f64 {
        let of = |case: Case| lossy.lost * case.ln_loss - lossy.passed() * case.hazard;
        if self.cases(at).is_empty() {
            return self.all(at).map(of).sum();
        }
        ln_sum_exp(self.all(at).map(|case| case.prior.ln() + of(case)))
    }

    /// Probability that a single trial of an observation passes.
    pub(super) fn pass(&self, at: usize) -> f64 {
        self.all(at)
            .map(|case| case.prior * (-case.hazard).exp())
            .sum()
    }

    /// Probability that a single trial of an observation fails.
    pub(super) fn fail(&self, at: usize) -> f64 {
        self.all(at)
            .map(|case| case.prior * -(-case.hazard).exp_m1())
            .sum()
    }
}

/// The hazards that one observation may have beyond what is certain, under construction.
struct Open<'a> {
    lossy: &'a Lossy,
    certain: f64,
    /// Suspects that it may cross: share, and hazard where it does.
    members: Vec<(f64, f64)>,
}

impl Open<'_> {
    /// Adds the cases where what was told is crossed all or not at all; else one of `others` (share of all paths, hazard)
    /// may be.
    fn told_or_elsewhere(&self, others: impl Iterator<Item = (f64, f64)>, into: &mut Vec<Case>) {
        let elsewhere = self.lossy.elsewhere;
        let told: f64 = self.members.iter().map(|(_, hazard)| hazard).sum();
        into.push(case(1.0 - elsewhere, self.certain + told, Path::Told));
        let mut rest = 1.0;
        for (share, hazard) in others {
            let share = share.min(rest);
            rest -= share;
            into.push(case(
                elsewhere * share,
                self.certain + hazard,
                Path::Elsewhere,
            ));
        }
        into.push(case(elsewhere * rest, self.certain, Path::Elsewhere));
    }

    /// Adds the cases where each suspect is crossed or not, independently.
    fn independent(&mut self, into: &mut Vec<Case>) {
        self.members
            .sort_by(|a, b| (b.0 * b.1).total_cmp(&(a.0 * a.1)));
        let spill: f64 = self
            .members
            .iter()
            .skip(MOST_OPEN)
            .map(|(share, hazard)| share * hazard)
            .sum();
        self.members.truncate(MOST_OPEN);
        for choice in 0..1_u32 << self.members.len() {
            let (mut prior, mut hazard) = (1.0, self.certain + spill);
            for (bit, (share, own)) in self.members.iter().enumerate() {
                if choice >> bit & 1 == 1 {
                    prior *= share;
                    hazard += own;
                } else {
                    prior *= 1.0 - share;
                }
            }
            into.push(case(prior, hazard, Path::Any));
        }
    }
}

fn case(prior: f64, hazard: f64, path: Path) -> Case {
    Case {
        prior,
        weight: 0.0,
        ln_weight: f64::NEG_INFINITY,
        hazard,
        ln_loss: ln_loss(hazard),
        path,
    }
}

/// Makes the weights of an observation's cases from their priors and its losses; `certain` is in all of them.
fn weigh(cases: &mut [Case], lossy: &Lossy, certain: f64) {
    for case in cases.iter_mut() {
        case.ln_weight = case.prior.ln() + nats_beyond(case, lossy, certain);
    }
    let sum = ln_sum_exp(cases.iter().map(|case| case.ln_weight));
    for case in cases {
        case.ln_weight -= sum;
        case.weight = case.ln_weight.exp();
    }
}

/// Log-likelihood of losses at a hazard, without what the certain part of it takes from the trials that passed: sums have
/// that.
fn nats_beyond(case: &Case, lossy: &Lossy, certain: f64) -> f64 {
    lossy.lost * case.ln_loss - lossy.passed() * (case.hazard - certain)
}

impl Hazards {
    /// Brings in suspects that observations may cross, by observation, and those that a path out of date may.
    pub(super) fn open(
        &mut self,
        evidence: &Evidence,
        mut open: Vec<(u32, (f64, f64))>,
        others: &[(f64, f64)],
    ) {
        open.sort_by_key(|(at, _)| *at);
        self.places = vec![Place::NONE; evidence.lossy.len()];
        let mut open = open.into_iter().peekable();
        for (at, lossy) in evidence.lossy.iter().enumerate() {
            let mut own = Open {
                lossy,
                certain: self.certain[at],
                members: Vec::new(),
            };
            while let Some((_, member)) = open.next_if(|(other, _)| *other as usize == at) {
                own.members.push(member);
            }
            let first = self.cases.len();
            // A single trial is a 5-tuple: it is dead, whatever its share.
            let is_telling = lossy.lost >= LEAST_ELSEWHERE.min(lossy.sent * 0.5);
            if lossy.elsewhere > 0.0 && is_telling {
                own.told_or_elsewhere(others.iter().copied(), &mut self.cases);
            } else if !own.members.is_empty() {
                own.independent(&mut self.cases);
            } else {
                continue;
            }
            weigh(&mut self.cases[first..], lossy, self.certain[at]);
            let own = &self.cases[first..];
            let elsewhere = own.iter().filter(|case| case.path == Path::Elsewhere);
            self.places[at] = Place {
                first: u32::try_from(first).unwrap_or(u32::MAX),
                count: u32::try_from(own.len()).unwrap_or(0),
                ln_elsewhere: ln_sum_exp(elsewhere.map(|case| case.ln_weight)),
            };
        }
    }
}
