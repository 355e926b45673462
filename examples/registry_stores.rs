//! A fleet is stored in the registry: 12 500 agents with 8 RNICs each, in groups of 256 announcements as a controller stores them, into
//! SQLite and into PostgreSQL on loopback with its default durability, from one controller and from four at once. Prints the median of three
//! runs, each into an empty registry: `cargo run --release --example registry_stores [AGENTS]` (Linux, Debian's `postgresql`).

// The tests' server: what only they use stays unused here.
#[allow(dead_code)]
#[path = "../tests/it/external/postgres/cluster.rs"]
mod cluster;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::Cluster;
use rpingmesh::id::{QKey, Qpn};
use rpingmesh::store::registry::{Put, Registry};
use rpingmesh::store::{Location, open};
use rpingmesh::time::{Clock as _, SystemClock};
use rpingmesh::topology::{Announcement, Rnic};
use rpingmesh::transport::{Address, CompletionClock, SourcePortSteering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const AGENTS: usize = 12_500;
const RAILS: u8 = 8;
const GROUP: usize = 256;
const RUNS: usize = 3;

#[tokio::main]
async fn main() {
    let argument = std::env::args().nth(1);
    let agents = argument.map_or(AGENTS, |text| text.parse().expect("a number of agents"));
    let puts: Arc<[Put]> = (0..agents).map(put).collect();
    let rnics = agents * usize::from(RAILS);
    println!("{rnics} RNICs of {agents} agents, median of {RUNS} runs");

    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let folder = tempfile::tempdir().expect("a folder");
        let location = Location::File(folder.path().join("registry.db"));
        runs.push(stored(&location, 1, &puts).await);
    }
    show("SQLite, one controller", rnics, runs);

    let cluster = Cluster::start_with(|_| vec!["fsync=on".to_owned()]).await;
    let mut number = 0;
    for (what, clients) in [
        ("PostgreSQL, one controller", 1),
        ("PostgreSQL, four controllers", 4),
    ] {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            number += 1;
            let database = format!("run{number}");
            cluster.create(&database);
            let location = cluster.location(&database, "fleet=bench");
            runs.push(stored(&location, clients, &puts).await);
        }
        show(what, rnics, runs);
    }
}

fn show(what: &str, rnics: usize, mut runs: Vec<Duration>) {
    runs.sort();
    let median = runs[runs.len() / 2].as_secs_f64();
    println!(
        "{what}: {median:.2} s, {:.0} RNICs/s",
        rnics as f64 / median
    );
}

/// How long it takes until everything is stored by so many registries, each with its share; what is there is compared.
async fn stored(location: &Location, clients: usize, puts: &Arc<[Put]>) -> Duration {
    let mut registries: Vec<Arc<dyn Registry>> = Vec::new();
    for _ in 0..clients {
        registries.push(open::registry(location).await.expect("a registry"));
    }
    let start = Instant::now();
    let mut working = JoinSet::new();
    for (client, registry) in registries.iter().enumerate() {
        let (registry, puts) = (Arc::clone(registry), Arc::clone(puts));
        working.spawn(async move {
            let share = puts.len().div_ceil(clients);
            for group in puts
                .chunks(share)
                .nth(client)
                .unwrap_or_default()
                .chunks(GROUP)
            {
                let refused = registry.put_all(group, SystemClock.wall()).await;
                assert!(refused.expect("stored").iter().all(Option::is_none));
            }
        });
    }
    working.join_all().await;
    let took = start.elapsed();
    assert_eq!(
        registries[0].load().await.expect("readable").len(),
        puts.len()
    );
    for registry in registries {
        let (tenure, over) = (registry.tenure(), CancellationToken::new());
        drop(registry);
        over.cancel();
        tenure.hold(over).await.expect("given up");
    }
    took
}

fn put(host: usize) -> Put {
    let number = u32::try_from(host).expect("small");
    let rnics = (0..RAILS).map(|rail| Rnic {
        address: Address {
            gid: Ipv4Addr::from((10 << 24) + (u32::from(rail) << 20) + number).into(),
            qpn: Qpn::try_from(number + 2).expect("a QPN"),
            q_key: QKey(0x1111_1111),
        },
        device: format!("mlx5_{rail}").as_str().into(),
        port: 1,
        tor: format!("leaf{}-{rail}", host / 64).as_str().into(),
        gid_index: 3,
        clock: CompletionClock::HardwareWall,
        steering: SourcePortSteering::FlowLabel,
    });
    Put {
        announcement: Announcement {
            agent: format!("host{host}").as_str().into(),
            incarnation: 1,
            host: format!("host{host}").as_str().into(),
            version: "0.1.0".to_owned(),
            rnics: rnics.collect(),
        },
        superseded: Vec::new(),
    }
}
