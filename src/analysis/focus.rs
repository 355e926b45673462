//! Focus: which 5-tuples to probe more, by what the observations leave possible.
//!
//! A fixed schedule gives each link the same number of probes, whatever the last ones have shown. Focus moves a part of each
//! prober's budget to the 5-tuples that tell most about the present suspects, weak ones too.
//!
//! # Model
//! The localisation's [`Posterior`] says which components may be faulty, with which probability and hazard. The next probe of a
//! 5-tuple is lost or passes. The *information* of it about a suspect (or about [alternatives](super::localize::Alternatives)) is
//! the mutual information of its outcome and the answer to "which of them is faulty, if any", in nats. It takes into account that
//! other suspects on the path may be the cause of a loss. So a 5-tuple that crosses both of two alternatives alike does not
//! tell them apart, and has no value for that. Round trips cross the links of the probe and of its ACK: two directions of a cable are told
//! apart by 5-tuples whose reverse path differs.
//!
//! An answer has a finite amount of information: the entropy of the question. The more is asked already about a suspect, the
//! less a further probe tells: the value falls by `exp(−asked / entropy)`.
//!
//! # Choice
//! [`rank`] gives probes to 5-tuples in portions of their base rate, always where the value is largest, within [`Bounds`].
//! Values fall with each portion, so suspects that are alike get alike shares.
//!
//! # Assumptions
//! - Suspects are independent of each other, except alternatives: at most one of these is faulty.
//! - A component loses packets whatever their 5-tuple. Components that kill whole 5-tuples are known after seconds, and more
//!   probes of the same 5-tuples would not tell more about them.
//! - The path of a 5-tuple is the one that was traced; where it is not known, a component on it counts by its share of the candidates.
//!
//! # Why the estimates stay right
//! The rates depend on earlier outcomes, but the number of losses among the probes that were sent does not depend on why they were
//! sent: the likelihood of the observations given the hazards is the same function of the counts for each schedule (likelihood
//! principle). Estimates are made of counts sent and lost, never of counts alone.

mod information;
mod question;
mod standing;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::localize::{ComponentId, Posterior};
pub use question::Question;

use information::{Questions, Value};

pub use standing::{Standing, VALID};

/// Share of its base rate that each 5-tuple keeps, so each link does.
pub const FLOOR: f64 = 0.25;
/// For how long a schedule is made, in seconds: the time in which a 5-tuple's probes add up before the answer is known.
const HORIZON: f64 = 10.0;
/// What is asked already stays asked, unless something else tells so many times as much: rates do not flap.
const HYSTERESIS: f64 = 1.25;
/// Nats that a portion must tell in [`HORIZON`], at the least.
const LEAST_NATS: f64 = 1e-6;

/// What focus may cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Share of its base rate that a prober may move to focus, 0 to 1; at most 1 − [`FLOOR`] counts.
    pub share: f64,
    /// Probes per second that a prober may send beside its base rate, as a ratio to it; 0 for none.
    pub extra: f64,
    /// Probes per second of a 5-tuple, as a multiple of its base rate.
    pub most_per_tuple: f64,
    /// Probes per second that a target gets, base rate included.
    pub most_per_target: f64,
    /// Probes per second of all probers that are moved or added.
    pub most: f64,
}

impl Default for Bounds {
    /// Half of each prober's budget, no probe more than before.
    fn default() -> Self {
        Self {
            share: 0.5,
            extra: 0.0,
            most_per_tuple: 4.0,
            most_per_target: 300.0,
            most: f64::INFINITY,
        }
    }
}

impl Bounds {
    /// Probes per second that a prober with this base rate may send to what is asked for.
    fn budget(&self, base: f64) -> f64 {
        base * (self.share.clamp(0.0, 1.0 - FLOOR) + self.extra.max(0.0))
    }

