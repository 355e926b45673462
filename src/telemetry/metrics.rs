//! Metrics for Prometheus and whatever reads its text format (OpenMetrics 1.0). A scraper that prefers Prometheus' protobuf format
//! gets that, with native histograms, which the text has not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::net::server::Listener;
use crate::net::tls::Security;
use crate::net::web;

pub(crate) use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::{
    LabelPair, Metric, MetricFamily, MetricType,
};

/// How long an open scrape may take to end after a stop.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Metrics of one subsystem, each written once: the name of a field is that of the metric, its comment the help text. Makes
/// the struct, its `Default` (`= …` where a metric begins otherwise), and `register`, which shows all of them in a registry.
macro_rules! metric_set {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $help:literal])+
                $field_vis:vis $field:ident: $type:ty $(= $begin:expr)?,
            )+
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $(
                $(#[doc = $help])+
                $field_vis $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::telemetry::metrics::metric_set!(@begin $($begin)?),)+ }
            }
        }

        impl $name {
            /// Shows them all in a registry.
            $vis fn register(&self, registry: &mut prometheus_client::registry::Registry) {
                $(registry.register(
                    stringify!($field),
                    concat!($($help),+).trim(),
                    self.$field.clone(),
                );)+
            }
        }
    };
    (@begin) => { Default::default() };
    (@begin $begin:expr) => { $begin };
}
pub(crate) use metric_set;

/// The media type of the text format.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The media type of the protobuf format: messages of one metric family each, with their lengths.
const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Buckets of a native histogram: 16 for each factor of two, 4.4 % each.
const NATIVE_SCHEMA: i8 = 4;
/// Beyond so many buckets a native histogram becomes coarser: enough for three decades of round trips.
const MOST_NATIVE_BUCKETS: usize = 160;

/// Upper bounds of the finest buckets of round-trip times, as parts of a power of two: steps of 17 to 21 %.
const FINE: [f64; 4] = [1.0, 1.2, 1.4, 1.7];
/// Doublings from 1 µs that are divided so: up to 64 µs, where the round trips of a healthy fabric are.
const FINE_DOUBLINGS: i32 = 6;
/// Doublings of 64 µs behind them: up to 4 s.
const COARSE_DOUBLINGS: i32 = 16;

/// A histogram of round-trip times in seconds: buckets of at most 21 % from 1 to 64 µs, of a factor of two up to 4 s. A
/// quantile that is interpolated in a fine bucket is off by a few per cent. As a native histogram its buckets have 4.4 %.
pub(crate) fn rtt_histogram() -> Histogram {
    let fine = (0..FINE_DOUBLINGS)
        .flat_map(|doubling| FINE.map(|part| part * 1e-6 * 2.0_f64.powi(doubling)));
    let coarse = (0..=COARSE_DOUBLINGS).map(|doubling| 64e-6 * 2.0_f64.powi(doubling));
    let native = NativeHistogramConfig::with_schema(NATIVE_SCHEMA).max_buckets(MOST_NATIVE_BUCKETS);
    Histogram::new_classic_and_native(fine.chain(coarse), native)
}

/// Registers the version of the program: `build_info{version="…"} 1`.
pub(crate) fn register_build_info(registry: &mut Registry) {
    registry.register(
        "build",
        "Version of the program",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
}

/// A router with `GET /metrics`, to be served alone or merged into another.
pub(crate) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
}

async fn metrics(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    response(&registry, &headers)
}

/// A registry in the format that a scraper prefers.
pub(crate) fn response(registry: &Registry, headers: &HeaderMap) -> Response {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|accepted| accepted.to_str().ok());
    let encoded = if accepted.is_some_and(prefers_protobuf) {
        let encoded = prometheus_protobuf::encode_to_vec(registry);
        encoded
            .map(|body| ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response())
            .map_err(|error| error.to_string())
    } else {
        text(registry)
            .map(|body| ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response())
            .map_err(|error| error.to_string())
    };
    encoded.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, error).into_response())
}

/// Whether a scraper that accepts this would rather have Prometheus' protobuf format than any other.
fn prefers_protobuf(accepted: &str) -> bool {
    let mut best = (0.0, false);
    for range in accepted.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let (mut quality, mut is_ours) = (1.0, false);
        for part in parts {
            match part.split_once('=') {
                Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                Some(("proto", value)) => is_ours = value == "io.prometheus.client.MetricFamily",
                _ => {}
            }
        }
        let is_protobuf = media == "application/vnd.google.protobuf" && is_ours;
        if quality > best.0 {
            best = (quality, is_protobuf);
        }
    }
    best.1
}

/// The OpenMetrics text of a registry.
///
/// # Errors
/// A metric that cannot be encoded, which none of ours is.
pub fn text(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut written = String::new();
    text::encode(&mut written, registry)?;
    Ok(written)
}

/// The values of a registry, as data.
///
/// # Errors
/// A metric that cannot be encoded, which none of ours is.
pub(crate) fn values(registry: &Registry) -> Result<Vec<MetricFamily>, std::fmt::Error> {
    prometheus_protobuf::encode(registry)
}

/// Serves `/metrics` on a bound listener until `stop` is cancelled.
///
/// # Errors
/// Those of the listener.
pub(crate) async fn serve(
    listener: TcpListener,
    registry: Arc<Registry>,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_router(listener, router(registry), stop).await
}

/// Serves a router, of [`router`] and what the role adds to it, on a bound listener until `stop` is cancelled.
///
/// # Errors
/// Those of the listener.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = Listener::of(
        listener,
        Security::Plaintext {
            beyond_loopback: true,
        },
    )?;
    let connections = listener.http1(stop.clone());
    web::serve(connections, router, stop, STOP_GRACE).await;
    Ok(())
}

#[cfg(test)]
mod tests;
