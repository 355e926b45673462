//! `rpingmesh-agent`: prober and responder on each RNIC of a host.

mod check_config;
mod cli;
mod commands;
mod doctor;
mod flows;
mod gid_choice;
mod ping;
mod print_config;
mod rdma_settings;
mod respond;
mod run;
mod trace;
#[cfg_attr(not(target_os = "linux"), path = "tracer/unsupported.rs")]
mod tracer;
mod transports;
#[cfg_attr(not(target_os = "linux"), path = "verbs/unsupported.rs")]
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use rpingmesh::config::manual;
use rpingmesh::config::program::{Failure, finish};

use commands::{Cli, Command};

fn main() -> ExitCode {
    finish(dispatch(Cli::parse().command))
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(configured) => run::run(*configured),
        Command::Ping(args) => ping::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Respond(configured) => respond::run(*configured),
        Command::Flows(args) => flows::run(*args),
        Command::Doctor(args) => doctor::run(*args),
        Command::CheckConfig(configured) => check_config::run(*configured),
        Command::PrintConfig(configured) => print_config::run(*configured),
        Command::Manual(args) => manual::run(&args, Cli::command()),
    }
}
