//! Keeps what each minute measured, and makes ten minutes of minutes and hours of ten minutes.
//!
//! A longer step is made from the store, block by block, when its last minute was kept: memory holds one block of each of
//! its parts, and what was stored before a restart is not lost. What was left out, by a restart, by a store that failed or
//! by a skipped minute, is made with the next minute ([`TrendKeeper::catch_up`]). Every call can be repeated: a block
//! replaces the one at its place.

use std::sync::Arc;
use std::time::Duration;

use crate::analysis::trend::{Gathered, Kind, MOST_SERIES, Step, block, steps};
use crate::store::StoreError;
use crate::store::trends::{Block, Place, Trends};
use crate::time::{Nanos, WallTime};

/// Blocks that are stored in one transaction.
const AT_ONCE: usize = 64;
/// Steps that are looked at to catch up: more than any parts are kept.
const MOST_MISSED: usize = 400;

/// Keeps trends.
pub(in crate::analyzer) struct TrendKeeper {
    store: Arc<dyn Trends>,
    /// How long points of an hour are kept.
    retention: Duration,
    /// Whether every longer step that is over is made.
    is_caught_up: bool,
    /// When the next minute begins, if none is skipped.
    next: Option<WallTime>,
    was_full: bool,
}

impl TrendKeeper {
    /// Into this store.
    pub(in crate::analyzer) const fn new(store: Arc<dyn Trends>, retention: Duration) -> Self {
        Self {
            store,
            retention,
            is_caught_up: false,
            next: None,
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
        if let Err(error) = self.forget(at).await {
            tracing::warn!(%error, "old trends are not deleted");
        }
    }

    async fn try_keep(&mut self, at: WallTime, gathered: Gathered) -> Result<(), StoreError> {
        let end = at + Step::Minute.nanos();
        let is_next = self.next.replace(end) == Some(at);
        // Until all of this is done: whatever is missing is looked for after the next minute.
        let was_caught_up = std::mem::take(&mut self.is_caught_up) && is_next;
        let encoding = tokio::task::spawn_blocking(move || minute(at, gathered));
        let blocks = encoding.await.unwrap_or_default();
        self.store_all(blocks).await?;
        if was_caught_up {
            for step in [Step::TenMinutes, Step::Hour] {
                if step.begin(end) == end {
                    let begin = end + (Nanos::ZERO - step.nanos());
                    self.make(step, begin, &[]).await?;
                }
            }
        } else {
            self.catch_up(end).await?;
        }
        self.is_caught_up = true;
        Ok(())
    }

    /// Forgets what is older than wanted.
    async fn forget(&self, at: WallTime) -> Result<(), StoreError> {
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

    /// Makes the blocks of longer steps that were over before `now` and are not there, as far as their parts are kept.
    async fn catch_up(&self, now: WallTime) -> Result<(), StoreError> {
        for step in [Step::TenMinutes, Step::Hour] {
            let Some(parts) = step.parts() else {
                continue;
            };
            let Some((oldest, _)) = self.store.bounds(parts).await? else {
                continue;
            };
            for begin in steps(step, oldest, step.begin(now), MOST_MISSED) {
                let there = self.store.buckets(step, vec![begin]).await?;
                self.make(step, begin, &there).await?;
            }
        }
        Ok(())
    }

    /// Makes the blocks of a longer step from those of its parts, without those that are `there`, in order.
    async fn make(
        &self,
        step: Step,
        begin: WallTime,
        there: &[(Kind, u16)],
    ) -> Result<(), StoreError> {
        let Some(parts) = step.parts() else {
            return Ok(());
        };
        let times = steps(parts, begin, begin + step.nanos(), MOST_MISSED);
        let mut made = Vec::new();
        for (kind, bucket) in self.store.buckets(parts, times.clone()).await? {
            if there.binary_search(&(kind, bucket)).is_ok() {
                continue;
            }
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
