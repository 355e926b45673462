//! Trends: kept minute by minute ([`keep`]), read for pages and the API ([`TrendReader`]).

pub(super) mod keep;

use std::sync::Arc;
use std::time::Duration;

use crate::analysis::trend::{Point, Series, Step, block, steps};
use crate::store::StoreError;
use crate::store::trends::Trends;
use crate::time::{Clock, Nanos, WallTime};

/// The most points of one answer.
pub(super) const MOST_POINTS: usize = 400;
/// A range up to this is shown in minutes, one up to [`SHOWN_IN_TEN_MINUTES`] in ten minutes.
const SHOWN_IN_MINUTES: Duration = Duration::from_hours(6);
const SHOWN_IN_TEN_MINUTES: Duration = Duration::from_hours(48);

/// The points of a series by the beginnings of their steps; `None` where nothing is kept.
pub(super) type Values = Vec<(WallTime, Option<Point>)>;

/// A range of time, its beginning before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    /// Its beginning.
    pub(super) from: WallTime,
    /// Its end.
    pub(super) to: WallTime,
}

impl Range {
    /// Its length.
    pub(super) fn length(self) -> Nanos {
        self.to - self.from
    }

    /// Moved in time.
    pub(super) fn moved(self, by: Nanos) -> Self {
        Self {
            from: self.from + by,
            to: self.to + by,
        }
    }
}

/// The step in which a range is shown: the shortest that does not give too many points and that is still kept.
pub(super) fn step_for(range: Range, now: WallTime, retention: Duration) -> Step {
    let fits = |step: Step| {
        let longest = match step {
            Step::Minute => SHOWN_IN_MINUTES,
            Step::TenMinutes => SHOWN_IN_TEN_MINUTES,
            Step::Hour => Duration::MAX,
        };
        let age = now - range.from;
        range.length().to_duration().unwrap_or_default() <= longest
            && age.to_duration().unwrap_or_default() <= step.kept(retention) + step.length()
    };
    let mut all = Step::ALL.into_iter();
    all.find(|step| fits(*step)).unwrap_or(Step::Hour)
}

/// Where trends are read.
#[derive(Clone)]
pub(super) struct TrendReader {
    pub(super) store: Arc<dyn Trends>,
    pub(super) clock: Arc<dyn Clock>,
    /// How long points of an hour are kept.
    pub(super) retention: Duration,
}

impl TrendReader {
    /// The step in which a range is shown now.
    pub(super) fn step_for(&self, range: Range) -> Step {
        step_for(range, self.clock.wall(), self.retention)
    }

    /// The points of a series in a range; at most [`MOST_POINTS`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn read(
        &self,
        series: &Series,
        step: Step,
        range: Range,
    ) -> Result<Values, StoreError> {
        let times = steps(step, range.from, range.to, MOST_POINTS);
        let (kind, bucket) = (series.kind, series.bucket());
        let blocks = self.store.read(step, kind, bucket, times.clone()).await?;
        let series = series.clone();
        let found = tokio::task::spawn_blocking(move || values(&series, &times, &blocks)).await;
        Ok(found.unwrap_or_default())
    }

    /// When the oldest point of any step begins.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn oldest(&self) -> Result<Option<WallTime>, StoreError> {
        let mut oldest: Option<WallTime> = None;
        for step in Step::ALL {
            if let Some((first, _)) = self.store.bounds(step).await? {
                oldest = Some(oldest.map_or(first, |known| known.min(first)));
            }
        }
        Ok(oldest)
    }
}

/// The points of a series at these times. A block that is damaged has none.
fn values(series: &Series, times: &[WallTime], blocks: &[(WallTime, Vec<u8>)]) -> Values {
    let mut blocks = blocks.iter().peekable();
    let point = |at: &WallTime| {
        while blocks.next_if(|(time, _)| time < at).is_some() {}
        let (_, body) = blocks.next_if(|(time, _)| time == at)?;
        match block::find(body, &series.first, &series.second) {
            Ok(point) => point,
            Err(error) => {
                tracing::warn!(%error, kind = series.kind.name(), "a block of trends cannot be read");
                None
            }
        }
    };
    let found: Vec<_> = times.iter().map(point).collect();
    times.iter().copied().zip(found).collect()
}

#[cfg(test)]
mod tests;
