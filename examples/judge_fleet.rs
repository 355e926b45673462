//! What 100 000 RNICs cost the judge: rails of 8, 12 500 hosts, the controller's own pinglists, every 5-tuple traced.
//!
//! `cargo xtask bench judge-fleet`. From the last seconds on one link between a spine and a leaf loses 5 %. Prints the
//! processor time of each run, and the memory of the process. `HOSTS` is how many hosts [default: 12500], `RUNS` how many runs of the judge [default: 5].
//! Figures are reported, never asserted.

#[path = "rails/fabric.rs"]
mod fabric;

use std::sync::Arc;
use std::time::Duration;

use rpingmesh::analysis::filter::HostFilter;
use rpingmesh::analysis::judge::{Judge, Snapshot};
use rpingmesh::analysis::report::{AgentCounters, Batch, End, Path, PathReport};
use rpingmesh::analysis::routes::Routes;
use rpingmesh::analysis::windows::{Limits, Windows};
use rpingmesh::id::HostName;
use rpingmesh::measure::Measurement;
use rpingmesh::pinglist::forecast::implied_agents;
use rpingmesh::pinglist::{GroupKind, Paths, Pinglist, PinglistPlan, Policy};
use rpingmesh::probe::ProbeKind;
use rpingmesh::probe::trace::Tuple;
use rpingmesh::time::{Nanos, WallTime};
use rpingmesh::topology::wiring::Wiring;
use rpingmesh::topology::{Announcement, Topology};
use rpingmesh::transport::CompletionClock;
use rustix::time::{ClockId, clock_gettime};

use fabric::{RAILS, SPINES, leaf, rails};

const EPOCH: i64 = 1_800_000_000 * 1_000_000_000;
/// Seconds before the first run: the longest horizon is full.
const CALM: u32 = 125;
/// Seconds before the first run in which the link loses already.
const FAULTY: u32 = 5;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

fn spine(number: usize) -> String {
    format!("spine{number}")
}

/// A 5-tuple of a pinglist.
struct Probed {
    path: Path,
    /// Probes per second.
    rate: f64,
    /// Where between two probes its first second begins, 0 to 1.
    phase: f64,
    /// The spines of probe and ACK, if it leaves its leaf.
    spines: Option<(usize, usize)>,
}

impl Probed {
    fn probes(&self, second: u32) -> u64 {
        let until = |second: u32| (self.rate * f64::from(second) + self.phase).floor();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number of probes"
        )]
        let probes = (until(second + 1) - until(second)) as u64;
        probes
    }

    /// Whether a probe of this second is lost on the way from spine 3 to the last leaf of the first pod.
    fn is_hit(&self, second: u32) -> bool {
        self.spines.is_some_and(|(there, _)| there == 3)
            && *self.path.target.tor.as_str() == *leaf(0, RAILS - 1)
            && mixed(u64::from(second), self.phase.to_bits()).is_multiple_of(20)
    }
}

/// Well mixed bits of two numbers (splitmix64).
const fn mixed(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .expect("CPU time is never negative")
}

fn at(second: u32) -> WallTime {
    WallTime::from_nanos(EPOCH + i64::from(second) * 1_000_000_000)
}

fn spine_of(bits: u64) -> usize {
    usize::try_from(bits % SPINES as u64).expect("below the number of spines")
}

/// What an agent probes, by its list.
fn probed(
    agent: &Announcement,
    list: &Pinglist,
    end: &mut impl FnMut(&rpingmesh::topology::Peer) -> Arc<End>,
) -> Vec<Probed> {
    let mut all = Vec::new();
    for (rnic, list) in agent.rnics.iter().zip(&list.rnics) {
        let source = end(&rpingmesh::topology::Peer {
            address: rnic.address,
            tor: rnic.tor.clone(),
            host: agent.host.clone(),
            device: rnic.device.clone(),
        });
        for group in &list.groups {
            for target in &group.targets {
                let ends = [source.qpn, target.peer.address.qpn].map(|qpn| u64::from(qpn.get()));
                let bits = mixed(u64::from(target.flow_label.get()), ends[0] << 32 | ends[1]);
                let kind = match group.kind {
                    GroupKind::TorMesh => ProbeKind::TorMesh,
                    GroupKind::InterTor => ProbeKind::InterTor,
                };
                all.push(Probed {
                    path: Path {
                        source: Arc::clone(&source),
                        target: end(&target.peer),
                        kind,
                        source_port: Some(target.flow_label.source_port()),
                        service: None,
                        class: None,
                        fidelity: None,
                    },
                    rate: group.probes_per_second / group.targets.len() as f64,
                    phase: (bits >> 32) as f64 / 4_294_967_296.0,
                    spines: (source.tor != target.peer.tor)
                        .then(|| (spine_of(bits), spine_of(bits >> 16))),
                });
            }
        }
    }
    all
}

