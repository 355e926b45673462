//! The agent: prober and responder on each RNIC of a host.
//!
//! [`Agent::run`] gives these tasks to a [`Supervisor`](crate::supervisor::Supervisor), which stops them in three stages:
//! 1. *probing*
//!    - [`rnics`]: finds RNICs and starts one [`endpoint`] task for each, which owns its endpoint and session;
//!    - [`hardware`]: the RNICs' own counters, for the batches;
//!    - [`registration`]: the stream to the controller; turns pinglists into orders for the endpoints;
//!    - [`services`]: follows the services' connections and leaves their paths in the endpoints' mailboxes, where a tracer
//!      tells of them;
//!    - [`pods`]: asks Kubernetes for the names of this node's pods, where that is configured;
//!    - [`traces`]: which switches the probes pass, for the batches.
//! 2. *collecting*
//!    - [`collect`]: results into batches, batches into the spool; makes the last batch when it is stopped.
//! 3. *uploading*
//!    - [`upload`]: batches to the analyzer, until it has acknowledged them. When it is stopped the analyzer has
//!      [`upload::LAST_UPLOAD`] to take the last ones; what it does not take stays in the spool;
//!    - the metrics: served, and pushed, with the last values.
//!
//! No task waits for another but through its channels, so a server that is away, or an RNIC that fails, stops nothing
//! else. A task that panics stops the agent, with an error that names the task: its results would be missing in silence.
//! Three kinds of tasks are started again instead, because no other task relies on their state: the endpoint of one RNIC
//! (a device that behaves badly must not stop the probing of the others), the hardware counters, and the push of metrics.

pub(crate) mod absence;
pub(crate) mod backoff;
pub(crate) mod cache;
pub mod client;
pub mod collect;
pub mod condition;
pub mod drive;
pub mod endpoint;
mod focus;
pub(crate) mod hardware;
pub mod health;
pub mod keys;
mod list;
mod machine;
pub mod mailbox;
pub mod metrics;
pub(crate) mod outcome;
pub mod pods;
pub mod registration;
pub(crate) mod rnics;
pub mod services;
mod settings;
mod tasks;
pub(crate) mod traces;
pub mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::ConfigError;
use crate::config::agent::AgentConfig;
use crate::hardware::Source;
use crate::path_trace::PathTracer;
use crate::service::trace::TraceMessage;
use crate::store::{Location, StoreError};
use crate::supervisor::TaskError;
use crate::time::Clock;
use crate::transport::Provider;

use metrics::Metrics;

pub use settings::{session_config, trace_round};

/// The spool's folder in the state folder.
pub const SPOOL_FOLDER: &str = "spool";

/// Why an agent cannot start, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Servers and TLS settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another agent has the spool.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The metrics cannot be offered.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// One of its tasks panicked or ended.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Everything that an agent is made of.
pub struct Agent {
    /// Validated.
    pub config: Arc<AgentConfig>,
    /// What carries the probes; `None` for an agent that neither probes nor answers.
    pub provider: Option<Arc<dyn Provider>>,
    /// What traces the paths of the probes; `None` for no tracing.
    pub tracer: Option<Arc<dyn PathTracer>>,
    /// Host time and wall clock.
    pub clock: Arc<dyn Clock>,
    /// Where results wait; [`Agent::spool_location`] for the configured place.
    pub spool: Location,
    /// What this agent does without and why, in words; sent with each heartbeat.
    pub off: Vec<String>,
    /// What the tracer tells of the services' connections; `None` where there is no tracer at all.
    pub tracing: Option<mpsc::Receiver<TraceMessage>>,
    /// Reads the RNICs' own counters; `None` where they have none.
    pub hardware: Option<Arc<dyn Source>>,
    /// What it counts; served and pushed as configured.
    pub metrics: Arc<Metrics>,
}

impl Agent {
    /// The configured place of the spool.
    pub fn spool_location(config: &AgentConfig) -> Location {
        Location::File(config.settings.spool_dir().join(SPOOL_FOLDER))
    }
}
