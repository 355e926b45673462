//! What a fleet of 100 000 RNICs costs the controller: rails of 8, 12 500 hosts.
//!
//! `cargo xtask bench fleet`. Figures are reported, never asserted.

#[path = "rails/fabric.rs"]
mod fabric;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpingmesh::pinglist::forecast::{Forecast, implied_agents};
use rpingmesh::pinglist::{Changed, Paths, PinglistPlan, Policy};
use rpingmesh::rpc::pinglist::encoded_len;
use rpingmesh::time::WallTime;
use rpingmesh::topology::wiring::Wiring;
use rpingmesh::topology::{Announcement, Topology};

use fabric::{RAILS, rails};

const HOSTS: usize = 12_500;

/// Spines of one rail only, or spines that connect all leaves.
fn wiring(with_planes: bool) -> Wiring {
    rails(HOSTS, |rail, spine| {
        if with_planes {
            format!("spine{rail}-{spine}")
        } else {
            format!("spine{spine}")
        }
    })
}

fn insert(agents: &[Announcement]) -> Topology {
    let mut topology = Topology::default();
    for agent in agents {
        topology.insert(agent);
    }
    topology
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("  {what:<46} {:>9.1?}", start.elapsed());
    result
}

fn plan(topology: &Topology, policy: &Arc<Policy>) -> PinglistPlan {
    PinglistPlan::new(topology, policy.clone(), WallTime::from_nanos(0))
}

/// One RNIC more: whose lists change, and how long it takes to know.
fn join(agents: &[Announcement], policy: &Arc<Policy>) {
    let mut topology = insert(&agents[1..]);
    let older = plan(&topology, policy);
    for agent in &agents[1..] {
        older.pinglist(agent);
    }
    let mut joining = agents[0].clone();
    joining.rnics.truncate(1);
    topology.insert(&joining);
    let newer = timed("one RNIC joins: new plan", || plan(&topology, policy));
    let changed = timed("one RNIC joins: whose lists change", || {
        newer.changed_since(&older)
    });
    let changed = match changed {
        Changed::All => agents.len(),
        Changed::Agents(agents) => agents.len(),
    };
    println!(
        "  lists that change: {changed} of {} ({:.2} %)",
        agents.len(),
        100.0 * changed as f64 / agents.len() as f64
    );
}

fn report(name: &str, wiring: &Wiring) {
    println!(
        "{name}: {HOSTS} hosts with {RAILS} RNICs, {} ToRs",
        wiring.tors().len()
    );
    let paths = timed("numbers of paths from the topology file", || wiring.paths());
    let policy = Arc::new(Policy {
        paths: Paths::PerPair {
            known: paths,
            otherwise: 16,
        },
        ..Policy::default()
    });
    let agents = implied_agents(wiring, 1);
    let topology = timed("topology of all registrations", || insert(&agents));
    let made = timed("plan", || plan(&topology, &policy));
    let lists = timed("lists of all agents, encoded size", || {
        let mut sizes: Vec<usize> = Vec::with_capacity(agents.len());
        sizes.extend(
            agents
                .iter()
                .map(|agent| encoded_len(&made.pinglist(agent))),
        );
        sizes
    });
    let forecast = Forecast::new(&made, &agents, &wiring.graph());
    let per_rnic = |count: u64| count as f64 / forecast.rnics.max(1) as f64;
    println!(
        "  5-tuples: {} in all, {:.1} per RNIC, at most {}; list: at most {} bytes; each 5-tuple at least every {:.1} s",
        forecast.tuples,
        per_rnic(forecast.tuples),
        forecast.most_tuples,
        lists.iter().max().unwrap_or(&0),
        forecast.longest_interval.max(Duration::ZERO).as_secs_f64()
    );
    let links = forecast.links;
    println!(
        "  {} directed links: {:.1} probes/s on average, {:.1} on the lowest; {} not crossed; {} pairs with equal 5-tuples",
        links.links, links.mean_rate, links.lowest_rate, links.uncrossed, links.equal_pairs
    );
    let own: BTreeSet<_> = made.probers_of(&agents[0].rnics[0].tor, agents[0].rnics[0].address.gid);
    println!("  agents that probe one RNIC: {}", own.len());
    join(&agents, &policy);
}

fn main() {
    report("rails that share spines", &wiring(false));
    report("a plane per rail", &wiring(true));
}
