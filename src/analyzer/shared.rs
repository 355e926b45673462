//! An analyzer that shares the fleet with others: takes the results of its shards, passes them on to the judge, and may be the judge.
//!
//! Agents upload to the owner of their shard ([`front`]), which keeps what they sent lately ([`log`]) and relays it to the judge
//! ([`relay`]). The judge takes it ([`service`], [`evidence`]) and does everything else that an analyzer does. Whoever is asked by HTTP
//! and is not the judge names the judge ([`gateway`]).
//!
//! An acknowledgement of an owner means: it is in its memory, and the agent keeps it for as long as a window needs it. So the loss of an
//! owner loses nothing, and the loss of the judge neither: owners send its successor what they have kept.
//!
//! Tasks, in the order in which the supervisor stops them:
//! 1. *serving*: the gRPC server (uploads, relays), the web server, the relay, and the *judge*: it waits until this analyzer has the
//!    lease, and then runs a supervisor of its own with the tasks of an analyzer, and the intake of evidence;
//! 2. *storing*: the front, the push of metrics;
//! 3. the place in the database, which lets a successor begin.
//!
//! Cancelling is safe at any point: what is in memory here is with the agents, too.

mod evidence;
mod front;
mod gateway;
mod here;
mod log;
mod relay;
mod service;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::evidence::EvidenceHandle;
use self::gateway::Gateway;
use self::here::Here;
use self::log::SharedLog;
use super::error::{AnalyzerError, DRAIN, GRACE};
use super::intake::{self, IntakeHandle};
use super::memory::Memory;
use super::metrics::Metrics;
use super::tasks::JudgeTasks;
use super::{Analyzer, upload};
use crate::config::analyzer::{AnalyzerConfig, SharedConfig};
use crate::events::Publisher;
use crate::net::calls::counted;
use crate::net::server::{self, Listener};
use crate::rpc::results::Ends;
use crate::store::analyzers::AnalyzerFleet;
use crate::store::membership::Membership;
use crate::store::tenure::RELEASE;
use crate::supervisor::Supervisor;
use crate::telemetry::otlp;
use crate::time::Clock;

/// Joins the analyzers of the database, and serves.
///
/// # Errors
/// The database cannot be used or an address cannot be listened on. Nothing is left running then.
pub(super) async fn start(
    config: AnalyzerConfig,
    shared: SharedConfig,
    clock: Arc<dyn Clock>,
    events: Publisher,
) -> Result<Analyzer, AnalyzerError> {
    let listener = Listener::bind(config.listen, config.security.clone()).await?;
    let web = Listener::bind(config.web, config.web_security.clone()).await?;
    let (grpc_address, web_address) = (listener.address(), web.address());
    let metrics = Arc::new(Metrics::new(listener.counters()));
    let membership = Membership::join(&shared.server, &shared.endpoints).await?;
    let here = Here {
        id: membership.id(),
        fleet: membership.fleet.clone(),
        renewed: membership.renewed.clone(),
        log: SharedLog::new(config.settings.memory_limit.0 / 2),
        metrics: Arc::clone(&metrics),
    };

    let mut supervisor = Supervisor::new("analyzer");
    let serving = supervisor.stage(Duration::ZERO);
    let storing = supervisor.stage(DRAIN);
    let holding = supervisor.stage(RELEASE);
    let (tenure, stopping) = (membership.tenure.clone(), holding.token());
    let place = async move { Ok::<_, AnalyzerError>(tenure.hold(stopping).await?) };
    supervisor.spawn(&holding, "place in the database", place);
    if let Some(otlp) = config.otlp.clone() {
        let origin = otlp::Origin {
            service: "rpingmesh-analyzer",
            instance: grpc_address.to_string(),
        };
        let (metrics, clock) = (Arc::clone(&metrics), Arc::clone(&clock));
        let source = move || metrics.values().ok();
        let pushing = otlp::pushing(otlp, origin, source, clock);
        supervisor.spawn_restarted(&storing, "metrics push", pushing);
    }
    let (requests, queue) = mpsc::channel(intake::DEPTH);
    let (ends, memory) = (Arc::new(Ends::default()), Memory::default());
    let intake = IntakeHandle::new(requests, (ends, memory), None);
    let front = front::Front::new(here.clone(), Arc::clone(&clock));
    supervisor.spawn(&storing, "intake", front.run(queue));

    let (evidence, evidence_in) = watch::channel(None);
    let uploads = upload::service(intake, Arc::clone(&metrics), serving.token());
    let judging = service::service(here.clone(), evidence_in, serving.token());
    let router = server::builder()
        .add_service(counted(uploads))
        .add_service(counted(judging));
    let stop = serving.token();
    let grpc = async move { Ok(listener.serve(router, stop, GRACE).await?) };
    supervisor.spawn(&serving, "gRPC server", grpc);

    let membership = Arc::new(membership);
    let relay = relay::Relay::new(
        here.clone(),
        Arc::clone(&membership),
        config.security.clone(),
    );
    supervisor.spawn(&serving, "relay", relay.run(serving.token()));

    let (router, router_in) = watch::channel(None);
    let gateway = Gateway::new(here.clone(), router_in);
    let connections = web.http1(serving.token());
    let pages = gateway.router(config.web_auth_header.clone(), config.web_hosts.clone());
    let showing = crate::net::web::serve(connections, pages, serving.token(), GRACE);
    supervisor.spawn(&serving, "web server", showing);

    tracing::info!(
        grpc = %grpc_address, web = %web_address, store = %config.store, analyzer = here.id.0,
        "the analyzer is ready, and shares the fleet with others"
    );
    let judge = Elected {
        here,
        membership,
        config,
        web: web_address,
        clock,
        events,
        evidence,
        router,
    };
    supervisor.spawn(&serving, "judge", judge.run(serving.token()));
    Ok(Analyzer {
        grpc: grpc_address,
        web: web_address,
        supervisor,
    })
}

