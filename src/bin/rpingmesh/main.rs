//! `rpingmesh`: for operators and for anyone who wants to see the system at work.

mod agents;
mod api;
mod certify;
mod export;
mod focus;
mod forget;
mod incidents;
mod lab;
mod list;
mod localize;
mod matrix;
mod paths;
mod plan;
mod simulate;
mod status;
mod store;
mod top;
mod topology;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use rpingmesh::config::manual;
use rpingmesh::config::program::finish;

/// RoCE v2 fabric monitoring by active probing
///
/// Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "rpingmesh", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system on an emulated Clos fabric in this process: no root, no hardware, no configuration
    ///
    /// Runs an agent for each host, a controller and an analyzer over gRPC on loopback, injects the given faults, and
    /// shows what the agents measure and what really happened.
    Lab(lab::LabArgs),
    /// Find the links, switches and hosts that explain the losses in recorded or simulated path observations
    ///
    /// The analyzer's localisation, offline. docs/localize.md describes the files and the method.
    Localize(localize::LocalizeArgs),
    /// Generate path observations with known faults, and score answers
    Simulate(simulate::SimulateArgs),
    /// What the controller's pinglists will cost and cover on a fabric, before a roll-out
    ///
    /// Reads the topology file alone. Counts are exact; which link a 5-tuple crosses is drawn, as ECMP would.
    Plan(plan::PlanArgs),
    /// Show what the analyzer knows, in a few lines
    Status(status::StatusArgs),
    /// List incidents; with a number, explain one
    Incidents(incidents::IncidentsArgs),
    /// List agents: their RNICs, when they last uploaded, and what they say is off
    Agents(agents::AgentsArgs),
    /// Acknowledge that a host or an RNIC is missing: it is reported no more, until it has returned
    ///
    /// `rpingmesh incidents` lists what is missing (category `withdrawn`).
    Forget(forget::ForgetArgs),
    /// Write trends, incidents or paths as CSV
    ///
    /// Trends are loss and round trips over days: by the minute, ten minutes or the hour. Times are in UTC, durations in nanoseconds.
    Export(export::ExportArgs),
    /// Show what is probed more than its schedule, why, and until when
    Focus(focus::FocusArgs),
    /// Show loss or latency between all pairs of ToRs
    Matrix(matrix::MatrixArgs),
    /// List paths by 5-tuple with their loss and latency, the worst first
    Paths(paths::PathsArgs),
    /// Show switches, hosts and links from topology file, reports and traces, and their differences
    Topology(topology::TopologyArgs),
    /// Show matrix, incidents, agents and focus live: full screen on a terminal, plain lines elsewhere
    Top(top::TopArgs),
    /// Say whether a fabric may be used: each link with an upper bound of its loss, cables against the plan, RNICs beside their siblings
    ///
    /// Adds up what the analyzer counts until every link is shown to lose less than the bound, or something is wrong.
    Certify(Box<certify::CertifyArgs>),
    /// Copy what a controller or an analyzer keeps from one store to another
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Write shell completions, man pages or the reference of the options
    Manual(manual::ManualArgs),
}

fn main() -> ExitCode {
    finish(match Cli::parse().command {
        Command::Certify(args) => return certify::main(&args),
        Command::Lab(args) => lab::main(&args),
        Command::Localize(args) => localize::main(&args),
        Command::Simulate(args) => simulate::main(&args),
        Command::Plan(args) => plan::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Incidents(args) => incidents::main(&args),
        Command::Agents(args) => agents::main(&args),
        Command::Forget(args) => forget::main(&args),
        Command::Export(args) => export::main(&args),
        Command::Focus(args) => focus::main(&args),
        Command::Matrix(args) => matrix::main(&args),
        Command::Paths(args) => paths::main(&args),
        Command::Topology(args) => topology::main(&args),
        Command::Top(args) => top::main(&args),
        Command::Store(command) => store::main(&command),
        Command::Manual(args) => manual::run(&args, Cli::command()),
    })
}
