use super::*;
use crate::analysis::hardware::CounterName;
use crate::telemetry::metrics::{MetricFamily, text, values};

/// What `/metrics` shows when everything that is counted has been counted once.
pub(crate) fn every() -> Vec<MetricFamily> {
    let metrics = Metrics::new();
    let name = RnicName {
        device: "mlx5_0".into(),
        port: 1,
    };
    let counters = EndpointCounters::default();
    metrics.flushed(Health::default(), [(&name, &counters)].into_iter());
    metrics.rnics(&[CompletionClock::Software], 0);
    let symbol_error = CounterName::new("symbol_error").expect("a name");
    metrics.hardware(Ports::from([(name, [(symbol_error, 9)].into())]));
    values(&metrics.registry()).expect("encoded")
}

#[test]
fn every_counter_is_shown_by_rnic_port() {
    let metrics = Metrics::new();
    let name = |device: &str| RnicName {
        device: device.into(),
        port: 1,
    };
    let mut counters = EndpointCounters::default();
    counters.session.probes_sent = 12;
    counters.reopened = 2;
    let endpoints = [
        (name("mlx5_0"), counters),
        (name("mlx5_1"), EndpointCounters::default()),
    ];
    let health = Health {
        results_dropped: 3,
        batches_dropped: 4,
        batches_waiting: 5,
        ..Health::default()
    };
    metrics.flushed(
        health,
        endpoints.iter().map(|(name, counters)| (name, counters)),
    );
    metrics.rnics(
        &[CompletionClock::HardwareRaw, CompletionClock::HardwareRaw],
        1,
    );
    metrics.tracing(TracingState {
        tracer: Some("contradicted"),
        traced: TracerCounters {
            events: 8,
            calls_full: 2,
            ..TracerCounters::default()
        },
    });
    let symbol_error = CounterName::new("symbol_error").expect("a name");
    metrics.hardware(Ports::from([(name("mlx5_0"), [(symbol_error, 9)].into())]));
    let text = text(&metrics.registry()).expect("encoded");
    for line in [
        "rpingmesh_agent_probes_sent_total{device=\"mlx5_0\",port=\"1\"} 12",
        "rpingmesh_agent_probes_sent_total{device=\"mlx5_1\",port=\"1\"} 0",
        "rpingmesh_agent_endpoints_reopened_total{device=\"mlx5_0\",port=\"1\"} 2",
        "rpingmesh_agent_results_dropped_total 3",
        "rpingmesh_agent_batches_dropped_total 4",
        "rpingmesh_agent_batches_waiting 5",
        "rpingmesh_agent_tracing{state=\"contradicted\"} 1",
        "rpingmesh_agent_tracing{state=\"attached\"} 0",
        "rpingmesh_agent_tracing_events_total 8",
        "rpingmesh_agent_tracing_events_lost_total{reason=\"calls_full\"} 2",
        "rpingmesh_agent_rnics{state=\"failed\"} 1",
        "rpingmesh_agent_rnics_by_clock{clock=\"hardware_raw\"} 2",
        "rpingmesh_agent_rnics_by_clock{clock=\"software\"} 0",
        "rpingmesh_agent_hardware_counter_total{device=\"mlx5_0\",port=\"1\",counter=\"symbol_error\"} 9",
    ] {
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is not in\n{text}"
        );
    }
    let families = values(&metrics.registry()).expect("encoded");
    for family in &families {
        assert!(!family.help.is_empty(), "{} has no help text", family.name);
    }
    let mut names: Vec<_> = families.iter().map(|family| &family.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), families.len(), "a name comes twice");
}
