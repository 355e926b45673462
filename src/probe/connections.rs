//! When each service connection is probed. Thousands of connections share the rate that the cap leaves.
//!
//! Connections stand in a ring and take turns, so that none is probed twice before each was probed once. Turns are
//! evenly apart: by the interval divided by the number of connections or, where that is more than the cap leaves, as
//! closely as the cap allows. A connection that has just appeared does not wait for its place in the ring: it is probed
//! at once, within the same cap, and then stands last; only those in the ring that have waited for longer than a round
//! when it appears go before it, so that new connections cannot starve the others. A turn that passes unused is
//! counted, and is not made up for.
//!
//! The cost of adding, removing and taking does not depend on the number of connections.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::id::Gid;
use crate::time::{HostTime, Nanos};
use crate::transport::Address;

use super::limit::{Limit, Meter, interval};
use super::{PathId, ProbePath, Rate};

/// First probes that may leave at the same time.
const BURST: u32 = 4;

/// A turn.
pub(super) struct Turn {
    pub(super) path: Arc<ProbePath>,
    /// Turns of the ring that passed before this one.
    pub(super) missed: u64,
}

/// A connection in a queue.
struct Place {
    id: PathId,
    /// When it came there.
    since: HostTime,
}

/// See the module.
pub(super) struct Connections {
    /// Between two probes of one connection, where the cap allows it.
    interval: Nanos,
    /// What the more important kinds leave of the cap; `None` when they leave nothing.
    left: Option<Rate>,
    paths: HashMap<PathId, Arc<ProbePath>>,
    /// In the order of their turns. May name connections that are gone, but not as the first.
    ring: VecDeque<Place>,
    /// Not probed yet, in the order in which they appeared; the same.
    fresh: VecDeque<Place>,
    /// The ring's last turn.
    last: HostTime,
    /// Spaces all turns by what is left.
    meter: Meter,
}

impl Connections {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval: Nanos::from(interval),
            left: None,
            paths: HashMap::new(),
            ring: VecDeque::new(),
            fresh: VecDeque::new(),
            last: HostTime::from_nanos(0),
            meter: Meter::FRESH,
        }
    }

    /// Probes per second that all connections together would have without a cap.
    pub(super) fn asked(&self) -> f64 {
        self.paths.len() as f64 * 1e9 / self.interval.0.max(1) as f64
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = Nanos::from(interval);
    }

    /// What the more important kinds leave.
    pub(super) fn set_left(&mut self, left: Option<Rate>) {
        self.left = left;
    }

    /// Probes `path` for this connection from now on; one that is known goes on in its rhythm.
    pub(super) fn set(&mut self, id: PathId, path: Arc<ProbePath>, now: HostTime) {
        if self.paths.insert(id, path).is_none() {
            self.fresh.push_back(Place { id, since: now });
            // Turns are closer now; those that would have passed since the last one were never due.
            self.last = self.last.max(now + (Nanos::ZERO - self.spacing()));
        }
    }

    /// Probes it no longer.
    pub(super) fn remove(&mut self, id: PathId) {
        if self.paths.remove(&id).is_none() {
            return;
        }
        // Names of what is gone may take as much room as the others, not more.
        for queue in [&mut self.ring, &mut self.fresh] {
            if queue.len() > 2 * self.paths.len() {
                queue.retain(|place| self.paths.contains_key(&place.id));
            }
        }
        self.drop_gone();
    }

    /// Points every path to `gid` at its new address.
    pub(super) fn replace_address(&mut self, gid: Gid, address: Address) {
        for path in self.paths.values_mut() {
            if path.target.address.gid == gid {
                let mut moved = ProbePath::clone(path);
                Arc::make_mut(&mut moved.target).address = address;
                *path = Arc::new(moved);
            }
        }
    }

    /// When the next turn comes.
    pub(super) fn next_turn(&self) -> Option<HostTime> {
        let limit = self.limit()?;
        let ready = self.meter.ready_at(limit);
        match (self.fresh.is_empty(), self.ring.is_empty()) {
            // Whatever the ring's turn is, a first probe goes as soon as it may.
            (false, _) => Some(ready),
            (true, false) => Some(self.ring_turn().max(ready)),
            (true, true) => None,
        }
    }

    /// Takes a turn that has come.
    pub(super) fn take(&mut self, now: HostTime) -> Option<Turn> {
        if self.next_turn().is_none_or(|turn| turn > now) {
            return None;
        }
        let limit = self.limit()?;
        let takes_fresh = match (self.fresh.front(), self.ring.front()) {
            (Some(fresh), Some(ring)) => {
                self.ring_turn() > now || fresh.since <= ring.since + self.round()
            }
            (fresh, _) => fresh.is_some(),
        };
        let (place, missed) = if takes_fresh {
            if self.ring.is_empty() {
                // The ring begins: its first turn is one spacing from here.
                self.last = now;
            }
            (self.fresh.pop_front()?, 0)
        } else {
            let missed = self.pass_turns(now, limit);
            (self.ring.pop_front()?, missed)
        };
        self.meter.admit(limit, now);
        let id = place.id;
        self.ring.push_back(Place { id, since: now });
        self.drop_gone();
        let path = Arc::clone(self.paths.get(&id)?);
        Some(Turn { path, missed })
    }

    fn limit(&self) -> Option<Limit> {
        Some(Limit::new(self.left?, BURST))
    }

    /// Between two turns of the ring.
    fn spacing(&self) -> Nanos {
        let count = i64::try_from(self.paths.len()).unwrap_or(i64::MAX).max(1);
        let wanted = self.interval.0 / count;
        let allowed = self.left.map_or(i64::MAX, |left| interval(left).0);
        Nanos(wanted.max(allowed).max(1))
    }

    fn ring_turn(&self) -> HostTime {
        self.last + self.spacing()
    }

    /// Between two turns of one connection in the ring.
    fn round(&self) -> Nanos {
        let count = i64::try_from(self.paths.len()).unwrap_or(i64::MAX);
        Nanos(self.spacing().0.saturating_mul(count))
    }

    /// Goes to the newest turn that has come; the older ones are missed, but for those that the cap did not allow.
    fn pass_turns(&mut self, now: HostTime, limit: Limit) -> u64 {
        let spacing = self.spacing().0;
        let due = self.ring_turn().max(self.meter.ready_at(limit));
        let missed = (now - due).0.max(0) / spacing;
        self.last = due + Nanos(spacing.saturating_mul(missed));
        missed.unsigned_abs()
    }

    /// Keeps the first of each queue one that is there.
    fn drop_gone(&mut self) {
        for queue in [&mut self.ring, &mut self.fresh] {
            while queue
                .front()
                .is_some_and(|place| !self.paths.contains_key(&place.id))
            {
                queue.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
