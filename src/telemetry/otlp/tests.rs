use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post as route_post;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Registered;
use prometheus_client::metrics::gauge::Gauge as RegisteredGauge;
use prometheus_client::metrics::histogram::Histogram as RegisteredHistogram;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::*;
use crate::telemetry::metrics::values;
use crate::time::SystemClock;

type Labels = [(&'static str, &'static str); 1];

fn registry() -> Registry {
    let mut registry = Registry::with_prefix("rpingmesh");
    let counter = Registered::<Labels, Counter>::default();
    counter.get_or_create(&[("kind", "tor_mesh")]).inc_by(7);
    registry.register("probes_sent", "Probes sent", counter);
    let gauge = RegisteredGauge::<i64>::default();
    gauge.set(-3);
    registry.register("balance", "A gauge", gauge);
    let histogram = Registered::<Labels, RegisteredHistogram, _>::new_with_constructor(|| {
        RegisteredHistogram::new([0.1, 1.0])
    });
    for value in [0.05, 0.5, 0.6, 3.0] {
        histogram.get_or_create(&[("kind", "a")]).observe(value);
    }
    histogram.get_or_create(&[("kind", "b")]).observe(2.0);
    registry.register("rtt_seconds", "Round trips", histogram);
    registry
}

type Got = mpsc::Sender<(HeaderMap, Bytes)>;

/// A collector: hands on what it gets and answers `status`.
async fn collector(status: StatusCode) -> (String, mpsc::Receiver<(HeaderMap, Bytes)>) {
    let (sender, receiver) = mpsc::channel(8);
    let take = move |State(got): State<Got>, headers: HeaderMap, body: Bytes| async move {
        // A test that has seen enough is gone.
        let _ = got.send((headers, body)).await;
        status
    };
    let router = Router::new()
        .route("/v1/metrics", route_post(take))
        .with_state(sender);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), receiver)
}

fn config(endpoint: &str) -> OtlpConfig {
    OtlpConfig {
        url: Url::parse(endpoint).expect("a URL").join("/v1/metrics"),
        interval: Duration::from_millis(100),
    }
}

fn start(config: OtlpConfig, stop: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let registry = registry();
    let origin = Origin {
        service: "rpingmesh-agent",
        instance: "host-a".to_owned(),
    };
    let source = move || values(&registry).ok();
    tokio::spawn(push(
        config,
        origin,
        source,
        Arc::new(SystemClock),
        stop.clone(),
    ))
}

fn strings(attributes: &[KeyValue]) -> Vec<String> {
    attributes
        .iter()
        .map(|attribute| {
            match attribute
                .value
                .as_ref()
                .and_then(|value| value.value.as_ref())
            {
                Some(any_value::Value::StringValue(text)) => format!("{}={text}", attribute.key),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

#[tokio::test]
async fn a_collector_gets_every_metric_with_who_sends_it() {
    let (endpoint, mut received) = collector(StatusCode::OK).await;
    let stop = CancellationToken::new();
    let pushing = start(config(&endpoint), &stop);
    let (headers, body) = received.recv().await.expect("a push");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportMetricsServiceRequest::decode(body).expect("OTLP");
    let resource = &request.resource_metrics[0];
    let who = strings(&resource.resource.as_ref().expect("a resource").attributes);
    assert_eq!(
        who[..2],
        ["service.name=rpingmesh-agent", "service.instance.id=host-a"]
    );
    let metrics = &resource.scope_metrics[0].metrics;
    let names: Vec<_> = metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.unit.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("rpingmesh_probes_sent", "1"),
            ("rpingmesh_balance", "1"),
            ("rpingmesh_rtt_seconds", "s")
        ]
    );
    let Some(metric::Data::Sum(sum)) = &metrics[0].data else {
        panic!("{:?}", metrics[0])
    };
    assert!(sum.is_monotonic);
    assert_eq!(
        sum.aggregation_temporality(),
        AggregationTemporality::Cumulative
    );
    assert_eq!(strings(&sum.data_points[0].attributes), ["kind=tor_mesh"]);
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsDouble(7.0))
    );
    assert!(sum.data_points[0].time_unix_nano > sum.data_points[0].start_time_unix_nano);
    let Some(metric::Data::Gauge(gauge)) = &metrics[1].data else {
        panic!("{:?}", metrics[1])
    };
    assert_eq!(
        gauge.data_points[0].value,
        Some(number_data_point::Value::AsDouble(-3.0))
    );
    let Some(metric::Data::Histogram(histogram)) = &metrics[2].data else {
        panic!("{:?}", metrics[2])
    };
    let mut points: Vec<_> = histogram
        .data_points
        .iter()
        .map(|point| {
            (
                strings(&point.attributes).concat(),
                point.count,
                point.bucket_counts.clone(),
                point.explicit_bounds.clone(),
            )
        })
        .collect();
    points.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        points,
        [
            ("kind=a".to_owned(), 4, vec![1, 2, 1], vec![0.1, 1.0]),
            ("kind=b".to_owned(), 1, vec![0, 0, 1], vec![0.1, 1.0]),
        ]
    );
    stop.cancel();
    pushing.await.expect("ends");
}

#[tokio::test]
async fn it_goes_on_while_the_collector_refuses_and_pushes_once_more_at_the_end() {
    let (endpoint, mut received) = collector(StatusCode::SERVICE_UNAVAILABLE).await;
    let stop = CancellationToken::new();
    let pushing = start(config(&endpoint), &stop);
    for _ in 0..3 {
        received.recv().await.expect("another try");
    }
    stop.cancel();
    pushing.await.expect("ends");
    assert!(received.recv().await.is_some(), "the last push");
}

#[tokio::test]
async fn a_collector_that_is_not_there_stops_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let stop = CancellationToken::new();
    let pushing = start(config(&endpoint), &stop);
    stop.cancel();
    pushing.await.expect("ends");
}
