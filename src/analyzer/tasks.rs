//! Starts an analyzer's tasks, consumers before producers. The stages are described in [`super`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::alerts::{self, Alerts};
use super::error::{AnalyzerError, DRAIN, GRACE};
use super::focusing::{Asking, Focusing, LastPassed};
use super::intake::{self, IntakeHandle};
use super::judging;
use super::metrics::Metrics;
use super::state::{self, StateHandle};
use super::trends::TrendReader;
use super::view::Views;
use super::{Analyzer, dashboard, upload, web};
use crate::analysis::fleet::Fleet;
use crate::analysis::routes::Routes;
use crate::analysis::sizing::Sizing;
use crate::analysis::windows::Limits;
use crate::api::status::AgentIdentity;
use crate::config::analyzer::{AlertConfig, AnalyzerConfig};
use crate::events::Publisher;
use crate::net::calls::counted;
use crate::net::server::{self, Listener};
use crate::net::tls::{IdentityRule, Security};
use crate::store::damage::Damage;
use crate::store::fleet::Hosts;
use crate::store::history::History;
use crate::store::incidents::Incidents;
use crate::store::journal::Journal;
use crate::store::open::Stores;
use crate::store::tenure::{RELEASE, Tenure};
use crate::supervisor::{Stage, Supervisor};
use crate::telemetry::otlp::{self, OtlpConfig};
use crate::time::Clock;

/// The supervisor while tasks are added, and what most of them need.
struct Tasks {
    supervisor: Supervisor<AnalyzerError>,
    serving: Stage,
    storing: Stage,
    /// After all others: it lets a successor begin.
    holding: Stage,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    events: Publisher,
    incidents: Arc<dyn Incidents>,
}

impl Analyzer {
    /// The same as [`Self::start`] on stores that are open already, for an analyzer that has the fleet for itself.
    ///
    /// # Errors
    /// As there.
    pub async fn start_on(
        stores: Stores,
        config: AnalyzerConfig,
        clock: Arc<dyn Clock>,
        events: Publisher,
    ) -> Result<Self, AnalyzerError> {
        let listener = Listener::bind(config.listen, config.security.clone()).await?;
        let web = Listener::bind(config.web, config.web_security.clone()).await?;
        let (grpc_address, web_address) = (listener.address(), web.address());
        let metrics = Arc::new(Metrics::new(listener.counters()));

        let mut tasks = Tasks::new(clock, metrics, events, &stores);
        tasks.hold(stores.tenure.clone());
        tasks.push_metrics(config.otlp.clone(), grpc_address);
        let state = tasks.keep_state(&config, &stores).await?;
        let (intake, replayed) = tasks
            .store(
                Arc::clone(&stores.journal),
                config.limits.clone(),
                state.clone(),
            )
            .await?;
        let router = Box::pin(tasks.judge(&config, stores, (state, replayed), web_address)).await?;
        tasks.take_uploads(listener, intake);
        let showing = web::serve(web, router, tasks.serving.token());
        tasks
            .supervisor
            .spawn(&tasks.serving, "web server", showing);
        if let Some(waived) = config.security.waived() {
            tracing::warn!("{waived}");
        }
        tracing::info!(grpc = %grpc_address, web = %web_address, store = %config.store, "the analyzer is ready");
        Ok(Self {
            grpc: grpc_address,
            web: web_address,
            supervisor: tasks.supervisor,
        })
    }
}

/// Whether something says who asks the web server: its address, a certificate, or a proxy.
fn may_forget(config: &AnalyzerConfig, web: SocketAddr) -> bool {
    web.ip().is_loopback()
        || config.web_auth_header.is_some()
        || matches!(config.web_security, Security::Mutual(_))
}

fn identity(security: &Security) -> AgentIdentity {
    match security {
        Security::Plaintext { .. } => AgentIdentity::None,
        Security::Mutual(identity) => match identity.rule() {
            IdentityRule::San => AgentIdentity::San,
            IdentityRule::Any => AgentIdentity::Any,
        },
    }
}

impl Tasks {
    fn new(
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        events: Publisher,
        stores: &Stores,
    ) -> Self {
        let mut supervisor = Supervisor::new("analyzer");
        Self {
            serving: supervisor.stage(Duration::ZERO),
            storing: supervisor.stage(DRAIN),
            holding: supervisor.stage(RELEASE),
            supervisor,
            clock,
            metrics,
            events,
            incidents: Arc::clone(&stores.incidents),
        }
    }