    /// Share of its base schedule that a prober keeps while it sends `asked` probes per second to what is asked for, 0 to 1.
    pub fn kept(&self, base: f64, asked: f64) -> f64 {
        let moved = (asked - self.extra.max(0.0) * base).max(0.0);
        if base > 0.0 {
            (1.0 - moved / base).max(FLOOR)
        } else {
            1.0
        }
    }
}

/// A 5-tuple that is probed.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Who probes it, by number.
    pub prober: usize,
    /// Who answers, by number.
    pub target: usize,
    /// Probes per second in the base schedule.
    pub base: f64,
    /// What a probe and its ACK cross, each component once: how often, or with which probability.
    pub crossing: &'a [(ComponentId, f64)],
    /// Links that a probe and its ACK cross.
    pub links: f64,
}

/// A 5-tuple that is to be probed more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ask {
    /// Its place among the candidates.
    pub candidate: usize,
    /// How many times its base rate it gets,
    pub portions: u32,
    /// how many probes per second that is, beside what the prober keeps of its base schedule,
    pub rate: f64,
    /// and the place of the suspect, among [`Posterior::suspects`], of which it tells most.
    pub about: usize,
}

/// What is asked for, and why.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Focus {
    /// 5-tuples in the order of the candidates.
    pub asks: Vec<Ask>,
    /// What is not known yet about the suspects: entropy in nats.
    pub entropy: f64,
    /// What a second of these probes is expected to tell about it, in nats.
    pub information: f64,
    /// The same for each of [`Posterior::suspects`], in their order.
    pub questions: Vec<Question>,
}

impl Focus {
    /// Probes per second of all 5-tuples that are asked for.
    pub fn rate(&self) -> f64 {
        self.asks.iter().map(|ask| ask.rate).sum()
    }
}

/// A candidate on the heap, with what its next portion tells.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Next {
    /// Nats per probe.
    value: f64,
    candidate: usize,
    /// Portions that it has.
    portions: u32,
}

impl Eq for Next {}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value
            .total_cmp(&other.value)
            .then_with(|| other.portions.cmp(&self.portions))
            .then_with(|| other.candidate.cmp(&self.candidate))
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is left of the budgets.
struct Room {
    probers: Vec<f64>,
    targets: Vec<f64>,
    all: f64,
}

impl Room {
    fn of(candidates: &[Candidate<'_>], bounds: &Bounds) -> Self {
        let count = |of: fn(&Candidate<'_>) -> usize| {
            candidates.iter().map(of).max().map_or(0, |most| most + 1)
        };
        let mut probers = vec![0.0; count(|candidate| candidate.prober)];
        let mut targets = vec![0.0; count(|candidate| candidate.target)];
        for candidate in candidates {
            probers[candidate.prober] += candidate.base;
            targets[candidate.target] += candidate.base;
        }
        for base in &mut probers {
            *base = bounds.budget(*base);
        }
        for base in &mut targets {
            *base = bounds.most_per_target - *base;
        }
        Self {
            probers,
            targets,
            all: bounds.most,
        }
    }

    /// Takes a portion of the budgets, if there is so much in all of them.
    fn take(&mut self, candidate: &Candidate<'_>, portion: f64) -> bool {
        // Sums of portions are not exact.
        let portion_at_least = portion * (1.0 - 1e-9);
        let prober = &mut self.probers[candidate.prober];
        let target = &mut self.targets[candidate.target];
        let has_room =
            *prober >= portion_at_least && *target >= portion_at_least && self.all >= portion;
        if has_room {
            *prober -= portion;
            *target -= portion;
            self.all -= portion;
        }
        has_room
    }
}

/// Which 5-tuples to probe more, within the bounds. `before` is what is asked for already: it stays, unless something else tells
/// clearly more.
pub fn rank(
    posterior: &Posterior,
    candidates: &[Candidate<'_>],
    before: &[Ask],
    bounds: &Bounds,
) -> Focus {
    let questions = Questions::of(posterior);
    if questions.is_empty() {
        return Focus::default();
    }
    let mut ranking = Ranking::new(questions, candidates, before, bounds);
    ranking.give();
    ranking.answer()
}

/// A choice that is being made.
struct Ranking<'a> {
    questions: Questions,
    candidates: &'a [Candidate<'a>],
    /// What a probe of each candidate tells about each question.
    values: Vec<Vec<Value>>,
    /// Portions that each candidate had before,
    held: Vec<u32>,
    /// has now,
    given: Vec<u32>,
    /// and may have.
    most: u32,
    room: Room,
}

