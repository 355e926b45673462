//! `ping`: probes one responder and tells everything that was measured.

mod output;
pub(crate) mod resolve;

use std::sync::Arc;

use clap::Args;
use rpingmesh::agent::drive::{Driver, Turn};
use rpingmesh::agent::keys;
use rpingmesh::agent::session_config;
use rpingmesh::config::agent::AgentConfig;
use rpingmesh::config::program::{Failure, run_to_end, stop_on_signal};
use rpingmesh::config::{ConfigError, HumanDuration};
use rpingmesh::id::{FlowLabel, QKey};
use rpingmesh::probe::{self, Config, Group, ProbeKind, ProbePath, Rate, Session, Start};
use rpingmesh::time::{Clock, SystemClock};
use rpingmesh::transport::{Endpoint, TransportError};
use tokio_util::sync::CancellationToken;

use crate::cli::{Configured, runtime};
use crate::transports;

use output::Output;

/// The TARGET that means this endpoint itself: its session answers its own probes, through the RNIC.
const SELF: &str = "self";

/// Arguments of `ping`.
#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// GID%QPN of a responder, an IP address or host name that the controller knows, or `self`: this RNIC answers itself
    #[arg(value_name = "TARGET")]
    target: String,
    /// How many probes are sent
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Time from one probe to the next
    #[arg(long, default_value = "200ms", value_name = "DURATION")]
    interval: HumanDuration,
    /// Flow label of the probes, 1 to 1048575: decides their UDP source port [default: at random]
    #[arg(long, value_name = "LABEL")]
    flow_label: Option<FlowLabel>,
    /// Q_Key of the responder, where TARGET is GID%QPN [default: the same as this endpoint's]
    #[arg(long, value_name = "KEY", value_parser = parse_q_key)]
    q_key: Option<QKey>,
    /// Print one JSON object per probe and one with the summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

fn parse_q_key(text: &str) -> Result<QKey, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number
        .map(QKey)
        .ok_or_else(|| format!("`{text}` is not a Q_Key: expected 32 bits, decimal or 0x…"))
}

pub(crate) fn run(args: &PingArgs) -> Result<(), Failure> {
    let rate = Rate::every(args.interval.0).ok_or_else(|| {
        ConfigError::value(
            "interval",
            format!("{} is too short: use 1us or more", args.interval),
        )
    })?;
    let config = args.configured.clone().start()?;
    run_to_end(runtime()?, ping(args, rate, &config))
}

async fn ping(args: &PingArgs, rate: Rate, config: &AgentConfig) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    let peer = if args.target == SELF {
        None
    } else {
        let found = stop
            .run_until_cancelled(resolve::resolve(&args.target, args.q_key, config))
            .await
            .transpose()?;
        let Some(found) = found else {
            return Ok(());
        };
        Some(found)
    };
    let endpoint = open(config, peer.as_ref()).map_err(Failure::run)?;
    let target = match &peer {
        Some(peer) => peer.with_key_of(endpoint.as_ref()),
        None => resolve::unnamed(endpoint.address()),
    };
    let path = Arc::new(ProbePath {
        target: Arc::new(target),
        flow_label: args.flow_label.map_or_else(random_label, Ok)?,
        service: None,
        traffic_class: None,
        fidelity: None,
    });
    let session = Config {
        max_rate: Rate::MAX,
        start: Start::AtOnce,
        ..session_config(config)
    };
    let mut output = Output::new(args.json, endpoint.as_ref(), &path);
    output.begin().map_err(Failure::run)?;
    let pinger = Pinger {
        count: args.count,
        driver: driver(endpoint, session, config),
        group: Group {
            kind: ProbeKind::InterTor,
            rate,
            paths: vec![path],
        },
    };
    pinger.run(&mut output, &stop).await.map_err(Failure::run)?;
    output.end().map_err(Failure::run)?;
    if output.completed() == 0 {
        return Err(Failure::run(format!(
            "nothing came back from {}: check that a responder runs there under this address, and that UDP port 4791 \
             passes both ways",
            args.target
        )));
    }
    Ok(())
}

/// Opens an endpoint that reaches `peer`; without a peer the first usable one, which then probes itself.
fn open(
    config: &AgentConfig,
    peer: Option<&resolve::Resolved>,
) -> Result<Box<dyn Endpoint>, TransportError> {
    let chosen = transports::choose(config)?;
    tracing::debug!("{}", chosen.why);
    let provider = chosen.required()?;
    let ports = transports::usable_ports(provider.as_ref(), config)?;
    let gid = peer.map(|peer| peer.name.gid);
    let port = match gid.or_else(|| ports.first().map(|port| port.gid)) {
        Some(gid) => transports::port_towards(ports, gid)?,
        None => return Err(TransportError::NoDevice("no RNIC can be used".to_owned())),
    };
    provider.open(&port.name)
}

fn driver(endpoint: Box<dyn Endpoint>, config: Config, agent: &AgentConfig) -> Driver {
    let session = Session::new(
        config,
        keys::at_hand(agent),
        endpoint.address(),
        endpoint.capabilities().clone(),
        rand::random(),
    );
    Driver::new(endpoint, session, Arc::new(SystemClock))
}

/// Of all labels.
pub(crate) fn random_label() -> Result<FlowLabel, Failure> {
    let flows = probe::flow::seeded(rand::random(), 1).map_err(Failure::run)?;
    let flow = flows
        .first()
        .ok_or_else(|| Failure::run("no flow label could be drawn"))?;
    Ok(flow.label)
}

/// Sends `count` probes and waits for what becomes of each.
struct Pinger {
    count: u64,
    driver: Driver,
    group: Group,
}

impl Pinger {
    /// Ends early when stopped; what has come in by then is reported.
    async fn run(mut self, output: &mut Output, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut results = Vec::new();
        let mut seen = 0;
        let mut sending = true;
        self.driver
            .session_mut()
            .set_groups(vec![self.group.clone()], SystemClock.host());
        self.driver.advance(&mut results)?;
        loop {
            output.learned(self.driver.learned());
            for result in results.drain(..) {
                seen += 1;
                output.probe(&result)?;
            }
            if sending && self.driver.session().counters().probes_sent >= self.count {
                sending = false;
                self.driver
                    .session_mut()
                    .set_groups(Vec::new(), SystemClock.host());
            }
            if seen >= self.count {
                return Ok(());
            }
            match stop
                .run_until_cancelled(self.driver.turn(&mut results))
                .await
            {
                None => return Ok(()),
                Some(turn) => {
                    if turn? == Turn::AddressChanged {
                        anyhow::bail!("the address of this endpoint has changed, start again");
                    }
                }
            }
        }
    }
}
