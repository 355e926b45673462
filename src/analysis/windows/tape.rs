//! The results of one path, slot after slot, in one piece of memory.
//!
//! A fleet has millions of paths, and a path has a few results in each of 25 slots. One allocation for each slot would take more than
//! what is in it. A record is
//!
//! | word | holds |
//! |---|---|
//! | 0 | the slot |
//! | 1 | how many cells follow, 30 bits; above, whether any is no measurement, and whether the counts are wide |
//! | 2 | probes sent above probes lost, 16 bits each; in a wide record the probes sent |
//! | 3 | in a wide record only: the probes lost |
//! | … | cells |
//!
//! Records are sorted by slot.

use std::ops::Range;

use super::super::report::PathReport;
use super::bucket::{Bucket, Filling};
use super::slot::Slot;

const HAS_OTHERS: u32 = 1 << 31;
const IS_WIDE: u32 = 1 << 30;
const CELLS: u32 = IS_WIDE - 1;
/// Words that are allocated at once, at the least: a record of a few probes or two.
const GROWTH: usize = 16;
/// Words that are given back, at the least.
const SPARE: usize = 64;

/// The results of one path.
#[derive(Debug, Default)]
pub(super) struct Tape {
    words: Vec<u32>,
    records: u32,
}

/// The buckets of a tape, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Buckets<'a> {
    words: &'a [u32],
}

impl<'a> Iterator for Buckets<'a> {
    type Item = Bucket<'a>;

    fn next(&mut self) -> Option<Bucket<'a>> {
        let (bucket, rest) = split(self.words)?;
        self.words = rest;
        Some(bucket)
    }
}

/// The first record, and those behind it.
fn split(words: &[u32]) -> Option<(Bucket<'_>, &[u32])> {
    let (slot, words) = words.split_first()?;
    let (head, words) = words.split_first()?;
    let (first, words) = words.split_first()?;
    let (sent, lost, words) = if head & IS_WIDE == 0 {
        (first >> 16, first & 0xFFFF, words)
    } else {
        let (lost, words) = words.split_first()?;
        (*first, *lost, words)
    };
    let (cells, rest) = words.split_at_checked((head & CELLS) as usize)?;
    let bucket = Bucket {
        slot: Slot(*slot),
        sent,
        lost,
        has_others: head & HAS_OTHERS != 0,
        cells,
    };
    Some((bucket, rest))
}

impl Tape {
    /// Bytes on the heap.
    pub(super) const fn heap_bytes(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }

    /// How many slots have results.
    pub(super) const fn len(&self) -> usize {
        self.records as usize
    }

    /// All buckets.
    fn all(&self) -> Buckets<'_> {
        Buckets { words: &self.words }
    }

    /// The buckets of some slots.
    pub(super) fn of(&self, slots: &Range<Slot>) -> impl Iterator<Item = Bucket<'_>> + use<'_> {
        let Range { start, end } = *slots;
        self.all()
            .skip_while(move |bucket| bucket.slot < start)
            .take_while(move |bucket| bucket.slot < end)
    }

    /// The first slot with results.
    pub(super) fn first(&self) -> Option<Slot> {
        self.words.first().copied().map(Slot)
    }

    /// Forgets the slots before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: Slot) {
        if self.first().is_none_or(|first| first >= oldest) {
            return;
        }
        let (mut at, mut gone) = (0, 0);
        while let Some((bucket, rest)) = split(&self.words[at..])
            && bucket.slot < oldest
        {
            at = self.words.len() - rest.len();
            gone += 1;
        }
        self.words.drain(..at);
        self.records -= gone;
        if self.words.capacity() > 2 * self.words.len() + SPARE {
            self.words.shrink_to(self.words.len() + GROWTH);
        }
    }

    /// Counts a report into `slot`. `cells` is memory that is used again and again.
    pub(super) fn add(&mut self, report: &PathReport, slot: Slot, cells: &mut Vec<u32>) {
        let mut filling = Filling::new(std::mem::take(cells));
        let mut at = 0;
        let mut range = None;
        while let Some((bucket, rest)) = split(&self.words[at..])
            && bucket.slot <= slot
        {
            let end = self.words.len() - rest.len();
            if bucket.slot == slot {
                filling.fill(&bucket);
                range = Some(at..end);
                break;
            }
            at = end;
        }
        filling.add(report);
        self.records += u32::from(range.is_none());
        self.write(range.unwrap_or(at..at), slot, &filling);
        *cells = filling.cells;
        cells.clear();
    }

    /// Puts a record in the place of these words.
    fn write(&mut self, range: Range<usize>, slot: Slot, filling: &Filling) {
        let is_narrow = |count: u32| u16::try_from(count).is_ok();
        let is_wide = !is_narrow(filling.sent) || !is_narrow(filling.lost);
        // A slot of 5 s cannot hold so many different results.
        let count = u32::try_from(filling.cells.len())
            .unwrap_or(CELLS)
            .min(CELLS);
        let mut head = count;
        if filling.has_others {
            head |= HAS_OTHERS;
        }
        let (first, second) = if is_wide {
            head |= IS_WIDE;
            (filling.sent, Some(filling.lost))
        } else {
            (filling.sent << 16 | filling.lost, None)
        };
        let cells = &filling.cells[..count as usize];
        let new = 3 + usize::from(is_wide) + cells.len();
        let more = new.saturating_sub(range.len());
        if self.words.capacity() - self.words.len() < more {
            self.words.reserve_exact(more.max(GROWTH));
        }
        let words = [slot.0, head, first].into_iter().chain(second);
        self.words.splice(range, words.chain(cells.iter().copied()));
    }
}

#[cfg(test)]
impl Tape {
    /// Counts the records anew and compares.
    pub(super) fn check(&self) {
        assert_eq!(self.all().count(), self.len());
        let slots: Vec<Slot> = self.all().map(|bucket| bucket.slot).collect();
        assert!(slots.is_sorted_by(|a, b| a < b), "{slots:?}");
        let rest = self.all().fold(self.words.as_slice(), |words, _| {
            split(words).map_or(&[], |(_, rest)| rest)
        });
        assert!(rest.is_empty());
    }
}
