//! The task that owns the controller's state.
//!
//! Versions: each agent's pinglist has one, taken from a counter that starts at the wall clock, so that a version never
//! means two lists, not even across a restart. A changed address raises the version of exactly those agents that probe
//! it, at once. RNICs that come or go change all lists of a small fabric, and those of few agents in a large one, whose
//! probe matrix is sparse. These rounds, and the hourly rotation, reach the agents one slice per tick, so that a starting
//! cluster does not fetch all its lists over and over.
//!
//! A plan is a look at each RNIC. While one costs more than `CHEAP_PLAN`, changes wait for the next tick, and
//! `PLAN_PAUSE` times the cost passes between two plans: 10 000 agents that register at once do not cost 10 000 plans. Until then
//! lists come from the plan at hand, and who got one gets a newer version with the next plan. Both are in [`rounds`].

mod focusing;
mod keys;
mod rounds;
mod storing;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster_key::{Held, Order, Report};
use crate::config::controller::ControllerConfig;
use crate::id::AgentId;
use crate::net::tls::{IdentityError, Security};
use crate::pinglist::focus::{FocusBudgets, FocusCounts, FocusRequest};
use crate::pinglist::{PinglistPlan, Policy};
use crate::rpc::convert::FieldError;
use crate::rpc::registry::{ResolvedRnic, TargetQuery};
use crate::store::registry::{Registry, RegistryError};
use crate::time::{Clock, HostTime};
use crate::topology::Announcement;

use super::addresses::AddressRule;
use super::directory::{Conflict, Directory, StreamId};
use super::focus::{Focus, Share, Stale};
use super::keys::{Keys, KeysSummary};
use super::metrics::{ByVerdict, Metrics, Verdict};
use super::origin::Origin;
use super::reported::Reported;
use super::unstored::Unstored;

/// Commands that wait for the core. Each has a waiting session or call, so this bounds memory, not work.
pub(super) const QUEUE_DEPTH: usize = 1024;
/// How often due work is looked for: lease checks, rounds of changed lists.
const TICK: Duration = Duration::from_millis(100);

/// Why an announcement was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Address(FieldError),
    #[error(transparent)]
    Directory(#[from] Conflict),
    #[error("{0}")]
    Conflict(String),
    #[error(
        "the agents of this controller sign their probes with its key, and agent `{0}` knows nothing of that: update it to this \
         controller's version"
    )]
    Keyless(AgentId),
}

impl Refused {
    const fn verdict(&self) -> Verdict {
        match self {
            Self::Identity(_) => Verdict::OtherHost,
            Self::Address(_) => Verdict::Address,
            Self::Keyless(_) => Verdict::Keyless,
            Self::Directory(Conflict::Twin { .. }) => Verdict::Twin,
            Self::Directory(_) | Self::Conflict(_) => Verdict::Conflict,
        }
    }
}

/// What an agent is told when its announcement was accepted.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) version: u64,
    /// Newer versions; closed when another stream has become the agent's.
    pub(super) changes: watch::Receiver<u64>,
    /// What the agent is to probe more; `None` while it was never asked for anything.
    pub(super) focus: watch::Receiver<Option<Arc<Share>>>,
    /// What it is to sign with; `None` for an agent that takes no key from here.
    pub(super) keys: Option<watch::Receiver<Option<Arc<Order>>>>,
}

/// Answer to a request for a pinglist.
pub(super) enum ListAnswer {
    UnknownAgent,
    Unchanged(u64),
    Changed {
        version: u64,
        announcement: Announcement,
        plan: Arc<PinglistPlan>,
    },
}

/// What the core is asked for.
pub(super) enum Command {
    Announce {
        announcement: Announcement,
        /// What the agent does with keys; `None` of one that knows nothing of them.
        keys: Option<Report>,
        origin: Origin,
        stream: StreamId,
        reply: oneshot::Sender<Result<Admitted, Refused>>,
    },
    /// The agent has followed an order about keys.
    Holds {
        agent: AgentId,
        stream: StreamId,
        held: Held,
    },
    /// The agent stops, because it was told to.
    Leaves {
        agent: AgentId,
        stream: StreamId,
    },
    /// The next key is wanted.
    RotateKey,
    /// Answered with where the cluster's key stands.
    Keys {
        reply: oneshot::Sender<KeysSummary>,
    },
    Heard {
        agent: AgentId,
        stream: StreamId,
    },
    Ended {
        agent: AgentId,
        stream: StreamId,
    },
    Pinglist {
        agent: AgentId,
        known: u64,
        reply: oneshot::Sender<ListAnswer>,
    },
    /// Answered with how many agents the registry's store has not taken yet.
    Ping {
        reply: oneshot::Sender<usize>,
    },
    Resolve {
        queries: Vec<TargetQuery>,
        reply: oneshot::Sender<Vec<Vec<ResolvedRnic>>>,
    },
    Focus {
        request: FocusRequest,
        until: Instant,
        reply: oneshot::Sender<Result<FocusCounts, Stale>>,
    },
}

