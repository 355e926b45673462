//! Counts of probes, and how far back they are taken.

use crate::analysis::windows::SlotCounts;

/// Paths from which on a run is large: coarse scopes are looked at first, and paths are taken by their ToRs.
pub(super) const MANY_PATHS: usize = 20_000;

/// How far back is looked. All end with the slot that is still being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Horizon {
    /// The slot that is being filled: 0 to 5 s.
    Now,
    /// And the one before: 5 to 10 s.
    Short,
    /// 20 to 25 s.
    Middle,
    /// 120 to 125 s.
    Long,
}

impl Horizon {
    /// All, shortest first.
    pub const ALL: [Self; 4] = [Self::Now, Self::Short, Self::Middle, Self::Long];

    /// Whole slots before the one that is being filled.
    pub(super) const fn slots(self) -> u32 {
        match self {
            Self::Now => 0,
            Self::Short => 1,
            Self::Middle => 4,
            Self::Long => 24,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Its length for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Now | Self::Short => "5 s",
            Self::Middle => "20 s",
            Self::Long => "120 s",
        }
    }
}

/// Probes, and those of them that were lost (or slow).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub sent: u64,
    /// Lost.
    pub lost: u64,
}

impl Counts {
    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.lost = self.lost.saturating_add(other.lost);
    }

    /// Lost of sent, 0 to 1.
    pub fn share(self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

/// Probes of a slot that were lost or answered. A probe whose second ACK is missing was answered: left out, it would make the links of
/// its reverse path seem to lose more than they do, by half of it where they lose half.
pub(super) const fn told(slot: &SlotCounts) -> Counts {
    Counts {
        sent: slot.told(),
        lost: slot.lost,
    }
}
