//! The task that owns the controller's state.
//!
//! Versions: the version of a pinglist is a hash of what it says. An agent that names the version of the list that it was given last
//! gets what has changed since, as long as the plan of that list is kept ([`plans`]).
//!
//! Notices: an agent is told that its list has changed, not how. RNICs that come or go change all lists of a small fabric, and those of
//! few agents in a large one, whose probe matrix is sparse. A changed address concerns exactly those agents that probe it. Agents are
//! told in rounds ([`rounds`]): each once, and not more at a time than the controller can answer.
//!
//! Announcements are stored in groups ([`admission`]).

mod admission;
mod focusing;
mod keys;
mod plans;
mod round;
mod rounds;
mod sharing;
mod storing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster_key::{Held, Order};
use crate::config::controller::ControllerConfig;
use crate::id::AgentId;
use crate::net::tls::{IdentityError, Security};
use crate::pinglist::PinglistPlan;
use crate::pinglist::focus::{FocusBudgets, FocusCounts, FocusRequest};
use crate::rpc::convert::FieldError;
use crate::rpc::registry::{ResolvedRnic, TargetQuery};
use crate::store::registry::{Registry, RegistryError};
use crate::time::{Clock, HostTime};
use crate::topology::Announcement;

use super::addresses::AddressRule;
use super::directory::{Conflict, Directory, StreamId};
use super::focus::{Focus, Share, Stale};
use super::keys::{Keys, KeysSummary};
use super::metrics::{Metrics, Verdict};
use super::reported::Reported;
use super::sharing::Sharing;
use super::unstored::Unstored;

use plans::{Numbered, Plans};
use round::Round;

pub(super) use admission::Waiting;

/// Commands that wait for the core. Each has a waiting session or call, so this bounds memory, not work.
pub(super) const QUEUE_DEPTH: usize = 1024;
/// Commands that are handled together: announcements among them are stored in one transaction.
const AT_ONCE: usize = 256;
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
    /// It has the list of this version.
    Unchanged(u64),
    /// It is to be made.
    Made {
        announcement: Announcement,
        plan: Numbered,
        /// The plan of the list that the agent has, if it is kept.
        former: Option<Arc<PinglistPlan>>,
    },
}

/// The list that an agent was given last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    /// Number of the plan that it was made from.
    pub(super) plan: u64,
    pub(super) version: u64,
}

/// What the core is asked for.
pub(super) enum Command {
    Announce(Box<Waiting>),
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
    /// An agent was given a list.
    Served {
        agent: AgentId,
        served: Served,
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
    addresses: AddressRule,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// Refusals that were logged.
    refusals: Reported,
    commands: mpsc::Receiver<Command>,
    plans: Plans,
    /// Who is to be told with the next plan, whatever it changes: new ones, and those who probe a changed address.
    due: BTreeSet<AgentId>,
    listening: HashMap<AgentId, Listening>,
    focus: Focus,
    focus_budgets: FocusBudgets,
    served: HashMap<AgentId, Served>,
    last_notice: u64,
    /// Rotation that the lists belong to.
    period: u64,
    /// Agents to be told of a newer list.
    round: Round,
    /// Lists that are being made or wait for it.
    lists_under_way: Arc<AtomicUsize>,
    /// The newest plan's coverage was not reported.
    is_unreported: bool,
    keys: Keys,
    /// What the store has not taken.
    unstored: Unstored,
    reported: Option<(usize, usize)>,
    /// Where other controllers work with the same registry.
    sharing: Option<Sharing>,
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
        let sharing = registry.shared().map(Sharing::new);
        let (is_shared, now) = (sharing.is_some(), clock.host());
        let core = Self {
            directory: Directory::new(stored, is_shared, config.lifetimes, now),
            sharing,
            registry,
            addresses: AddressRule::new(
                config.settings.agents.prefixes.clone(),
                config.settings.listen.ip().is_loopback()
                    && matches!(config.security, Security::Plaintext { .. }),
            ),
            refusals: Reported::default(),
            last_notice: first_notice(clock.as_ref()),
            period: config.policy.period(clock.wall()),
            clock,
            metrics,
            commands,
            plans: Plans::new(Arc::new(config.policy.clone())),
            due: BTreeSet::new(),
            listening: HashMap::new(),
            focus: Focus::default(),
            focus_budgets: FocusBudgets {
                per_target: config.settings.focus.target_rate,
                of_all: config.settings.focus.rate,
            },
            served: HashMap::new(),
            round: Round::default(),
            lists_under_way: Arc::default(),
            is_unreported: false,
            keys,
            unstored: Unstored::default(),
            reported: None,
        };
        (core, handle)
    }

    /// Counts the lists that are being made or wait for it; whoever makes lists keeps it.
    pub(super) fn lists_under_way(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.lists_under_way)
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut commands = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                count = self.commands.recv_many(&mut commands, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.handle_all(std::mem::take(&mut commands)).await;
                }
                _ = tick.tick() => self.tick().await,
            }
        }
    }

    /// Announcements come last: whoever announces itself asks for nothing else before it has its answer.
    async fn handle_all(&mut self, commands: Vec<Command>) {
        let mut waiting = Vec::new();
        for command in commands {
            self.handle(command, &mut waiting).await;
        }
        self.announce(waiting).await;
    }

    async fn handle(&mut self, command: Command, waiting: &mut Vec<Waiting>) {
        match command {
            Command::Announce(one) => waiting.push(*one),
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
            Command::Served { agent, served } => self.serve(agent, served),
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

    async fn expire(&mut self, now: HostTime) {
        let expired = self.directory.expire(now);
        for agent in &expired.stale {
            tracing::warn!(%agent, "nothing heard within the lease: the agent is stale");
        }
        // One of several controllers forgets for all.
        if expired.forgotten.is_empty() || self.is_follower() {
            return;
        }
        if !self.unstored.is_empty() {
            self.unstored.remove(&expired.forgotten);
        } else if let Err(error) = self.registry.remove(&expired.forgotten).await {
            self.unstored.remove(&expired.forgotten);
            if let RegistryError::Store(error) = error {
                self.store_failed(&error, now);
            }
        }
        for agent in &expired.forgotten {
            tracing::warn!(%agent, "forgotten after a long silence");
        }
        self.forget(&expired.forgotten, now);
    }

    fn forget(&mut self, agents: &[AgentId], now: HostTime) {
        for agent in agents {
            self.served.remove(agent);
            self.keys.forget(agent);
            self.listening.remove(agent);
            if let Some(sharing) = &mut self.sharing {
                sharing.keys.remove(agent);
            }
        }
        self.directory.forget(agents);
        self.plans.outdate(true, now);
    }
}

/// Above every notice of an earlier run: milliseconds since the epoch leave room for 65536 notices each.
fn first_notice(clock: &dyn Clock) -> u64 {
    let millis = u64::try_from(clock.wall().nanos() / 1_000_000).unwrap_or(0);
    millis << 16
}

#[cfg(test)]
mod tests;
