//! What the agents measured: sums per path, per pair of ToRs and per fault.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::analysis::sketch::Sketch;
use crate::fabric::fault::Resolved;
use crate::fabric::topology::{Flow, LinkId, Topology};
use crate::measure::Ratio;
use crate::time::Nanos;

/// Counts of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Concluded, in whatever way.
    pub sent: u64,
    /// Without an answer in time.
    pub lost: u64,
    /// Not measured for a reason that is not the network's.
    pub invalid: u64,
}

impl Counts {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.invalid += other.invalid;
    }

    /// Lost of sent.
    pub fn loss(&self) -> Ratio {
        Ratio::of(self.lost, self.sent)
    }
}

/// Counts and times together.
#[derive(Clone, Default)]
pub struct Stats {
    /// How the probes ended.
    pub counts: Counts,
    /// Network RTT of the complete ones.
    pub rtts: Sketch,
}

/// The results of one path in one interval.
#[derive(Debug, Clone, Copy)]
pub struct PathSample<'a> {
    /// The probes' 5-tuple.
    pub flow: Flow,
    /// How they ended.
    pub counts: Counts,
    /// Network RTT of the complete ones.
    pub rtts: &'a [Nanos],
}

/// From which ToR to which, by number.
pub type Pair = (u32, u32);

/// All that was observed.
pub struct Observed {
    topology: Arc<Topology>,
    faults: Vec<Vec<LinkId>>,
    /// Sums since the start, and which faults the probe or its answer can meet.
    flows: HashMap<Flow, (Counts, Vec<usize>)>,
    interval: BTreeMap<Pair, Stats>,
    crossing: Vec<Stats>,
    elsewhere: Stats,
}

impl Observed {
    /// Nothing yet.
    pub fn new(topology: Arc<Topology>, faults: &[Resolved]) -> Self {
        Self {
            topology,
            faults: faults.iter().map(Resolved::links).collect(),
            flows: HashMap::new(),
            interval: BTreeMap::new(),
            crossing: vec![Stats::default(); faults.len()],
            elsewhere: Stats::default(),
        }
    }

    /// Adds results.
    pub fn add(&mut self, sample: PathSample<'_>) {
        let (topology, faults) = (&self.topology, &self.faults);
        let (counts, met) = self
            .flows
            .entry(sample.flow)
            .or_insert_with(|| (Counts::default(), faults_met(topology, faults, sample.flow)));
        counts.add(sample.counts);
        let pair = (
            topology.rnic(sample.flow.source).tor_index,
            topology.rnic(sample.flow.target).tor_index,
        );
        let crossing = &mut self.crossing;
        let add = |stats: &mut Stats| {
            stats.counts.add(sample.counts);
            for rtt in sample.rtts {
                stats.rtts.add(*rtt);
            }
        };
        add(self.interval.entry(pair).or_default());
        if met.is_empty() {
            add(&mut self.elsewhere);
        }
        for fault in met.iter() {
            add(&mut crossing[*fault]);
        }
    }

    /// What came since the last call, per pair of ToRs.
    pub fn take_interval(&mut self) -> BTreeMap<Pair, Stats> {
        std::mem::take(&mut self.interval)
    }

    /// All flows with their sums and the faults that the probes or their answers can meet.
    pub fn flows(&self) -> impl Iterator<Item = (Flow, Counts, &[usize])> {
        self.flows
            .iter()
            .map(|(flow, (counts, met))| (*flow, *counts, met.as_slice()))
    }

    /// Sums over the paths that cross a fault.
    pub fn crossing(&self, fault: usize) -> &Stats {
        &self.crossing[fault]
    }

    /// Sums over the paths that cross none.
    pub fn elsewhere(&self) -> &Stats {
        &self.elsewhere
    }

    /// Sums over everything.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        for (counts, _) in self.flows.values() {
            total.add(*counts);
        }
        total
    }
}

/// The flow of the answers: responders send them with the probe's own port.
pub fn answer(flow: Flow) -> Flow {
    Flow {
        source: flow.target,
        target: flow.source,
        port: flow.port,
    }
}

fn faults_met(topology: &Topology, faults: &[Vec<LinkId>], flow: Flow) -> Vec<usize> {
    let (there, back) = (topology.path(flow), topology.path(answer(flow)));
    faults
        .iter()
        .enumerate()
        .filter(|(_, links)| {
            let mut path = there.links().iter().chain(back.links());
            path.any(|link| links.contains(link))
        })
        .map(|(number, _)| number)
        .collect()
}

#[cfg(test)]
mod tests;
