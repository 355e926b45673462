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

use crate::config::controller::{AgentOverrides, ControllerConfig};
use crate::id::AgentId;
use crate::net::calls::Room;
use crate::net::server;
use crate::pinglist::focus::FocusRequest;
use crate::pinglist::mix;
use crate::rpc::convert::{self, FieldError};
use crate::rpc::registry::TargetQuery;
use crate::rpc::v1::controller_service_server::ControllerService;
use crate::rpc::{MAX_MESSAGE_BYTES, v1};
use crate::store::analyzers::AnalyzerFleet;

use super::answer::Content;
use super::calls::{ask, nanos, stopping};
use super::core::{Command, Handle, ListAnswer, Served};
use super::directory::StreamId;
use super::focus::Stale;
use super::metrics::{Answer, ByAnswer, Metrics};
use super::origin::Origin;
use super::placing::Placing;
use super::session::Session;

/// Answers waiting for an agent that reads slowly; more than an announcement and a change are never outstanding long.
const ANSWERS_DEPTH: usize = 8;
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
    /// The analyzers, where several share the fleet.
    fleet: Option<watch::Receiver<Arc<AnalyzerFleet>>>,
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
        fleet: Option<watch::Receiver<Arc<AnalyzerFleet>>>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Self {
        let agents = agent_config(&config.agents);
        Self {
            core,
            fleet,
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
            placing: Placing::new(self.fleet.clone()),
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
        service_level: settings.service_level.map(u32::from),
    }
}

/// The same configuration has the same version, also after a restart; never 0.
fn content_version(config: &v1::AgentConfig) -> u64 {
    mix::hash(&config.encode_to_vec()).max(1)
}
