//! `trace`: which switches the packets of one 5-tuple pass.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;

use clap::Args;
use rpingmesh::agent::trace_round;
use rpingmesh::config::ConfigError;
use rpingmesh::config::agent::{AgentConfig, TracingChoice};
use rpingmesh::config::program::{Failure, run_to_end, stop_on_signal};
use rpingmesh::error::describe;
use rpingmesh::id::{FlowLabel, Gid, ROCE_V2_UDP_PORT, UdpSourcePort};
use rpingmesh::path_trace::raw::RawTracer;
use rpingmesh::path_trace::{self, PathTracer};
use rpingmesh::probe::trace::schedule::Order;
use rpingmesh::probe::trace::{End, Reason, Trace, Tuple};
use rpingmesh::time::SystemClock;
use serde::Serialize;

use crate::cli::{Configured, runtime};
use crate::ping::{random_label, resolve};
use crate::transports;

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// IP address, GID%QPN of a responder, or a host name that the controller knows
    #[arg(value_name = "TARGET")]
    target: String,
    /// UDP source port of the probes whose path is traced, 1 to 65535 [default: that of the flow label]
    #[arg(long, value_name = "PORT", conflicts_with = "flow_label",
          value_parser = clap::value_parser!(u16).range(1..))]
    source_port: Option<u16>,
    /// Flow label of those probes, 1 to 1048575, where it decides their source port [default: at random]
    #[arg(long, value_name = "LABEL")]
    flow_label: Option<FlowLabel>,
    /// Address of this host to trace from [default: that of the RNIC which reaches the target]
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// Print one JSON object per hop and one for the trace
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

/// The tracer that an agent uses, or why it has none.
///
/// # Errors
/// Tracing is on and not possible.
pub(crate) fn tracer(
    config: &AgentConfig,
) -> Result<Result<Arc<dyn PathTracer>, String>, ConfigError> {
    match (config.settings.path_trace.mode, RawTracer::new()) {
        (TracingChoice::Off, _) => Ok(Err("off by configuration".to_owned())),
        (_, Ok(tracer)) => Ok(Ok(Arc::new(tracer))),
        (TracingChoice::Auto, Err(error)) => Ok(Err(describe(&error))),
        (TracingChoice::On, Err(error)) => Err(ConfigError::value(
            "path_trace.mode",
            format!("is `on`, but {}", describe(&error)),
        )),
    }
}

pub(crate) fn run(args: &TraceArgs) -> Result<(), Failure> {
    let config = args.configured.clone().start()?;
    run_to_end(runtime()?, serve(args, &config))
}

async fn serve(args: &TraceArgs, config: &AgentConfig) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    let Some(trace) = stop
        .run_until_cancelled(make(args, config))
        .await
        .transpose()?
    else {
        return Ok(());
    };
    print(&trace, args.json).map_err(Failure::run)?;
    if trace.hops.is_empty() && trace.end == End::Silent {
        return Err(Failure::run(format!(
            "no switch answered on the way from {} to {}: they may be directly connected, or the switches send no ICMP \
             time-exceeded",
            trace.tuple.source, trace.tuple.target
        )));
    }
    Ok(())
}

async fn make(args: &TraceArgs, config: &AgentConfig) -> Result<Trace, Failure> {
    let target = match args.target.parse::<IpAddr>() {
        Ok(address) => Gid::from(address),
        Err(_) => resolve::resolve(&args.target, None, config).await?.name.gid,
    };
    let label = args.flow_label.map_or_else(random_label, Ok)?;
    let tuple = Tuple {
        source: source(args, config, target)?,
        target,
        port: args.source_port.map_or(label.source_port(), UdpSourcePort),
    };
    let tracer = RawTracer::new().map_err(Failure::run)?;
    let order = Order {
        tuple,
        reason: Reason::New,
        route: None,
        healthy: true,
    };
    path_trace::trace(&tracer, &order, trace_round(config), &SystemClock)
        .await
        .map_err(Failure::run)
}

/// Where probes to the target leave from: the RNIC, else what the routing table says.
fn source(args: &TraceArgs, config: &AgentConfig, target: Gid) -> Result<Gid, Failure> {
    if let Some(source) = args.source {
        return Ok(source.into());
    }
    let chosen = transports::choose(config).map_err(Failure::run)?;
    if let Some(provider) = chosen.provider {
        let ports = transports::usable_ports(provider.as_ref(), config).map_err(Failure::run)?;
        let port = transports::port_towards(ports, target).map_err(Failure::run)?;
        return Ok(port.gid);
    }
    let any: IpAddr = match target.ip() {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket sends nothing.
    let routed = UdpSocket::bind((any, 0))
        .and_then(|socket| {
            socket.connect((target.ip(), ROCE_V2_UDP_PORT))?;
            socket.local_addr()
        })
        .map_err(|error| Failure::run(format!("no route to {target}: {error}")))?;
    Ok(routed.ip().into())
}

#[derive(Serialize)]
struct HopLine<'a> {
    r#type: &'static str,
    hop: usize,
    node: Option<&'a str>,
    rtt_ns: Option<i64>,
}

#[derive(Serialize)]
struct TraceLine {
    r#type: &'static str,
    source: String,
    target: String,
    source_port: u16,
    destination_port: u16,
    end: &'static str,
    hops: usize,
    at_unix_ns: i64,
}

fn print(trace: &Trace, json: bool) -> io::Result<()> {
    let text = if json { objects(trace)? } else { lines(trace) };
    io::stdout().lock().write_all(text.as_bytes())
}

fn objects(trace: &Trace) -> io::Result<String> {
    let mut text = String::new();
    for (hop, answer) in (1..).zip(&trace.hops) {
        let line = HopLine {
            r#type: "hop",
            hop,
            node: answer.as_ref().map(|answer| answer.node.as_str()),
            rtt_ns: answer.as_ref().map(|answer| answer.rtt.0),
        };
        text += &serde_json::to_string(&line)?;
        text.push('\n');
    }
    let line = TraceLine {
        r#type: "trace",
        source: trace.tuple.source.to_string(),
        target: trace.tuple.target.to_string(),
        source_port: trace.tuple.port.0,
        destination_port: ROCE_V2_UDP_PORT,
        end: trace.end.name(),
        hops: trace.hops.len(),
        at_unix_ns: trace.at.nanos(),
    };
    text += &serde_json::to_string(&line)?;
    text.push('\n');
    Ok(text)
}

fn lines(trace: &Trace) -> String {
    let mut text = format!("{}, to port {ROCE_V2_UDP_PORT}\n", trace.tuple);
    let width = trace
        .hops
        .iter()
        .flatten()
        .map(|answer| answer.node.as_str().len())
        .max()
        .unwrap_or_default();
    for (hop, answer) in (1..).zip(&trace.hops) {
        // Writing to a string cannot fail.
        let _ = match answer {
            Some(answer) => writeln!(
                text,
                "{hop:>2}  {:<width$}  {}",
                answer.node.as_str(),
                answer.rtt
            ),
            None => writeln!(text, "{hop:>2}  ?"),
        };
    }
    let last = trace.hops.len() + 1;
    let target = trace.tuple.target;
    let _ = match trace.end {
        End::Answered => writeln!(text, "{last:>2}  {target}  answered"),
        End::Inferred => writeln!(
            text,
            "{last:>2}  {target}  inferred: nothing beyond answers, as RNICs do not"
        ),
        End::Silent => writeln!(text, "    nothing beyond answers"),
    };
    text
}

#[cfg(test)]
mod tests;
