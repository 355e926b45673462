//! One registration stream: what the agent says, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::calls::{ask, nanos, stopping};
use super::core::{Admitted, Command, Handle, Refused, Waiting};
use super::directory::StreamId;
use super::focus::Share;
use super::metrics::{ByVerdict, Metrics, Verdict};
use super::origin::Origin;
use super::placing::Placing;
use crate::cluster_key::{Order, Report};
use crate::id::AgentId;
use crate::rpc::convert::{self, FieldError};
use crate::rpc::v1::register_request::Message as Incoming;
use crate::rpc::v1::register_response::Message as Outgoing;
use crate::rpc::{focus, v1};
use crate::topology::Announcement;

/// How long a stream may take to announce its agent.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// Heartbeats per lease: two may be lost.
const HEARTBEATS_PER_LEASE: u32 = 3;

/// One registration stream.
pub(super) struct Session {
    pub(super) core: Handle,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
    pub(super) stream: StreamId,
    pub(super) lease: Duration,
    pub(super) config_version: u64,
    pub(super) peer: String,
    pub(super) origin: Origin,
    pub(super) answers: mpsc::Sender<Result<v1::RegisterResponse, Status>>,
    pub(super) agent: Option<AgentId>,
    /// What the agent is to probe more.
    pub(super) focus: Option<watch::Receiver<Option<Arc<Share>>>>,
    /// What the agent is to sign with, where it takes a key.
    pub(super) keys: Option<watch::Receiver<Option<Arc<Order>>>>,
    pub(super) degraded: Vec<String>,
    /// Who takes the agent's results, where several analyzers share the fleet.
    pub(super) placing: Placing,
}

impl Session {
    /// Answers until the agent, the controller or the lease ends the stream.
    pub(super) async fn run(mut self, incoming: Streaming<v1::RegisterRequest>) {
        self.metrics.sessions.inc();
        let end = self.converse(incoming).await;
        self.metrics.sessions.dec();
        if let Some(agent) = self.agent.take() {
            match &end {
                Ok(()) => tracing::info!(%agent, peer = self.peer, "registration stream ended"),
                Err(status) => tracing::info!(
                    %agent, peer = self.peer, reason = status.message(), "registration stream ended"
                ),
            }
            let stream = self.stream;
            // Fails only when the controller stops.
            let _ = self.core.send(Command::Ended { agent, stream }).await;
        }
        if let Err(status) = end {
            // The agent may be gone; then there is nobody to tell.
            let _ = self.answers.try_send(Err(status));
        }
    }

