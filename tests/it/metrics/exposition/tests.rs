use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Registered;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use proptest::prelude::*;

use super::*;
use rpingmesh::telemetry::metrics::text;

type Labels = [(String, String); 1];

fn label(value: &str) -> Labels {
    [("a".to_owned(), value.to_owned())]
}

#[test]
fn what_a_registry_writes_is_read_back() {
    let mut registry = Registry::with_prefix("x");
    let counter = Registered::<Labels, Counter>::default();
    counter
        .get_or_create(&label("a \"b\" \\ c\nd, e=\"f\"} 1"))
        .inc_by(3);
    registry.register("counts", "Things counted", counter);
    let gauge = Gauge::<f64, AtomicU64>::default();
    gauge.set(0.5);
    registry.register_with_unit("share", "A share", Unit::Ratios, gauge);
    let histogram = Histogram::new([0.1, 1.0]);
    histogram.observe(0.5);
    registry.register("took_seconds", "How long", histogram);
    registry.register(
        "build",
        "Version of the program",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
    let families = read(&text(&registry).expect("encoded")).expect("readable");
    let described: Vec<_> = families
        .iter()
        .map(|family| {
            (
                family.name.as_str(),
                family.kind,
                family.help.as_str(),
                family.unit.as_str(),
            )
        })
        .collect();
    assert_eq!(
        described,
        [
            ("x_counts", MetricKind::Counter, "Things counted", ""),
            ("x_share_ratios", MetricKind::Gauge, "A share", "ratios"),
            ("x_took_seconds", MetricKind::Histogram, "How long", ""),
            ("x_build", MetricKind::Info, "Version of the program", ""),
        ]
    );
    assert_eq!(families[0].samples[0].suffix, "_total");
    assert_eq!(
        families[0].samples[0].labels["a"],
        "a \"b\" \\ c\nd, e=\"f\"} 1"
    );
    assert!((families[0].samples[0].value - 3.0).abs() < f64::EPSILON);
    assert!((families[1].samples[0].value - 0.5).abs() < f64::EPSILON);
    let buckets: Vec<_> = families[2]
        .samples
        .iter()
        .map(|sample| {
            (
                sample.suffix.as_str(),
                sample.labels.get("le").map(String::as_str),
                sample.value.to_string(),
            )
        })
        .collect();
    assert_eq!(
        buckets,
        [
            ("_sum", None, "0.5".to_owned()),
            ("_count", None, "1".to_owned()),
            ("_bucket", Some("0.1"), "0".to_owned()),
            ("_bucket", Some("1.0"), "1".to_owned()),
            ("_bucket", Some("+Inf"), "1".to_owned()),
        ]
    );
}

#[test]
fn what_cannot_be_read_is_named_by_its_line() {
    for (text, line) in [
        ("x 1", 1),
        ("# TYPE x gauge\ny 1", 2),
        ("# TYPE x gauge\nx", 2),
        ("# TYPE x gauge\nx one", 2),
        ("# TYPE x gauge\nx{a=\"b 1", 2),
        ("# TYPE x gauge\nx{a} 1", 2),
        ("# TYPE x gauge\nx{a=\"\\", 2),
        ("# TYPE", 1),
    ] {
        assert_eq!(read(text).expect_err(text).line, line, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(# (TYPE|HELP|UNIT)? ?[a-c]{0,2} ?|[a-c]{1,2}[{}=\",\\\\ 1é]{0,8}|\n){0,12}") {
        let _ = read(&text);
    }

    #[test]
    fn any_label_comes_back(value in any::<String>()) {
        // The registry writes a carriage return as it is, and lines are split at it.
        prop_assume!(!value.contains('\r'));
        let mut registry = Registry::default();
        let counter = Registered::<Labels, Counter>::default();
        counter.get_or_create(&label(&value)).inc();
        registry.register("counts", "Things counted", counter);
        let families = read(&text(&registry).expect("encoded")).expect("readable");
        prop_assert_eq!(&families[0].samples[0].labels["a"], &value);
    }
}
