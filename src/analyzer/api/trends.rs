//! `GET /api/v1/trends`.

use std::collections::BTreeMap;

use crate::analysis::trend::{BUCKETS, Kind, Point, Series, Spans, Step, block, steps};
use crate::analyzer::trends::{MOST_POINTS, Range, TrendReader};
use crate::api::query::Number;
use crate::api::trends::{Bucket, MOST_STEPS, TrendPoint, TrendSeries, Trends, TrendsQuery};
use crate::store::StoreError;
use crate::time::{Nanos, WallTime};

/// What a range without a beginning begins before its end.
const USUAL: Nanos = Nanos(3_600_000_000_000);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::analyzer) enum TrendsError {
    /// The query contradicts itself or asks for too much.
    #[error("{0}")]
    BadRequest(String),
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// Answers `GET /api/v1/trends`.
pub(in crate::analyzer) async fn trends(
    reader: &TrendReader,
    query: TrendsQuery,
) -> Result<Trends, TrendsError> {
    let refused = |text: &str| Err(TrendsError::BadRequest(text.to_owned()));
    let Some(kind) = query.kind.map(|kind| kind.0) else {
        return refused("`kind` is missing: use tor, rnic, link or service");
    };
    let range = range(&query, reader.clock.wall());
    if range.length() <= Nanos::ZERO {
        return refused("`from_unix_ns` must be before `to_unix_ns`");
    }
    let step = query
        .step
        .map_or_else(|| reader.step_for(range), |step| step.0);
    let most = if query.first.is_some() {
        MOST_POINTS
    } else {
        MOST_STEPS
    };
    let times = steps(step, range.from, range.to, most + 1);
    if times.len() > most {
        let text = format!(
            "the range has more than {most} steps: ask for parts of it, or for a longer `step`"
        );
        return Err(TrendsError::BadRequest(text));
    }
    let (next_bucket, series) = match (query.first, query.second, query.bucket) {
        (Some(_), None, _) if kind != Kind::Service => return refused("`second` is missing"),
        (Some(first), second, None) => {
            let series = Series::new(kind, first, second.unwrap_or_default());
            (None, one(reader, series, step, range).await?)
        }
        (Some(_), _, Some(_)) => return refused("`bucket` is for all series: leave out `first`"),
        (None, Some(_), _) => return refused("`second` needs `first`"),
        (None, None, bucket) => {
            let bucket = bucket.map_or(0, Bucket::get);
            let next = (bucket + 1 < u64::from(BUCKETS)).then_some(bucket + 1);
            (next, all(reader, (kind, bucket), step, &times).await?)
        }
    };
    Ok(Trends {
        kind: kind.into(),
        step_ns: step.nanos().0,
        start_unix_ns: step.begin(range.from).nanos(),
        end_unix_ns: range.to.nanos(),
        next_bucket,
        series,
    })
}

fn range(query: &TrendsQuery, now: WallTime) -> Range {
    let time = |number: Option<Number>| {
        let nanos = number.map(|number| i64::try_from(number.get()).unwrap_or(i64::MAX));
        nanos.map(WallTime::from_nanos)
    };
    let to = time(query.to_unix_ns).unwrap_or(now);
    Range {
        from: time(query.from_unix_ns).unwrap_or(to + (Nanos::ZERO - USUAL)),
        to,
    }
}

fn point(at: WallTime, point: &Point) -> TrendPoint {
    let quantile = |spans: &Spans, q: f64| spans.quantile(q).map(|span| span.0);
    TrendPoint {
        start_unix_ns: at.nanos(),
        sent: point.sent,
        lost: point.lost,
        rtt_p50_ns: quantile(&point.rtt, 0.5),
        rtt_p99_ns: quantile(&point.rtt, 0.99),
        prober_delay_p50_ns: quantile(&point.prober_delay, 0.5),
        prober_delay_p99_ns: quantile(&point.prober_delay, 0.99),
        responder_delay_p50_ns: quantile(&point.responder_delay, 0.5),
        responder_delay_p99_ns: quantile(&point.responder_delay, 0.99),
    }
}

async fn one(
    reader: &TrendReader,
    series: Series,
    step: Step,
    range: Range,
) -> Result<Vec<TrendSeries>, TrendsError> {
    let values = reader.read(&series, step, range).await?;
    let points: Vec<_> = values
        .iter()
        .filter_map(|(at, value)| Some(point(*at, value.as_ref()?)))
        .collect();
    let found = (!points.is_empty()).then_some(TrendSeries {
        first: series.first,
        second: series.second,
        points,
    });
    Ok(found.into_iter().collect())
}

/// All series of a bucket.
async fn all(
    reader: &TrendReader,
    (kind, bucket): (Kind, u64),
    step: Step,
    times: &[WallTime],
) -> Result<Vec<TrendSeries>, TrendsError> {
    let bucket = u16::try_from(bucket).unwrap_or_default();
    let blocks = reader
        .store
        .read(step, kind, bucket, times.to_vec())
        .await?;
    let decoding = tokio::task::spawn_blocking(move || {
        let mut series: BTreeMap<(String, String), Vec<TrendPoint>> = BTreeMap::new();
        for (at, body) in blocks {
            let mut points = block::Points::new();
            if let Err(error) = block::merge_into(&mut points, &body) {
                tracing::warn!(%error, kind = kind.name(), "a block of trends cannot be read");
            }
            for (names, value) in points {
                series.entry(names).or_default().push(point(at, &value));
            }
        }
        series
    });
    let series = decoding.await.unwrap_or_default();
    Ok(series
        .into_iter()
        .map(|((first, second), points)| TrendSeries {
            first,
            second,
            points,
        })
        .collect())
}
