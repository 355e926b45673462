//! The batches of one identity.

use std::collections::VecDeque;

use super::codec::Encoded;

/// What a batch takes beside its compressed payload, rounded up.
pub(super) const OVERHEAD: u64 = 64;

/// Where a batch is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskPlace {
    /// Number of the file.
    pub(super) segment: u64,
    /// Of its record.
    pub(super) offset: u64,
    /// Of its body.
    pub(super) length: usize,
}

/// Where a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Memory(Encoded),
    Disk(DiskPlace),
}

/// A batch that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    /// Compressed, with what it takes besides.
    pub(super) size: u64,
    pub(super) place: Place,
}

/// The batches of one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) id: u64,
    /// The largest number that was given.
    pub(super) newest: u64,
    /// The largest number that a receiver can have: what was there at the start, and what was read since.
    pub(super) reached: u64,
    /// In the order of their numbers, which may have gaps.
    pub(super) entries: VecDeque<Entry>,
}

impl Epoch {
    /// Without batches.
    pub(super) const fn new(id: u64) -> Self {
        Self {
            id,
            newest: 0,
            reached: 0,
            entries: VecDeque::new(),
        }
    }

    /// Adds a batch with the newest number.
    pub(super) fn push(&mut self, encoded: Encoded) {
        self.entries.push_back(Entry {
            sequence: self.newest,
            size: encoded.bytes.len() as u64 + OVERHEAD,
            place: Place::Memory(encoded),
        });
    }

    /// Adds a batch that is on the disk.
    pub(super) fn found(&mut self, sequence: u64, place: DiskPlace) {
        self.newest = self.newest.max(sequence);
        self.entries.push_back(Entry {
            sequence,
            size: place.length as u64 + OVERHEAD,
            place: Place::Disk(place),
        });
    }
}
