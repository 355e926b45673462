//! The task that follows the services' connections: what the tracer tells in, paths to probe out.
//!
//! Channels:
//! - in: `messages` (bounded by the tracer, see [`TRACE_DEPTH`](crate::service::trace::TRACE_DEPTH));
//! - in: `inventory` (watch), the RNICs that can probe; `orders` (watch), whose pinglists hold addresses, too;
//! - in: `pods` (watch), the names of pods; out: its wish for newer ones, see [`super::pods`];
//! - out: `mailboxes`, the paths that each RNIC probes; what is in them is never lost, see [`super::mailbox`];
//! - out: `status` (watch), for the heartbeats.
//!
//! A change that needs no look-up is in its mailbox as soon as it was taken from the channel. One look-up is under way
//! at a time, for all destinations that are due. Dropping the task at any await leaves nothing half done; the paths that
//! it has given out go on being probed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::absence::Absence;
use super::client::{CallError, Controller};
use super::endpoint::{Inventory, Orders};
use super::mailbox::{Mailboxes, News};
use super::metrics::{Metrics, TracingState};
use super::pods::PodsIn;
use crate::error::describe;
use crate::id::Gid;
use crate::rpc::registry::{ResolvedRnic, TargetQuery};
use crate::service::flow::{FlowCounters, FlowTable};
use crate::service::naming::Naming;
use crate::service::probing::{Census, Local, Planner};
use crate::service::trace::{TraceMessage, TracerCounters, TracerStatus};
use crate::time::{Clock, HostTime};
use crate::topology::Peer;
use crate::transport::RnicName;

/// Queue pairs in the table: more than any host of today has in use, and about 30 MB if they are all there.
pub(crate) const FLOW_CAPACITY: usize = 32_768;

/// Messages that are taken at once before the changes are passed on.
const BATCH: usize = 256;

/// How often the status is told when it changes all the time.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Destinations that a status names.
const NAMED: usize = 5;

/// What the task knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceStatus {
    /// What the tracer does; `None` before it has said.
    pub tracer: Option<TracerStatus>,
    /// What the tracer counted.
    pub traced: TracerCounters,
    /// What the flow table counted.
    pub flows: FlowCounters,
    /// The connections.
    pub census: Census,
    /// Why pods have no names, or old ones.
    pub pods: Option<String>,
}

impl ServiceStatus {
    /// What is not as it should be, in words; empty when everything is.
    pub fn degraded(&self) -> Vec<String> {
        let mut words = Vec::new();
        match &self.tracer {
            Some(TracerStatus::Attached { .. }) => {}
            Some(
                status @ (TracerStatus::WaitingForIbCore
                | TracerStatus::Unavailable(_)
                | TracerStatus::Off),
            ) => words.push(format!("tracing: {status}")),
            None => words.push("tracing: has not begun".to_owned()),
        }
        if self.traced.lost() > 0 {
            words.push(format!(
                "tracing: {} events were lost: connections may be missing until the next listing",
                self.traced.lost()
            ));
        }
        if self.flows.evicted_live > 0 {
            words.push(format!(
                "tracing: {} connections went from the table of {FLOW_CAPACITY} to make room and are not followed",
                self.flows.evicted_live
            ));
        }
        let elsewhere = self.census.probed - self.census.own_path.min(self.census.probed);
        if elsewhere > 0 {
            words.push(format!(
                "service probing: {elsewhere} of {} connections are probed with another UDP source port or address than \
                 their own, which the RNIC does not let the agent choose: perhaps on other paths",
                self.census.probed
            ));
        }
        if self.census.no_endpoint > 0 {
            words.push(format!(
                "service probing: {} connections use an RNIC or address family that this agent does not probe from",
                self.census.no_endpoint
            ));
        }
        if !self.census.unknown.is_empty() {
            words.push(unknown_in_words(&self.census));
        }
        if let Some(why) = &self.pods {
            words.push(format!(
                "service names: Kubernetes does not name new pods, they go by their UID: {why}"
            ));
        }
        words
    }
}

fn unknown_in_words(census: &Census) -> String {
    let named: Vec<_> = census
        .unknown
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let count = census.unknown.len();
    let more = if count > NAMED { ", …" } else { "" };
    format!(
        "service probing: {count} destinations are not probed because no agent has registered them: {}{more}",
        named.join(", ")
    )
}

/// The channels of the task.
pub struct ServiceChannels {
    /// From the tracer.
    pub messages: mpsc::Receiver<TraceMessage>,
    /// The RNICs of this host.
    pub inventory: watch::Receiver<Inventory>,
    /// Pinglists.
    pub orders: watch::Receiver<Arc<Orders>>,
    /// Names of pods, where they are asked for.
    pub pods: Option<PodsIn>,
    /// To the RNICs.
    pub mailboxes: Mailboxes,
    /// For heartbeats.
    pub status: watch::Sender<ServiceStatus>,
    /// For those who watch the agent.
    pub metrics: Arc<Metrics>,
}

