//! The last minutes per path, by event time, in bounded memory.
//!
//! Time is cut into slots of [`SLOT`]. A path keeps one bucket for each slot in which it had results: counts, and the
//! bins of its three distributions in one packed list. The windows of 5, 20 and 120 s are read by merging 1, 4 or 24
//! slots, so they slide by one slot. Slots are kept for the longest window plus a margin for batches that come late.
//!
//! A batch belongs to the slot in which the middle of its interval lies. One that is too old for any slot that is kept,
//! or further in the future than clocks may disagree, is not counted into windows: [`Windows::ingest`] says so.
//!
//! Memory is bounded by the number of paths and by bytes; beyond either, the path that has been silent longest (by
//! arrival) goes, and is counted.

mod bucket;
mod planes;
mod slot;
mod summary;
mod table;
mod tape;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use table::{Entry, Table};

pub use bucket::{Focused, SlotCounts, Sums};
pub use planes::Planes;
pub(crate) use slot::SLOT;
pub use slot::{Slot, WindowLength};
pub use summary::Summary;
pub use table::Memory;

use super::report::{Batch, End, Path, PathReport};
use super::sketch::{Bin, Sketch};
use crate::id::{ServiceName, UdpSourcePort};
use crate::probe::{PathFidelity, ProbeKind};
use crate::time::{Nanos, WallTime};

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How late a batch may come and still be counted into the longest window.
    pub lateness: Duration,
    /// How far an agent's clock may be ahead.
    pub clock_tolerance: Duration,
    /// The most paths.
    pub paths: usize,
    /// The most bytes, as [`Memory::bytes`] counts them.
    pub bytes: usize,
}

impl Limits {
    /// How long after its beginning a slot is kept.
    pub fn kept(&self) -> Duration {
        WindowLength::Long.duration() + SLOT + self.lateness
    }

    /// The oldest slot that is kept.
    fn oldest(&self, now: WallTime) -> Slot {
        Slot::of(now + (Nanos::ZERO - Nanos::from(self.kept())))
    }

    /// Where a batch of this interval is counted.
    pub fn place(&self, interval: &Range<WallTime>, now: WallTime) -> Placement {
        let ahead = interval.end - now;
        if ahead > Nanos::from(self.clock_tolerance) {
            return Placement::Future(ahead.to_duration().unwrap_or_default());
        }
        if Slot::of_interval(interval) < self.oldest(now) {
            return Placement::Late(now.since(interval.end));
        }
        Placement::Counted
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// It is counted in the windows.
    Counted,
    /// It is older than everything that is kept; by so much.
    Late(Duration),
    /// It lies further in the future than clocks may disagree: the agent's clock is wrong. By so much.
    Future(Duration),
}

/// The windows of all paths.
#[derive(Debug)]
pub struct Windows {
    limits: Limits,
    table: Table,
    /// `None` where a topology file says what is connected.
    planes: Option<Planes>,
    identity: u64,
}

/// How many windows were made.
static MADE: AtomicU64 = AtomicU64::new(0);

impl Windows {
    /// Empty.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: Table::default(),
            planes: Some(Planes::default()),
            identity: MADE.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// Keeps so many paths from now on.
    pub(crate) const fn keep(&mut self, paths: usize) {
        self.limits.paths = paths;
    }

    /// Counts a batch that was not counted before.
    pub fn ingest(&mut self, batch: &Batch, now: WallTime) -> Placement {
        let placement = self.limits.place(&batch.interval, now);
        if placement == Placement::Counted {
            let slot = Slot::of_interval(&batch.interval);
            let oldest = self.limits.oldest(now);
            for report in &batch.paths {
                self.count(report, slot, oldest);
            }
        }
        placement
    }

    fn count(&mut self, report: &PathReport, slot: Slot, oldest: Slot) {
        let is_first = self.table.update(&report.path, |entry, cells| {
            entry.add(report, (slot, oldest), cells);
            entry.comes_through(report)
        });
        if is_first == Some(true)
            && let Some(planes) = &mut self.planes
        {
            let Path { source, target, .. } = &report.path;
            planes.connect(&source.tor, &target.tor);
        }
        while self.table.len() > self.limits.paths || self.table.bytes() > self.limits.bytes {
            if !self.table.evict() {
                break;
            }
        }
    }

    /// Forgets what is too old. Call it about once per slot.
    pub(crate) fn expire(&mut self, now: WallTime) {
        let oldest = self.limits.oldest(now);
        self.table.expire(oldest);
    }

    /// The slots of a window that ends with the last slot that was over at `now`.
    pub fn slots(&self, span: WindowLength, now: WallTime) -> Range<Slot> {
        let end = Slot::of(now);
        Slot(end.0.saturating_sub(span.slots()))..end
    }

    /// All paths, in no particular order.
    pub fn paths(&self) -> impl Iterator<Item = PathView<'_>> {
        self.table.iter().map(PathView)
    }