fn batch(probed: &[Probed], second: u32, is_faulty: bool) -> Batch {
    let report = |probed: &Probed| {
        let probes = probed.probes(second);
        if probes == 0 {
            return None;
        }
        let mut report = PathReport::empty(probed.path.clone(), CompletionClock::Software);
        report.lost = u64::from(is_faulty && probed.is_hit(second));
        let rtt = 4_000 + i64::from(probed.spines.is_some()) * 3_000;
        for _ in report.lost..probes {
            report.samples.push(Measurement {
                network_rtt: Nanos(rtt),
                prober_delay: Nanos(2_000),
                responder_delay: Nanos(3_000),
            });
        }
        Some(report)
    };
    Batch {
        sequence: u64::from(second),
        interval: at(second)..at(second + 1),
        paths: probed.iter().filter_map(report).collect(),
        traces: Vec::new(),
        counters: AgentCounters::default(),
        hardware: Vec::new(),
    }
}

/// Traces of a 5-tuple, there and back.
fn trace(routes: &mut Routes, probed: &Probed, now: WallTime) {
    let (Some((there, back)), Some(port)) = (probed.spines, probed.path.source_port) else {
        return;
    };
    let (source, target) = (&probed.path.source, &probed.path.target);
    for (from, to, over) in [(source, target, there), (target, source, back)] {
        let tuple = Tuple {
            source: from.gid,
            target: to.gid,
            port,
        };
        let path = vec![from.tor.to_string(), spine(over), to.tor.to_string()];
        routes.learn(tuple, path, now);
    }
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<f64>().ok());
    kilobytes.map_or_else(
        || "unknown".to_owned(),
        |kilobytes| format!("{:.2} GB", kilobytes / 1e6),
    )
}

/// The 5-tuples of each host.
fn fleet(wiring: &Wiring) -> Vec<(HostName, Vec<Probed>)> {
    let policy = Arc::new(Policy {
        paths: Paths::PerPair {
            known: wiring.paths(),
            otherwise: 16,
        },
        ..Policy::default()
    });
    let agents = implied_agents(wiring, 1);
    let mut topology = Topology::default();
    for agent in &agents {
        topology.insert(agent);
    }
    let plan = PinglistPlan::new(&topology, policy, at(0));
    let mut ends = std::collections::HashMap::new();
    let mut end = |peer: &rpingmesh::topology::Peer| {
        let made = || {
            Arc::new(End {
                gid: peer.address.gid,
                qpn: peer.address.qpn,
                host: peer.host.clone(),
                tor: peer.tor.clone(),
                device: peer.device.clone(),
            })
        };
        Arc::clone(ends.entry(peer.address.gid).or_insert_with(made))
    };
    agents
        .iter()
        .map(|agent| {
            let probed = probed(agent, &plan.pinglist(agent), &mut end);
            (agent.host.clone(), probed)
        })
        .collect()
}

fn main() {
    let (hosts, runs) = (number("HOSTS", 12_500), number("RUNS", 5));
    let wiring = rails(hosts, |_, number| spine(number));
    let fleet = fleet(&wiring);
    let paths: usize = fleet.iter().map(|(_, probed)| probed.len()).sum();
    println!(
        "{} RNICs, {} ToRs, {paths} paths; {}",
        hosts * RAILS,
        wiring.tors().len(),
        resident()
    );
    let mut windows = Windows::new(Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: usize::MAX,
        bytes: usize::MAX,
    })
    .without_planes();
    let mut host_filter = HostFilter::default();
    let mut snapshot = Snapshot::empty();
    let mut judge = Judge::new(Routes::new(Some(&wiring)), 0.0);
    for (_, probed) in &fleet {
        for probed in probed {
            trace(&mut judge.routes, probed, at(0));
        }
    }
    println!("traces of all 5-tuples; {}", resident());
    for second in 0..CALM + u32::try_from(runs).unwrap_or(u32::MAX) {
        for (host, probed) in &fleet {
            let batch = batch(probed, second, second + FAULTY >= CALM);
            host_filter.ingest(host, &batch, at(second + 1));
            windows.ingest(&batch, at(second + 1));
        }
        if second < CALM {
            continue;
        }
        let began = processor_time();
        snapshot.update(&windows, &host_filter, &judge.limits(), at(second + 1));
        let taken = processor_time().saturating_sub(began);
        let judgement = judge.judge(&snapshot).expect("possible counts");
        println!(
            "run {}: snapshot {:.2} s, judge {:.2} s; windows {:.2} GB, {}",
            second - CALM + 1,
            taken.as_secs_f64(),
            processor_time().saturating_sub(began + taken).as_secs_f64(),
            windows.memory().bytes as f64 / 1e9,
            resident()
        );
        for finding in &judgement.findings {
            println!(
                "       {} {}, {} of {} probes",
                finding.category.name(),
                finding.subject,
                finding.probes.lost,
                finding.probes.sent
            );
        }
    }
}
