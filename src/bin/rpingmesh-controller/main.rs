//! `rpingmesh-controller`: registry of the RNICs, pinglists, target look-up.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use rpingmesh::config::controller::{ControllerConfig, ControllerSettings};
use rpingmesh::config::program::{
    Failure, finish, prepare, run_to_end, start_logging, stop_on_signal,
};
use rpingmesh::config::settings::Given;
use rpingmesh::config::{ConfigError, manual, weak};
use rpingmesh::controller::{Controller, rotate};
use rpingmesh::store::open;
use rpingmesh::time::SystemClock;

/// Registry of the RNICs of a RoCE v2 fabric, and what each of them has to probe
///
/// Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "rpingmesh-controller", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve agents until SIGTERM or SIGINT
    Run(Configured),
    /// Check the configuration and exit
    CheckConfig(Configured),
    /// Print the controller's configuration in force, with defaults, as TOML
    PrintConfig(Configured),
    /// Have the next key to sign probes with offered to the agents
    ///
    /// The controller that runs with this store takes the request within seconds, if it hands out keys. Agents change over in phases,
    /// which its log and its metrics show.
    RotateKey(Configured),
    /// Write shell completions, man pages or the reference of the options
    Manual(manual::ManualArgs),
}

/// A configuration file and everything that goes over it.
#[derive(Debug, Args)]
struct Configured {
    /// TOML file with the configuration; flags and RPINGMESH_… variables go over it [default: none]
    #[arg(long, env = "RPINGMESH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Given<ControllerSettings>,
}

impl Configured {
    fn load(self) -> Result<ControllerSettings, ConfigError> {
        self.given.over(self.config.as_deref())
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(configured) => run(configured),
        Command::CheckConfig(configured) => check(configured),
        Command::PrintConfig(configured) => print(configured),
        Command::RotateKey(configured) => rotate_key(configured),
        Command::Manual(args) => manual::run(&args, Cli::command()),
    };
    finish(result)
}

fn check(configured: Configured) -> Result<(), Failure> {
    let config = configured.load()?.validate()?;
    weak::print(&config.settings.weak_files());
    println!("the configuration is valid");
    Ok(())
}

fn print(configured: Configured) -> Result<(), Failure> {
    let settings = configured.load()?;
    settings.validate()?;
    print!("{}", toml::to_string(&settings).map_err(Failure::run)?);
    Ok(())
}

fn rotate_key(configured: Configured) -> Result<(), Failure> {
    let config = configured.load()?.validate()?;
    if config.keys.is_none() {
        let why = "no key is handed out: that needs TLS and cluster_key.hand_out";
        return Err(Failure::run(why));
    }
    let runtime = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .map_err(Failure::run)?;
    let place = runtime
        .block_on(rotate::request(&config.store))
        .context("cannot ask for the next key")
        .map_err(Failure::run)?;
    println!("the next key is wanted ({place}): the controller takes the request when it runs");
    Ok(())
}

fn run(configured: Configured) -> Result<(), Failure> {
    let settings = configured.load()?;
    start_logging(&settings.log)?;
    let config = settings.validate()?;
    prepare(&config.settings.weak_files());
    serve(config).map_err(|error| Failure::Run(error.into()))
}

fn serve(config: ControllerConfig) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    run_to_end(runtime, async {
        let stop = stop_on_signal().context("cannot watch for signals")?;
        let registry = open::registry(&config.store).await?;
        let starting = Controller::start(config, registry, Arc::new(SystemClock));
        if let Some(controller) = stop.run_until_cancelled(starting).await {
            controller?.run(stop).await?;
        }
        tracing::info!("stopped");
        Ok(())
    })
}
