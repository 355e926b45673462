//! Ground truth: what really happened to the packets, per directed link, per path and per fault.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::Serialize;

use super::topology::{Flow, Path, Topology, mix};

/// The most paths of which counters are kept (about 100 MB); packets of further ones are counted in
/// [`Totals::untracked`].
pub const MAX_PATHS: usize = 1 << 20;

/// Why a packet did not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The link, switch, RNIC or host was down.
    Down,
    /// Random loss.
    Loss,
    /// Wrong ICRC at the receiver.
    Corruption,
    /// Its 5-tuple falls into a black hole.
    Blackhole,
    /// The queue was full.
    Overflow,
}

/// What happened on one directed link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LinkTruth {
    /// Packets handed to it.
    pub sent: u64,
    /// Lost because something was down.
    pub down: u64,
    /// Lost by chance.
    pub loss: u64,
    /// Corrupted here (counted and dropped by the receiver).
    pub corruption: u64,
    /// Lost in a black hole.
    pub blackhole: u64,
    /// Lost because the queue was full.
    pub overflow: u64,
}

impl LinkTruth {
    /// Everything that was handed to it and did no good.
    pub fn lost(&self) -> u64 {
        self.down + self.loss + self.corruption + self.blackhole + self.overflow
    }

    pub(super) fn count(&mut self, cause: Cause) {
        *match cause {
            Cause::Down => &mut self.down,
            Cause::Loss => &mut self.loss,
            Cause::Corruption => &mut self.corruption,
            Cause::Blackhole => &mut self.blackhole,
            Cause::Overflow => &mut self.overflow,
        } += 1;
    }
}

/// What happened to the packets of one 5-tuple.
#[derive(Debug, Clone, Copy)]
pub struct PathTruth {
    /// Source, destination and source port.
    pub flow: Flow,
    /// The links that it takes.
    pub path: Path,
    /// Packets sent.
    pub sent: u64,
    /// Lost on the way, or corrupted.
    pub lost: u64,
}

/// What a fault did while it was active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FaultTruth {
    /// Packets that came to one of its links.
    pub exposed: u64,
    /// Those that it lost or corrupted.
    pub lost: u64,
}

/// Sums over the whole fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Packets sent by endpoints.
    pub sent: u64,
    /// Handed over to an endpoint.
    pub delivered: u64,
    /// Lost on a link.
    pub lost: u64,
    /// Dropped by the receiving RNIC for a wrong ICRC.
    pub icrc_errors: u64,
    /// Dropped by the receiving RNIC: no such queue pair, or a wrong Q_Key.
    pub no_queue_pair: u64,
    /// Sent to a GID that the fabric does not have, or to one of another plane.
    pub unroutable: u64,
    /// Expired on a switch.
    pub time_exceeded: u64,
    /// Packets whose path has no counters, because there are [`MAX_PATHS`] already.
    pub untracked: u64,
}

/// Hashes the one `u64` that a flow's key is; the same in every run.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key);
    }
}

/// The paths in use, with their counters.
#[derive(Debug, Default)]
pub(super) struct Paths {
    by_flow: HashMap<u64, u32, BuildHasherDefault<KeyHasher>>,
    paths: Vec<PathTruth>,
}

impl Paths {
    /// The path of `flow` and the number of its counters, if it has some; counts a packet sent on it.
    pub(super) fn send(&mut self, topology: &Topology, flow: Flow) -> (Path, Option<u32>) {
        if let Some(number) = self.by_flow.get(&flow.key()) {
            let truth = &mut self.paths[*number as usize];
            truth.sent += 1;
            return (truth.path, Some(*number));
        }
        let path = topology.path(flow);
        let Some(number) = u32::try_from(self.paths.len())
            .ok()
            .filter(|_| self.paths.len() < MAX_PATHS)
        else {
            return (path, None);
        };
        self.by_flow.insert(flow.key(), number);
        self.paths.push(PathTruth {
            flow,
            path,
            sent: 1,
            lost: 0,
        });
        (path, Some(number))
    }

    pub(super) fn lose(&mut self, number: Option<u32>) {
        if let Some(truth) = number.and_then(|number| self.paths.get_mut(number as usize)) {
            truth.lost += 1;
        }
    }

    pub(super) fn all(&self) -> &[PathTruth] {
        &self.paths
    }

    pub(super) fn get(&self, flow: Flow) -> Option<&PathTruth> {
        let number = self.by_flow.get(&flow.key())?;
        self.paths.get(*number as usize)
    }
}