/// How sessions and calls reach the core.
pub(super) type Handle = mpsc::Sender<Command>;

struct Listening {
    stream: StreamId,
    changes: watch::Sender<u64>,
    focus: watch::Sender<Option<Arc<Share>>>,
}

pub(super) struct Core {
    directory: Directory,
    registry: Arc<dyn Registry>,
    policy: Arc<Policy>,
    addresses: AddressRule,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Refusals that were logged.
    refusals: Reported,
    commands: mpsc::Receiver<Command>,
    plan: Option<Arc<PinglistPlan>>,
    /// How long the newest plan took.
    plan_cost: Duration,
    /// When the newest plan was made.
    planned: HostTime,
    /// The topology has changed since the plan at hand was made.
    is_outdated: bool,
    /// The plan that all lists were last brought up to.
    announced: Option<Arc<PinglistPlan>>,
    /// Who got a list between two rounds or probes a changed address: to be told with the next plan.
    due: BTreeSet<AgentId>,
    listening: HashMap<AgentId, Listening>,
    focus: Focus,
    focus_budgets: FocusBudgets,
    versions: HashMap<AgentId, u64>,
    last_version: u64,
    /// Rotation that the lists belong to.
    period: u64,
    /// Lists changed for everybody and no round has begun since.
    round_due: bool,
    /// Agents that the current round has still to reach.
    round: VecDeque<AgentId>,
    keys: Keys,
    /// What the store has not taken.
    unstored: Unstored,
    reported: Option<(usize, usize)>,
}

impl Core {
    pub(super) fn new(
        config: &ControllerConfig,
        (registry, stored): (Arc<dyn Registry>, Vec<Announcement>),
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> (Self, Handle) {
        let (handle, commands) = mpsc::channel(QUEUE_DEPTH);
        let agents = stored.iter().map(|announcement| announcement.agent.clone());
        let keys = Keys::new(config.keys, agents, clock.host());
        let core = Self {
            directory: Directory::new(stored, config.lifetimes, clock.host()),
            registry,
            policy: Arc::new(config.policy.clone()),
            addresses: AddressRule::new(
                config.settings.agents.prefixes.clone(),
                config.settings.listen.ip().is_loopback()
                    && matches!(config.security, Security::Plaintext { .. }),
            ),
            refusals: Reported::default(),
            last_version: first_version(clock.as_ref()),
            period: config.policy.period(clock.wall()),
            clock,
            metrics,
            commands,
            plan: None,
            plan_cost: Duration::ZERO,
            planned: HostTime::from_nanos(0),
            is_outdated: false,
            announced: None,
            due: BTreeSet::new(),
            listening: HashMap::new(),
            focus: Focus::default(),
            focus_budgets: FocusBudgets {
                per_target: config.settings.focus.target_rate,
                of_all: config.settings.focus.rate,
            },
            versions: HashMap::new(),
            round_due: true,
            round: VecDeque::new(),
            keys,
            unstored: Unstored::default(),
            reported: None,
        };
        (core, handle)
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                command = self.commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                _ = tick.tick() => self.tick().await,
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Announce {
                announcement,
                keys,
                origin,
                stream,
                reply,
            } => {
                let answer = self.announce(announcement, keys, origin, stream).await;
                // A session that has ended meanwhile reports its end by itself.
                let _ = reply.send(answer);
            }
            Command::Holds {
                agent,
                stream,
                held,
            } => {
                if self.is_current(&agent, stream) {
                    self.holds(&agent, held).await;
                }
            }
            Command::Leaves { agent, stream } => self.directory.leaves(&agent, stream),
            Command::RotateKey => self.rotate_key(),
            Command::Keys { reply } => {
                let _ = reply.send(self.keys.summary());
            }
            Command::Heard { agent, stream } => {
                self.metrics.heartbeats.inc();
                self.directory
                    .renew_lease(&agent, stream, self.clock.host());
            }
            Command::Ended { agent, stream } => {
                self.directory.ended(&agent, stream);
                if self.is_current(&agent, stream) {
                    self.listening.remove(&agent);
                }
            }
            Command::Pinglist {
                agent,
                known,
                reply,
            } => {
                let _ = reply.send(self.pinglist(&agent, known));
            }
            Command::Ping { reply } => {
                let _ = reply.send(self.unstored.len());
            }
            Command::Resolve { queries, reply } => {
                let found = queries.iter().map(|query| self.directory.resolve(query));
                let _ = reply.send(found.collect());
            }
            Command::Focus {
                request,
                until,
                reply,
            } => {
                let _ = reply.send(self.focus(request, until));
            }
        }
    }

