//! What every command that does real work starts with: configuration, logging, runtime.

use std::path::PathBuf;

use clap::Args;
use rpingmesh::config::ConfigError;
use rpingmesh::config::agent::{AgentConfig, AgentSettings};
use rpingmesh::config::program::{Failure, start_logging};
use rpingmesh::config::settings::Given;

/// A configuration file and everything that goes over it.
#[derive(Debug, Clone, Args)]
pub(crate) struct Configured {
    /// TOML file with the configuration; flags and RPINGMESH_… variables go over it [default: none]
    #[arg(long, env = "RPINGMESH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Configuration")]
    pub(crate) given: Given<AgentSettings>,
}

impl Configured {
    /// File, variables and flags merged.
    pub(crate) fn load(self) -> Result<AgentSettings, ConfigError> {
        Ok(self.given.over(self.config.as_deref())?.complete())
    }

    /// What a command that does real work starts with: logging installed, configuration validated.
    pub(crate) fn start(self) -> Result<AgentConfig, ConfigError> {
        let settings = self.load()?;
        start_logging(&settings.log)?;
        settings.validate()
    }
}

/// One thread runs all tasks: the load is a few thousand small packets a second.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::run)
}
