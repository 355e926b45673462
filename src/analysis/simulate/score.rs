//! How right an answer is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fault::Truth;
use crate::analysis::localize::Component;

/// Counts over one answer or many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// Components named that are faults.
    pub right: u64,
    /// Components named that are none.
    pub wrong: u64,
    /// Faults that were not named.
    pub missed: u64,
}

impl Score {
    /// Scores an answer. A fault is found when exactly its component is named, kind and direction included; naming it
    /// twice counts once.
    pub fn of<'a>(truth: &[Truth], named: impl IntoIterator<Item = &'a Component>) -> Self {
        let mut found = vec![false; truth.len()];
        let mut wrong = 0;
        for component in named {
            match truth.iter().position(|fault| fault.component == *component) {
                Some(index) => found[index] = true,
                None => wrong += 1,
            }
        }
        let right = found.iter().filter(|found| **found).count() as u64;
        Self {
            right,
            wrong,
            missed: truth.len() as u64 - right,
        }
    }

    /// Adds another score.
    pub const fn add(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missed += other.missed;
    }

    /// Share of the named that are faults; 1 when nothing was named.
    pub fn precision(&self) -> f64 {
        share(self.right, self.wrong)
    }

    /// Share of the faults that were named; 1 when there was none.
    pub fn recall(&self) -> f64 {
        share(self.right, self.missed)
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall > 0.0 {
            2.0 * precision * recall / (precision + recall)
        } else {
            0.0
        }
    }
}

fn share(part: u64, rest: u64) -> f64 {
    if part + rest == 0 {
        1.0
    } else {
        part as f64 / (part + rest) as f64
    }
}

/// A score with the components behind it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Share of the named that are faults, 0 to 1; 1 when nothing was named.
    pub precision: f64,
    /// Share of the faults that were named, 0 to 1; 1 when there was none.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Faults that were named.
    pub right: Vec<Component>,
    /// Named, but no faults.
    pub wrong: Vec<Component>,
    /// Faults that were not named.
    pub missed: Vec<Component>,
}

impl Report {
    /// Compares an answer with the truth.
    pub fn new(truth: &[Truth], named: &[Component]) -> Self {
        let score = Score::of(truth, named);
        let faults = || truth.iter().map(|fault| &fault.component);
        let (right, missed) = faults().cloned().partition(|fault| named.contains(fault));
        let wrong = named
            .iter()
            .filter(|named| !faults().any(|fault| fault == *named));
        let rounded = |share: f64| (share * 1e4).round() / 1e4;
        Self {
            precision: rounded(score.precision()),
            recall: rounded(score.recall()),
            f1: rounded(score.f1()),
            right,
            wrong: wrong.cloned().collect(),
            missed,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "precision {:.3}, recall {:.3}, F1 {:.3}",
            self.precision, self.recall, self.f1
        )?;
        for (what, components) in [
            ("right", &self.right),
            ("wrong", &self.wrong),
            ("missed", &self.missed),
        ] {
            for component in components {
                write!(f, "\n{what:<6} {component}")?;
            }
        }
        Ok(())
    }
}
