//! What an agent costs: 8 endpoints that each send and answer 150 probes a second over the in-memory network, results
//! into a spool on disk, as `run` does it. Prints CPU time and memory: `cargo run --release --example agent_load [SECONDS]`.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rpingmesh::agent::collect::{Collect, Inputs, Outputs};
use rpingmesh::agent::endpoint::{DELIVERY_DEPTH, EndpointTask, Inventory, Orders, Shared};
use rpingmesh::agent::health::Health;
use rpingmesh::agent::mailbox::Mailboxes;
use rpingmesh::id::{FlowLabel, Gid};
use rpingmesh::probe::{Config, Group, ProbeKind, ProbePath, Rate};
use rpingmesh::store::Location;
use rpingmesh::store::spool::Spool;
use rpingmesh::time::SystemClock;
use rpingmesh::topology::Peer;
use rpingmesh::transport::memory::{MemoryProvider, Network};
use rpingmesh::transport::{Address, RnicName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const ENDPOINTS: u8 = 8;
const RATE: f64 = 150.0;
/// 5-tuples of each endpoint.
const PATHS: u32 = 500;

fn gid(number: u8) -> Gid {
    Gid::from(Ipv4Addr::new(10, 0, 0, number))
}

/// Each endpoint probes the next one, so each also answers.
fn groups(addresses: &[Address]) -> HashMap<Gid, Vec<Group>> {
    let group = |to: Address| Group {
        kind: ProbeKind::InterTor,
        rate: Rate::per_second(RATE).expect("rate"),
        paths: (1..=PATHS)
            .map(|label| {
                Arc::new(ProbePath {
                    target: Arc::new(Peer {
                        address: to,
                        tor: "tor0".into(),
                        host: "host0".into(),
                        device: "mem0".into(),
                    }),
                    flow_label: FlowLabel::new(label).expect("label"),
                    service: None,
                    traffic_class: None,
                    fidelity: None,
                })
            })
            .collect(),
    };
    addresses
        .iter()
        .enumerate()
        .map(|(index, from)| {
            (
                from.gid,
                vec![group(addresses[(index + 1) % addresses.len()])],
            )
        })
        .collect()
}

/// User and system time of this process.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Resident memory in KiB, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let folder = std::env::temp_dir().join(format!("rpingmesh-agent-load-{}", std::process::id()));
    let spool = Spool::open(&Location::File(folder.join("spool")), 64 << 20)
        .await
        .expect("spool");
    let network = Network::new();
    let names = (1..=ENDPOINTS).map(|number| RnicName {
        device: format!("mem{number}").as_str().into(),
        port: 1,
    });
    let names: Vec<_> = names.collect();
    let ports = names.iter().cloned().zip((1..=ENDPOINTS).map(gid));
    let config = Config::default();
    let (orders, orders_in) = watch::channel(Arc::new(Orders::idle(config, Arc::default())));
    let (inventory, mut changes) = watch::channel(Inventory::new());
    let (deliveries, deliveries_in) = mpsc::channel(DELIVERY_DEPTH);
    let (health, health_in) = watch::channel(Health::default());
    let shared = Shared {
        provider: Arc::new(MemoryProvider::new(network, ports)),
        clock: Arc::new(SystemClock),
        orders: orders_in,
        mailboxes: Mailboxes::default(),
        inventory,
        deliveries,
    };
    let outputs = Outputs {
        spool,
        spooled: watch::channel(0).0,
        health,
        metrics: Arc::default(),
    };
    let interval = watch::channel(Duration::from_secs(1));
    let inputs = Inputs {
        deliveries: deliveries_in,
        traces: mpsc::channel(1).1,
        hardware: mpsc::channel(1).1,
        interval: interval.1,
    };
    let collect = Collect::new(inputs, outputs, None, "host0".into(), Arc::new(SystemClock));
    let stop = CancellationToken::new();
    for name in names {
        tokio::spawn(EndpointTask::new(shared.clone(), name, "tor0".into()).run(stop.clone()));
    }
    drop(shared);
    let collector = tokio::spawn(collect.run(stop.clone()));
    let open = changes
        .wait_for(|inventory| {
            inventory.values().filter(|state| state.is_ok()).count() == usize::from(ENDPOINTS)
        })
        .await
        .expect("endpoints");
    let addresses: Vec<_> = open.values().flatten().map(|rnic| rnic.address).collect();
    drop(open);
    orders.send_modify(|orders| Arc::make_mut(orders).groups = groups(&addresses));

    let (began, before) = (Instant::now(), cpu());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (wall, used) = (began.elapsed(), cpu().checked_sub(before).unwrap());
    let memory = resident();
    stop.cancel();
    collector.await.expect("collector");
    let health = health_in.borrow().clone();
    // Left behind only if the system's own cleaning has to do it.
    let _ = std::fs::remove_dir_all(folder);
    let share = used.as_secs_f64() / wall.as_secs_f64() * 100.0;
    println!(
        "{ENDPOINTS} endpoints, {} probes in {:.1} s ({:.0} per second and endpoint), {} results dropped",
        health.probes_sent,
        wall.as_secs_f64(),
        health.probes_sent as f64 / wall.as_secs_f64() / f64::from(ENDPOINTS),
        health.results_dropped
    );
    println!(
        "CPU: {share:.2} % of a core, {:.3} % per endpoint (goal: 1 %)",
        share / f64::from(ENDPOINTS)
    );
    match memory {
        Some(kib) => println!("resident: {:.1} MiB (goal: 32 MiB)", kib as f64 / 1024.0),
        None => println!("resident: not told by this system"),
    }
}
