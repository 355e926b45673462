//! `rpingmesh plan`: what pinglists will cost and cover, before a roll-out.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rpingmesh::config::controller::PinglistSettings;
use rpingmesh::config::program::Failure;
use rpingmesh::config::settings::Given;
use rpingmesh::config::wiring;
use rpingmesh::pinglist::forecast::{Forecast, LinkForecast, implied_agents};
use rpingmesh::pinglist::{Matrix, PinglistPlan, Policy};
use rpingmesh::rpc::pinglist::encoded_len;
use rpingmesh::time::WallTime;
use rpingmesh::topology::Topology;
use rpingmesh::wire;
use serde::Serialize;

/// Ethernet with preamble and gap, IPv4, UDP, BTH, DETH, the probe's payload, ICRC.
const BYTES_ON_THE_WIRE: usize = 38 + 20 + 8 + 12 + 8 + wire::LENGTH + 4;
/// A probe, its first ACK and its second ACK.
const PACKETS_PER_PROBE: f64 = 3.0;

/// All rotations are alike; a fixed one makes the answer reproducible.
const FIRST_ROTATION: WallTime = WallTime::from_nanos(0);

/// What to plan for.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Topology file: `{"links":[…],"hosts":[…]}`, as the controller and `rpingmesh localize` read it
    #[arg(long = "topology", value_name = "FILE")]
    file: PathBuf,
    /// RNICs of a host whose RNICs the file does not list [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    rnics_per_host: Option<u8>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    policy: Given<PinglistSettings>,
}

/// With `--json`: one object.
#[derive(Debug, Serialize)]
struct Answer {
    hosts: usize,
    rnics: usize,
    tors: usize,
    planes: usize,
    /// Partner ToRs of a ToR; null while all pairs are probed.
    fewest_partners: Option<usize>,
    most_partners: Option<usize>,
    tuples: u64,
    most_tuples_per_rnic: u64,
    probes_per_second: f64,
    most_probes_per_second_per_rnic: f64,
    longest_interval_ns: u64,
    links: usize,
    links_uncrossed: usize,
    lowest_link_rate: f64,
    mean_link_rate: f64,
    equal_link_pairs: u64,
    short_tor_pairs: usize,
    largest_list_bytes: usize,
    probe_bytes_per_second: f64,
}

pub(crate) fn main(args: &PlanArgs) -> Result<(), Failure> {
    // First, so that an error about the file names the option that was given.
    let wiring = wiring("--topology", &args.file).map_err(Failure::Config)?;
    let settings = PinglistSettings {
        topology: Some(args.file.clone()),
        ..args.policy.over(None).map_err(Failure::Config)?
    };
    let policy = settings.policy().map_err(Failure::Config)?;
    let agents = implied_agents(&wiring, args.rnics_per_host.unwrap_or(1));
    let mut topology = Topology::default();
    for agent in &agents {
        topology.insert(agent);
    }
    let plan = PinglistPlan::new(&topology, Arc::new(policy.clone()), FIRST_ROTATION);
    let forecast = Forecast::new(&plan, &agents, &wiring.graph());
    let lists = agents
        .iter()
        .map(|agent| encoded_len(&plan.pinglist(agent)));
    let answer = Answer::new(&forecast, agents.len(), &plan, lists.max().unwrap_or(0));
    if args.json {
        super::localize::print(&serde_json::to_string(&answer).map_err(Failure::run)?);
    } else {
        super::localize::print(describe(&answer, &policy).trim_end());
    }
    Ok(())
}

impl Answer {
    fn new(
        forecast: &Forecast,
        hosts: usize,
        plan: &PinglistPlan,
        largest_list_bytes: usize,
    ) -> Self {
        let (fewest, most) = match forecast.matrix {
            Matrix::Complete => (None, None),
            Matrix::Sparse { fewest, most } => (Some(fewest), Some(most)),
        };
        let LinkForecast {
            links,
            uncrossed,
            lowest_rate,
            mean_rate,
            equal_pairs,
        } = forecast.links;
        Self {
            hosts,
            rnics: forecast.rnics,
            tors: forecast.tors,
            planes: forecast.planes,
            fewest_partners: fewest,
            most_partners: most,
            tuples: forecast.tuples,
            most_tuples_per_rnic: forecast.most_tuples,
            probes_per_second: forecast.rate,
            most_probes_per_second_per_rnic: forecast.most_rate,
            longest_interval_ns: u64::try_from(forecast.longest_interval.as_nanos())
                .unwrap_or(u64::MAX),
            links,
            links_uncrossed: uncrossed,
            lowest_link_rate: lowest_rate,
            mean_link_rate: mean_rate,
            equal_link_pairs: equal_pairs,
            short_tor_pairs: plan.shortfalls().len(),
            largest_list_bytes,
            probe_bytes_per_second: forecast.rate * PACKETS_PER_PROBE * BYTES_ON_THE_WIRE as f64,
        }
    }
}

