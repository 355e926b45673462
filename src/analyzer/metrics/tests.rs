use super::*;

/// What `/metrics` shows when everything that is counted has been counted once.
pub(crate) fn every() -> String {
    let metrics = Metrics::new(Arc::default());
    let _ = metrics.pair(&("tor0".into(), "tor1".into(), Kind::TorMesh));
    metrics.refuse_upload("hello");
    let reason = |reason| ReasonLabels { reason };
    let _ = metrics.batches.get_or_create(&reason("counted"));
    let _ = metrics
        .invalid_reasons
        .get_or_create(&reason("send_failed"));
    let _ = metrics.set_aside.get_or_create(&reason("host_down"));
    let incident = IncidentLabels {
        category: "link_loss",
        severity: "P2",
    };
    let _ = metrics.incidents_open.get_or_create(&incident);
    let _ = metrics.incidents_opened.get_or_create(&incident);
    let _ = metrics.traces.get_or_create(&TraceLabels {
        reason: "new",
        learned: "new",
    });
    metrics.alerts.touch();
    metrics.encode().expect("encoded")
}
