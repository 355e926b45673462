//! An emulated RNIC: its clock, its queue pairs and what it counts.

use crate::fabric::topology::{RnicId, mix};
use crate::id::{QKey, Qpn};
use crate::time::{Nanos, NicTime};

/// The clock of an RNIC: an offset and a drift that no other RNIC has.
#[derive(Debug, Clone, Copy)]
pub(super) struct NicClock {
    offset: i64,
    parts_per_million: i64,
}

impl NicClock {
    pub(super) fn of(seed: u64, rnic: RnicId) -> Self {
        let hash = mix(seed ^ mix(u64::from(rnic.0)));
        // Up to an hour apart, at most 20 ppm wrong, as RNICs' crystals are.
        Self {
            offset: i64::try_from(hash % 3_600_000_000_000).unwrap_or_default(),
            parts_per_million: i64::try_from((hash >> 48) % 41).unwrap_or_default() - 20,
        }
    }

    /// Sets it forward or back.
    pub(super) fn step(&mut self, by: Nanos) {
        self.offset = self.offset.wrapping_add(by.0);
    }

    /// Offset in nanoseconds and drift in parts per million.
    pub(super) const fn stand(&self) -> (i64, i64) {
        (self.offset, self.parts_per_million)
    }

    pub(super) fn read(&self, now: i64) -> NicTime {
        let drift = now / 1_000_000 * self.parts_per_million;
        NicTime::from_nanos(now.wrapping_add(self.offset).wrapping_add(drift))
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct QueuePair {
    pub(super) qpn: Qpn,
    pub(super) q_key: QKey,
}

#[derive(Debug)]
pub(super) struct RnicState {
    pub(super) host: u32,
    pub(super) clock: NicClock,
    pub(super) queue_pairs: Vec<QueuePair>,
    pub(super) opened: u32,
}

/// Counters of one RNIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RnicCounters {
    /// Packets with a wrong ICRC.
    pub icrc_errors: u64,
    /// Packets for a queue pair that does not exist, or with a wrong Q_Key.
    pub no_queue_pair: u64,
}
