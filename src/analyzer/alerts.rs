//! Sends alerts about incidents to Alertmanagers and webhooks.
//!
//! One task per receiver. The judging task puts incidents into the receiver's [`Outbox`] ([`Alerts::learn`]); the receiver's
//! task empties it, and a [`Notify`] wakes that task. No queue can overflow: an outbox keeps the newest state of each
//! open incident, and a bounded number of closed ones. A task that panics is started again, because its outbox is whole.
//!
//! What a receiver has acknowledged is kept in the store. So a restarted analyzer loses no alert and repeats none. Cancelling
//! is safe: what was not acknowledged is sent again. Alertmanager takes both for one alert; webhooks recognise the
//! repetition by the incident's number and the event.

mod message;
pub(super) mod metrics;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::message::Links;
use self::metrics::{AlertMetrics, ReceiverMetrics};
use super::error::{AnalyzerError, GRACE};
use crate::analysis::alerts::{self, DeliveryState, Item, Next, Outbox, Outcome};
use crate::analysis::incident::Incident;
use crate::config::analyzer::{AlertConfig, Secret};
use crate::error::describe;
use crate::net::http::{Client, HttpError};
use crate::net::limit::LogLimit;
use crate::net::url::Url;
use crate::store::StoreError;
use crate::store::incidents::Incidents;
use crate::supervisor::{Stage, Supervisor};
use crate::time::Clock;

/// Alertmanager forgets an alert after so many intervals without hearing of it (Prometheus does the same).
const LIFETIME: u32 = 4;
/// The most incidents that are taken over at the start.
const MOST_RESTORED: u32 = 10_000;

/// What the tasks need.
pub(super) struct AlertInputs {
    pub(super) config: AlertConfig,
    pub(super) store: Arc<dyn Incidents>,
    pub(super) clock: Arc<dyn Clock>,
    /// Where the web server listens.
    pub(super) web: SocketAddr,
}

/// For the judging task. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Alerts(Arc<[Arc<Receiver>]>);

impl Alerts {
    /// Takes what has become of an incident.
    pub(super) fn learn(&self, incident: &Incident) {
        for receiver in self.0.iter() {
            receiver.outbox().learn(incident);
            receiver.count();
            receiver.news.notify_one();
        }
    }

    /// Starts a task for each receiver.
    pub(super) fn spawn(&self, supervisor: &mut Supervisor<AnalyzerError>, stage: &Stage) {
        for receiver in self.0.iter() {
            let (kind, place) = (receiver.kind.name(), receiver.url.authority());
            let name = format!("alerts to {kind} {place}");
            let receiver = Arc::clone(receiver);
            supervisor.spawn_restarted(stage, name, move |stop| Arc::clone(&receiver).run(stop));
        }
    }

    /// Receivers, and what waits for them: each incident as often as receivers have not acknowledged its newest state.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let waiting = self.0.iter().map(|receiver| receiver.outbox().waiting());
        (self.0.len(), waiting.sum())
    }

    /// Takes newer evidence of incidents that are open anyway; nobody is woken for that.
    pub(super) fn follow(&self, open: &[Incident]) {
        for receiver in self.0.iter() {
            let mut outbox = receiver.outbox();
            for incident in open {
                outbox.learn(incident);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceiverKind {
    Alertmanager,
    Webhook,
}

impl ReceiverKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
        }
    }
}

/// A receiver of alerts.
struct Receiver {
    kind: ReceiverKind,
    url: Url,
    /// In the store.
    name: String,
    outbox: Mutex<Outbox>,
    news: Notify,
    metrics: ReceiverMetrics,
    client: Client,
    labels: BTreeMap<String, String>,
    links: Links,
    secret: Option<Secret>,
    lifetime: Duration,
    store: Arc<dyn Incidents>,
    clock: Arc<dyn Clock>,
}

