//! The commands and their help.

use clap::{Parser, Subcommand};
use rpingmesh::config::manual;

use crate::cli::Configured;
use crate::doctor::DoctorArgs;
use crate::flows::FlowsArgs;
use crate::ping::PingArgs;
use crate::trace::TraceArgs;

/// Prober and responder on each RNIC of a RoCE v2 host
///
/// Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "rpingmesh-agent", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent: probe and answer on each RNIC, register with the controller, upload to the analyzer
    Run(Box<Configured>),
    /// Probe one responder and print all measurements
    ///
    /// T1 and T6 are on this host's clock, T2 and T5 on the clock that stamps the endpoint's completions; T4-T3 is what
    /// the responder took. Network RTT = (T5-T2) - (T4-T3), prober delay = (T6-T1) - (T5-T2). Exit status 1 if nothing
    /// came back.
    Ping(Box<PingArgs>),
    /// Show which switches the probes to a target pass
    ///
    /// Sends packets with the probes' own 5-tuple (UDP, both ports fixed, destination port 4791) and hop limits 1, 2, 3 …
    /// Needs CAP_NET_RAW. Switches that keep silent are shown as `?`; RNICs never answer, so that the target is behind the
    /// last switch is inferred. Exit status 1 if nothing answered.
    Trace(Box<TraceArgs>),
    /// Answer probes on each usable RNIC until SIGTERM; prints the GID%QPN of each
    Respond(Box<Configured>),
    /// Show the services' RDMA connections with process, service, GIDs, queue pairs, UDP source port and state
    ///
    /// Follows queue pairs with eBPF (CAP_BPF and CAP_PERFMON), and lists those that exist over RDMA netlink, which needs
    /// no privilege but knows no GIDs.
    Flows(Box<FlowsArgs>),
    /// Check whether this host can probe, and say what to do; exit status 1 if it cannot
    Doctor(Box<DoctorArgs>),
    /// Check the configuration and exit
    CheckConfig(Box<Configured>),
    /// Print the agent's configuration in force, with defaults, as TOML
    PrintConfig(Box<Configured>),
    /// Write shell completions, man pages or the reference of the options
    Manual(manual::ManualArgs),
}