impl<'a> Ranking<'a> {
    fn new(
        questions: Questions,
        candidates: &'a [Candidate<'a>],
        before: &[Ask],
        bounds: &Bounds,
    ) -> Self {
        let mut held = vec![0; candidates.len()];
        for ask in before {
            if let Some(held) = held.get_mut(ask.candidate) {
                *held = ask.portions;
            }
        }
        Self {
            values: candidates
                .iter()
                .map(|candidate| questions.values(candidate.crossing, candidate.links))
                .collect(),
            questions,
            candidates,
            held,
            given: vec![0; candidates.len()],
            most: portions(bounds.most_per_tuple),
            room: Room::of(candidates, bounds),
        }
    }

    /// What the next portion of a candidate tells, in nats per probe.
    fn worth(&self, candidate: usize) -> f64 {
        let value = self.questions.worth(&self.values[candidate]);
        if self.given[candidate] < self.held[candidate] {
            value * HYSTERESIS
        } else {
            value
        }
    }

    fn next(&self, candidate: usize) -> Next {
        Next {
            value: self.worth(candidate),
            candidate,
            portions: self.given[candidate],
        }
    }

    /// Gives portions, always to the candidate whose next one tells most, until no candidate has room or tells anything.
    fn give(&mut self) {
        let mut heap: BinaryHeap<Next> = (0..self.candidates.len())
            .filter(|candidate| self.most > 0 && !self.values[*candidate].is_empty())
            .map(|candidate| self.next(candidate))
            .collect();
        while let Some(first) = heap.pop() {
            // Others have had portions since it was put there: its value may have fallen.
            let next = self.next(first.candidate);
            let portion = self.candidates[next.candidate].base;
            if next.value * portion * HORIZON < LEAST_NATS {
                continue;
            }
            if next.value < first.value {
                heap.push(next);
                continue;
            }
            if !self.room.take(&self.candidates[next.candidate], portion) {
                continue;
            }
            self.questions
                .ask(&self.values[next.candidate], portion * HORIZON);
            self.given[next.candidate] += 1;
            if self.given[next.candidate] < self.most {
                heap.push(self.next(next.candidate));
            }
        }
    }

    fn answer(&self) -> Focus {
        let mut focus = Focus {
            entropy: self.questions.entropy(),
            questions: self.questions.unanswered(),
            ..Focus::default()
        };
        let given = self.given.iter().enumerate();
        for (candidate, portions) in given.filter(|(_, portions)| **portions > 0) {
            let rate = f64::from(*portions) * self.candidates[candidate].base;
            for value in &self.values[candidate] {
                let told = rate * value.nats();
                focus.information += told;
                focus.questions[value.question()].information += told;
            }
            let most = |a: &&Value, b: &&Value| a.nats().total_cmp(&b.nats());
            let about = self.values[candidate].iter().max_by(most);
            let about = about.map_or(0, Value::question);
            focus.questions[about].tuples += 1;
            focus.questions[about].rate += rate;
            focus.asks.push(Ask {
                candidate,
                portions: *portions,
                rate,
                about,
            });
        }
        focus
    }
}

/// How many portions a 5-tuple may have, if it may have so many times its base rate in all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, not negative"
)]
fn portions(most_per_tuple: f64) -> u32 {
    (most_per_tuple - 1.0 + 1e-9).floor().max(0.0) as u32
}

#[cfg(test)]
mod tests;
