//! Results of one path in one interval: what an agent collects and the analyzer takes.
//!
//! The types cannot hold a contradiction: what was sent is derived from what was lost, invalid and measured, and a
//! measured probe has all three of its spans.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::hardware::PortRise;
use crate::id::{
    AgentId, DeviceName, Gid, HostName, Qpn, RnicName, ServiceName, TorId, UdpSourcePort,
};
use crate::measure::{Invalid, Measurement, Outcome};
use crate::probe::trace::Trace;
use crate::probe::{PathFidelity, ProbeKind};
use crate::time::{Nanos, WallTime};
use crate::transport::{Class, CompletionClock};

/// The most probes that one report may hold: far more than an agent can send in one interval, far less than would let
/// sums over many reports overflow.
pub(crate) const MAX_PROBES: u64 = 1 << 24;

/// One end of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct End {
    /// The RNIC port.
    pub gid: Gid,
    /// The queue pair that probes or answers.
    pub qpn: Qpn,
    /// The host it is in.
    pub host: HostName,
    /// The ToR it is cabled to.
    pub tor: TorId,
    /// Its name on the host.
    pub device: DeviceName,
}

impl End {
    /// The RNIC, by its name.
    pub fn rnic(&self) -> RnicName {
        RnicName {
            host: self.host.clone(),
            device: self.device.clone(),
        }
    }
}

/// What is probed: ECMP sends all packets of one path along the same links, and the class chooses the same queues. The QPNs are
/// not part of it: they change when an agent restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The RNIC that probes.
    pub source: Arc<End>,
    /// The RNIC that answers.
    pub target: Arc<End>,
    /// Why it is probed.
    pub kind: ProbeKind,
    /// UDP source port of the probes, where the driver shows it.
    pub source_port: Option<UdpSourcePort>,
    /// The service that uses the path ([`ProbeKind::ServiceTracing`]).
    pub service: Option<ServiceName>,
    /// The class of the probes; `None` where the agent does not tell.
    pub class: Option<Class>,
    /// Whether it is the path of the service's own connections; `None` where the agent does not tell.
    pub fidelity: Option<PathFidelity>,
}

impl fmt::Display for Path {
    /// `10.0.0.1 -> 10.0.0.2 port 50000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source.gid, self.target.gid)?;
        match self.source_port {
            Some(port) => write!(f, " port {port}"),
            None => f.write_str(" port unknown"),
        }
    }
}

/// The results of one path in one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReport {
    /// The path.
    pub path: Path,
    /// Which clock stamped the completions.
    pub clock: CompletionClock,
    /// Probes without an ACK in time.
    pub lost: u64,
    /// Measurements that are not valid, by reason; each reason at most once.
    pub invalid: Vec<(Invalid, u64)>,
    /// The complete probes. None of their spans is negative.
    pub samples: Vec<Measurement>,
}

impl PathReport {
    /// A report without results.
    pub const fn empty(path: Path, clock: CompletionClock) -> Self {
        Self {
            path,
            clock,
            lost: 0,
            invalid: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Counts what became of a probe.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Complete(measurement) => self.samples.push(*measurement),
            Outcome::Lost => self.lost = self.lost.saturating_add(1),
            Outcome::Invalid(reason) => self.add_invalid(*reason, 1),
        }
    }

    /// Counts an invalid measurement.
    pub(crate) fn add_invalid(&mut self, reason: Invalid, count: u64) {
        match self.invalid.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.invalid.push((reason, count)),
        }
    }

    /// Measurements that are not valid, for any reason.
    pub(crate) fn invalid_total(&self) -> u64 {
        self.invalid
            .iter()
            .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count))
    }

    /// All probes of the report.
    pub fn sent(&self) -> u64 {
        self.lost
            .saturating_add(self.invalid_total())
            .saturating_add(self.samples.len() as u64)
    }
}

/// Which spool a batch's sequence number belongs to: random, made with the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpoolId(pub u64);

/// Who sends batches, and which numbering they follow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sender {
    /// The agent.
    pub agent: AgentId,
    /// Its spool.
    pub spool: SpoolId,
}

