//! What focus asks for, why, and what it brought.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::ReasonLabels;
use crate::analyzer::view::View;
use crate::pinglist::focus::FocusCounts;
use crate::telemetry::metrics::metric_set;

metric_set! {
    /// What focus asks for, why, and what it brought.
    struct Counted {
        /// 5-tuples that the last run of the judge wants to be probed more
        focus_tuples: Gauge,
        /// Probes per second that the last run of the judge wants to be added to them
        focus_probes_per_second: Gauge<f64, AtomicU64>,
        /// Groups of suspects that the last run of the judge asks about
        focus_questions: Gauge,
        /// What a second of these probes is expected to tell about the suspects, in nats
        focus_information: Gauge<f64, AtomicU64>,
        /// Requests to probe some 5-tuples more that the controller did not take
        focus_failures: Counter,
        /// 5-tuples of the requests that the controller took, by what became of them: passed_on, unknown, beyond
        focus_answers: Family<ReasonLabels, Counter>,
        /// Open incidents with alternatives that probes are under way to tell apart
        incidents_deciding: Gauge,
        /// Incidents with alternatives, after probes to tell them apart: decided, or closed undecided
        incidents_decided: Family<ReasonLabels, Counter>,
    }
}

/// The metrics, and the incidents that are being decided.
#[derive(Default)]
pub(super) struct FocusMetrics {
    counted: Counted,
    deciding: Mutex<BTreeSet<u64>>,
}

impl FocusMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.counted.register(registry);
    }

    /// Takes over what a run of the judge published.
    pub(super) fn judged(&self, view: &View) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let judgement = &view.judgement;
        let sum = |of: fn(&crate::analysis::judge::Question) -> f64| {
            judgement.questions.iter().map(of).sum::<f64>()
        };
        self.counted.focus_tuples.set(number(judgement.asked.len()));
        self.counted
            .focus_questions
            .set(number(judgement.questions.len()));
        self.counted
            .focus_probes_per_second
            .set(sum(|one| one.rate));
        self.counted
            .focus_information
            .set(sum(|one| one.information));
        let mut deciding = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        deciding.retain(|id| {
            let incident = view.open.iter().find(|incident| incident.id == *id);
            let reason = match incident {
                Some(incident) if incident.or.is_empty() => "decided",
                Some(_) => return true,
                None => "undecided",
            };
            self.counted
                .incidents_decided
                .get_or_create(&ReasonLabels { reason })
                .inc();
            false
        });
        let under_way = view.open.iter().filter(|incident| incident.deciding);
        deciding.extend(under_way.clone().map(|incident| incident.id));
        self.counted
            .incidents_deciding
            .set(number(under_way.count()));
    }

    /// The controller did not take what is to be probed more.
    pub(super) fn failed(&self) {
        self.counted.focus_failures.inc();
    }

    /// The controller took a request, and has made this of it.
    pub(super) fn passed(&self, counts: FocusCounts) {
        let FocusCounts {
            passed_on,
            unknown,
            beyond,
        } = counts;
        let counts = [
            ("passed_on", passed_on),
            ("unknown", unknown),
            ("beyond", beyond),
        ];
        for (reason, count) in counts {
            self.counted
                .focus_answers
                .get_or_create(&ReasonLabels { reason })
                .inc_by(count.into());
        }
    }
}

#[cfg(test)]
impl FocusMetrics {
    /// One value of each labelled metric.
    pub(super) fn touch(&self) {
        let label = |reason| ReasonLabels { reason };
        let _ = self
            .counted
            .focus_answers
            .get_or_create(&label("passed_on"));
        let _ = self
            .counted
            .incidents_decided
            .get_or_create(&label("decided"));
    }

    /// Incidents that were decided.
    pub(super) fn decided(&self, reason: &'static str) -> u64 {
        let labels = ReasonLabels { reason };
        self.counted.incidents_decided.get_or_create(&labels).get()
    }
}
