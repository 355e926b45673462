//! The gRPC face of the controller: generated messages in, domain values to the core, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster_key::{Order, Report};
use crate::config::controller::{AgentOverrides, ControllerConfig};
use crate::id::AgentId;
use crate::net::calls::Room;
use crate::net::server;
use crate::pinglist::focus::FocusRequest;
use crate::rpc::convert::{self, FieldError};
use crate::rpc::focus;
use crate::rpc::registry::TargetQuery;
use crate::rpc::v1::controller_service_server::ControllerService;
use crate::rpc::v1::register_request::Message as Incoming;
use crate::rpc::v1::register_response::Message as Outgoing;
use crate::rpc::{MAX_MESSAGE_BYTES, v1};
use crate::topology::Announcement;

use super::answer::Content;
use super::core::{Admitted, Command, Handle, ListAnswer, Refused, Served, Waiting};
use super::directory::StreamId;
use super::focus::{Share, Stale};
use super::metrics::{Answer, ByAnswer, ByVerdict, Metrics, Verdict};
use super::origin::Origin;

/// Answers waiting for an agent that reads slowly; more than an announcement and a change are never outstanding long.
const ANSWERS_DEPTH: usize = 8;
/// How long a stream may take to announce its agent.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// Heartbeats per lease: two may be lost.
const HEARTBEATS_PER_LEASE: u32 = 3;
/// Queries of one `ResolveTarget` call.
const MAX_QUERIES: usize = 1024;

/// Pinglists that are made at once.
const MAKING: usize = 8;
/// Bytes of the pinglists that agents have asked for and not read yet. Those who ask beyond it wait.
const ANSWERS_ROOM: usize = 128 << 20;
const ROOM_UNIT: usize = 1 << 10;

/// Serves `ControllerService`.
pub(super) struct Service {
    core: Handle,
    metrics: Metrics,
    stop: CancellationToken,
    lease: Duration,
    config_version: u64,
    config: v1::AgentConfig,
    /// Names of the analyzers that may say what to probe more.
    analyzers: Vec<String>,
    streams: Arc<AtomicU64>,
    /// Pinglists in the making.
    making: Semaphore,
    /// Pinglists that are being made or wait for it.
    under_way: Arc<AtomicUsize>,
    /// Memory of the pinglists that agents have not read yet, in units of [`ROOM_UNIT`].
    answers_room: Arc<Semaphore>,
}

impl Service {
    pub(super) fn new(
        config: &ControllerConfig,
        (core, under_way): (Handle, Arc<AtomicUsize>),
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let agents = agent_config(&config.agents);
        Self {
            core,
            metrics,
            stop,
            lease: config.lifetimes.lease,
            config_version: content_version(&agents),
            config: agents,
            analyzers: config.settings.focus.analyzers.clone(),
            streams: Arc::default(),
            making: Semaphore::new(MAKING),
            under_way,
            answers_room: Arc::new(Semaphore::new(ANSWERS_ROOM / ROOM_UNIT)),
        }
    }

