//! Findings of one run that are about the same thing.

use super::finding::{Category, Finding};
use super::snapshot::{Counts, Horizon, PathCounts, Snapshot};
use super::{hosts, selective};
use crate::analysis::localize::Component;
use crate::analysis::rnic;

/// One finding per subject: the category that says most, over the shortest horizon.
pub(super) fn merge(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged
            .iter_mut()
            .find(|known| known.subject == finding.subject)
        {
            Some(known) => {
                let mut other = finding;
                if other.outranks(known) {
                    std::mem::swap(&mut other, known);
                }
                if other.category == known.category && other.horizon != known.horizon {
                    known.shares.push((other.horizon, other.share));
                }
            }
            None => merged.push(finding),
        }
    }
    merged
}

/// Whether an RNIC is suspected for what befalls some of its 5-tuples and spares the others: an RNIC and its cable do not look
/// at 5-tuples, a switch does.
pub(super) fn is_of_some_tuples(verdict: &rnic::Verdict, snapshot: &Snapshot) -> bool {
    let finding = verdict.finding();
    if finding.loss >= hosts::DOWN {
        return false;
    }
    // Each direction alone: an RNIC may well lose only what is sent to it.
    let is_of = |seen: &PathCounts, from: bool| {
        let end = if from {
            &seen.source_name
        } else {
            &seen.target_name
        };
        **end == finding.rnic && !snapshot.is_waited_for(&seen.target.host)
    };
    [Horizon::Now, Horizon::Short].into_iter().any(|horizon| {
        [true, false].into_iter().any(|from| {
            let paths: Vec<Counts> = snapshot
                .seen
                .iter()
                .filter(|seen| is_of(seen, from))
                .map(|seen| seen.weighed(horizon))
                .filter(|counts| counts.sent > 0)
                .collect();
            selective::is_selective(&paths)
        })
    })
}

/// Both directions of a cable as one finding, about the one with more evidence.
pub(super) fn cables(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    for mut finding in findings {
        let other = finding
            .subject
            .reverse()
            .filter(|_| finding.or.is_empty())
            .and_then(|reverse| {
                kept.iter_mut()
                    .find(|known| known.subject == reverse && known.or.is_empty())
            });
        let Some(other) = other else {
            kept.push(finding);
            continue;
        };
        let is_plainer = (finding.hard, finding.nats) > (other.hard, other.nats);
        if is_plainer {
            std::mem::swap(&mut finding, other);
        }
        other.both_directions = true;
        other.evidence.push(format!(
            "the other direction of the cable, too: {} of {} probes lost or slow across it",
            finding.probes.lost, finding.probes.sent
        ));
        for (service, suffers) in finding.services {
            *other.services.entry(service).or_default() |= suffers;
        }
    }
    kept
}

impl Finding {
    /// A state that was seen, not inferred from losses.
    pub(in crate::analysis) fn of_state(
        subject: Component,
        category: Category,
        share: f64,
    ) -> Self {
        hosts::blank(subject, category, share)
    }

    /// Whether it should stand for its subject in another's place: losses before latency, certainty before doubt, and the
    /// longer horizon only when it says that the fault is a dead thing rather than a lossy one.
    fn outranks(&self, other: &Self) -> bool {
        let rank = |finding: &Self| match finding.category {
            // An RNIC that cannot send and does not answer either is down.
            Category::Undecided
            | Category::CpuOverload
            | Category::MissingRoute
            | Category::Clock
            | Category::MonitoringBlind
            | Category::MonitoringSilence
            | Category::MonitoringMissing
            | Category::MonitoringLate
            | Category::MonitoringEvicted
            | Category::MonitoringStore
            | Category::MonitoringFull => 0,
            Category::Congestion
            | Category::PauseStorm
            | Category::RnicSlow
            | Category::UnevenEcmp => 1,
            // What is dead or swallows whole 5-tuples loses a share of the probes as well.
            Category::Blackhole
            | Category::LinkDown
            | Category::SwitchDown
            | Category::RnicDown
            | Category::HostDown => 3,
            Category::AgentSilent
            | Category::RnicLoss
            | Category::Flapping
            | Category::LinkLoss
            | Category::SwitchLoss => 2,
        };
        (rank(self), self.confidence > 0.5) > (rank(other), other.confidence > 0.5)
    }
}
