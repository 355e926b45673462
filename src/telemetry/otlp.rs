//! Pushes metrics to an OpenTelemetry collector: OTLP/HTTP with protobuf (OpenTelemetry Protocol 1.x, `/v1/metrics`).
//!
//! One task: every interval it takes the values of the registry and posts them. If the collector is away or slow, nothing
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

use super::metrics::{self, LabelPair, MetricFamily, MetricType};
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
    source: impl Fn() -> Option<Vec<MetricFamily>> + Clone + Send + 'static,
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
    source: impl Fn() -> Option<Vec<MetricFamily>> + Send,
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
    source: &impl Fn() -> Option<Vec<MetricFamily>>,
    started: WallTime,
    now: WallTime,
) -> Result<Bytes, String> {
    let families = source().ok_or("the metrics cannot be written")?;
    let request = request(&families, origin, started, now);
    Ok(Bytes::from(request.encode_to_vec()))
}

/// What is posted.
fn request(
    families: &[MetricFamily],
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

fn attributes(labels: &[LabelPair]) -> Vec<KeyValue> {
    labels
        .iter()
        .map(|label| attribute(&label.name, &label.value))
        .collect()
}

fn metric(family: &MetricFamily, times: Times) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match family.r#type() {
        MetricType::Counter => metric::Data::Sum(Sum {
            data_points: points(family, times, number),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::Histogram => metric::Data::Histogram(Histogram {
            data_points: points(family, times, histogram),
            aggregation_temporality: cumulative,
        }),
        // Our registries have none of the last two: no point is made of them.
        MetricType::Gauge
        | MetricType::Untyped
        | MetricType::Summary
        | MetricType::GaugeHistogram => metric::Data::Gauge(Gauge {
            data_points: points(family, times, number),
        }),
    };
    // Collectors that write Prometheus' format add the ending again.
    let name = family.name.strip_suffix("_total").unwrap_or(&family.name);
    Metric {
        name: name.to_owned(),
        description: family.help.clone(),
        unit: unit(name).to_owned(),
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

/// One point for each set of labels.
fn points<P>(
    family: &MetricFamily,
    times: Times,
    point: impl Fn(&metrics::Metric, Times) -> Option<P>,
) -> Vec<P> {
    let metrics = family.metric.iter();
    metrics.filter_map(|metric| point(metric, times)).collect()
}

fn number(metric: &metrics::Metric, times: Times) -> Option<NumberDataPoint> {
    let counter = metric.counter.as_ref().map(|counter| counter.value);
    let gauge = metric.gauge.as_ref().map(|gauge| gauge.value);
    let untyped = metric.untyped.as_ref().map(|untyped| untyped.value);
    let value = counter.or(gauge).or(untyped)?;
    Some(NumberDataPoint {
        attributes: attributes(&metric.label),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

/// The registry's buckets hold what is in all below as well, and the last, which has no bound, may be left out.
fn histogram(metric: &metrics::Metric, times: Times) -> Option<HistogramDataPoint> {
    let histogram = metric.histogram.as_ref()?;
    let bounded = histogram
        .bucket
        .iter()
        .filter(|bucket| bucket.upper_bound.is_finite() && bucket.upper_bound < f64::MAX);
    let (mut bucket_counts, mut explicit_bounds) = (Vec::new(), Vec::new());
    let mut below = 0;
    for bucket in bounded {
        bucket_counts.push(bucket.cumulative_count.saturating_sub(below));
        explicit_bounds.push(bucket.upper_bound);
        below = bucket.cumulative_count;
    }
    bucket_counts.push(histogram.sample_count.saturating_sub(below));
    Some(HistogramDataPoint {
        attributes: attributes(&metric.label),
        start_time_unix_nano: times.start,
        time_unix_nano: times.now,
        count: histogram.sample_count,
        sum: Some(histogram.sample_sum),
        bucket_counts,
        explicit_bounds,
        ..HistogramDataPoint::default()
    })
}

#[cfg(test)]
mod tests;
