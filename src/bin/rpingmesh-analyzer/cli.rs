//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use rpingmesh::config::analyzer::{AnalyzerConfig, AnalyzerSettings};
use rpingmesh::config::program::start_logging;
use rpingmesh::config::settings::Given;
use rpingmesh::config::{ConfigError, manual};

/// Takes the results of all agents and serves what was measured
///
/// Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "rpingmesh-analyzer", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take uploads, serve the JSON API and metrics until SIGTERM
    Run(Configured),
    /// Check the configuration and exit
    CheckConfig(Configured),
    /// Print the analyzer's configuration in force, with defaults, as TOML
    PrintConfig(Configured),
    /// Write shell completions, man pages or the reference of the options
    Manual(manual::ManualArgs),
}

/// A configuration file and everything that goes over it.
#[derive(Debug, Args)]
pub(crate) struct Configured {
    /// TOML file with the configuration; flags and RPINGMESH_… variables go over it [default: none]
    #[arg(long, env = "RPINGMESH_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Configuration")]
    pub(crate) given: Given<AnalyzerSettings>,
}

impl Configured {
    /// File, variables and flags merged.
    pub(crate) fn load(self) -> Result<AnalyzerSettings, ConfigError> {
        self.given.over(self.config.as_deref())
    }

    /// What a command that does real work starts with: logging installed, configuration validated.
    pub(crate) fn start(self) -> Result<AnalyzerConfig, ConfigError> {
        let settings = self.load()?;
        start_logging(&settings.log)?;
        settings.validate()
    }
}
