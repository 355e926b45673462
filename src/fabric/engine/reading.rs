//! What the engine knows, for those who compare it with what was observed.

use std::sync::Arc;

use super::{Engine, RnicCounters};
use crate::fabric::fault::Resolved;
use crate::fabric::topology::{Flow, LinkId, RnicId, Topology};
use crate::fabric::truth::{FaultTruth, LinkTruth, PathTruth, Totals};
use crate::time::HostTime;

impl Engine {
    /// Until when a host handles nothing, if it is stalled at `now`.
    pub fn host_stalled_until(&self, host_index: u32, now: HostTime) -> Option<HostTime> {
        self.hosts
            .get(host_index as usize)?
            .stalled_until(now.nanos())
            .map(HostTime::from_nanos)
    }

    /// The latest time that was reached.
    pub fn now(&self) -> HostTime {
        HostTime::from_nanos(self.now)
    }

    /// The shape.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// What happened on a link.
    pub fn link_truth(&self, link: LinkId) -> LinkTruth {
        self.links[link.index()].truth
    }

    /// What happened on every path in use, in the order of first use.
    pub fn path_truth(&self) -> &[PathTruth] {
        self.paths.all()
    }

    /// What happened to one 5-tuple.
    pub fn flow_truth(&self, flow: Flow) -> Option<&PathTruth> {
        self.paths.get(flow)
    }

    /// Each fault and what it did, in the order of [`Self::inject`].
    pub fn fault_truth(&self) -> impl Iterator<Item = (&Resolved, FaultTruth)> {
        self.faults.iter().zip(self.fault_truth.iter().copied())
    }

    /// Sums.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Counters of an RNIC.
    pub fn rnic_counters(&self, rnic: RnicId) -> RnicCounters {
        self.rnic_counters[rnic.index()]
    }
}
