//! A diagnosis with everything that speaks for it, for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::explain::{Explanation, SuspectText, explain};
use super::problem::Problem;
use super::search::{Diagnosis, Suspect};

/// A suspect with its explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExplainedSuspect {
    /// The suspect.
    #[serde(flatten)]
    pub suspect: Suspect,
    /// What speaks for it.
    pub evidence: Explanation,
}

/// What `rpingmesh localize --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Most certain first.
    pub suspects: Vec<ExplainedSuspect>,
    /// Share of packets that a healthy link loses, 0 to 1.
    pub background_loss_rate: f64,
    /// Lines (paths) that were read.
    pub observations: u64,
    /// Probes sent.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Paths that pass nothing, or nearly nothing.
    pub dead_paths: usize,
}

impl Answer {
    /// Explains a diagnosis of that problem.
    pub fn new(problem: &Problem, diagnosis: Diagnosis) -> Self {
        let explanations = explain(problem, &diagnosis.suspects);
        Self {
            suspects: diagnosis
                .suspects
                .into_iter()
                .zip(explanations)
                .map(|(suspect, evidence)| ExplainedSuspect { suspect, evidence })
                .collect(),
            // Two significant digits: it is an estimate, and processors differ in the last ones.
            background_loss_rate: format!("{:.1e}", diagnosis.background_loss_rate)
                .parse()
                .unwrap_or(diagnosis.background_loss_rate),
            observations: problem.observations(),
            sent: problem.sent(),
            lost: problem.lost(),
            dead_paths: problem.dead_paths(),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} paths, {} of {} probes lost, {} paths pass nothing; a healthy link loses about {:.4} %",
            self.observations,
            self.lost,
            self.sent,
            self.dead_paths,
            self.background_loss_rate * 100.0
        )?;
        if self.suspects.is_empty() {
            return write!(f, "no suspects: what was lost is what healthy links lose");
        }
        for (index, explained) in self.suspects.iter().enumerate() {
            let text = SuspectText {
                suspect: &explained.suspect,
                why: &explained.evidence,
            };
            write!(f, "\n{}. {text}", index + 1)?;
            if index + 1 < self.suspects.len() {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
