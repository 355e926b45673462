//! The matrix of ToRs: what was measured from each to each other over a window, for all viewers at once.
//!
//! The counts are copied out of the state thread in portions of [`PORTION`] paths, between which the thread takes batches,
//! and added up outside of it. A window is collected at most once per slot, however many look at it, and only while
//! somebody does; after a collection that took long there is a break [`BREAKS`] times as long, so that viewers never take
//! more than a twentieth of the state thread. Until then they see the one before, with its time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::details::{Details, Gatherer};
use crate::analysis::trend::Gathered;
use crate::analysis::windows::{Slot, Sums, WindowLength};
use crate::analyzer::state::{State, StateHandle};
use crate::api::list::natural;
use crate::id::TorId;
use crate::probe::trace::Tuple;
use crate::time::{Clock, HostTime, Nanos, WallTime};

/// Places of paths that are read at once: a few milliseconds of the state thread.
const PORTION: usize = 8_192;
/// Breaks are so many times as long as the collection before.
const BREAKS: u32 = 20;
/// Batches of a slot's last second come this late.
const SETTLED: Duration = Duration::from_secs(2);
/// A window that nobody looked at for so long is collected at once.
const OUTDATED: Duration = Duration::from_secs(30);

/// What was measured from one ToR to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// Index of the probing ToR.
    pub(super) source: u32,
    /// Index of the answering one.
    pub(super) target: u32,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) rtt_p50: Option<Nanos>,
    pub(super) rtt_p99: Option<Nanos>,
    pub(super) prober_p99: Option<Nanos>,
    pub(super) responder_p99: Option<Nanos>,
}

/// The matrix of a time span.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Matrix {
    /// When it begins and ends.
    pub(super) start: i64,
    /// Nanoseconds since 1970, like the beginning.
    pub(super) end: i64,
    /// Names in their natural order.
    pub(super) tors: Vec<TorId>,
    /// By source, then target; pairs without results are absent.
    pub(super) cells: Vec<Cell>,
}

impl Matrix {
    /// The cells of one source.
    pub(super) fn row(&self, source: u32) -> &[Cell] {
        let from = self.cells.partition_point(|cell| cell.source < source);
        let to = self.cells.partition_point(|cell| cell.source <= source);
        &self.cells[from..to]
    }

    /// What was measured from one ToR to another, each by its name or that of the group it is in, and whether either is a
    /// group; `None` where a name is unknown, an empty cell without probes.
    pub(super) fn pair(&self, source: &str, target: &str) -> Option<(Cell, bool)> {
        let ((source, a), (target, b)) = (self.place(source)?, self.place(target)?);
        let row = self.row(source);
        let cell = row
            .binary_search_by_key(&target, |cell| cell.target)
            .map_or(
                Cell {
                    source,
                    target,
                    sent: 0,
                    lost: 0,
                    rtt_p50: None,
                    rtt_p99: None,
                    prober_p99: None,
                    responder_p99: None,
                },
                |at| row[at],
            );
        Some((cell, a || b))
    }

    /// The place of a ToR or of the group it is in, and whether it is a group.
    fn place(&self, name: &str) -> Option<(u32, bool)> {
        let by = |is: &dyn Fn(&str) -> bool| self.tors.iter().position(|tor| is(tor.as_str()));
        let at = by(&|tor| tor == name).or_else(|| by(&|tor| is_within(tor, name)))?;
        let is_group = self.tors[at].as_str().contains(BETWEEN);
        Some((u32::try_from(at).ok()?, is_group))
    }
}

/// Between the first and the last name of a group.
pub(super) const BETWEEN: &str = " … ";

/// Whether this is the name, or that of a group in which it is.
pub(super) fn is_within(group: &str, name: &str) -> bool {
    group == name
        || group.split_once(BETWEEN).is_some_and(|(first, last)| {
            natural(first, name).is_le() && natural(name, last).is_le()
        })
}

/// Adds paths up to pairs of ToRs.
struct Collector {
    slots: Range<Slot>,
    tors: HashMap<TorId, u32>,
    pairs: HashMap<(u32, u32), Sums>,
    details: Option<Gatherer>,
    trends: Option<Gathered>,
    next: usize,
}

impl Collector {
    fn new(slots: Range<Slot>) -> Self {
        Self {
            details: None,
            trends: None,
            slots,
            tors: HashMap::new(),
            pairs: HashMap::new(),
            next: 0,
        }
    }

    /// Takes the next portion; whether there is more.
    fn take(&mut self, state: &State) -> bool {
        let end = self.next.saturating_add(PORTION);
        for path in state.windows.paths_in(self.next..end) {
            if path.has_results(&self.slots) {
                let source = self.tor(&path.source().tor);
                let target = self.tor(&path.target().tor);
                path.add_to(&self.slots, self.pairs.entry((source, target)).or_default());
                if let Some(details) = &mut self.details {
                    details.take(state, path, &self.slots);
                }
                if let Some(trends) = &mut self.trends {
                    let hops = path.source_port().into_iter().flat_map(|port| {
                        state.hops(&Tuple {
                            source: path.source().gid,
                            target: path.target().gid,
                            port,
                        })
                    });
                    trends.take(path, &self.slots, hops.map(|(_, name)| name));
                }
            }
        }
        self.next = end;
        end < state.windows.places()
    }

