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
