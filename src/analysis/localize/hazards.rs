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

/// `ln Σ e^x`
pub(super) fn ln_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    most + values.map(|value| (value - most).exp()).sum::<f64>().ln()
}

/// One of the ways in which an observation may have been lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Its probability before the losses are looked at.
    prior: f64,
    /// The same, given the losses.
    pub(super) weight: f64,
    /// The hazard of the path.
    pub(super) hazard: f64,
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

/// The hazards of all lossy observations.
pub(super) struct Hazards {
    /// What is certain: the background, and suspects that are surely crossed.
    pub(super) certain: Vec<f64>,
    /// Cases of each observation that has several, by their first place in `cases` and their number.
    places: Vec<(u32, u32)>,
    cases: Vec<Case>,
}

impl Hazards {
    /// With what is certain alone.
    pub(super) const fn of(certain: Vec<f64>) -> Self {
        Self {
            certain,
            places: Vec::new(),
            cases: Vec::new(),
        }
    }

    /// The cases of an observation that has several.
    pub(super) fn cases(&self, at: usize) -> &[Case] {
        match self.places.get(at) {
            Some((first, count)) if *count > 0 => {
                let first = *first as usize;
                &self.cases[first..first + *count as usize]
            }
            _ => &[],
        }
    }

    /// The cases of an observation; one where nothing is open.
    pub(super) fn all(&self, at: usize) -> impl Iterator<Item = Case> + Clone {
        let cases = self.cases(at);
        let only = Case {
            prior: 1.0,
            weight: 1.0,
            hazard: self.certain[at],
            path: Path::Any,
        };
        cases
            .iter()
            .copied()
            .chain(std::iter::once(only).filter(move |_| cases.is_empty()))
    }

    /// Log-likelihood of the losses of an observation.
    pub(super) fn nats(&self, at: usize, lossy: &Lossy) -> f64 {
        let of = |hazard| lossy.lost * ln_loss(hazard) - lossy.passed() * hazard;
        if self.cases(at).is_empty() {
            return of(self.certain[at]);
        }
        ln_sum_exp(self.all(at).map(|case| case.prior.ln() + of(case.hazard)))
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

const fn case(prior: f64, hazard: f64, path: Path) -> Case {
    Case {
        prior,
        weight: 0.0,
        hazard,
        path,
    }
}

/// Makes the weights of an observation's cases from their priors and its losses; `certain` is in all of them.
fn weigh(cases: &mut [Case], lossy: &Lossy, certain: f64) {
    for case in cases.iter_mut() {
        case.weight = case.prior.ln() + nats_beyond(case.hazard, lossy, certain);
    }
    let sum = ln_sum_exp(cases.iter().map(|case| case.weight));
    for case in cases {
        case.weight = (case.weight - sum).exp();
    }
}

/// Log-likelihood of losses at a hazard, without what the certain part of it takes from the trials that passed: sums have
/// that.
fn nats_beyond(hazard: f64, lossy: &Lossy, certain: f64) -> f64 {
    lossy.lost * ln_loss(hazard) - lossy.passed() * (hazard - certain)
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
        self.places = vec![(0, 0); evidence.lossy.len()];
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
            let count = self.cases.len() - first;
            self.places[at] = (
                u32::try_from(first).unwrap_or(u32::MAX),
                u32::try_from(count).unwrap_or(0),
            );
        }
    }
}
