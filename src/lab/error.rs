//! Why a lab ends early.

use std::net::SocketAddr;

use crate::agent::AgentError;
use crate::analyzer::AnalyzerError;
use crate::config::ConfigError;
use crate::controller::ControllerError;
use crate::fabric::ScenarioError;
use crate::fabric::realtime::Stopped;
use crate::fault::FaultError;
use crate::store::StoreError;
use crate::supervisor::TaskError;
use crate::topology::wiring::WiringError;

/// Why a lab ends early.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A part refuses its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The fabric cannot be described to the analyzer.
    #[error("the emulated fabric: {0}")]
    Wiring(#[from] WiringError),
    /// The scenario cannot be run.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A fault cannot be injected.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// No folder for what the agents keep.
    #[error("cannot make a temporary folder for the agents")]
    Folder(#[source] std::io::Error),
    /// The controller's registry cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The controller failed.
    #[error("the controller failed")]
    Controller(#[from] ControllerError),
    /// The analyzer failed.
    #[error("the analyzer failed")]
    Analyzer(#[from] AnalyzerError),
    /// An agent failed.
    #[error("the agent of {host} failed")]
    Agent {
        /// Its host.
        host: String,
        /// The cause.
        #[source]
        source: AgentError,
    },
    /// An agent's program failed.
    #[error("the agent's program of {host} failed: {why}")]
    Program {
        /// Its host.
        host: String,
        /// The cause.
        why: String,
    },
    /// Nothing can be carried between the emulated RNICs and the fabric.
    #[error("the socket for what the emulated RNICs send failed")]
    Bridge(#[source] std::io::Error),
    /// The metrics cannot be offered.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The fabric's task ended.
    #[error(transparent)]
    Fabric(#[from] Stopped),
    /// A task panicked or ended.
    #[error(transparent)]
    Task(#[from] TaskError),
}