fn describe(answer: &Answer, policy: &Policy) -> String {
    let mut text = String::new();
    let mut line = |what: &str, says: String| {
        let _ = writeln!(text, "{what:<10}{says}");
    };
    line(
        "fabric",
        format!(
            "{} hosts with {} RNICs under {} ToRs; {}",
            answer.hosts,
            answer.rnics,
            answer.tors,
            match answer.planes {
                _ if answer.links == 0 => "how they are connected is not known".to_owned(),
                1 => "a path connects all ToRs".to_owned(),
                planes => format!("{planes} planes that no path connects"),
            }
        ),
    );
    line("matrix", matrix(answer, policy));
    line(
        "5-tuples",
        format!(
            "{} in all; {:.1} per RNIC, at most {}",
            answer.tuples,
            answer.tuples as f64 / answer.rnics.max(1) as f64,
            answer.most_tuples_per_rnic
        ),
    );
    line(
        "rates",
        format!(
            "{:.0} probes/s in all; at most {:.1} per RNIC; each inter-ToR 5-tuple at least every {:.1} s",
            answer.probes_per_second,
            answer.most_probes_per_second_per_rnic,
            answer.longest_interval_ns as f64 / 1e9
        ),
    );
    line("links", links(answer, policy));
    line(
        "lists",
        format!("at most {} bytes per agent", answer.largest_list_bytes),
    );
    line(
        "network",
        format!(
            "{:.3} Mbit/s of probes and ACKs per RNIC on average, {:.1} Mbit/s in all",
            answer.probe_bytes_per_second * 8.0 / 1e6 / answer.rnics.max(1) as f64,
            answer.probe_bytes_per_second * 8.0 / 1e6
        ),
    );
    line(
        "analyzer",
        format!(
            "{} paths: all 5-tuples, and the fifth of them that a rotation adds; memory_limit of at least {} MiB",
            paths(answer),
            (paths(answer) * PATH_BYTES).div_ceil(1 << 20)
        ),
    );
    text
}

/// What a path of the pinglists takes in the analyzer's windows, in bytes: a kilobyte is enough for one probe in 5 s.
const PATH_BYTES: u64 = 1 << 10;

/// Paths in the analyzer's windows.
fn paths(answer: &Answer) -> u64 {
    answer.tuples + answer.tuples.div_ceil(5)
}

fn matrix(answer: &Answer, policy: &Policy) -> String {
    let (Some(fewest), Some(most)) = (answer.fewest_partners, answer.most_partners) else {
        return "all pairs of ToRs that a path connects".to_owned();
    };
    let partners = if fewest == most {
        fewest.to_string()
    } else {
        format!("{fewest} to {most}")
    };
    format!(
        "each ToR probes {partners} others at a time; each {} a fifth of them changes",
        humantime::format_duration(policy.rotation)
    )
}

fn links(answer: &Answer, policy: &Policy) -> String {
    if answer.links == 0 {
        return "the file has no links between switches: their coverage is not known".to_owned();
    }
    let mut text = format!(
        "{} directed links between switches: {:.1} probes/s on average, {:.1} on the lowest ({:.1} wanted); {} not crossed; \
         {} pairs crossed by the same 5-tuples",
        answer.links,
        answer.mean_link_rate,
        answer.lowest_link_rate,
        policy.link_rate,
        answer.links_uncrossed,
        answer.equal_link_pairs
    );
    if answer.short_tor_pairs > 0 {
        let _ = write!(
            text,
            "; {} ToR pairs without full coverage",
            answer.short_tor_pairs
        );
    }
    text
}