    /// Ends the analyzer when another one has taken its stores over, and gives them up after everything else has stopped.
    fn hold(&mut self, tenure: Tenure) {
        let stop = self.holding.token();
        let holding = async move { Ok(tenure.hold(stop).await?) };
        self.supervisor.spawn(&self.holding, "store lease", holding);
    }

    /// Pushes the metrics as configured. Started again after a panic: it only reads what others count.
    fn push_metrics(&mut self, otlp: Option<OtlpConfig>, grpc: SocketAddr) {
        let Some(otlp) = otlp else {
            return;
        };
        let origin = otlp::Origin {
            service: "rpingmesh-analyzer",
            instance: grpc.to_string(),
        };
        let (metrics, clock) = (Arc::clone(&self.metrics), Arc::clone(&self.clock));
        let source = move || metrics.values().ok();
        let pushing = otlp::pushing(otlp, origin, source, clock);
        self.supervisor
            .spawn_restarted(&self.storing, "metrics push", pushing);
    }

    async fn keep_state(
        &mut self,
        config: &AnalyzerConfig,
        stores: &Stores,
    ) -> Result<StateHandle, AnalyzerError> {
        let retention = config.settings.withdrawn_retention.0;
        let hosts = stores.hosts.load().await?;
        let fleet = Fleet::restored(hosts, retention, self.clock.host());
        let limits = config.limits.clone();
        let sizing = Sizing::new(&limits, config.settings.max_paths.is_none());
        let (state, thread) = state::new(
            (limits, sizing),
            state::KnownTopology::new(config.topology.clone()),
            fleet,
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
            self.events.clone(),
        );
        self.supervisor
            .spawn_blocking(&self.storing, "state thread", || thread.run());
        Ok(state)
    }

    async fn store(
        &mut self,
        journal: Arc<dyn Journal>,
        limits: Limits,
        state: StateHandle,
    ) -> Result<(IntakeHandle, watch::Receiver<bool>), AnalyzerError> {
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let first = intake::REPLAY_FIRST;
        let started = intake::start(journal, limits, clock, state, metrics, first).await?;
        self.supervisor.spawn(&self.storing, "intake", started.task);
        Ok((started.handle, started.replayed))
    }

    async fn alert(
        &mut self,
        config: AlertConfig,
        web: SocketAddr,
    ) -> Result<Alerts, AnalyzerError> {
        let parts = alerts::AlertInputs {
            config,
            store: Arc::clone(&self.incidents),
            clock: Arc::clone(&self.clock),
            web,
        };
        let alerts = alerts::restore(parts, &self.metrics.alerts).await?;
        alerts.spawn(&mut self.supervisor, &self.storing);
        Ok(alerts)
    }

    /// Tells the controllers what to probe more, if some are configured. Gives the sender for it. Each counts the agents of all.
    fn ask(&mut self, config: &AnalyzerConfig) -> Result<Option<Asking>, AnalyzerError> {
        let Some(servers) = &config.focus_controller else {
            return Ok(None);
        };
        let (asked, asked_in) = watch::channel(Arc::default());
        let passed = LastPassed::default();
        for (index, server) in servers.iter().cloned().enumerate() {
            let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
            let inputs = (asked_in.clone(), passed.clone());
            let focusing = Focusing::new(
                (server, index == 0),
                &config.security,
                inputs,
                clock,
                metrics,
            )?;
            let task = focusing.run(self.serving.token());
            self.supervisor.spawn(&self.serving, "focus", task);
        }
        Ok(Some(Asking { asked, passed }))
    }

