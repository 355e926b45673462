use super::*;
use crate::telemetry::metrics::{MetricFamily, values};

/// What `/metrics` shows when everything that is counted has been counted once.
pub(crate) fn every() -> Vec<MetricFamily> {
    let (registry, metrics) = Metrics::registered(Arc::default());
    let verdict = ByVerdict {
        result: Verdict::Accepted,
    };
    let _ = metrics.announcements.get_or_create(&verdict);
    let answer = ByAnswer {
        answer: Answer::List,
    };
    let _ = metrics.pinglist_requests.get_or_create(&answer);
    let _ = metrics
        .cluster_key_phase
        .get_or_create(&ByPhase { phase: "steady" });
    let standing = ByStanding {
        state: KeyStanding::Ready,
    };
    let _ = metrics.cluster_key_agents.get_or_create(&standing);
    values(&registry).expect("encoded")
}