    /// Whether a stream is the agent's present one.
    fn is_current(&self, agent: &AgentId, stream: StreamId) -> bool {
        let listening = self.listening.get(agent);
        listening.is_some_and(|own| own.stream == stream)
    }

    async fn announce(
        &mut self,
        announcement: Announcement,
        keys: Option<Report>,
        origin: Origin,
        stream: StreamId,
    ) -> Result<Admitted, Refused> {
        let (agent, peer) = (announcement.agent.clone(), origin.address);
        let result = self.admit(announcement, keys, origin, stream).await;
        let verdict = result
            .as_ref()
            .map_or_else(Refused::verdict, |_| Verdict::Accepted);
        self.metrics
            .announcements
            .get_or_create(&ByVerdict { result: verdict })
            .inc();
        if let Err(error) = &result {
            let now = self.clock.host();
            if let Some(suppressed) = self.refusals.admit(&agent, &error.to_string(), now) {
                tracing::warn!(%error, ?peer, suppressed, "an announcement was refused");
            }
        }
        result
    }

    async fn admit(
        &mut self,
        announcement: Announcement,
        keys: Option<Report>,
        origin: Origin,
        stream: StreamId,
    ) -> Result<Admitted, Refused> {
        let now = self.clock.host();
        origin
            .identity
            .permit(&announcement.host, &announcement.agent)?;
        self.check_addresses(&announcement)?;
        let superseded = self.directory.check(&announcement, &origin, now)?;
        if keys.is_none() && !self.keys.admits_unable() {
            return Err(Refused::Keyless(announcement.agent));
        }
        if !self.directory.is_known(&announcement) {
            self.store(&announcement, &superseded).await?;
        }
        let agent = announcement.agent.clone();
        let (host, rnics) = (announcement.host.clone(), announcement.rnics.len());
        let change = self
            .directory
            .accept(announcement, &superseded, (stream, origin), now);
        for loser in &superseded {
            tracing::warn!(agent = %loser, by = %agent, "a stale agent lost a GID to another agent");
            self.listening.remove(loser);
        }
        let changed = !change.is_empty();
        self.spread(&change, &agent);
        let version = if changed {
            self.raise(&agent)
        } else {
            self.version(&agent)
        };
        let (newest, changes) = watch::channel(version);
        let (shares, focus) = watch::channel(None);
        let listening = Listening {
            stream,
            changes: newest,
            focus: shares,
        };
        self.listening.insert(agent.clone(), listening);
        tracing::info!(%agent, %host, rnics, changed, "registered");
        Ok(Admitted {
            version,
            changes,
            focus,
            keys: self.join_keys(agent, keys).await,
        })
    }

    fn check_addresses(&self, announcement: &Announcement) -> Result<(), Refused> {
        for (index, rnic) in announcement.rnics.iter().enumerate() {
            self.addresses.check(rnic.address.gid).map_err(|why| {
                let field = format!("announcement.rnics[{index}].address.gid");
                Refused::Address(FieldError::new(field, why))
            })?;
        }
        Ok(())
    }

    async fn expire(&mut self, now: HostTime) {
        let expired = self.directory.expire(now);
        for agent in &expired.stale {
            tracing::warn!(%agent, "nothing heard within the lease: the agent is stale");
        }
        if expired.forgotten.is_empty() {
            return;
        }
        if !self.unstored.is_empty() {
            self.unstored.remove(&expired.forgotten);
        } else if let Err(error) = self.registry.remove(&expired.forgotten).await {
            self.unstored.remove(&expired.forgotten);
            if let RegistryError::Store(error) = error {
                self.store_failed(&error);
            }
        }
        for agent in &expired.forgotten {
            tracing::warn!(%agent, "forgotten after a long silence");
            self.versions.remove(agent);
            self.keys.forget(agent);
            self.listening.remove(agent);
        }
        self.directory.forget(&expired.forgotten);
        self.outdate();
        self.round_due = true;
    }
}

/// Above every version of an earlier run: milliseconds since the epoch leave room for 65536 changes each.
fn first_version(clock: &dyn Clock) -> u64 {
    let millis = u64::try_from(clock.wall().nanos() / 1_000_000).unwrap_or(0);
    millis << 16
}

#[cfg(test)]
mod tests;