type Answer = (Vec<Gid>, Result<Vec<Vec<ResolvedRnic>>, CallError>);
type Lookup = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The task.
pub struct Services {
    channels: ServiceChannels,
    controller: Controller,
    clock: Arc<dyn Clock>,
    table: FlowTable,
    planner: Planner,
    lookup: Option<Lookup>,
    absence: Absence,
    status: ServiceStatus,
    published_at: HostTime,
    /// Something has happened since the status was told.
    is_news: bool,
    /// The tracer is gone: its channel is closed.
    tracer_ended: bool,
}

impl Services {
    /// Asks `controller` for the responders of destinations; names services by `naming`.
    pub fn new(
        channels: ServiceChannels,
        controller: Controller,
        clock: Arc<dyn Clock>,
        naming: Naming,
    ) -> Self {
        Self {
            channels,
            controller,
            clock,
            table: FlowTable::new(FLOW_CAPACITY),
            planner: Planner::new(naming),
            lookup: None,
            absence: Absence::default(),
            status: ServiceStatus::default(),
            published_at: HostTime::from_nanos(i64::MIN),
            is_news: true,
            tracer_ended: false,
        }
    }

    /// Follows connections until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        self.channels.inventory.mark_changed();
        self.channels.orders.mark_changed();
        if let Some(pods) = &mut self.channels.pods {
            pods.names.mark_changed();
        }
        let mut messages = Vec::with_capacity(BATCH);
        while stop
            .run_until_cancelled(self.turn(&mut messages))
            .await
            .is_some()
        {
            self.pass_on();
        }
    }

    /// Waits for the next thing to happen and takes it in.
    async fn turn(&mut self, messages: &mut Vec<TraceMessage>) {
        let wakeup = self.wakeup();
        tokio::select! {
            count = self.channels.messages.recv_many(messages, BATCH), if !self.tracer_ended => {
                if count == 0 {
                    self.tracer_is_gone();
                }
                for message in messages.drain(..) {
                    self.take(message);
                }
            }
            (asked, answer) = conclude(&mut self.lookup), if self.lookup.is_some() => {
                self.lookup = None;
                self.take_answer(&asked, answer);
            }
            Ok(()) = self.channels.inventory.changed() => {
                let locals = locals(&self.channels.inventory.borrow_and_update());
                self.planner.set_locals(locals);
            }
            Some(()) = pods_changed(&mut self.channels.pods) => self.take_pods(),
            Ok(()) = self.channels.orders.changed() => {
                let hints = hints(&self.channels.orders.borrow_and_update());
                self.planner.set_hints(hints);
            }
            () = tokio::time::sleep(wakeup.unwrap_or_default()), if wakeup.is_some() => return,
            else => return std::future::pending().await,
        }
        self.is_news = true;
    }

    /// How long until a look-up is due or a status that has waited may be told.
    fn wakeup(&self) -> Option<Duration> {
        let lookup = self.planner.next_lookup();
        let status = self
            .is_news
            .then(|| self.published_at.after(STATUS_INTERVAL));
        let at = lookup.into_iter().chain(status).min()?;
        Some(at.since(self.clock.host()))
    }

    fn take(&mut self, message: TraceMessage) {
        match message {
            TraceMessage::Event(_) | TraceMessage::Listing(_) => self.table.take(&message),
            TraceMessage::Counters(counters) => self.take_counters(counters),
            TraceMessage::Status(status) => self.take_status(status),
        }
        let now = self.clock.host();
        for change in self.table.drain_changes() {
            self.planner.take(&change, now);
        }
        if self.planner.take_unnamed()
            && let Some(pods) = &self.channels.pods
        {
            pods.wanted.notify_one();
        }
    }

    fn take_pods(&mut self) {
        if let Some(pods) = &mut self.channels.pods {
            let known = pods.names.borrow_and_update().clone();
            self.planner.set_pods(known.names);
            self.status.pods = known.trouble;
        }
    }

    fn take_status(&mut self, status: TracerStatus) {
        tracing::info!(%status, "service tracing");
        let is_attached = matches!(status, TracerStatus::Attached { .. });
        if !is_attached {
            // Nobody would tell of their end.
            self.table.clear();
        }
        self.status.tracer = Some(status);
    }

    fn take_counters(&mut self, counters: TracerCounters) {
        let (before, now) = (self.status.traced.lost(), counters.lost());
        if now > before {
            tracing::warn!(
                lost = now - before,
                "events of queue pairs were lost: connections may be missing until the next listing"
            );
        }
        self.status.traced = counters;
    }

    fn tracer_is_gone(&mut self) {
        self.tracer_ended = true;
        tracing::warn!("the tracer has ended: service connections are followed no longer");
        self.table.clear();
        let now = self.clock.host();
        for change in self.table.drain_changes() {
            self.planner.take(&change, now);
        }
    }

    fn take_answer(&mut self, asked: &[Gid], answer: Result<Vec<Vec<ResolvedRnic>>, CallError>) {
        let now = self.clock.host();
        match answer {
            Ok(found) => {
                if self.absence.end() {
                    tracing::info!("the controller resolves service destinations again");
                }
                let found = asked
                    .iter()
                    .zip(found)
                    .filter_map(|(gid, rnics)| Some((*gid, peer(rnics.into_iter().next()?))))
                    .collect();
                self.planner.answered(asked, &found, now);
            }
            Err(error) => {
                let error = describe(&error);
                if self.absence.is_news(&error) {
                    tracing::warn!(error, "service destinations are not resolved, trying again");
                }
                self.planner.failed(asked, now);
            }
        }
    }

    /// Gives out what has followed from the last turn.
    fn pass_on(&mut self) {
        let mut news: HashMap<RnicName, Vec<News>> = HashMap::new();
        for change in self.planner.drain_changes() {
            let letters = news.entry(change.rnic).or_default();
            letters.push((change.id, change.path));
        }
        for (rnic, news) in news {
            self.channels.mailboxes.of(&rnic).post(news);
        }
        let now = self.clock.host();
        if self.lookup.is_none()
            && let Some(asked) = self.planner.due_lookup(now)
        {
            let controller = self.controller.clone();
            self.lookup = Some(Box::pin(async move {
                let queries: Vec<_> = asked.iter().copied().map(TargetQuery::Gid).collect();
                let answer = controller.resolve_all(&queries).await;
                (asked, answer)
            }));
        }
        self.publish_status(now);
    }

    fn publish_status(&mut self, now: HostTime) {
        if !self.is_news || now.since(self.published_at) < STATUS_INTERVAL {
            return;
        }
        self.is_news = false;
        self.published_at = now;
        self.status.flows = self.table.counters();
        self.channels.metrics.tracing(TracingState {
            tracer: self.status.tracer.as_ref().map(TracerStatus::name),
            traced: self.status.traced,
        });
        let census = self.planner.census();
        if census.unknown != self.status.census.unknown {
            if census.unknown.is_empty() {
                tracing::info!("every service destination is registered");
            } else {
                tracing::warn!("{}", unknown_in_words(&census));
            }
        }
        self.status.census = census;
        let status = self.status.clone();
        self.channels.status.send_if_modified(|known| {
            let is_news = *known != status;
            *known = status;
            is_news
        });
    }
}