    /// Waits for the memory of an answer of so many bytes.
    async fn room(&self, bytes: usize) -> Result<Room, Status> {
        let units = bytes.div_ceil(ROOM_UNIT).min(ANSWERS_ROOM / ROOM_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.answers_room).acquire_many_owned(units);
        Ok(permit.await.map_err(|_| stopping())?.into())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Status> {
        ask(&self.core, command).await
    }
}

async fn ask<T>(
    core: &Handle,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Status> {
    let (reply, answer) = oneshot::channel();
    core.send(command(reply)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())
}

fn stopping() -> Status {
    Status::unavailable("the controller is stopping")
}

#[tonic::async_trait]
impl ControllerService for Service {
    type RegisterStream = ReceiverStream<Result<v1::RegisterResponse, Status>>;

    async fn register(
        &self,
        request: Request<Streaming<v1::RegisterRequest>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let (answers, stream) = mpsc::channel(ANSWERS_DEPTH);
        let peer = server::peer_of(&request);
        let origin = Origin {
            address: peer.map(|peer| peer.ip().to_canonical()),
            machine: String::new(),
            identity: server::identity_of(&request),
        };
        let session = Session {
            core: self.core.clone(),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
            stream: StreamId(self.streams.fetch_add(1, Ordering::Relaxed)),
            lease: self.lease,
            config_version: self.config_version,
            peer: peer.map_or_else(String::new, |peer| peer.to_string()),
            origin,
            answers,
            agent: None,
            focus: None,
            keys: None,
            degraded: Vec::new(),
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_pinglist(
        &self,
        request: Request<v1::GetPinglistRequest>,
    ) -> Result<Response<v1::GetPinglistResponse>, Status> {
        let identity = server::identity_of(&request);
        let request = request.into_inner();
        let agent: AgentId = convert::name("agent_id", request.agent_id)?;
        let (known, takes_delta) = (request.known_version, request.takes_delta);
        let _under_way = UnderWay::new(&self.under_way);
        let count = |answer| {
            self.metrics
                .pinglist_requests
                .get_or_create(&ByAnswer { answer })
                .inc()
        };
        if let Err(error) = identity.permit_agent(&agent) {
            count(Answer::OtherHost);
            return Err(Status::permission_denied(error.to_string()));
        }
        let answer = self
            .ask(|reply| Command::Pinglist {
                agent: agent.clone(),
                known,
                reply,
            })
            .await?;
        match answer {
            ListAnswer::UnknownAgent => {
                count(Answer::UnknownAgent);
                Err(Status::not_found(format!(
                    "agent `{agent}` is not registered: register first"
                )))
            }
            ListAnswer::Unchanged(version) => {
                count(Answer::Unchanged);
                Ok(Response::new(Content::Unchanged.message(version)))
            }
            ListAnswer::Made {
                announcement,
                plan: (plan, made_of),
                former,
            } => {
                // At once there are as many lists in the making as processors can use; their memory is taken before another
                // is made.
                let _making = self.making.acquire().await.map_err(|_| stopping())?;
                let former = former.filter(|_| takes_delta);
                let made = tokio::task::spawn_blocking(move || {
                    Content::of(&announcement, &made_of, former.as_deref(), known)
                });
                let (version, content) = made
                    .await
                    .map_err(|error| Status::internal(error.to_string()))?;
                let served = Command::Served {
                    agent: agent.clone(),
                    served: Served { plan, version },
                };
                self.core.send(served).await.map_err(|_| stopping())?;
                count(content.answer());
                let message = content.message(version);
                check_size(&agent, message.encoded_len())?;
                let room = self.room(message.encoded_len()).await?;
                let mut response = Response::new(message);
                response.extensions_mut().insert(room);
                Ok(response)
            }
        }
    }

    async fn resolve_target(
        &self,
        request: Request<v1::ResolveTargetRequest>,
    ) -> Result<Response<v1::ResolveTargetResponse>, Status> {
        let queries = request.into_inner().queries;
        if queries.len() > MAX_QUERIES {
            let why = format!(
                "has {} entries, at most {MAX_QUERIES} are accepted",
                queries.len()
            );
            return Err(FieldError::new("queries", why).into());
        }
        let queries = queries
            .into_iter()
            .enumerate()
            .map(|(index, query)| {
                TargetQuery::try_from(query)
                    .map_err(|error| error.within(&format!("queries[{index}]")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let found = self
            .ask(|reply| Command::Resolve { queries, reply })
            .await?;
        let targets = found
            .iter()
            .map(|rnics| v1::ResolvedTarget {
                rnics: rnics.iter().map(Into::into).collect(),
            })
            .collect();
        Ok(Response::new(v1::ResolveTargetResponse { targets }))
    }

    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        let known = request.into_inner().known_version == self.config_version;
        Ok(Response::new(v1::GetConfigResponse {
            version: self.config_version,
            config: (!known).then_some(self.config),
        }))
    }

    async fn focus(
        &self,
        request: Request<v1::FocusRequest>,
    ) -> Result<Response<v1::FocusResponse>, Status> {
        let refuse = |status: Status| {
            self.metrics.focus_requests_refused.inc();
            status
        };
        if self.analyzers.is_empty() {
            return Err(refuse(Status::permission_denied(
                "focus is off: name the analyzer in focus.analyzers on the controller, or leave focus_controller out on the \
                 analyzer",
            )));
        }
        server::identity_of(&request)
            .permit_analyzer(&self.analyzers)
            .map_err(|error| refuse(Status::permission_denied(error.to_string())))?;
        let request =
            FocusRequest::try_from(request.into_inner()).map_err(|error| refuse(error.into()))?;
        let until = Instant::now() + request.valid;
        let answer = self
            .ask(|reply| Command::Focus {
                request,
                until,
                reply,
            })
            .await?;
        let counts = answer.map_err(|stale: Stale| refuse(Status::aborted(stale.to_string())))?;
        Ok(Response::new(counts.into()))
    }
}

/// A pinglist that is being made or waits for it.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn check_size(agent: &AgentId, size: usize) -> Result<(), Status> {
    if size < MAX_MESSAGE_BYTES {
        return Ok(());
    }
    tracing::error!(%agent, size, "a pinglist is larger than a message may be");
    Err(Status::resource_exhausted(format!(
        "the pinglist of agent `{agent}` has {size} bytes, more than a message may have ({MAX_MESSAGE_BYTES}): lower \
         pinglist.max_tuples_per_rnic on the controller"
    )))
}

fn agent_config(settings: &AgentOverrides) -> v1::AgentConfig {
    v1::AgentConfig {
        probe_timeout_ns: settings.probe_timeout.map(nanos),
        service_probe_interval_ns: settings.service_probe_interval.map(nanos),
        max_probes_per_second: settings.max_probes_per_second,
        upload_interval_ns: settings.upload_interval.map(nanos),
        traffic_class: settings.traffic_class.map(u32::from),
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The same configuration has the same version, also after a restart; never 0 (FNV-1a over the encoded message).
fn content_version(config: &v1::AgentConfig) -> u64 {
    let bytes = config.encode_to_vec();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// One registration stream.
struct Session {
    core: Handle,
    metrics: Metrics,
    stop: CancellationToken,
    stream: StreamId,
    lease: Duration,
    config_version: u64,
    peer: String,
    origin: Origin,
    answers: mpsc::Sender<Result<v1::RegisterResponse, Status>>,
    agent: Option<AgentId>,
    /// What the agent is to probe more.
    focus: Option<watch::Receiver<Option<Arc<Share>>>>,
    /// What the agent is to sign with, where it takes a key.
    keys: Option<watch::Receiver<Option<Arc<Order>>>>,
    degraded: Vec<String>,
}

impl Session {
    async fn run(mut self, incoming: Streaming<v1::RegisterRequest>) {
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
                let mut admitted = self.announce(announcement).await?;
                let keys = admitted.keys.as_mut();
                let order = keys.and_then(|keys| keys.borrow_and_update().clone());
                let registered = v1::Registered {
                    lease_ns: nanos(self.lease),
                    heartbeat_interval_ns: nanos(self.lease / HEARTBEATS_PER_LEASE),
                    pinglist_version: admitted.version,
                    config_version: self.config_version,
                    keys: order.as_deref().map(Into::into),
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
