//! What became of probes, as the tracer of paths is told.

use crate::analysis::report::PathReport;
use crate::probe::trace::Tuple;
use crate::probe::trace::schedule::Direction;

/// What became of a path's probes in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathOutcome {
    /// The path.
    pub tuple: Tuple,
    /// Of probes that are sent here, or of ACKs to those of others.
    pub direction: Direction,
    /// Probes without an ACK in time.
    pub lost: u64,
    /// Probes that came through.
    pub complete: u64,
}

impl PathOutcome {
    /// What a report says; `None` where the path cannot be traced because its source port is not known, or nothing
    /// speaks for or against it.
    pub fn of(report: &PathReport) -> Option<Self> {
        let seen = Self {
            tuple: Tuple {
                source: report.path.source.gid,
                target: report.path.target.gid,
                port: report.path.source_port?,
            },
            direction: Direction::Forward,
            lost: report.lost,
            complete: report.samples.len() as u64,
        };
        (seen.lost + seen.complete > 0).then_some(seen)
    }
}
