//! A set of recent slots.

use crate::analysis::windows::Slot;

/// Some of the newest slot and the 63 before it; older ones are forgotten.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SlotSet {
    newest: Option<Slot>,
    /// Bit `n` stands for the slot `n` before the newest.
    bits: u64,
}

impl SlotSet {
    pub(super) fn insert(&mut self, slot: Slot) {
        let Some(newest) = self.newest else {
            (self.newest, self.bits) = (Some(slot), 1);
            return;
        };
        if slot > newest {
            self.bits = shift(self.bits, slot.since(newest)) | 1;
            self.newest = Some(slot);
        } else {
            self.bits |= bit(newest.since(slot));
        }
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.newest
            .is_some_and(|newest| slot <= newest && self.bits & bit(newest.since(slot)) != 0)
    }

    /// Whether the slot or one beside it is in the set.
    pub(super) fn near(&self, slot: Slot) -> bool {
        self.newest.is_some()
            && (self.contains(slot) || self.contains(slot.next()) || self.contains(slot.before(1)))
    }

    /// How many slots from `first` on are in both sets.
    pub(super) fn count_both(&self, other: &Self, first: Slot) -> u32 {
        let Some(newest) = self.newest else {
            return 0;
        };
        first
            .up_to(newest)
            .filter(|slot| self.contains(*slot) && other.contains(*slot))
            .count()
            .try_into()
            .unwrap_or(u32::MAX)
    }

    /// How many slots from `first` on are in the set.
    pub(super) fn count_since(&self, first: Slot) -> u32 {
        match self.newest {
            Some(newest) if newest >= first => {
                let kept = newest.since(first).saturating_add(1).min(64);
                let mask = if kept == 64 {
                    u64::MAX
                } else {
                    (1 << kept) - 1
                };
                (self.bits & mask).count_ones()
            }
            _ => 0,
        }
    }
}

fn shift(bits: u64, by: u32) -> u64 {
    bits.checked_shl(by).unwrap_or(0)
}

fn bit(number: u32) -> u64 {
    shift(1, number)
}
