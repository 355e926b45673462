//! Whether losses came since the last run: a run that sees the losses of the one before again confirms nothing.

use super::counts::Horizon;
use super::path_counts::PathCounts;
use crate::analysis::windows::Slot;

/// Losses on some paths in the newest slots.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Newest {
    /// In the slot that is being filled,
    now: u64,
    /// and with those of the one before.
    short: u64,
}

impl Newest {
    /// Adds a path's.
    pub(super) fn add(&mut self, seen: &PathCounts) {
        let lost = |horizon| seen.counts(horizon).lost;
        self.now = self.now.saturating_add(lost(Horizon::Now));
        self.short = self.short.saturating_add(lost(Horizon::Short));
    }

    /// With the slot that is being filled.
    pub(super) const fn in_slot(self, slot: Slot) -> Recent {
        Recent::new(slot, self.now, self.short)
    }
}

/// Losses of a finding in the newest slots, as one run saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    slot: Slot,
    now: u64,
    short: u64,
}

impl Recent {
    /// Of so many losses in the slot that is being filled, and in that one and the one before.
    pub const fn new(slot: Slot, now: u64, short: u64) -> Self {
        Self { slot, now, short }
    }

    /// Whether there are losses that an earlier run could not see.
    pub(crate) const fn is_news_to(self, earlier: Self) -> bool {
        let known = match self.slot.since(earlier.slot) {
            0 => earlier.short,
            1 => earlier.now,
            _ => 0,
        };
        self.short > known
    }
}

#[cfg(test)]
mod tests;