/// What an agent counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounters {
    /// Results that were dropped before they were in a batch, because the buffer was full.
    pub results_dropped: u64,
    /// Batches that the spool had to drop.
    pub batches_dropped: u64,
    /// Received packets that were no probe or ACK.
    pub malformed_packets: u64,
    /// ACKs that belong to no outstanding probe.
    pub unmatched_acks: u64,
    /// Probes of others that were answered.
    pub probes_answered: u64,
    /// Probes that a responder saw arrive from the UDP source port that was meant.
    pub source_ports_as_meant: u64,
    /// Probes that a responder saw arrive from another UDP source port.
    pub source_ports_otherwise: u64,
}

/// All results that an agent concluded in one interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// From 1, without gaps, per spool.
    pub sequence: u64,
    /// By the agent's wall clock.
    pub interval: Range<WallTime>,
    /// The paths that had results.
    pub paths: Vec<PathReport>,
    /// The traces that ended in it.
    pub traces: Vec<Trace>,
    /// The agent's counters at the end of the interval.
    pub counters: AgentCounters,
    /// Hardware counters of faults that have risen.
    pub hardware: Vec<PortRise>,
}

impl Batch {
    /// Moves it in time: its interval, and when its traces ended.
    pub(crate) fn move_by(&mut self, span: Nanos) {
        if span == Nanos::ZERO {
            return;
        }
        self.interval = self.interval.start + span..self.interval.end + span;
        for trace in &mut self.traces {
            trace.at = trace.at + span;
        }
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        let invalid = size_of::<(Invalid, u64)>();
        let reports = self.paths.iter().map(|report| {
            size_of::<PathReport>()
                + report.samples.capacity() * size_of::<Measurement>()
                + report.invalid.capacity() * invalid
        });
        // A trace has a few hops, each about as large as the trace.
        let traces = self.traces.len() * size_of::<Trace>() * 2;
        reports.sum::<usize>() + traces + size_of_val(self.hardware.as_slice())
    }

    /// Whether it holds nothing that is worth keeping.
    pub const fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.traces.is_empty() && self.hardware.is_empty()
    }
}

/// Collects results into one report per path, until they are taken for a batch. In bounded memory.
#[derive(Debug)]
pub struct Collector {
    reports: Vec<PathReport>,
    places: HashMap<Key, usize>,
    held: usize,
    limit: usize,
    dropped: u64,
}

type Key = (
    Gid,
    Gid,
    ProbeKind,
    Option<UdpSourcePort>,
    Option<ServiceName>,
    Option<Class>,
    Option<PathFidelity>,
);

impl Collector {
    /// Holds at most `limit` results; those beyond are dropped and counted until [`Collector::take`] makes room.
    pub fn new(limit: usize) -> Self {
        Self {
            reports: Vec::new(),
            places: HashMap::new(),
            held: 0,
            limit,
            dropped: 0,
        }
    }

    /// Counts what became of one probe on `path`. What is said about the ends (QPN, names) is kept from the path's first
    /// result of the interval.
    pub fn add(&mut self, path: &Path, clock: CompletionClock, outcome: &Outcome) {
        if self.held >= self.limit {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.held += 1;
        let key = (
            path.source.gid,
            path.target.gid,
            path.kind,
            path.source_port,
            path.service.clone(),
            path.class,
            path.fidelity,
        );
        let reports = &mut self.reports;
        let place = *self.places.entry(key).or_insert_with(|| {
            reports.push(PathReport::empty(path.clone(), clock));
            reports.len() - 1
        });
        self.reports[place].add(outcome);
    }

    /// How many results are held.
    pub const fn len(&self) -> usize {
        self.held
    }

    /// Whether nothing is held.
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Results dropped since the start, for [`AgentCounters::results_dropped`].
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Everything collected since the last call, one report per path, in the order of their first results.
    pub fn take(&mut self) -> Vec<PathReport> {
        self.places.clear();
        self.held = 0;
        std::mem::take(&mut self.reports)
    }
}

#[cfg(test)]
mod tests;
