//! All paths: found by what identifies them, ordered by when they last had results.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use super::super::report::{End, Path, PathReport};
use super::bucket::{Bucket, Sums};
use super::slot::Slot;
use super::summary::Summary;
use super::tape::Tape;
use crate::id::{Gid, ServiceName, UdpSourcePort};
use crate::probe::{PathFidelity, ProbeKind};
use crate::transport::Class;

/// What the windows hold and what had to go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Paths.
    pub paths: usize,
    /// Buckets of all paths.
    pub buckets: usize,
    /// Bytes, heap and tables included, as allocated.
    pub bytes: usize,
    /// Paths that were dropped because of a limit, since the start.
    pub evicted: u64,
    /// Paths that were dropped because they had no new results for longer than slots are kept, since the start.
    pub expired: u64,
}

/// No entry.
const NONE: u32 = u32::MAX;

/// One path with its buckets.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: Arc<End>,
    pub(super) target: Arc<End>,
    pub(super) kind: ProbeKind,
    pub(super) source_port: Option<UdpSourcePort>,
    pub(super) service: Option<Box<ServiceName>>,
    pub(super) class: Option<Class>,
    pub(super) fidelity: Option<PathFidelity>,
    tape: Tape,
    hash: u64,
    newer: u32,
    older: u32,
    /// The table's stamp when a report came last.
    touched: u64,
    /// A probe has come through.
    has_come_through: bool,
}

impl Entry {
    fn is(&self, path: &Path) -> bool {
        self.source.gid == path.source.gid
            && self.target.gid == path.target.gid
            && self.kind == path.kind.of_path()
            && self.source_port == path.source_port
            && self.service.as_deref() == path.service.as_ref()
            && self.class == path.class
            && self.fidelity == path.fidelity
    }

    /// Bytes of the entry itself and what hangs on it.
    fn bytes(&self) -> usize {
        let service = self
            .service
            .as_ref()
            .map_or(0, |name| size_of::<ServiceName>() + name.as_str().len());
        size_of::<Self>() + service + self.tape.heap_bytes()
    }

    /// Counts a report into `slot`, and forgets the slots before `oldest`. `cells` is memory that is used again and again.
    pub(super) fn add(
        &mut self,
        report: &PathReport,
        (slot, oldest): (Slot, Slot),
        cells: &mut Vec<u32>,
    ) {
        self.tape.forget_before(oldest);
        self.tape.add(report, slot, cells);
    }

    /// Whether this report has the first probe that comes through.
    pub(super) const fn comes_through(&mut self, report: &PathReport) -> bool {
        let is_first = !self.has_come_through && !report.samples.is_empty();
        self.has_come_through |= is_first;
        is_first
    }

    pub(super) fn buckets_of(
        &self,
        slots: &Range<Slot>,
    ) -> impl Iterator<Item = Bucket<'_>> + use<'_> {
        self.tape.of(slots)
    }

    pub(super) fn summary(&self, slots: &Range<Slot>) -> Option<Summary> {
        let mut buckets = self.buckets_of(slots).peekable();
        buckets.peek()?;
        let mut sums = Sums::default();
        for bucket in buckets {
            bucket.add_to(&mut sums);
        }
        Some(Summary {
            source: Arc::clone(&self.source),
            target: Arc::clone(&self.target),
            kind: self.kind,
            source_port: self.source_port,
            service: self.service.as_deref().cloned(),
            class: self.class,
            fidelity: self.fidelity,
            sent: sums.sent,
            lost: sums.lost,
            invalid: sums.invalid,
            network_rtt: sums.network_rtt,
            prober_delay: sums.prober_delay,
            responder_delay: sums.responder_delay,
            focused: sums.focused,
        })
    }
}

/// What is known of an RNIC, and how many ends of paths it is.
#[derive(Debug)]
struct Known {
    end: Arc<End>,
    uses: usize,
}