    /// The places for paths in their order, empty ones as `None`. A path keeps its place.
    pub(crate) fn by_place(&self) -> impl Iterator<Item = Option<PathView<'_>>> {
        self.table.by_place().map(|entry| entry.map(PathView))
    }

    /// The path in a place.
    pub(crate) fn at(&self, place: usize) -> Option<PathView<'_>> {
        self.table.at(place).map(PathView)
    }

    /// Tells these windows from all others of the process.
    pub(crate) const fn identity(&self) -> u64 {
        self.identity
    }

    /// A number that grows with each report that is counted.
    pub(crate) const fn stamp(&self) -> u64 {
        self.table.stamp()
    }

    /// The places of the paths that reports have reached since [`Self::stamp`] was this number.
    pub(crate) fn touched_since(&self, stamp: u64) -> impl Iterator<Item = usize> {
        self.table.touched_since(stamp)
    }

    /// How many paths were removed.
    pub(crate) const fn removed(&self) -> u64 {
        self.table.removed()
    }

    /// How many places for paths there are, empty ones included: the end of [`Self::paths_in`]'s range.
    pub fn places(&self) -> usize {
        self.table.places()
    }

    /// The paths in these places, so that a reader of all of them can take breaks. A path keeps its place.
    pub(crate) fn paths_in(&self, places: Range<usize>) -> impl Iterator<Item = PathView<'_>> {
        self.table.iter_places(places).map(PathView)
    }

    /// A topology file says what is connected: planes are not told from probes.
    #[must_use]
    pub fn without_planes(self) -> Self {
        Self {
            planes: None,
            ..self
        }
    }

    /// Which ToRs reach each other, by the probes that came through. `None` where a topology file says it.
    pub const fn planes(&self) -> Option<&Planes> {
        self.planes.as_ref()
    }

    /// What is held and what had to go.
    pub fn memory(&self) -> Memory {
        self.table.memory()
    }
}

/// A path in the windows.
#[derive(Debug, Clone, Copy)]
pub struct PathView<'a>(&'a Entry);

impl<'a> PathView<'a> {
    /// The RNIC that probes.
    pub fn source(&self) -> &'a End {
        &self.0.source
    }

    /// The RNIC that answers.
    pub fn target(&self) -> &'a End {
        &self.0.target
    }

    /// Why it is probed.
    pub fn kind(&self) -> ProbeKind {
        self.0.kind
    }

    /// UDP source port of the probes, where known.
    pub fn source_port(&self) -> Option<UdpSourcePort> {
        self.0.source_port
    }

    /// The service that uses the path.
    pub fn service(&self) -> Option<&'a ServiceName> {
        self.0.service.as_deref()
    }

    /// Whether it is the path of the service's own connections, where the agent tells.
    pub fn fidelity(&self) -> Option<PathFidelity> {
        self.0.fidelity
    }

    /// Whether there are results of these slots.
    pub(crate) fn has_results(self, slots: &Range<Slot>) -> bool {
        self.0.buckets_of(slots).next().is_some()
    }

    /// What was counted in these slots, oldest first; slots without results are left out.
    pub fn counts(&self, slots: &Range<Slot>) -> impl Iterator<Item = SlotCounts> + use<'a> {
        self.0.buckets_of(slots).map(|bucket| bucket.counts())
    }

    /// Round trips in these slots that can be trusted, and those of them that took longer than `limit`.
    pub(crate) fn slower_than(self, slots: &Range<Slot>, limit: Nanos) -> (u64, u64) {
        self.0
            .buckets_of(slots)
            .map(|bucket| bucket.slower_than(limit))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// How many round trips in these slots can be trusted, and the bin of the longest.
    pub(crate) fn trusted(self, slots: &Range<Slot>) -> (u64, Bin) {
        let none = (0, Bin::from_number(0));
        self.0
            .buckets_of(slots)
            .map(|bucket| bucket.trusted())
            .fold(none, |sum, one| (sum.0 + one.0, sum.1.max(one.1)))
    }

    /// Distribution of the round trips in these slots that can be trusted.
    pub fn network_rtt(&self, slots: &Range<Slot>) -> Sketch {
        let mut sketch = Sketch::default();
        for bucket in self.0.buckets_of(slots) {
            bucket.add_rtt_to(&mut sketch);
        }
        sketch
    }

    /// The RNIC that probes, shared.
    pub(crate) fn source_end(self) -> Arc<End> {
        Arc::clone(&self.0.source)
    }

    /// The RNIC that answers, shared.
    pub(crate) fn target_end(self) -> Arc<End> {
        Arc::clone(&self.0.target)
    }

    /// Adds what was measured in these slots.
    pub(crate) fn add_to(self, slots: &Range<Slot>, sums: &mut Sums) {
        for bucket in self.0.buckets_of(slots) {
            bucket.add_to(sums);
        }
    }

    /// What was measured in these slots; `None` without results.
    pub fn summary(&self, slots: &Range<Slot>) -> Option<Summary> {
        self.0.summary(slots)
    }
}

#[cfg(test)]
mod tests;