/// Restores the alerts that are due; [`Alerts::spawn`] starts the tasks.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn restore(
    parts: AlertInputs,
    metrics: &AlertMetrics,
) -> Result<Alerts, StoreError> {
    let config = &parts.config;
    let mut receivers = Vec::new();
    let alertmanagers = config.alertmanagers.iter();
    let urls = alertmanagers
        .map(|url| (ReceiverKind::Alertmanager, url))
        .chain(
            config
                .webhooks
                .iter()
                .map(|url| (ReceiverKind::Webhook, url)),
        );
    for (kind, url) in urls {
        let name = format!("{} {url}", kind.name());
        let now = parts.clock.wall();
        let known = match parts.store.undelivered(&name, now, MOST_RESTORED).await {
            Ok(known) => known,
            // Open incidents are told again by the first run of the judge.
            Err(StoreError::Full { store }) => {
                tracing::error!(
                    receiver = name,
                    store,
                    "no space left: what the receiver has acknowledged is not known"
                );
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let behaviour = alerts::Config {
            refresh: (kind == ReceiverKind::Alertmanager).then_some(config.resend_interval),
            ..alerts::Config::default()
        };
        let receiver = Receiver {
            kind,
            name,
            outbox: Mutex::new(Outbox::new(behaviour, known)),
            news: Notify::new(),
            metrics: metrics.of(kind.name(), &url.authority()),
            client: config.client.clone(),
            labels: config.labels.clone(),
            links: Links::new(config.external_url.as_deref(), parts.web),
            secret: config.secret.clone(),
            lifetime: config.resend_interval * LIFETIME,
            store: Arc::clone(&parts.store),
            clock: Arc::clone(&parts.clock),
            url: match kind {
                ReceiverKind::Alertmanager => url.join("/api/v2/alerts"),
                ReceiverKind::Webhook => url.clone(),
            },
        };
        receiver.count();
        receivers.push(Arc::new(receiver));
    }
    Ok(Alerts(receivers.into()))
}

impl Receiver {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) {
        let outbox = self.outbox();
        self.metrics.waiting(outbox.waiting(), outbox.dropped());
    }

    async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut lines = LogLimit::new(5, Duration::from_mins(1));
        // What the store has not taken yet.
        let mut unsaved = BTreeMap::new();
        loop {
            let next = self.outbox().next(self.clock.host());
            let pause = match next {
                Next::Send(batch) => {
                    let late = async {
                        stop.cancelled().await;
                        tokio::time::sleep(GRACE).await;
                    };
                    tokio::select! {
                        result = self.send(&batch) => self.settle(&batch, result, &mut unsaved, &mut lines),
                        () = late => return,
                    }
                    self.save(&mut unsaved, &mut lines).await;
                    if stop.is_cancelled() {
                        return;
                    }
                    continue;
                }
                Next::Wait(until) => Some(until.since(self.clock.host())),
                Next::Idle => None,
            };
            let due = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = due => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn send(&self, batch: &[Item]) -> Result<(), HttpError> {
        let now = self.clock.wall();
        let (body, headers) = match self.kind {
            ReceiverKind::Alertmanager => {
                let until = now.after(self.lifetime);
                let alerts = message::alerts(batch, &self.labels, &self.links, now, until);
                if alerts.is_empty() {
                    // Other incidents say the same already.
                    return Ok(());
                }
                (to_bytes(&alerts), Vec::new())
            }
            ReceiverKind::Webhook => {
                let body = to_bytes(&message::changes(batch, &self.links));
                let signature = self
                    .secret
                    .as_ref()
                    .map(|secret| message::sign(secret, &body));
                (body, signature.into_iter().collect())
            }
        };
        self.client.post_json(&self.url, &headers, body).await?;
        Ok(())
    }

    fn settle(
        &self,
        batch: &[Item],
        result: Result<(), HttpError>,
        unsaved: &mut BTreeMap<u64, DeliveryState>,
        lines: &mut LogLimit,
    ) {
        let outcome = match &result {
            Ok(()) => Outcome::Taken,
            Err(error) if error.is_refusal() => Outcome::Refused,
            Err(_) => Outcome::Unreachable,
        };
        let now = self.clock.host();
        let known = self.outbox().settle(batch, outcome, now, rand::random());
        unsaved.extend(known);
        self.metrics.settled(batch, outcome);
        self.count();
        if let Err(error) = result
            && let Some(suppressed) = lines.admit(now)
        {
            let error = describe(&error);
            tracing::warn!(
                kind = self.kind.name(), receiver = self.url.authority(), %error, incidents = batch.len(), suppressed,
                "alerts were not taken; they are kept and sent again"
            );
        }
    }

    async fn save(&self, unsaved: &mut BTreeMap<u64, DeliveryState>, lines: &mut LogLimit) {
        if unsaved.is_empty() {
            return;
        }
        let delivered = unsaved
            .iter()
            .map(|(id, delivered)| (*id, delivered.clone()))
            .collect();
        match self.store.record_delivered(&self.name, delivered).await {
            Ok(()) => unsaved.clear(),
            Err(error) => {
                if let Some(suppressed) = lines.admit(self.clock.host()) {
                    tracing::warn!(
                        kind = self.kind.name(), receiver = self.url.authority(), error = %describe(&error), suppressed,
                        "what was delivered to this receiver cannot be stored; after a restart it would be sent again"
                    );
                }
            }
        }
    }
}

fn to_bytes(value: &impl serde::Serialize) -> Bytes {
    // Maps with string keys, numbers and strings always are JSON.
    serde_json::to_vec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
