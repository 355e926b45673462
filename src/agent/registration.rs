//! The task that registers: tells the controller who is reached where, takes pinglists and configuration from it.
//!
//! Channels:
//! - in: `inventory` (watch), a new announcement goes out at once when it changes;
//! - in: those of [`Condition`], for the heartbeats;
//! - out: `trouble` (watch), why the agent is not registered;
//! - out: `orders` (watch), what the endpoints probe and how; `upload_interval` (watch); `assignment` (watch), which analyzer takes the
//!   results, where several share the fleet.
//!
//! Dropping the task at any await is safe: each stream begins with the whole announcement.

mod listed;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::absence::Absence;
use super::backoff::Backoff;
use super::cache::PinglistCache;
use super::client::{CALL_TIMEOUT, CallError, Controller};
use super::condition::{Condition, RegistrationTrouble};
use super::endpoint::{Inventory, Orders};
use super::focus::Focus;
use super::keys::Keys;
use super::list::CurrentList;
use super::machine::machine;
use super::metrics::Metrics;
use super::settings::{focus_bounds, overridden};
use crate::config::agent::AgentConfig;
use crate::config::defaults::agent::UPLOAD_INTERVAL;
use crate::error::describe;
use crate::rpc::focus;
use crate::rpc::shards::Assignment;
use crate::rpc::v1::register_request::Message as Outgoing;
use crate::rpc::v1::register_response::Message as Incoming;
use crate::rpc::v1::{self, RegisterRequest, RegisterResponse};
use crate::topology::Announcement;

use listed::announced;
pub use listed::groups;

/// Messages that wait for the stream; each is tiny and there are a few per minute. A full channel means that the
/// controller does not read.
const OUTGOING_DEPTH: usize = 16;
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long the controller has to read that the agent stops.
const GOODBYE: Duration = Duration::from_millis(300);
/// Until the controller has said how often it wants to hear from agents.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// What a controller may ask for.
const HEARTBEAT_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));
const UPLOAD_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

/// Why a registration has ended.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The controller has closed the stream.
    #[error("the controller has closed the registration")]
    Closed,
    /// The controller does not read.
    #[error("the controller does not take messages")]
    Stalled,
}

/// The channels of the task.
pub struct RegistrationChannels {
    /// Who is reached where.
    pub inventory: watch::Receiver<Inventory>,
    /// For heartbeats.
    pub condition: Condition,
    /// What this task lacks.
    pub trouble: watch::Sender<RegistrationTrouble>,
    /// What the endpoints do.
    pub orders: watch::Sender<Arc<Orders>>,
    /// How often batches are made.
    pub upload_interval: watch::Sender<Duration>,
    /// Which analyzer takes them, where several share the fleet.
    pub assignment: watch::Sender<Option<Assignment>>,
}

/// The task.
pub struct Registration {
    config: Arc<AgentConfig>,
    controller: Controller,
    channels: RegistrationChannels,
    cache: PinglistCache,
    focus: Focus,
    keys: Keys,
    incarnation: u64,
    machine: String,
    list: CurrentList,
    config_version: u64,
    backoff: Backoff,
    absence: Absence,
    has_list: bool,
}

