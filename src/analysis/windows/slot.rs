//! Slots, in which results are counted, and the windows that are made of them.

use std::ops::Range;
use std::time::Duration;

use crate::time::{Nanos, WallTime};

/// Length of a slot: the resolution of all windows.
pub(crate) const SLOT: Duration = Duration::from_secs(5);

const SLOT_NANOS: i64 = 5_000_000_000;

/// The lengths of the windows over which paths are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WindowLength {
    /// 5 s: hard faults.
    Short,
    /// 20 s: loss of a per cent.
    Middle,
    /// 120 s: gray loss.
    Long,
}

impl WindowLength {
    /// All of them, shortest first.
    pub const ALL: [Self; 3] = [Self::Short, Self::Middle, Self::Long];

    /// Its name in addresses and JSON: how long it is.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Short => "5s",
            Self::Middle => "20s",
            Self::Long => "120s",
        }
    }

    /// How many slots it has.
    pub const fn slots(self) -> u32 {
        match self {
            Self::Short => 1,
            Self::Middle => 4,
            Self::Long => 24,
        }
    }

    /// Its length.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(5 * self.slots() as u64)
    }
}

/// Number of a slot: slots since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(super) u32);

impl Slot {
    /// The slot that a point in time lies in; times before 1970 are in the first.
    pub fn of(time: WallTime) -> Self {
        let number = time.nanos().div_euclid(SLOT_NANOS).max(0);
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// So many slots before this one; the first slot at the earliest.
    #[must_use]
    pub const fn before(self, slots: u32) -> Self {
        Self(self.0.saturating_sub(slots))
    }

    /// How many slots after `earlier` this one is; 0 if it is not after it.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The slots from this one to `last`, both included; at most 64.
    pub(crate) fn up_to(self, last: Self) -> impl Iterator<Item = Self> {
        let first = self.0.max(last.0.saturating_sub(63));
        (first..=last.0).map(Self)
    }

    /// The slot of an interval: the one in which its middle lies.
    pub(crate) fn of_interval(interval: &Range<WallTime>) -> Self {
        if interval.end <= interval.start {
            return Slot::of(interval.end);
        }
        Slot::of(interval.start + Nanos((interval.end - interval.start).0 / 2))
    }

    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// When it begins.
    pub fn start(self) -> WallTime {
        WallTime::from_nanos(i64::from(self.0) * SLOT_NANOS)
    }
}