/// All paths.
#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    index: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    /// What is known of each RNIC, shared by its paths.
    ends: HashMap<Gid, Known>,
    ends_bytes: usize,
    entries_bytes: usize,
    buckets: usize,
    evicted: u64,
    expired: u64,
    /// Reports that were counted.
    stamp: u64,
    /// Memory for the slot at hand.
    cells: Vec<u32>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
            ends: HashMap::new(),
            ends_bytes: 0,
            entries_bytes: 0,
            buckets: 0,
            evicted: 0,
            expired: 0,
            stamp: 0,
            cells: Vec::new(),
        }
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn bytes(&self) -> usize {
        // A hash table holds one control byte per place; the ends' table about twice its pairs.
        self.entries_bytes
            + self.ends_bytes
            + self.index.capacity() * (size_of::<u32>() + 1)
            + (self.entries.capacity() - self.index.len()) * size_of::<Option<Entry>>()
            + self.free.capacity() * size_of::<u32>()
    }

    pub(super) fn memory(&self) -> Memory {
        Memory {
            paths: self.len(),
            buckets: self.buckets,
            bytes: self.bytes(),
            evicted: self.evicted,
            expired: self.expired,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(super) fn by_place(&self) -> impl Iterator<Item = Option<&Entry>> {
        self.entries.iter().map(Option::as_ref)
    }

    pub(super) fn at(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)?.as_ref()
    }

    pub(super) const fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(super) const fn removed(&self) -> u64 {
        self.evicted.saturating_add(self.expired)
    }

    /// The places that were updated after the stamp was this number, newest first.
    pub(super) fn touched_since(&self, stamp: u64) -> impl Iterator<Item = usize> {
        let mut next = self.newest;
        std::iter::from_fn(move || {
            let entry = self.at(next as usize)?;
            let place = next as usize;
            next = entry.older;
            (entry.touched > stamp).then_some(place)
        })
    }

    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter_places(&self, places: Range<usize>) -> impl Iterator<Item = &Entry> {
        let end = places.end.min(self.entries.len());
        let start = places.start.min(end);
        self.entries[start..end].iter().flatten()
    }

    fn entry(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(at as usize)?.as_mut()
    }

    /// Changes the path's entry, made if missing, and makes it the newest. Returns what `change` returns; `None` if the table has no
    /// entry for the path.
    pub(super) fn update<T>(
        &mut self,
        path: &Path,
        change: impl FnOnce(&mut Entry, &mut Vec<u32>) -> T,
    ) -> Option<T> {
        let hash = hash(&self.hasher, path);
        let found = self
            .index
            .find(hash, |at| {
                self.entries[*at as usize]
                    .as_ref()
                    .is_some_and(|entry| entry.is(path))
            })
            .copied();
        let at = if let Some(at) = found {
            self.refresh_ends(at, path);
            self.unlink(at);
            at
        } else {
            self.insert(hash, path)
        };
        self.link_newest(at);
        self.stamp += 1;
        let entry = self.entries[at as usize].as_mut()?;
        entry.touched = self.stamp;
        let (bytes, buckets) = (entry.bytes(), entry.tape.len());
        let result = change(entry, &mut self.cells);
        self.entries_bytes = self.entries_bytes - bytes + entry.bytes();
        self.buckets = self.buckets - buckets + entry.tape.len();
        Some(result)
    }

    fn insert(&mut self, hash: u64, path: &Path) -> u32 {
        let entry = Entry {
            source: self.end(&path.source, 1),
            target: self.end(&path.target, 1),
            kind: path.kind.of_path(),
            source_port: path.source_port,
            service: path.service.clone().map(Box::new),
            class: path.class,
            fidelity: path.fidelity,
            tape: Tape::default(),
            hash,
            newer: NONE,
            older: NONE,
            touched: 0,
            has_come_through: false,
        };
        self.entries_bytes += entry.bytes();
        let at = if let Some(at) = self.free.pop() {
            self.entries[at as usize] = Some(entry);
            at
        } else {
            self.entries.push(Some(entry));
            u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |at| {
            entries[*at as usize].as_ref().map_or(0, |entry| entry.hash)
        });
        at
    }

    /// What is known of an RNIC: the last that was said. `uses` more ends of paths are it.
    fn end(&mut self, end: &Arc<End>, uses: usize) -> Arc<End> {
        let known = self.ends.entry(end.gid).or_insert_with(|| {
            self.ends_bytes += end_bytes(end);
            Known {
                end: Arc::clone(end),
                uses: 0,
            }
        });
        known.uses += uses;
        if known.end != *end {
            self.ends_bytes = self.ends_bytes - end_bytes(&known.end) + end_bytes(end);
            known.end = Arc::clone(end);
        }
        Arc::clone(&known.end)
    }

    fn refresh_ends(&mut self, at: u32, path: &Path) {
        let Some(entry) = self.entry(at) else {
            return;
        };
        let source = entry.source != path.source;
        let target = entry.target != path.target;
        if source {
            let end = self.end(&path.source, 0);
            if let Some(entry) = self.entry(at) {
                entry.source = end;
            }
        }
        if target {
            let end = self.end(&path.target, 0);
            if let Some(entry) = self.entry(at) {
                entry.target = end;
            }
        }
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older)) = self.entry(at).map(|entry| (entry.newer, entry.older)) else {
            return;
        };
        match self.entry(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entry(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let older = self.newest;
        if let Some(entry) = self.entry(at) {
            entry.older = older;
            entry.newer = NONE;
        }
        match self.entry(older) {
            Some(entry) => entry.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let Some(entry) = self.entries.get_mut(at as usize).and_then(Option::take) else {
            return;
        };
        self.entries_bytes -= entry.bytes();
        self.buckets -= entry.tape.len();
        if let Ok(found) = self.index.find_entry(entry.hash, |other| *other == at) {
            found.remove();
        }
        self.free.push(at);
        for gid in [entry.source.gid, entry.target.gid] {
            if let Some(known) = self.ends.get_mut(&gid) {
                known.uses -= 1;
                if known.uses == 0 {
                    self.ends_bytes -= end_bytes(&known.end);
                    self.ends.remove(&gid);
                }
            }
        }
    }

    /// Removes the path that has had no results for longest; false if there is only one left, which stays.
    pub(super) fn evict(&mut self) -> bool {
        if self.len() <= 1 {
            return false;
        }
        self.remove(self.oldest);
        self.evicted += 1;
        true
    }

    /// Removes the buckets before `oldest`, and the paths that have none left.
    pub(super) fn expire(&mut self, oldest: Slot) {
        for at in 0..u32::try_from(self.entries.len()).unwrap_or(NONE) {
            let Some(entry) = self.entries[at as usize].as_mut() else {
                continue;
            };
            let (bytes, buckets) = (entry.bytes(), entry.tape.len());
            entry.tape.forget_before(oldest);
            self.entries_bytes = self.entries_bytes - bytes + entry.bytes();
            self.buckets = self.buckets - buckets + entry.tape.len();
            if entry.tape.len() == 0 {
                self.remove(at);
                self.expired += 1;
            }
        }
    }
}

fn end_bytes(end: &End) -> usize {
    let names = end.host.as_str().len() + end.tor.as_str().len() + end.device.as_str().len();
    // Arc's counters, and a pair in the table with its spare places.
    size_of::<End>() + names + 16 + 2 * (size_of::<Gid>() + size_of::<Known>() + 1)
}

fn hash(hasher: &RandomState, path: &Path) -> u64 {
    // In one piece: small ones cost the hasher as much each.
    let mut fixed = [0; 39];
    fixed[..16].copy_from_slice(&path.source.gid.bytes());
    fixed[16..32].copy_from_slice(&path.target.gid.bytes());
    fixed[32] = path.kind.of_path() as u8;
    if let Some(port) = path.source_port {
        fixed[33] = 1;
        fixed[34..36].copy_from_slice(&port.0.to_be_bytes());
    }
    if let Some(class) = path.class {
        fixed[36] = class.service_level.saturating_add(1);
        fixed[37] = class.traffic_class;
    }
    if let Some(fidelity) = path.fidelity {
        fixed[38] = 1 + fidelity as u8;
    }
    let mut state = hasher.build_hasher();
    state.write(&fixed);
    if let Some(service) = &path.service {
        service.hash(&mut state);
    }
    state.finish()
}

#[cfg(test)]
impl Table {
    /// Counts everything anew and compares.
    pub(super) fn check(&self) {
        for entry in self.iter() {
            entry.tape.check();
        }
        assert_eq!(
            self.entries_bytes,
            self.iter().map(Entry::bytes).sum::<usize>()
        );
        assert_eq!(
            self.buckets,
            self.iter().map(|entry| entry.tape.len()).sum::<usize>()
        );
        assert_eq!(
            self.ends_bytes,
            self.ends
                .values()
                .map(|known| end_bytes(&known.end))
                .sum::<usize>()
        );
        for (gid, known) in &self.ends {
            let ends = self
                .iter()
                .flat_map(|entry| [entry.source.gid, entry.target.gid]);
            assert_eq!(known.uses, ends.filter(|end| end == gid).count(), "{gid}");
        }
        let mut at = self.newest;
        let mut linked = 0;
        while let Some(entry) = self.entries.get(at as usize).and_then(Option::as_ref) {
            linked += 1;
            at = entry.older;
        }
        assert_eq!((linked, self.iter().count()), (self.len(), self.len()));
    }
}
