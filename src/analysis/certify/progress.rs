//! A certification under way: evidence that grows, and what was found so far.

use std::collections::BTreeSet;

use super::assess::{Assessed, assess};
use super::evidence::Evidence;
use super::report::{Fault, FaultKind, Report};
use crate::analysis::localize::ProblemError;
use crate::id::{HostName, RnicName};
use crate::time::WallTime;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The share of packets that a link may lose, above 0 and below 1.
    pub loss: f64,
    /// The hosts that it is about; all where it is empty.
    pub hosts: BTreeSet<HostName>,
}

/// What others say at the same time.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Incidents that were open since the beginning, as faults.
    pub incidents: Vec<Fault>,
    /// RNICs that agents cannot use, and why.
    pub unusable: Vec<(RnicName, String)>,
}

/// A certification under way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// What was counted since the last fault became known.
    pub evidence: Option<Evidence>,
    /// Links that lose too much, found earlier: their losses are not in `evidence`.
    pub known: Vec<Fault>,
    /// What later evidence must leave out: see [`super::gather::gather`].
    pub without: BTreeSet<String>,
}

impl Progress {
    /// Takes evidence of the next slots, which was gathered without [`Self::without`], and assesses all there is.
    ///
    /// Losses at one place raise the bounds of all links that share paths with it. So when a suspect becomes known, counting begins
    /// anew without the paths that cross it: the bounds of the others then hold whatever it loses.
    ///
    /// # Errors
    /// Counts that contradict each other.
    pub fn take(
        &mut self,
        later: &Evidence,
        beside: &Beside,
        question: &Question,
    ) -> Result<Report, ProblemError> {
        match &mut self.evidence {
            Some(evidence) => evidence.add(later),
            None => self.evidence = Some(later.clone()),
        }
        let report = self.assess(beside, question)?;
        let suspects = report.suspects();
        if suspects.is_subset(&self.without) {
            return Ok(report);
        }
        self.without.extend(suspects);
        let found = report.faults.into_iter();
        self.known = found
            .filter(|fault| fault.kind == FaultKind::LinkLoss)
            .collect();
        if let Some(evidence) = &mut self.evidence {
            evidence.restart();
        }
        self.assess(beside, question)
    }

    fn assess(&self, beside: &Beside, question: &Question) -> Result<Report, ProblemError> {
        let nothing = Evidence::new(WallTime::from_nanos(0)..WallTime::from_nanos(0));
        let mut known = beside.incidents.clone();
        known.extend(self.known.iter().cloned());
        assess(&Assessed {
            evidence: self.evidence.as_ref().unwrap_or(&nothing),
            loss: question.loss,
            hosts: &question.hosts,
            known: &known,
            unusable: &beside.unusable,
        })
    }
}
