//! What is counted of alerts. Labels are bounded by the configuration: kind, host and port of a receiver, never the path
//! of a webhook, which may hold a secret.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::analysis::alerts::{Event, Item, Outcome};
use crate::telemetry::metrics::metric_set;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    receiver: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    kind: &'static str,
    receiver: String,
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kind: &'static str,
    receiver: String,
    reason: &'static str,
}

metric_set! {
    /// Of all receivers.
    #[derive(Debug, Clone)]
    pub(in crate::analyzer) struct AlertMetrics {
        /// Incidents that were delivered to receivers of alerts and acknowledged
        alerts_sent: Family<EventLabels, Counter>,
        /// Failed requests to receivers of alerts: unreachable (sent again) or refused (incidents sent one by one)
        alert_requests_failed: Family<FailureLabels, Counter>,
        /// Incidents whose newest state a receiver of alerts has not acknowledged
        alerts_waiting: Family<Labels, Gauge>,
        /// Incidents that were dropped since the start because too many waited
        alerts_dropped: Family<Labels, Gauge>,
    }
}

impl AlertMetrics {
    /// Shows every metric, once.
    #[cfg(test)]
    pub(in crate::analyzer) fn touch(&self) {
        let one = self.of("webhook", "localhost:80");
        one.waiting(0, 0);
        one.sent(Event::Opened);
        one.settled(&[], Outcome::Unreachable);
    }

    /// Those of one receiver.
    pub(super) fn of(&self, kind: &'static str, receiver: &str) -> ReceiverMetrics {
        ReceiverMetrics {
            all: self.clone(),
            kind,
            receiver: receiver.to_owned(),
        }
    }
}

/// Of one receiver.
#[derive(Debug)]
pub(super) struct ReceiverMetrics {
    all: AlertMetrics,
    kind: &'static str,
    receiver: String,
}

impl ReceiverMetrics {
    fn labels(&self) -> Labels {
        Labels {
            kind: self.kind,
            receiver: self.receiver.clone(),
        }
    }

    /// How many wait, and how many were dropped since the start.
    pub(super) fn waiting(&self, waiting: usize, dropped: u64) {
        let labels = self.labels();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        self.all
            .alerts_waiting
            .get_or_create(&labels)
            .set(number(waiting));
        self.all
            .alerts_dropped
            .get_or_create(&labels)
            .set(number(dropped));
    }

    /// What came of a batch.
    pub(super) fn settled(&self, batch: &[Item], outcome: Outcome) {
        let reason = match outcome {
            Outcome::Taken => {
                for item in batch {
                    self.sent(item.event);
                }
                return;
            }
            Outcome::Unreachable => "unreachable",
            Outcome::Refused => "refused",
        };
        let labels = FailureLabels {
            kind: self.kind,
            receiver: self.receiver.clone(),
            reason,
        };
        self.all.alert_requests_failed.get_or_create(&labels).inc();
    }

    fn sent(&self, event: Event) {
        let labels = EventLabels {
            kind: self.kind,
            receiver: self.receiver.clone(),
            event: event.name(),
        };
        self.all.alerts_sent.get_or_create(&labels).inc();
    }
}
