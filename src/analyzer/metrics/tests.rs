use super::*;
use crate::analysis::incident::{Incident, Severity, Subjects};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;

/// What `/metrics` shows when everything that is counted has been counted once.
pub(crate) fn every() -> Vec<MetricFamily> {
    let metrics = Metrics::new(Arc::default());
    let _ = metrics.pair(&("tor0".into(), "tor1".into(), ProbeKind::TorMesh));
    metrics.refuse_upload("hello");
    let reason = |reason| ReasonLabels { reason };
    let _ = metrics.uploads.batches.get_or_create(&reason("counted"));
    let _ = metrics
        .measured
        .probes_invalid_by_reason
        .get_or_create(&reason("send_failed"));
    let _ = metrics
        .judged
        .probes_set_aside
        .get_or_create(&reason("host_down"));
    let incident = IncidentLabels {
        category: "link_loss",
        severity: "P2",
    };
    let _ = metrics.judged.incidents_open.get_or_create(&incident);
    let _ = metrics.judged.incidents_opened.get_or_create(&incident);
    let _ = metrics.kept.traces.get_or_create(&TraceLabels {
        reason: "new",
        learned: "new",
    });
    metrics.alerts.touch();
    metrics.focus.touch();
    metrics.values().expect("encoded")
}

fn incident(id: u64) -> Incident {
    Incident {
        id,
        subject: Component::Switch {
            name: "spine1".to_owned(),
        },
        both_directions: false,
        or: Vec::new(),
        deciding: false,
        category: Category::SwitchDown,
        severity: Severity::P0,
        opened_unix_ns: 1,
        seen_unix_ns: 2,
        closed_unix_ns: None,
        confidence: 1.0,
        share: 1.0,
        sent: 10,
        lost: 10,
        services: std::collections::BTreeMap::new(),
        perhaps: std::collections::BTreeMap::new(),
        evidence: Vec::new(),
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: Subjects::default(),
        cause: None,
    }
}

#[test]
fn the_exemplar_of_opened_incidents_is_the_last_ones_number() {
    let metrics = Metrics::new(Arc::default());
    for id in [7, 8] {
        metrics.incident(&Change::Opened(incident(id)));
    }
    metrics.incident(&Change::Closed(incident(7)));
    let text = metrics.encode().expect("encoded");
    let line = "rpingmesh_incidents_opened_total{category=\"switch_down\",severity=\"P0\"} 2 # {incident=\"8\"} 1";
    assert!(text.contains(line), "{text}");
}

/// One incident is decided, one is closed undecided, one never had alternatives.
#[test]
fn what_focus_brought_is_counted_once_for_each_incident() {
    let metrics = Metrics::new(Arc::default());
    let undecided = |id| Incident {
        or: vec![Component::Switch {
            name: "spine2".to_owned(),
        }],
        deciding: true,
        ..incident(id)
    };
    let runs = [
        vec![undecided(1), undecided(2), incident(3)],
        vec![undecided(1), undecided(2), incident(3)],
        vec![incident(1)],
        vec![incident(1)],
    ];
    for open in runs {
        metrics.judged(&View {
            open,
            ..View::default()
        });
    }
    let counted = ["decided", "undecided"].map(|reason| metrics.focus.decided(reason));
    assert_eq!(counted, [1, 1]);
}