    async fn converse(
        &mut self,
        mut incoming: Streaming<v1::RegisterRequest>,
    ) -> Result<(), Status> {
        let mut changes: Option<watch::Receiver<u64>> = None;
        let mut silence = Instant::now() + FIRST_MESSAGE;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Err(stopping()),
                () = tokio::time::sleep_until(silence) => return Err(self.silent()),
                message = incoming.message() => match message? {
                    None => return Ok(()),
                    Some(message) => {
                        silence = Instant::now() + self.lease;
                        self.take(message, &mut changes).await?;
                    }
                },
                share = next_share(&mut self.focus) => {
                    let left = share.until.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        let message = v1::Focused {
                            valid_ns: nanos(left),
                            rnics: focus::to_messages(&share.list),
                        };
                        self.answer(Outgoing::Focused(message)).await?;
                    }
                }
                assignment = self.placing.next() => {
                    self.answer(Outgoing::Analyzer((&assignment).into())).await?;
                }
                order = next_order(&mut self.keys) => {
                    self.answer(Outgoing::Keys((&*order).into())).await?;
                }
                version = next(&mut changes) => {
                    let pinglist_version = version.ok_or_else(|| {
                        // At the end the core may be gone before this notices the stop.
                        if self.stop.is_cancelled() { stopping() } else { superseded() }
                    })?;
                    let message = v1::Changed { pinglist_version, config_version: self.config_version };
                    self.answer(Outgoing::Changed(message)).await?;
                }
            }
        }
    }

    fn silent(&self) -> Status {
        match &self.agent {
            Some(agent) => Status::deadline_exceeded(format!(
                "nothing heard of agent `{agent}` for {:?}",
                self.lease
            )),
            None => Status::deadline_exceeded(format!("no announcement within {FIRST_MESSAGE:?}")),
        }
    }

    async fn take(
        &mut self,
        message: v1::RegisterRequest,
        changes: &mut Option<watch::Receiver<u64>>,
    ) -> Result<(), Status> {
        match convert::required("message", message.message)? {
            Incoming::Announcement(announcement) => {
                let tors = announcement
                    .rnics
                    .iter()
                    .map(|rnic| rnic.tor.clone().into());
                self.placing.announced(&tors.collect());
                let mut admitted = self.announce(announcement).await?;
                let keys = admitted.keys.as_mut();
                let order = keys.and_then(|keys| keys.borrow_and_update().clone());
                let registered = v1::Registered {
                    lease_ns: nanos(self.lease),
                    heartbeat_interval_ns: nanos(self.lease / HEARTBEATS_PER_LEASE),
                    pinglist_version: admitted.version,
                    config_version: self.config_version,
                    keys: order.as_deref().map(Into::into),
                    analyzer: self.placing.now().as_ref().map(Into::into),
                };
                self.keys = admitted.keys;
                *changes = Some(admitted.changes);
                self.focus = Some(admitted.focus);
                self.answer(Outgoing::Registered(registered)).await
            }
            Incoming::Heartbeat(heartbeat) => self.heartbeat(heartbeat).await,
            Incoming::Keys(report) => {
                let report = Report::try_from(report).map_err(|error| error.within("keys"))?;
                match report {
                    Report::Held(held) => {
                        self.tell(|agent, stream| Command::Holds {
                            agent,
                            stream,
                            held,
                        })
                        .await
                    }
                    Report::Own => {
                        Err(FieldError::new("keys.own", "belongs to an announcement").into())
                    }
                }
            }
            Incoming::Goodbye(_) => {
                self.tell(|agent, stream| Command::Leaves { agent, stream })
                    .await
            }
        }
    }

    async fn announce(&mut self, announcement: v1::Announcement) -> Result<Admitted, Status> {
        let invalid = |error: FieldError, metrics: &Metrics| {
            let result = Verdict::Invalid;
            metrics
                .announcements
                .get_or_create(&ByVerdict { result })
                .inc();
            error.within("announcement")
        };
        let mut announcement = announcement;
        let machine = std::mem::take(&mut announcement.machine);
        let machine = convert::optional_text("machine", machine)
            .map_err(|error| invalid(error, &self.metrics))?;
        let keys = announcement.keys.take().map(Report::try_from).transpose();
        let keys = keys.map_err(|error| invalid(error.within("keys"), &self.metrics))?;
        let announcement =
            Announcement::try_from(announcement).map_err(|error| invalid(error, &self.metrics))?;
        let agent = announcement.agent.clone();
        if self.agent.as_ref().is_some_and(|known| *known != agent) {
            let error = FieldError::new(
                "agent_id",
                "differs from the one announced before on this stream",
            );
            return Err(invalid(error, &self.metrics).into());
        }
        let stream = self.stream;
        let origin = Origin {
            machine,
            ..self.origin.clone()
        };
        let answer = ask(&self.core, |reply| {
            Command::Announce(Box::new(Waiting {
                announcement,
                keys,
                origin,
                stream,
                reply,
            }))
        });
        let admitted = answer.await?.map_err(|refused| match refused {
            Refused::Identity(_) => Status::permission_denied(refused.to_string()),
            Refused::Address(error) => error.into(),
            Refused::Keyless(_) => Status::failed_precondition(refused.to_string()),
            Refused::Directory(_) | Refused::Conflict(_) => {
                Status::already_exists(refused.to_string())
            }
        })?;
        self.agent = Some(agent);
        Ok(admitted)
    }

    async fn heartbeat(&mut self, heartbeat: v1::Heartbeat) -> Result<(), Status> {
        let agent = self.announced()?;
        let degraded = heartbeat
            .health
            .map(|health| health.degraded)
            .unwrap_or_default();
        if degraded != self.degraded {
            tracing::info!(%agent, ?degraded, "what the agent cannot do has changed");
            self.degraded = degraded;
        }
        self.tell(|agent, stream| Command::Heard { agent, stream })
            .await
    }

    /// The agent of this stream.
    fn announced(&self) -> Result<AgentId, Status> {
        let early = || Status::failed_precondition("a message came before the announcement");
        self.agent.clone().ok_or_else(early)
    }

    /// Tells the core something of this stream's agent.
    async fn tell(&self, command: impl FnOnce(AgentId, StreamId) -> Command) -> Result<(), Status> {
        let command = command(self.announced()?, self.stream);
        self.core.send(command).await.map_err(|_| stopping())
    }

    async fn answer(&self, message: Outgoing) -> Result<(), Status> {
        let response = v1::RegisterResponse {
            message: Some(message),
        };
        match tokio::time::timeout(self.lease, self.answers.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the agent has closed the stream")),
            Err(_) => Err(Status::deadline_exceeded(
                "the agent does not read its stream",
            )),
        }
    }
}

fn superseded() -> Status {
    Status::aborted("another registration has replaced this one (agent id or GID): announce again")
}

/// Waits for what the agent is to probe more. Waits forever before the announcement, and after another stream of the agent took over.
async fn next_share(focus: &mut Option<watch::Receiver<Option<Arc<Share>>>>) -> Arc<Share> {
    let Some(focus) = focus else {
        return std::future::pending().await;
    };
    loop {
        if focus.changed().await.is_err() {
            return std::future::pending().await;
        }
        if let Some(share) = &*focus.borrow_and_update() {
            return Arc::clone(share);
        }
    }
}

/// Waits for what the agent is to sign with. Waits forever where it takes no key.
async fn next_order(keys: &mut Option<watch::Receiver<Option<Arc<Order>>>>) -> Arc<Order> {
    let Some(keys) = keys else {
        return std::future::pending().await;
    };
    loop {
        if keys.changed().await.is_err() {
            return std::future::pending().await;
        }
        if let Some(order) = &*keys.borrow_and_update() {
            return Arc::clone(order);
        }
    }
}

/// The next version; `None` when the stream is no longer the agent's; waits forever before the announcement.
async fn next(changes: &mut Option<watch::Receiver<u64>>) -> Option<u64> {
    match changes {
        None => std::future::pending().await,
        Some(changes) => {
            changes.changed().await.ok()?;
            Some(*changes.borrow_and_update())
        }
    }
}
