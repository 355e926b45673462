//! What a probe tells about the suspects.

use super::question::Question as Asked;
use crate::analysis::localize::{ComponentId, Posterior};

/// What is to be known: which of some alternatives is faulty, if any.
#[derive(Debug, Clone, Copy)]
struct Question {
    /// What is not known about it, in nats.
    entropy: f64,
    /// Nats that the probes tell which are asked for already.
    asked: f64,
}

/// What a probe of a 5-tuple tells about one question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    question: usize,
    nats: f64,
}

impl Value {
    /// Place of the suspect that it is about.
    pub(super) const fn question(&self) -> usize {
        self.question
    }

    pub(super) const fn nats(&self) -> f64 {
        self.nats
    }
}

/// A component of a question.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    question: usize,
    probability: f64,
    hazard: f64,
}

/// All questions, and the components that they are about.
#[derive(Debug)]
pub(super) struct Questions {
    all: Vec<Question>,
    /// By component.
    suspects: Vec<Vec<Suspect>>,
    background: f64,
}

/// `x ln x`, continued to 0.
fn x_ln_x(x: f64) -> f64 {
    if x > 0.0 { x * x.ln() } else { 0.0 }
}

/// Negative entropy of a probe that is lost with this probability, in nats.
fn certainty(lost: f64) -> f64 {
    x_ln_x(lost) + x_ln_x(1.0 - lost)
}

/// Probability that a probe is lost at a hazard.
fn loss(hazard: f64) -> f64 {
    -(-hazard).exp_m1()
}

impl Questions {
    pub(super) fn of(posterior: &Posterior) -> Self {
        let mut made = Self {
            all: Vec::with_capacity(posterior.suspects.len()),
            suspects: Vec::new(),
            background: posterior.background,
        };
        for alternatives in &posterior.suspects {
            let (mut entropy, mut none) = (0.0, 1.0);
            for possible in &alternatives.components {
                entropy -= x_ln_x(possible.probability);
                none -= possible.probability;
                let place = possible.component.0 as usize;
                if made.suspects.len() <= place {
                    made.suspects.resize_with(place + 1, Vec::new);
                }
                made.suspects[place].push(Suspect {
                    question: made.all.len(),
                    probability: possible.probability,
                    hazard: possible.hazard,
                });
            }
            entropy -= x_ln_x(none.max(0.0));
            made.all.push(Question {
                entropy,
                asked: 0.0,
            });
        }
        made
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What is not known about all of them, in nats.
    pub(super) fn entropy(&self) -> f64 {
        self.all.iter().map(|question| question.entropy).sum()
    }

    /// Each question, of which nothing is asked yet.
    pub(super) fn unanswered(&self) -> Vec<Asked> {
        let entropies = self.all.iter().map(|question| question.entropy);
        entropies
            .map(|entropy| Asked {
                entropy,
                ..Asked::default()
            })
            .collect()
    }

    /// What one probe of a 5-tuple tells: the mutual information of its outcome and each answer. What other questions are about
    /// counts by its mean hazard.
    pub(super) fn values(&self, crossing: &[(ComponentId, f64)], links: f64) -> Vec<Value> {
        let mut hits: Vec<(usize, f64, f64)> = Vec::new();
        for (component, share) in crossing {
            let suspects = self.suspects.get(component.0 as usize);
            hits.extend(suspects.into_iter().flatten().map(|suspect| {
                (
                    suspect.question,
                    suspect.probability,
                    share * suspect.hazard,
                )
            }));
        }
        if hits.is_empty() {
            return Vec::new();
        }
        hits.sort_by_key(|(question, _, _)| *question);
        let mean: f64 = hits
            .iter()
            .map(|(_, probability, own)| probability * own)
            .sum();
        let all = links * self.background + mean;
        hits.chunk_by(|a, b| a.0 == b.0)
            .map(|own| Value {
                question: own[0].0,
                nats: information(own, all),
            })
            .filter(|value| value.nats > 0.0)
            .collect()
    }

    /// What a further probe tells, after what is asked for already, in nats.
    pub(super) fn worth(&self, values: &[Value]) -> f64 {
        values
            .iter()
            .map(|value| {
                let question = &self.all[value.question];
                value.nats * (-question.asked / question.entropy.max(f64::MIN_POSITIVE)).exp()
            })
            .sum()
    }

    /// Counts so many probes as asked for.
    pub(super) fn ask(&mut self, values: &[Value], probes: f64) {
        for value in values {
            self.all[value.question].asked += value.nats * probes;
        }
    }
}

/// Mutual information of a probe's outcome and which of the components is faulty, if any: (question, probability, hazard) of each
/// on the path, where the mean hazard of all suspects and the background is `all`.
fn information(own: &[(usize, f64, f64)], all: f64) -> f64 {
    let mean: f64 = own
        .iter()
        .map(|(_, probability, hazard)| probability * hazard)
        .sum();
    let rest = (all - mean).max(f64::MIN_POSITIVE);
    let none = (1.0
        - own
            .iter()
            .map(|(_, probability, _)| probability)
            .sum::<f64>())
    .max(0.0);
    let (mut lost, mut known) = (none * loss(rest), none * certainty(loss(rest)));
    for (_, probability, hazard) in own {
        let loss = loss(rest + hazard);
        lost += probability * loss;
        known += probability * certainty(loss);
    }
    known - certainty(lost)
}
