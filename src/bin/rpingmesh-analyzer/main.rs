//! `rpingmesh-analyzer`: takes the agents' results and says what was measured where.

mod cli;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use rpingmesh::analyzer::Analyzer;
use rpingmesh::config::program::{Failure, finish, prepare, run_to_end, stop_on_signal};
use rpingmesh::config::{manual, weak};
use rpingmesh::events::Publisher;
use rpingmesh::time::SystemClock;

use cli::{Cli, Command, Configured};

fn main() -> ExitCode {
    finish(match Cli::parse().command {
        Command::Run(configured) => run(configured),
        Command::CheckConfig(configured) => check_config(configured),
        Command::PrintConfig(configured) => print_config(configured),
        Command::Manual(args) => manual::run(&args, Cli::command()),
    })
}

fn run(configured: Configured) -> Result<(), Failure> {
    let config = configured.start()?;
    prepare(&config.settings.weak_files());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::run)?;
    run_to_end(runtime, async {
        let stop = stop_on_signal().map_err(Failure::run)?;
        // A large store takes its time to be read back.
        let (clock, events) = (Arc::new(SystemClock), Publisher::default());
        let starting = Box::pin(Analyzer::start(config, clock, events));
        match stop.run_until_cancelled(starting).await {
            Some(analyzer) => {
                let analyzer = analyzer.map_err(Failure::run)?;
                analyzer.run(stop).await.map_err(Failure::run)
            }
            None => Ok(()),
        }
    })
}

fn check_config(configured: Configured) -> Result<(), Failure> {
    let config = configured.start()?;
    weak::print(&config.settings.weak_files());
    println!("the configuration is valid");
    Ok(())
}

fn print_config(configured: Configured) -> Result<(), Failure> {
    let settings = configured.load()?;
    settings.validate()?;
    print!("{}", toml::to_string(&settings).map_err(Failure::run)?);
    Ok(())
}
