//! What is wrong with hosts and switches, and when that changes.

use crate::fault::Pulse;

/// How many packets that expire on it a switch answers per second, as its control plane's policer allows.
const ANSWERS_PER_SECOND: i64 = 1_000;

/// And how many at once.
const ANSWER_BURST: i64 = 64;

/// A fault begins or ends. Ordered by time, ends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) at: i64,
    pub(super) begins: bool,
    pub(super) fault: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Stall {
    pub(super) fault: u32,
    pub(super) since: i64,
    /// `None` when the host is down.
    pub(super) pulse: Option<Pulse>,
}

/// What is wrong with a host.
#[derive(Debug, Default)]
pub(super) struct HostState {
    pub(super) stalls: Vec<Stall>,
}

/// A host that is down looks again so often whether it is up.
const DOWN_CHECK: i64 = 10_000_000;

impl HostState {
    /// Until when it handles nothing.
    #[inline]
    pub(super) fn stalled_until(&self, now: i64) -> Option<i64> {
        self.stalls
            .iter()
            .filter_map(|stall| match stall.pulse {
                Some(pulse) => pulse.on_until(stall.since, now),
                None => Some(now.saturating_add(DOWN_CHECK)),
            })
            .max()
    }
}

/// A switch's control plane.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SwitchState {
    pub(super) down: u32,
    /// When the policer's bucket is full again (generic cell rate algorithm).
    full_at: i64,
}

impl SwitchState {
    pub(super) fn may_answer(&mut self, now: i64) -> bool {
        let cost = 1_000_000_000 / ANSWERS_PER_SECOND;
        let full_at = self.full_at.max(now) + cost;
        let allowed = self.down == 0 && full_at - now <= cost * ANSWER_BURST;
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}