/// Waits for names of pods; `None` where nobody asks for them any more.
async fn pods_changed(pods: &mut Option<PodsIn>) -> Option<()> {
    pods.as_mut()?.names.changed().await.ok()
}

async fn conclude(lookup: &mut Option<Lookup>) -> Answer {
    match lookup {
        Some(lookup) => lookup.await,
        None => std::future::pending().await,
    }
}

/// The RNICs with an open endpoint.
fn locals(inventory: &Inventory) -> Vec<Local> {
    inventory
        .iter()
        .filter_map(|(name, state)| {
            let open = state.as_ref().ok()?;
            Some(Local {
                rnic: name.clone(),
                gid: open.address.gid,
                steering: open.capabilities.steering.clone(),
            })
        })
        .collect()
}

/// The responders that the pinglists name.
fn hints(orders: &Orders) -> HashMap<Gid, Arc<Peer>> {
    orders
        .groups
        .values()
        .flatten()
        .flat_map(|group| &group.paths)
        .map(|path| (path.target.address.gid, Arc::clone(&path.target)))
        .collect()
}

fn peer(found: ResolvedRnic) -> Arc<Peer> {
    Arc::new(Peer {
        address: found.rnic.address,
        tor: found.rnic.tor,
        host: found.host,
        device: found.rnic.device,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_not_as_it_should_be() {
        let since = HostTime::from_nanos(0);
        let healthy = ServiceStatus {
            tracer: Some(TracerStatus::Attached {
                since,
                unseen: Vec::new(),
                devx: false,
                unproved: None,
            }),
            census: Census {
                connections: 3,
                probed: 3,
                own_path: 3,
                ..Census::default()
            },
            ..ServiceStatus::default()
        };
        assert_eq!(healthy.degraded(), Vec::<String>::new());
        let address = |text: &str| text.parse::<Gid>().expect("a GID");
        let degraded = ServiceStatus {
            tracer: Some(TracerStatus::Off),
            traced: TracerCounters {
                ring_full: 7,
                ..TracerCounters::default()
            },
            flows: FlowCounters {
                evicted_live: 2,
                ..FlowCounters::default()
            },
            census: Census {
                connections: 9,
                probed: 3,
                own_path: 1,
                no_endpoint: 4,
                unknown: [address("10.0.0.7"), address("fd00::9")].into(),
                ..Census::default()
            },
            pods: Some("127.0.0.1:10250 does not answer".to_owned()),
        };
        assert_eq!(
            degraded.degraded(),
            [
                "tracing: off, as configured",
                "tracing: 7 events were lost: connections may be missing until the next listing",
                "tracing: 2 connections went from the table of 32768 to make room and are not followed",
                "service probing: 2 of 3 connections are probed with another UDP source port or address than their own, \
                 which the RNIC does not let the agent choose: perhaps on other paths",
                "service probing: 4 connections use an RNIC or address family that this agent does not probe from",
                "service probing: 2 destinations are not probed because no agent has registered them: 10.0.0.7, fd00::9",
                "service names: Kubernetes does not name new pods, they go by their UID: 127.0.0.1:10250 does not answer",
            ]
        );
    }
}
