//! `docs/metrics.md` has exactly the metrics that the programs emit: its table is made here from what the registries of
//! the three roles write.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use crate::telemetry::metrics::MetricFamily;

/// Set it to write the table instead of comparing it.
const UPDATE: &str = "RPINGMESH_UPDATE_DOCS";
const BEGIN: &str = "<!-- made by the tests: begin -->\n";
const END: &str = "<!-- made by the tests: end -->\n";

/// Labels are bounded: these, and no other, may name a member of an unbounded set's small part.
const LABELS: &[&str] = &[
    "answer",
    "category",
    "counter",
    "device",
    "event",
    "kind",
    "clock",
    "learned",
    "phase",
    "port",
    "reason",
    // As many as the configuration lists.
    "receiver",
    "result",
    "severity",
    "source_tor",
    "state",
    "target_tor",
    "version",
];

fn roles() -> [(&'static str, Vec<MetricFamily>); 3] {
    [
        ("agent", crate::agent::metrics::tests::every()),
        ("controller", crate::controller::every_metric()),
        ("analyzer", crate::analyzer::every_metric()),
    ]
}

fn labels(family: &MetricFamily) -> BTreeSet<&str> {
    let labels = family.metric.iter().flat_map(|metric| &metric.label);
    labels.map(|label| label.name.as_str()).collect()
}

/// Its name as it was registered.
fn stem(family: &MetricFamily) -> &str {
    family.name.strip_suffix("_total").unwrap_or(&family.name)
}

/// As a `TYPE` line names it.
fn kind(family: &MetricFamily) -> String {
    if family.name.ends_with("_info") {
        return "info".to_owned();
    }
    family.r#type().as_str_name().to_ascii_lowercase()
}

fn unit(name: &str) -> &'static str {
    match crate::telemetry::otlp::unit(name) {
        "s" => "seconds",
        "By" => "bytes",
        _ if name.ends_with("_ratio") => "ratio",
        _ => "1",
    }
}

fn table() -> String {
    let mut table =
        "| metric | role | type | unit | labels | what it says |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for (role, families) in roles() {
        for family in &families {
            let labels: Vec<_> = labels(family)
                .into_iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let _ = writeln!(
                table,
                "| `{}` | {role} | {} | {} | {} | {} |",
                family.name,
                kind(family),
                unit(stem(family)),
                labels.join(", "),
                family.help.trim_end_matches('.'),
            );
        }
    }
    table
}

#[test]
fn the_table_of_metrics_is_what_the_programs_emit() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(&file).expect("docs/metrics.md");
    let (before, rest) = text.split_once(BEGIN).expect("the begin of the table");
    let (written, after) = rest.split_once(END).expect("the end of the table");
    let made = table();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}{made}{END}{after}")).expect("written");
        return;
    }
    assert_eq!(
        written, made,
        "docs/metrics.md is stale: {UPDATE}=1 writes it"
    );
}

#[test]
fn names_follow_the_conventions_and_labels_are_bounded() {
    for (role, families) in roles() {
        assert!(families.len() > 5, "{role}");
        for family in &families {
            let name = &family.name;
            assert!(name.starts_with("rpingmesh_"), "{name}");
            assert!(
                !stem(family).ends_with("_total"),
                "{name}: the encoder adds it"
            );
            assert!(
                !family.metric.is_empty(),
                "{name} was not counted: add it to `every` of the {role}"
            );
            assert!(
                !family.help.is_empty() && !family.help.contains('|'),
                "{name}"
            );
            for label in labels(family) {
                assert!(LABELS.contains(&label), "{name}: is `{label}` bounded?");
            }
        }
    }
}