/// What is needed when this analyzer becomes the judge.
struct Elected {
    here: Here,
    membership: Arc<Membership>,
    config: AnalyzerConfig,
    web: std::net::SocketAddr,
    clock: Arc<dyn Clock>,
    events: Publisher,
    evidence: watch::Sender<Option<EvidenceHandle>>,
    router: watch::Sender<Option<axum::Router>>,
}

impl Elected {
    /// Waits for the lease, then judges until `stop`. Who loses the lease loses its place, and ends.
    async fn run(mut self, stop: CancellationToken) -> Result<(), AnalyzerError> {
        let Some(epoch) = stop.run_until_cancelled(self.elected()).await.flatten() else {
            stop.cancelled().await;
            return Ok(());
        };
        self.here.metrics.shared.judge.set(1);
        let stores = self.membership.stores(epoch);
        let (clock, events) = (Arc::clone(&self.clock), self.events.clone());
        let mut tasks = JudgeTasks::new(clock, Arc::clone(&self.here.metrics), events, &stores);
        let state = tasks.keep_state(&self.config, &stores).await?;
        let intake = evidence::start(
            self.here.clone(),
            epoch,
            self.config.limits.clock_tolerance,
            state.clone(),
            Arc::clone(&self.clock),
        );
        tasks.take_evidence(intake.task);
        let pages = tasks
            .judge(&self.config, stores, (state, intake.replayed), self.web)
            .await?;
        self.router.send_replace(Some(pages));
        self.evidence.send_replace(Some(intake.handle));
        tracing::info!(epoch, "this analyzer judges");
        let judged = tasks.run(stop).await;
        self.evidence.send_replace(None);
        self.router.send_replace(None);
        judged
    }

    /// The epoch of the lease, once this analyzer has it. `None` when its place is lost.
    async fn elected(&mut self) -> Option<i64> {
        let me = self.here.id;
        let is_mine =
            |fleet: &Arc<AnalyzerFleet>| fleet.judge.is_some_and(|judge| judge.member == me);
        let fleet = self.here.fleet.wait_for(is_mine).await.ok()?;
        Some(fleet.judge?.epoch)
    }
}

#[cfg(test)]
mod tests;
