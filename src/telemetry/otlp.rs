//! Pushes metrics to an OpenTelemetry collector: OTLP/HTTP with protobuf (OpenTelemetry Protocol 1.x, `/v1/metrics`).
//!
//! One task: every interval it takes what `/metrics` would show and posts it. If the collector is away or slow, nothing
//! else waits and nothing is queued. All values are cumulative, so the next push contains what the last one would have.
//! Each absence is reported once. Cancelling is safe at any point.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::exposition::{self, Family, MetricKind, Sample};
use crate::error::describe;
use crate::net::http::post;
use crate::net::url::Url;
use crate::time::{Clock, WallTime};

/// How long a push may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the last, which the program's end waits for.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
const CONTENT_TYPE: &str = "application/x-protobuf";

/// Where metrics are pushed to and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpConfig {
    /// The collector's address of metrics.
    pub url: Url,
    /// How often.
    pub interval: Duration,
}

/// Who pushes.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// `service.name`: the program.
    pub service: &'static str,
    /// `service.instance.id`: which of them.
    pub instance: String,
}

/// The push as a task that can be started again: it only reads what others count.
pub(crate) fn pushing(
    config: OtlpConfig,
    origin: Origin,
    source: impl Fn() -> Option<String> + Clone + Send + 'static,
    clock: std::sync::Arc<dyn Clock>,
) -> impl FnMut(CancellationToken) -> BoxFuture<'static, ()> + Send + 'static {
    move |stop| {
        let pushing = push(
            config.clone(),
            origin.clone(),
            source.clone(),
            clock.clone(),
            stop,
        );
        pushing.boxed()
    }
}

/// Pushes what `source` gives until `stop` is cancelled, and once more then.
async fn push(
    config: OtlpConfig,
    origin: Origin,
    source: impl Fn() -> Option<String> + Send,
    clock: std::sync::Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let started = clock.wall();
    let mut ticks = tokio::time::interval_at(
        tokio::time::Instant::now() + config.interval,
        config.interval,
    );
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut away = false;
    loop {
        let last = stop.run_until_cancelled(ticks.tick()).await.is_none();
        let timeout = if last { LAST_TIMEOUT } else { TIMEOUT };
        let result = match body(&origin, &source, started, clock.wall()) {
            Ok(body) => {
                let posting = post(&config.url, CONTENT_TYPE, body, timeout);
                let posted = if last {
                    Some(posting.await)
                } else {
                    stop.run_until_cancelled(posting).await
                };
                // One that was cut off is made up for by the last.
                posted.map_or(Ok(()), |posted| {
                    posted.map(drop).map_err(|error| describe(&error))
                })
            }
            Err(why) => Err(why),
        };
        match result {
            Ok(()) if away => {
                away = false;
                tracing::info!(collector = %config.url, "metrics are pushed again");
            }
            Err(why) if !away => {
                away = true;
                tracing::warn!(collector = %config.url, why, "metrics cannot be pushed, trying again");
            }
            _ => {}
        }
        if last {
            return;
        }
    }
}

fn body(
    origin: &Origin,
    source: &impl Fn() -> Option<String>,
    started: WallTime,
    now: WallTime,
) -> Result<Bytes, String> {
    let text = source().ok_or("the metrics cannot be written")?;
    let families = exposition::read(&text).map_err(|error| error.to_string())?;
    let request = request(&families, origin, started, now);
    Ok(Bytes::from(request.encode_to_vec()))
}

/// What is posted.
fn request(
    families: &[Family],
    origin: &Origin,
    started: WallTime,
    now: WallTime,
) -> ExportMetricsServiceRequest {
    let times = Times {
        start: started.nanos().max(0).unsigned_abs(),
        now: now.nanos().max(0).unsigned_abs(),
    };
    let version = env!("CARGO_PKG_VERSION");
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", origin.service),
                    attribute("service.instance.id", &origin.instance),
                    attribute("service.version", version),
                ],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "rpingmesh".to_owned(),
                    version: version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics: families
                    .iter()
                    .map(|family| metric(family, times))
                    .collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

#[derive(Clone, Copy)]
struct Times {
    start: u64,
    now: u64,
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn attributes(sample: &Sample) -> Vec<KeyValue> {
    sample
        .labels
        .iter()
        .filter(|(name, _)| name.as_str() != "le")
        .map(|(name, value)| attribute(name, value))
        .collect()
}

fn metric(family: &Family, times: Times) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.kind {
        MetricKind::Counter => metric::Data::Sum(Sum {
            data_points: numbers(family, times),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricKind::Histogram => metric::Data::Histogram(Histogram {
            data_points: histograms(family, times),
            aggregation_temporality: cumulative,
        }),
        MetricKind::Gauge | MetricKind::Info | MetricKind::Unknown => metric::Data::Gauge(Gauge {
            data_points: numbers(family, times),
        }),
    };
    Metric {
        name: family.name.clone(),
        description: family.help.clone(),
        unit: unit(&family.name).to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// UCUM's name of the unit that a metric's name ends with; `1` for counts.
pub(crate) fn unit(name: &str) -> &'static str {
    if name.ends_with("_seconds") {
        "s"
    } else if name.ends_with("_bytes") {
        "By"
    } else {
        "1"
    }
}

fn numbers(family: &Family, times: Times) -> Vec<NumberDataPoint> {
    family
        .samples
        .iter()
        .map(|sample| NumberDataPoint {
            attributes: attributes(sample),
            start_time_unix_nano: times.start,
            time_unix_nano: times.now,
            value: Some(number_data_point::Value::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        })
        .collect()
}

/// Samples of one set of labels come one after the other: sum, count, buckets with what is in all below.
fn histograms(family: &Family, times: Times) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut below = 0;
    for sample in &family.samples {
        if sample.suffix == "_sum" {
            below = 0;
            points.push(HistogramDataPoint {
                attributes: attributes(sample),
                start_time_unix_nano: times.start,
                time_unix_nano: times.now,
                sum: Some(sample.value),
                ..HistogramDataPoint::default()
            });
        }
        let Some(point) = points.last_mut() else {
            continue;
        };
        match sample.suffix.as_str() {
            "_count" => point.count = count(sample.value),
            "_bucket" => {
                let all = count(sample.value);
                point.bucket_counts.push(all.saturating_sub(below));
                below = all;
                let bound = sample.labels.get("le").and_then(|le| le.parse().ok());
                point
                    .explicit_bounds
                    .extend(bound.filter(|bound: &f64| bound.is_finite()));
            }
            _ => {}
        }
    }
    points
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of a histogram are whole and not negative; the cast saturates"
)]
fn count(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests;
