//! What several controllers on one registry tell each other through it.
//!
//! Each writes the registrations of the agents that it serves. A *revision* rises with each change, in the transaction that makes it;
//! the others see it within [`POLL`] and read what has changed. One of them, the *holder* of the lease, does what must be done once: it
//! forgets agents, makes keys, and removes controllers that are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use super::StoreError;
use super::analyzers::AnalyzerFleet;
use crate::id::AgentId;
use crate::topology::Announcement;

/// How often it is looked for changes.
pub(crate) const POLL: Duration = Duration::from_millis(250);

/// How far a registry has changed. Numbers rise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revision {
    /// With each transaction that changes anything.
    pub agents: i64,
    /// With each one that forgets agents.
    pub departures: i64,
    /// With each change of the cluster's key.
    pub keys: i64,
}

/// What a controller sees of the registry without reading it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// How far it has changed.
    pub revision: Revision,
    /// Whether this controller holds the lease.
    pub is_holder: bool,
    /// Which lease it holds: rises with each change of holder; 0 for none.
    pub epoch: i64,
}

/// An agent that another controller has registered, or that nobody hears.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedAgent {
    /// Who is reached where.
    pub announcement: Announcement,
    /// Whether a controller hears it.
    pub is_heard: bool,
    /// What the agent says of its machine; empty where it does not, or not yet.
    pub machine: String,
    /// What it does with keys, as its controller has encoded it; `None` where that is not known yet.
    pub keys: Option<Vec<u8>>,
}

/// What has changed since a revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// The revision up to which it is complete. Some of it may be newer, and come again.
    pub revision: Revision,
    /// Agents whose last change another controller has made.
    pub agents: Vec<SharedAgent>,
    /// All agents of the registry, where some were forgotten since.
    pub present: Option<HashSet<AgentId>>,
}

/// What a controller tells of an agent that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The agent.
    pub agent: AgentId,
    /// Whether it was heard within its lease.
    pub is_heard: bool,
    /// See [`SharedAgent::machine`].
    pub machine: String,
    /// See [`SharedAgent::keys`].
    pub keys: Option<Vec<u8>>,
}

/// A controller as the registry has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControllerSeen {
    /// Its host and process.
    pub name: String,
    /// Whether it holds the lease, and does what must be done once.
    pub is_holder: bool,
    /// Whether it has stopped, or was given up.
    pub is_gone: bool,
    /// Agents that it serves.
    pub agents: i64,
    /// When it was there last: nanoseconds before now, by the server's clock.
    pub seen_ago_ns: i64,
}

/// The part of a registry that several controllers use at the same time.
#[tonic::async_trait]
pub trait SharedRegistry: Send + Sync + std::fmt::Debug {
    /// The newest view; polled in a task of its own.
    fn view(&self) -> watch::Receiver<View>;

    /// The analyzers that share the database, and who owns which shard; nobody where one has it for itself.
    fn analyzers(&self) -> watch::Receiver<Arc<AnalyzerFleet>>;

    /// What others have changed since.
    ///
    /// # Errors
    /// The registry cannot be read.
    async fn changes(&self, since: Revision) -> Result<Changes, StoreError>;

    /// Tells the others of agents that this controller has registered last; of those that another one has taken over nothing is
    /// stored. One statement.
    ///
    /// # Errors
    /// Nothing was stored.
    async fn tell(&self, agents: Vec<Told>) -> Result<(), StoreError>;

    /// Agents that this controller serves no more without having removed them: nobody hears them, and everybody reads them again, also
    /// this controller. Those that another one has taken over are left alone. One statement.
    ///
    /// # Errors
    /// Nothing was stored.
    async fn leave(&self, agents: &[AgentId]) -> Result<(), StoreError>;
}