    /// Judges what the state has, once it is `replayed`, and tells people of it. Gives what is to be served at `web`.
    async fn judge(
        &mut self,
        config: &AnalyzerConfig,
        stores: Stores,
        (state, replayed): (StateHandle, watch::Receiver<bool>),
        web: SocketAddr,
    ) -> Result<Router, AnalyzerError> {
        let alerts = self.alert(config.alerts.clone(), web).await?;
        let asked = self.ask(config)?;
        let told = (alerts.clone(), stores.hosts, stores.damage);
        let views = self
            .keep_judging(config, (state.clone(), replayed), told, asked)
            .await?;
        let trends = TrendReader {
            store: stores.trends,
            clock: Arc::clone(&self.clock),
            retention: config.settings.trend_retention.0,
        };
        let parts = web::Web {
            state,
            metrics: Arc::clone(&self.metrics),
            views,
            incidents: Arc::clone(&self.incidents),
            alerts,
            auth_header: config.web_auth_header.clone(),
            identity: identity(&config.security),
            may_forget: may_forget(config, web),
            certifying: Arc::default(),
            hosts: config.web_hosts.clone(),
            trends: trends.clone(),
        };
        Ok(self.show(parts, (stores.history, trends), config))
    }

    async fn keep_judging(
        &mut self,
        config: &AnalyzerConfig,
        (state, replayed): (StateHandle, watch::Receiver<bool>),
        (alerts, hosts, damage): (Alerts, Arc<dyn Hosts>, Damage),
        asked: Option<Asking>,
    ) -> Result<Views, AnalyzerError> {
        let parts = judging::JudgingInputs {
            store: Arc::clone(&self.incidents),
            hosts,
            damage,
            alerts,
            state,
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
            routes: Routes::new(config.topology.as_ref()),
            interval: config.settings.judge_interval.0,
            least_loss: config.settings.least_loss.0,
            retention: config.settings.incident_retention.0,
            events: self.events.clone(),
            replayed,
            asked,
        };
        let (views, task) = judging::start(parts, self.serving.token()).await?;
        self.supervisor.spawn(&self.serving, "judge", task);
        Ok(views)
    }

    fn take_uploads(&mut self, listener: Listener, intake: IntakeHandle) {
        let stop = self.serving.token();
        let service = upload::service(intake, Arc::clone(&self.metrics), stop.clone());
        let router = server::builder().add_service(counted(service));
        let serving = async move { Ok(listener.serve(router, stop, GRACE).await?) };
        self.supervisor.spawn(&self.serving, "gRPC server", serving);
    }

    /// Gives what is to be served.
    fn show(
        &mut self,
        web: web::Web,
        (history, trends): (Arc<dyn History>, TrendReader),
        config: &AnalyzerConfig,
    ) -> Router {
        let parts = dashboard::DashboardInputs {
            state: web.state.clone(),
            views: web.views.clone(),
            incidents: Arc::clone(&self.incidents),
            history,
            trends,
            clock: Arc::clone(&self.clock),
            wiring: config.topology.clone(),
            retention: config.settings.history_retention.0,
        };
        let pages = dashboard::start(parts, &mut self.supervisor, &self.serving);
        web::router(web, pages)
    }
}

/// The tasks of an analyzer that judges what others have taken.
pub(super) struct JudgeTasks(Tasks);

impl JudgeTasks {
    /// Nothing runs yet.
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        events: Publisher,
        stores: &Stores,
    ) -> Self {
        Self(Tasks::new(clock, metrics, events, stores))
    }

    /// Keeps what is known on a thread of its own.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn keep_state(
        &mut self,
        config: &AnalyzerConfig,
        stores: &Stores,
    ) -> Result<StateHandle, AnalyzerError> {
        self.0.keep_state(config, stores).await
    }

    /// Runs the intake of evidence.
    pub(super) fn take_evidence(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.storing.token();
        let taking = async move {
            // It ends with its last relay, or with this.
            let _ = stop.run_until_cancelled(task).await;
            stop.cancelled().await;
        };
        self.0
            .supervisor
            .spawn(&self.0.storing, "intake of evidence", taking);
    }

    /// See [`Tasks::judge`].
    ///
    /// # Errors
    /// The store cannot be read; a connection to a controller cannot be set up.
    pub(super) async fn judge(
        &mut self,
        config: &AnalyzerConfig,
        stores: Stores,
        state: (StateHandle, watch::Receiver<bool>),
        web: SocketAddr,
    ) -> Result<Router, AnalyzerError> {
        self.0.judge(config, stores, state, web).await
    }

    /// Runs until `stop` is cancelled or a task fails, and until all tasks have ended.
    ///
    /// # Errors
    /// The first failure.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), AnalyzerError> {
        self.0.supervisor.run(stop).await
    }
}
