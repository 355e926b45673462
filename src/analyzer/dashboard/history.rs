//! Keeps one picture per minute, so that pages can show the past: the matrix of ToRs, services, and paths that lost probes.
//!
//! Each picture covers its whole minute, so no loss falls between two. Large fabrics are kept as the overview draws them:
//! neighbours together in at most [`super::grid::SIDE`] rows and columns, each with its worst pair. Pictures of versions
//! that kept the matrix only are read as well.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::board::DashboardInputs;
use super::details::Details;
use super::grid;
use super::matrix::{Cell, Matrix, collect_all};
use crate::analysis::windows::Slot;
use crate::analyzer::state::StateHandle;
use crate::analyzer::trends::keep::TrendKeeper;
use crate::id::TorId;
use crate::store::history::History;
use crate::time::{Clock, Nanos, WallTime};

/// How much one picture covers, and how often one is taken.
const MINUTE: Duration = Duration::from_mins(1);
const SLOTS: u32 = 12;
/// Results of a minute's last second come this late.
const SETTLED: Duration = Duration::from_secs(3);
/// ToRs up to which every pair is kept.
const EACH: usize = 64;

/// A minute of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) matrix: Matrix,
    /// `None` in pictures of older versions.
    pub(super) details: Option<Details>,
}

/// A picture as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    start: i64,
    end: i64,
    tors: Vec<String>,
    cells: Vec<StoredCell>,
    #[serde(default)]
    details: Option<Details>,
}

/// Source, target, sent, lost; then RTT median and p99, prober's and responder's p99.
type StoredCell = (u32, u32, u64, u64, [Option<i64>; 4]);

fn encode(matrix: &Matrix, details: Option<Details>) -> serde_json::Result<Vec<u8>> {
    let nanos = |span: Option<Nanos>| span.map(|span| span.0);
    serde_json::to_vec(&Stored {
        start: matrix.start,
        end: matrix.end,
        tors: matrix.tors.iter().map(ToString::to_string).collect(),
        cells: matrix
            .cells
            .iter()
            .map(|cell| {
                let spans = [
                    cell.rtt_p50,
                    cell.rtt_p99,
                    cell.prober_p99,
                    cell.responder_p99,
                ]
                .map(nanos);
                (cell.source, cell.target, cell.sent, cell.lost, spans)
            })
            .collect(),
        details,
    })
}

/// `None` for what is no picture.
pub(super) fn decode(body: &[u8]) -> Option<Picture> {
    let stored: Stored = serde_json::from_slice(body).ok()?;
    let tors = u32::try_from(stored.tors.len()).ok()?;
    let mut cells: Vec<Cell> = stored
        .cells
        .into_iter()
        .filter(|(source, target, ..)| *source < tors && *target < tors)
        .map(|(source, target, sent, lost, spans)| {
            let [rtt_p50, rtt_p99, prober_p99, responder_p99] = spans.map(|span| span.map(Nanos));
            Cell {
                source,
                target,
                sent,
                lost,
                rtt_p50,
                rtt_p99,
                prober_p99,
                responder_p99,
            }
        })
        .collect();
    cells.sort_by_key(|cell| (cell.source, cell.target));
    let matrix = Matrix {
        start: stored.start,
        end: stored.end,
        tors: stored.tors.into_iter().map(TorId::new).collect(),
        cells,
    };
    Some(Picture {
        matrix,
        details: stored.details,
    })
}

/// The task. It ends with `stop`; a minute that it is at then is not kept.
pub(super) fn keep(
    parts: &DashboardInputs,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let keeper = Keeper {
        state: parts.state.clone(),
        history: Arc::clone(&parts.history),
        clock: Arc::clone(&parts.clock),
        trends: TrendKeeper::new(Arc::clone(&parts.trends.store), parts.trends.retention),
        retention: parts.retention,
    };
    async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeper.run() => {}
        }
    }
}

struct Keeper {
    state: StateHandle,
    history: Arc<dyn History>,
    clock: Arc<dyn Clock>,
    trends: TrendKeeper,
    retention: Duration,
}

impl Keeper {
    async fn run(mut self) {
        let mut last = whole_minute(self.clock.wall());
        loop {
            let now = self.clock.wall();
            let next = last.after(MINUTE + SETTLED);
            let wait = (next - now).to_duration().unwrap_or_default();
            tokio::time::sleep(wait.clamp(Duration::from_millis(200), MINUTE)).await;
            let now = self.clock.wall();
            let minute = whole_minute(now + (Nanos::ZERO - Nanos::from(SETTLED)));
            if minute == last {
                continue;
            }
            last = minute;
            if !self.keep(minute).await {
                return;
            }
        }
    }

    /// Keeps the minute that ended at `end`; whether the analyzer goes on.
    async fn keep(&mut self, end: WallTime) -> bool {
        let slot = Slot::of(end);
        let slots = slot.before(SLOTS)..slot;
        let Some((matrix, details, gathered)) = collect_all(&self.state, &self.clock, slots).await
        else {
            return false;
        };
        let stored = async {
            let encoding = tokio::task::spawn_blocking(move || {
                encode(&grid::reduced(matrix, EACH), Some(details))
            });
            let Ok(Ok(body)) = encoding.await else {
                return;
            };
            let oldest = end + (Nanos::ZERO - Nanos::from(self.retention));
            if let Err(error) = self.history.put((end, body), oldest).await {
                tracing::warn!(%error, "the matrix of the last minute is not kept");
            }
        };
        stored.await;
        let begin = end + (Nanos::ZERO - Nanos::from(MINUTE));
        self.trends.keep(begin, gathered).await;
        true
    }
}

fn whole_minute(time: WallTime) -> WallTime {
    let minute = i64::try_from(MINUTE.as_nanos()).unwrap_or(i64::MAX);
    WallTime::from_nanos(time.nanos() - time.nanos().rem_euclid(minute))
}

#[cfg(test)]
mod tests;
