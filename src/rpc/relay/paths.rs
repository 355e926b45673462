//! Numbers for paths, at the analyzer that passes results on.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};

use hashbrown::HashTable;

use super::MOST_PATHS;
use crate::analysis::report::{Path, PathReport};
use crate::transport::CompletionClock;

/// Numbers for the paths of all batches that are kept. A number is used again when no batch that is kept has its path.
#[derive(Debug, Default)]
pub struct PathBook {
    hasher: RandomState,
    index: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Paths that were numbered since the start.
    numbered: u64,
}

#[derive(Debug)]
struct Entry {
    path: Path,
    clock: CompletionClock,
    hash: u64,
    /// Reports that are kept.
    uses: u64,
    /// Tells it from earlier paths of its number; from 1.
    mark: u64,
}

/// Which paths one stream has described.
#[derive(Debug, Default)]
pub struct Told(Vec<u64>);

impl Told {
    /// Notes a path as described; whether it was not before.
    fn note(&mut self, number: u32, mark: u64) -> bool {
        let at = number as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.0[at], mark) != mark
    }
}

impl PathBook {
    /// How many paths have a number.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no path has one.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The number of a report's path, which is used once more. `None` when [`MOST_PATHS`] have one.
    pub(super) fn number(&mut self, report: &PathReport) -> Option<u32> {
        let hash = self.hash(report);
        let entries = &self.entries;
        let is_it = |number: &u32| {
            let entry = entries[*number as usize].as_ref();
            entry.is_some_and(|entry| entry.clock == report.clock && entry.path == report.path)
        };
        if let Some(number) = self.index.find(hash, is_it).copied() {
            if let Some(entry) = &mut self.entries[number as usize] {
                entry.uses += 1;
            }
            return Some(number);
        }
        self.numbered += 1;
        let entry = Entry {
            path: report.path.clone(),
            clock: report.clock,
            hash,
            uses: 1,
            mark: self.numbered,
        };
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.entries.len() < MOST_PATHS => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).ok()?
            }
            None => return None,
        };
        self.entries[number as usize] = Some(entry);
        let entries = &self.entries;
        self.index.insert_unique(hash, number, |number| {
            entries[*number as usize]
                .as_ref()
                .map_or(0, |entry| entry.hash)
        });
        Some(number)
    }

    /// A report of this path is not kept any more.
    pub(super) fn release(&mut self, number: u32) {
        let Some(place) = self.entries.get_mut(number as usize) else {
            return;
        };
        let Some(entry) = place else { return };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return;
        }
        let hash = entry.hash;
        *place = None;
        if let Ok(found) = self.index.find_entry(hash, |other| *other == number) {
            found.remove();
        }
        self.free.push(number);
    }

    /// A path that the stream has not described; from now on it has.
    pub(super) fn untold(&self, number: u32, told: &mut Told) -> Option<(&Path, CompletionClock)> {
        let entry = self.entries.get(number as usize)?.as_ref()?;
        told.note(number, entry.mark)
            .then_some((&entry.path, entry.clock))
    }

    fn hash(&self, report: &PathReport) -> u64 {
        let path = &report.path;
        // In one piece: small ones cost the hasher as much each.
        let mut fixed = [0; 36];
        fixed[..16].copy_from_slice(&path.source.gid.bytes());
        fixed[16..32].copy_from_slice(&path.target.gid.bytes());
        fixed[32] = path.kind as u8;
        if let Some(port) = path.source_port {
            fixed[33] = 1;
            fixed[34..].copy_from_slice(&port.0.to_be_bytes());
        }
        let mut state = self.hasher.build_hasher();
        state.write(&fixed);
        if let Some(service) = &path.service {
            service.hash(&mut state);
        }
        state.finish()
    }
}
