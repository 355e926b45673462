use super::*;

/// The upper bounds of the buckets, as Prometheus reads them.
fn bounds() -> Vec<f64> {
    let mut registry = Registry::default();
    let histogram = rtt_histogram();
    histogram.observe(5e-6);
    registry.register("rtt", "Round trips", histogram);
    let text = text(&registry).expect("a text");
    text.lines()
        .filter_map(|line| line.split_once("le=\""))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .filter_map(|(bound, _)| bound.parse().ok())
        .filter(|bound: &f64| bound.is_finite())
        .collect()
}

#[test]
fn round_trips_of_a_healthy_fabric_fall_into_fine_buckets() {
    let bounds = bounds();
    let (first, last) = (bounds[0], bounds[bounds.len() - 1]);
    assert!((first - 1e-6).abs() < 1e-12 && (4.0..5.0).contains(&last));
    for pair in bounds.windows(2) {
        let most = if pair[1] <= 64.1e-6 { 1.22 } else { 2.01 };
        assert!(pair[1] > pair[0] && pair[1] / pair[0] < most, "{pair:?}");
    }
    let bucket_of = |rtt: f64| bounds.partition_point(|bound| *bound < rtt);
    assert!(bucket_of(4.1e-6) < bucket_of(7.9e-6), "{bounds:?}");
    assert!(bucket_of(20e-6) < bucket_of(25e-6), "{bounds:?}");
}

#[test]
fn a_scraper_that_prefers_protobuf_gets_native_histograms_of_five_per_cent() {
    let mut registry = Registry::default();
    let histogram = rtt_histogram();
    for nanos in [4_100.0, 4_400.0, 7_900.0] {
        histogram.observe(nanos / 1e9);
    }
    registry.register("rtt", "Round trips", histogram);
    let families = values(&registry).expect("values");
    let histogram = families[0].metric[0]
        .histogram
        .as_ref()
        .expect("a histogram");
    // The growth of a bucket is 2^(2^-schema).
    let growth = 2.0_f64.powf(2.0_f64.powi(-histogram.schema));
    assert!(growth < 1.05, "{growth}");
    // Each count is told by its difference to the one before.
    let mut count = 0;
    let counts = histogram.positive_delta.iter().map(|delta| {
        count += delta;
        count
    });
    let filled = counts.filter(|count| *count > 0).count();
    assert_eq!((histogram.sample_count, filled), (3, 3), "each in its own");
    assert!(
        histogram.bucket.len() > 40,
        "the classic buckets are there, too"
    );

    for (accepted, is_protobuf) in [
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.2",
            false,
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
            true,
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,\
             application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5",
            false,
        ),
        ("application/vnd.google.protobuf", false),
        ("", false),
        ("*/*", false),
    ] {
        assert_eq!(prefers_protobuf(accepted), is_protobuf, "{accepted}");
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accepted.parse().expect("a header"));
        let response = response(&registry, &headers);
        let written = response.headers()[header::CONTENT_TYPE]
            .to_str()
            .expect("text");
        assert_eq!(
            written.starts_with("application/vnd.google.protobuf"),
            is_protobuf
        );
    }
}

/// Rules and dashboards ask by name, whatever the format.
#[test]
fn both_formats_have_the_same_names() {
    let mut registry = Registry::with_prefix("rpingmesh");
    register_build_info(&mut registry);
    let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
    registry.register("probes_sent", "Probes", counter);
    registry.register("rtt_seconds", "Round trips", rtt_histogram());
    let text = text(&registry).expect("a text");
    for family in values(&registry).expect("values") {
        let name = &family.name;
        assert!(
            text.lines()
                .any(|line| line.starts_with(&format!("{name} "))
                    || line.starts_with(&format!("{name}{{"))
                    || line.starts_with(&format!("{name}_bucket"))),
            "{name} is not in\n{text}"
        );
    }
}
