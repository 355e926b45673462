//! Keeps what each minute measured, and makes ten minutes of minutes and hours of ten minutes.
//!
//! A longer step is made from the store, block by block, when its last minute was kept: memory holds one block of each of
//! its parts, and what was stored before a restart is not lost. What a restart has left out is made at the first minute
//! after it ([`TrendKeeper::catch_up`]). Every call can be repeated: a block replaces the one at its place.

use std::sync::Arc;
use std::time::Duration;

use crate::analysis::trend::{Gathered, Kind, MOST_SERIES, Step, block, steps};
use crate::store::StoreError;
use crate::store::trends::{Block, Place, Trends};
use crate::time::{Nanos, WallTime};

/// Blocks that are stored in one transaction.
const AT_ONCE: usize = 64;
/// Steps that are looked at after a restart: more than any parts are kept.
const MOST_MISSED: usize = 400;

/// Keeps trends.
pub(in crate::analyzer) struct TrendKeeper {
    store: Arc<dyn Trends>,
    /// How long points of an hour are kept.
    retention: Duration,
    is_caught_up: bool,
    was_full: bool,
}

impl TrendKeeper {
    /// Into this store.
    pub(in crate::analyzer) const fn new(store: Arc<dyn Trends>, retention: Duration) -> Self {
        Self {
            store,
            retention,
            is_caught_up: false,
            was_full: false,
        }
    }

    /// Keeps what was gathered in the minute that begins at `at`. What cannot be stored is logged and not kept.
    pub(in crate::analyzer) async fn keep(&mut self, at: WallTime, gathered: Gathered) {
        if gathered.left_out() > 0 && !self.was_full {
            tracing::warn!(
                most = MOST_SERIES,
                "more series of one kind than trends are kept of: those beyond are left out"
            );
        }
        self.was_full = gathered.left_out() > 0;
        if let Err(error) = self.try_keep(at, gathered).await {
            tracing::warn!(%error, "trends of the last minute are not kept");
        }
    }

    async fn try_keep(&mut self, at: WallTime, gathered: Gathered) -> Result<(), StoreError> {
        let encoding = tokio::task::spawn_blocking(move || minute(at, gathered));
        let blocks = encoding.await.unwrap_or_default();
        self.store_all(blocks).await?;
        let end = at + Step::Minute.nanos();
        if !self.is_caught_up {
            self.catch_up(end).await?;
            self.is_caught_up = true;
        }
        for step in [Step::TenMinutes, Step::Hour] {
            if step.begin(end) == end {
                let begin = end + (Nanos::ZERO - step.nanos());
                self.make(step, begin).await?;
            }
        }
        let oldest = |step: Step| {
            let kept = Nanos::from(step.kept(self.retention));
            (step, at + (Nanos::ZERO - kept))
        };
        self.store
            .put(Vec::new(), Step::ALL.map(oldest).to_vec())
            .await
    }

    async fn store_all(&self, blocks: Vec<Block>) -> Result<(), StoreError> {
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            let some = blocks.by_ref().take(AT_ONCE).collect();
            self.store.put(some, Vec::new()).await?;
        }
        Ok(())
    }

    /// Makes the longer steps that were over before `now` and are not there, as far as their parts are.
    async fn catch_up(&self, now: WallTime) -> Result<(), StoreError> {
        for step in [Step::TenMinutes, Step::Hour] {
            let Some(parts) = step.parts() else {
                continue;
            };
            let Some((oldest, _)) = self.store.bounds(parts).await? else {
                continue;
            };
            let newest = self.store.bounds(step).await?;
            let from = newest.map_or(oldest, |(_, newest)| oldest.max(newest + step.nanos()));
            for begin in steps(step, from, step.begin(now), MOST_MISSED) {
                self.make(step, begin).await?;
            }
        }
        Ok(())
    }

    /// Makes the blocks of a longer step from those of its parts.
    async fn make(&self, step: Step, begin: WallTime) -> Result<(), StoreError> {
        let Some(parts) = step.parts() else {
            return Ok(());
        };
        let times = steps(parts, begin, begin + step.nanos(), MOST_MISSED);
        let mut made = Vec::new();
        for (kind, bucket) in self.store.buckets(parts, times.clone()).await? {
            let blocks = self.store.read(parts, kind, bucket, times.clone()).await?;
            let merging = tokio::task::spawn_blocking(move || merged(kind, blocks));
            let place = Place {
                step,
                at: begin,
                kind,
                bucket,
            };
            made.push((place, merging.await.unwrap_or_default()));
            if made.len() >= AT_ONCE {
                self.store
                    .put(std::mem::take(&mut made), Vec::new())
                    .await?;
            }
        }
        self.store.put(made, Vec::new()).await
    }
}

/// The blocks of a minute.
fn minute(at: WallTime, gathered: Gathered) -> Vec<Block> {
    let block = |((kind, bucket), points)| {
        let place = Place {
            step: Step::Minute,
            at,
            kind,
            bucket,
        };
        (place, block::encode(&points))
    };
    gathered.blocks().into_iter().map(block).collect()
}

/// All blocks as one. What is damaged is left out.
fn merged(kind: Kind, blocks: Vec<(WallTime, Vec<u8>)>) -> Vec<u8> {
    let mut points = block::Points::new();
    for (_, body) in blocks {
        if let Err(error) = block::merge_into(&mut points, &body) {
            tracing::warn!(%error, kind = kind.name(), "a block of trends cannot be read");
        }
    }
    block::encode(&points)
}
