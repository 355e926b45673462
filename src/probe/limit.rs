//! Rate limits that need no timer: the generic cell rate algorithm (ITU-T I.371).

use crate::time::{HostTime, Nanos};

use super::Rate;

/// Nanoseconds between two at this rate, at least one.
pub(super) fn interval(rate: Rate) -> Nanos {
    // Rates are above zero and at most a million; the cast saturates for the slowest.
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let nanos = (1e9 / rate.get()) as i64;
    Nanos(nanos.clamp(1, i64::MAX / 4))
}

/// A rate and how many may come at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    interval: Nanos,
    tolerance: Nanos,
}

impl Limit {
    pub(super) fn new(rate: Rate, burst: u32) -> Self {
        let interval = interval(rate);
        let tolerance = interval
            .0
            .saturating_mul(i64::from(burst.saturating_sub(1)));
        Self {
            interval,
            tolerance: Nanos(tolerance),
        }
    }
}

/// Who is limited: remembers the time up to which the allowance is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter(HostTime);

impl Meter {
    pub(super) const FRESH: Self = Self(HostTime::from_nanos(i64::MIN));

    /// When the next one is allowed.
    pub(super) fn ready_at(self, limit: Limit) -> HostTime {
        self.0 + (Nanos::ZERO - limit.tolerance)
    }

    /// Whether one more is allowed now; if so it is counted.
    pub(super) fn admit(&mut self, limit: Limit, now: HostTime) -> bool {
        if now < self.ready_at(limit) {
            return false;
        }
        self.charge(limit, now);
        true
    }

    /// Counts one that nobody asked about.
    pub(super) fn charge(&mut self, limit: Limit, now: HostTime) {
        self.0 = self.0.max(now) + limit.interval;
    }
}