    fn tor(&mut self, tor: &TorId) -> u32 {
        if let Some(known) = self.tors.get(tor) {
            return *known;
        }
        let number = u32::try_from(self.tors.len()).unwrap_or(u32::MAX);
        self.tors.insert(tor.clone(), number);
        number
    }

    fn finish(self) -> (Matrix, Details, Gathered) {
        let trends = self.trends.unwrap_or_default();
        let details = self.details.map(Gatherer::finish).unwrap_or_default();
        let mut names: Vec<(TorId, u32)> = self.tors.into_iter().collect();
        names.sort_by(|(a, _), (b, _)| natural(a.as_str(), b.as_str()));
        let mut place = vec![0; names.len()];
        for (at, (_, number)) in (0..).zip(&names) {
            place[*number as usize] = at;
        }
        let mut cells: Vec<Cell> = self
            .pairs
            .into_iter()
            .map(|((source, target), sums)| Cell {
                source: place[source as usize],
                target: place[target as usize],
                sent: sums.sent,
                lost: sums.lost,
                rtt_p50: sums.network_rtt.quantile(0.5),
                rtt_p99: sums.network_rtt.quantile(0.99),
                prober_p99: sums.prober_delay.quantile(0.99),
                responder_p99: sums.responder_delay.quantile(0.99),
            })
            .collect();
        cells.sort_unstable_by_key(|cell| (cell.source, cell.target));
        let matrix = Matrix {
            start: self.slots.start.start().nanos(),
            end: self.slots.end.start().nanos(),
            tors: names.into_iter().map(|(tor, _)| tor).collect(),
            cells,
        };
        (matrix, details, trends)
    }
}

/// Collects the matrix of these slots; `None` when the analyzer ends.
async fn collect(
    state: &StateHandle,
    clock: &Arc<dyn Clock>,
    slots: Range<Slot>,
) -> Option<(Matrix, Duration)> {
    let ((matrix, ..), kept) = gather(state, clock, Collector::new(slots)).await?;
    Some((matrix, kept))
}

/// Collects the matrix of these slots, its details, and what all series counted; `None` when the analyzer ends.
pub(super) async fn collect_all(
    state: &StateHandle,
    clock: &Arc<dyn Clock>,
    slots: Range<Slot>,
) -> Option<(Matrix, Details, Gathered)> {
    let collector = Collector {
        details: Some(Gatherer::default()),
        trends: Some(Gathered::default()),
        ..Collector::new(slots)
    };
    let (collected, _) = gather(state, clock, collector).await?;
    Some(collected)
}

/// Works a collector off, and how long the state thread was kept.
async fn gather(
    state: &StateHandle,
    clock: &Arc<dyn Clock>,
    mut collector: Collector,
) -> Option<((Matrix, Details, Gathered), Duration)> {
    let mut kept = Duration::ZERO;
    loop {
        let clock = Arc::clone(clock);
        let (back, more, took) = state
            .read(move |state, _| {
                let began = clock.host();
                let more = collector.take(state);
                (collector, more, clock.host().since(began))
            })
            .await?;
        collector = back;
        kept += took;
        if !more {
            break;
        }
    }
    let collected = tokio::task::spawn_blocking(move || collector.finish())
        .await
        .ok()?;
    Some((collected, kept))
}

/// The end of the newest window whose results have come.
pub(super) fn settled(now: WallTime) -> Slot {
    Slot::of(now + (Nanos::ZERO - Nanos::from(SETTLED)))
}

#[derive(Debug, Clone)]
struct Kept {
    matrix: Arc<Matrix>,
    end: Slot,
    at: HostTime,
}

/// The newest matrix of each window.
#[derive(Debug)]
pub(super) struct Matrices {
    kept: [Mutex<Option<Kept>>; WindowLength::ALL.len()],
    /// Nothing is collected before, except for windows that are [`OUTDATED`].
    not_before: std::sync::Mutex<HostTime>,
}

impl Matrices {
    pub(super) fn new(now: HostTime) -> Self {
        Self {
            kept: [const { Mutex::const_new(None) }; WindowLength::ALL.len()],
            not_before: std::sync::Mutex::new(now),
        }
    }

    /// The newest matrix; `None` when the analyzer ends. Those who ask at the same time share one collection.
    pub(super) async fn get(
        &self,
        span: WindowLength,
        state: &StateHandle,
        clock: &Arc<dyn Clock>,
    ) -> Option<Arc<Matrix>> {
        let place = WindowLength::ALL
            .iter()
            .position(|one| *one == span)
            .unwrap_or_default();
        let mut kept = self.kept[place].lock().await;
        let (now, end) = (clock.host(), settled(clock.wall()));
        if let Some(kept) = &*kept {
            let wait = now
                < *self
                    .not_before
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
            let age = now.since(kept.at);
            if age < OUTDATED && (kept.end == end || wait) {
                return Some(Arc::clone(&kept.matrix));
            }
        }
        let (matrix, took) = collect(state, clock, end.before(span.slots())..end).await?;
        let matrix = Arc::new(matrix);
        let now = clock.host();
        *self
            .not_before
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = now.after(took * BREAKS);
        *kept = Some(Kept {
            matrix: Arc::clone(&matrix),
            end,
            at: now,
        });
        Some(matrix)
    }
}