impl Registration {
    /// For an agent that registers at `controller`.
    pub fn new(
        config: Arc<AgentConfig>,
        controller: Controller,
        channels: RegistrationChannels,
        keys: Keys,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            focus: Focus::new(focus_bounds(&config), metrics),
            cache: PinglistCache::new(&config.settings.state_dir),
            config,
            controller,
            channels,
            keys,
            incarnation: rand::random(),
            machine: machine(),
            list: CurrentList::default(),
            config_version: 0,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, rand::random()),
            absence: Absence::default(),
            has_list: false,
        }
    }

    /// Keeps the agent registered until `stop`; a controller that is away is tried again; each reason is reported once
    /// per absence.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let ended = self.stream(&stop).await;
            if stop.is_cancelled() {
                return;
            }
            // A controller that is away asks for nothing.
            self.focus.end();
            self.order();
            self.controller.move_on();
            if let Err(error) = ended {
                let error = describe(&error);
                self.report(|trouble| trouble.unregistered = Some(error.clone()));
                if self.absence.is_news(&error) {
                    tracing::warn!(error, "not registered with the controller, trying again");
                }
            }
            if stop.run_until_cancelled(self.pause()).await.is_none() {
                return;
            }
        }
    }

    async fn pause(&mut self) {
        if !self.has_list {
            self.use_cache().await;
        }
        tokio::time::sleep(self.backoff.next_wait()).await;
    }

    /// What the controller said last time is better than nothing.
    async fn use_cache(&mut self) {
        self.has_list = true;
        let stored = match self.cache.load().await {
            Ok(Some(stored)) => stored,
            Ok(None) => return,
            Err(error) => return self.refuse_cache(&error).await,
        };
        match self.controller.read(stored.pinglist.unwrap_or_default()) {
            Ok(list) => {
                tracing::info!(
                    version = stored.version,
                    "probing by the stored pinglist until the controller is back"
                );
                self.list.replace(stored.version, list);
                self.follow();
            }
            Err(error) => {
                let damaged = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
                self.refuse_cache(&damaged).await;
            }
        }
    }

    /// A damaged file gets another name, so that it can be looked at; a file that cannot be read stays.
    async fn refuse_cache(&self, error: &std::io::Error) {
        let file = self.cache.path().display();
        let kept = match error.kind() {
            std::io::ErrorKind::InvalidData => self.cache.set_aside().await.ok(),
            _ => None,
        };
        let error = describe(error);
        match kept {
            Some(kept) => {
                tracing::warn!(%file, error, kept = %kept.display(), "the stored pinglist is damaged and was renamed");
            }
            None => tracing::warn!(%file, error, "the stored pinglist cannot be used"),
        }
    }

    /// Registered until something fails or `stop` is cancelled; then it says goodbye.
    async fn stream(&mut self, stop: &CancellationToken) -> Result<(), RegistrationError> {
        self.list.reconnect();
        self.config_version = 0;
        let (requests, stream) = mpsc::channel(OUTGOING_DEPTH);
        self.announce(&requests)?;
        let mut client = self.controller.client();
        let call = client.register(ReceiverStream::new(stream));
        let call = stop.run_until_cancelled(tokio::time::timeout(CALL_TIMEOUT, call));
        let Some(answer) = call.await else {
            return Ok(());
        };
        let mut answers = answer
            .map_err(|_| RegistrationError::Stalled)?
            .map_err(|status| self.controller.failed(status))?
            .into_inner();
        let mut heartbeat = heartbeats(HEARTBEAT_INTERVAL);
        loop {
            let focused_until = self.focus.until();
            tokio::select! {
                () = stop.cancelled() => return self.say_goodbye(requests, answers).await,
                () = reached(focused_until) => {
                    self.focus.end();
                    self.order();
                }
                answer = next(&mut answers, &self.controller) => {
                    // Calls that are under way do not hold up a stop.
                    let taking = stop.run_until_cancelled(self.take(answer?, &requests));
                    if let Some(interval) = taking.await.transpose()?.flatten() {
                        heartbeat = heartbeats(interval);
                    }
                }
                Ok(()) = self.channels.inventory.changed() => self.announce(&requests)?,
                _ = heartbeat.tick() => Self::send(&requests, Outgoing::Heartbeat(self.heartbeat()))?,
            }
        }
    }

    fn send(
        requests: &mpsc::Sender<RegisterRequest>,
        message: Outgoing,
    ) -> Result<(), RegistrationError> {
        let request = RegisterRequest {
            message: Some(message),
        };
        requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RegistrationError::Stalled,
            mpsc::error::TrySendError::Closed(_) => RegistrationError::Closed,
        })
    }

    fn announce(
        &mut self,
        requests: &mpsc::Sender<RegisterRequest>,
    ) -> Result<(), RegistrationError> {
        let announcement = {
            let inventory = self.channels.inventory.borrow_and_update();
            Announcement {
                agent: self.config.agent_id.clone(),
                incarnation: self.incarnation,
                host: self.config.host.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                rnics: announced(&inventory),
            }
        };
        let message = v1::Announcement {
            machine: self.machine.clone(),
            keys: self.keys.report().as_ref().map(Into::into),
            ..(&announcement).into()
        };
        Self::send(requests, Outgoing::Announcement(message))
    }

    fn heartbeat(&self) -> v1::Heartbeat {
        let health = self.channels.condition.health.borrow().clone();
        v1::Heartbeat {
            pinglist_version: self.list.version(),
            health: Some(v1::AgentHealth {
                probes_sent: health.probes_sent,
                results_dropped: health.results_dropped,
                spooled_batches: health.batches_waiting,
                degraded: self.channels.condition.degraded(),
            }),
        }
    }

    /// Follows what the controller says; gives the heartbeat interval that it wants.
    async fn take(
        &mut self,
        answer: RegisterResponse,
        requests: &mpsc::Sender<RegisterRequest>,
    ) -> Result<Option<Duration>, RegistrationError> {
        match answer.message {
            Some(Incoming::Registered(registered)) => {
                self.registered();
                // Before it probes.
                if let Some(keys) = registered.keys {
                    self.take_keys(keys, requests).await?;
                }
                if let Some(assignment) = registered.analyzer {
                    self.assign(assignment)?;
                }
                self.update(registered.pinglist_version, registered.config_version)
                    .await?;
                let interval = Duration::from_nanos(registered.heartbeat_interval_ns);
                Ok(Some(interval.clamp(HEARTBEAT_BOUNDS.0, HEARTBEAT_BOUNDS.1)))
            }
            Some(Incoming::Changed(changed)) => {
                self.update(changed.pinglist_version, changed.config_version)
                    .await?;
                Ok(None)
            }
            Some(Incoming::Focused(focused)) => {
                self.take_focus(focused)?;
                Ok(None)
            }
            Some(Incoming::Keys(keys)) => {
                self.take_keys(keys, requests).await?;
                Ok(None)
            }
            Some(Incoming::Analyzer(assignment)) => {
                self.assign(assignment)?;
                Ok(None)
            }
            // From a newer controller.
            None => Ok(None),
        }
    }

    /// Another analyzer takes the results. What was said last is in force, also while the controller is away.
    fn assign(&self, message: v1::AnalyzerAssignment) -> Result<(), CallError> {
        let assignment = self.controller.read_assignment(message)?;
        self.channels.assignment.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&assignment);
            *known = Some(assignment);
            is_new
        });
        Ok(())
    }

    /// Changes what is said of this task's trouble.
    fn report(&self, change: impl FnOnce(&mut RegistrationTrouble)) {
        self.channels.trouble.send_if_modified(|trouble| {
            let before = trouble.clone();
            change(trouble);
            *trouble != before
        });
    }

    /// Probes more what the controller asks for, for as long as it says.
    fn take_focus(&mut self, focused: v1::Focused) -> Result<(), CallError> {
        let list = self.controller.read_focus(focused.rnics)?;
        let until = Instant::now() + focus::valid(focused.valid_ns);
        self.focus.ask(&list, until);
        self.order();
        Ok(())
    }

    /// Verifies and signs as the controller says, then tells it so.
    async fn take_keys(
        &mut self,
        message: v1::ClusterKeys,
        requests: &mpsc::Sender<RegisterRequest>,
    ) -> Result<(), RegistrationError> {
        let order = self.controller.read_keys(message)?;
        let Some((held, trouble)) = self.keys.follow(&order).await else {
            return Ok(());
        };
        self.report(|known| known.keys = trouble);
        self.order();
        Self::send(requests, Outgoing::Keys((&held).into()))
    }

    /// Tells the controller that this agent stops because it was told to. It has a moment to read that.
    async fn say_goodbye(
        &self,
        requests: mpsc::Sender<RegisterRequest>,
        mut answers: Streaming<RegisterResponse>,
    ) -> Result<(), RegistrationError> {
        Self::send(&requests, Outgoing::Goodbye(v1::Goodbye {}))?;
        // The end of the messages ends the call at the controller, which then ends its answers.
        drop(requests);
        let read = async { while let Ok(Some(_)) = answers.message().await {} };
        let _ = tokio::time::timeout(GOODBYE, read).await;
        Ok(())
    }

    fn registered(&mut self) {
        self.report(|trouble| trouble.unregistered = None);
        self.backoff.reset();
        if self.absence.end() {
            tracing::info!("registered with the controller again");
        }
    }

    async fn update(&mut self, pinglist: u64, config: u64) -> Result<(), RegistrationError> {
        if config != self.config_version {
            self.fetch_config().await?;
        }
        // 0: there is none for this agent yet.
        if pinglist != 0 && pinglist != self.list.version() {
            self.fetch_pinglist().await?;
        }
        Ok(())
    }

    async fn fetch_config(&mut self) -> Result<(), CallError> {
        let answer = self.controller.config(self.config_version).await?;
        self.config_version = answer.version;
        if let Some(config) = answer.value {
            let session = overridden(&self.config, &config);
            self.channels.orders.send_if_modified(|orders| {
                let changed = orders.session != session;
                Arc::make_mut(orders).session = session;
                changed
            });
            let interval = config
                .upload_interval_ns
                .map_or(UPLOAD_INTERVAL, Duration::from_nanos)
                .clamp(UPLOAD_BOUNDS.0, UPLOAD_BOUNDS.1);
            self.channels.upload_interval.send_replace(interval);
        }
        Ok(())
    }

    async fn fetch_pinglist(&mut self) -> Result<(), CallError> {
        let agent = &self.config.agent_id;
        let mut answer = self.controller.pinglist(agent, self.list.version()).await?;
        if let Some(delta) = answer.delta.take() {
            let delta = self.controller.read_delta(delta)?;
            if self.list.change(answer.version, delta).is_ok() {
                return self.adopt().await;
            }
            tracing::warn!(
                "what has changed in the pinglist does not fit to it: all of it is fetched"
            );
            answer = self.controller.pinglist(agent, 0).await?;
        }
        let Some(message) = answer.pinglist else {
            self.list.confirm(answer.version);
            return Ok(());
        };
        let list = self.controller.read(message)?;
        self.list.replace(answer.version, list);
        self.adopt().await
    }

    /// Follows a new list and stores it.
    async fn adopt(&mut self) -> Result<(), CallError> {
        self.has_list = true;
        self.follow();
        let stored = v1::GetPinglistResponse {
            version: self.list.version(),
            pinglist: Some(self.list.list().into()),
            delta: None,
        };
        let result = self.cache.store(&stored).await;
        self.report_cache(result.err().as_ref());
        Ok(())
    }

    /// Says once that the pinglist cannot be stored, and that it can again.
    fn report_cache(&self, error: Option<&std::io::Error>) {
        let file = self.cache.path().display();
        let had_trouble = self.channels.trouble.borrow().cache.is_some();
        match error {
            Some(error) if !had_trouble => {
                tracing::warn!(%file, %error, "cannot store the pinglist: a restart needs the controller");
            }
            None if had_trouble => tracing::info!(%file, "the pinglist is stored again"),
            Some(_) | None => {}
        }
        self.report(|trouble| trouble.cache = error.map(|error| format!("{file}: {error}")));
    }

    fn follow(&mut self) {
        let groups = groups(self.list.list());
        let paths: usize = groups
            .values()
            .flatten()
            .map(|group| group.paths.len())
            .sum();
        tracing::info!(
            version = self.list.version(),
            rnics = groups.len(),
            paths,
            "new pinglist"
        );
        self.focus.follow(groups);
        self.order();
    }

    /// Lets the endpoints probe the pinglist, some of it more than the rest where that is asked for, with the present keys.
    fn order(&mut self) {
        let groups = self.focus.groups();
        let (keys, key_use) = (self.keys.ring(), self.keys.key_use());
        self.channels.orders.send_if_modified(|orders| {
            let changed =
                orders.groups != groups || orders.keys != keys || orders.key_use != key_use;
            if changed {
                let orders = Arc::make_mut(orders);
                orders.groups = groups;
                (orders.keys, orders.key_use) = (keys, key_use);
            }
            changed
        });
    }
}

/// Waits for a moment; for ever if there is none.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn next(
    answers: &mut Streaming<RegisterResponse>,
    controller: &Controller,
) -> Result<RegisterResponse, RegistrationError> {
    answers
        .message()
        .await
        .map_err(|status| controller.failed(status))?
        .ok_or(RegistrationError::Closed)
}

fn heartbeats(interval: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
