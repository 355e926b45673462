//! How fast the emulated fabric runs in virtual time: a second of the paper's probing load, 150 probes/s per RNIC, with
//! a real prober and responder on every RNIC. Sixty such seconds of 1 024 RNICs have to take at most sixty.

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use rpingmesh::fabric::scenario::Probing;
use rpingmesh::fabric::swarm::Swarm;
use rpingmesh::fabric::{Engine, Profile, Shape, Topology};
use rpingmesh::fault::Fault;
use rpingmesh::probe::Config;
use rpingmesh::time::HostTime;

const PROBING: Probing = Probing {
    tor_mesh: 10.0,
    inter_tor: 140.0,
    targets: 64,
    across_planes: false,
};

fn main() {
    divan::main();
}

fn swarm(tors: u32, faults: &[&str]) -> Swarm {
    let shape = Shape {
        spines: 8,
        tors,
        hosts: 8,
        rnics: 4,
        ..Shape::default()
    };
    let topology = Arc::new(Topology::new(shape, 1).expect("a shape that can be built"));
    let mut engine = Engine::new(topology, Profile::default(), 1, HostTime::from_nanos(0));
    for fault in faults {
        let fault: Fault = fault.parse().expect("a fault");
        engine.inject(&fault).expect("a link that exists");
    }
    let mut swarm = Swarm::new(engine, Config::default(), 1);
    swarm.probe(&PROBING, 1);
    // Past the start, when all paths are known.
    swarm.run_until(
        HostTime::from_nanos(0).after(Duration::from_secs(1)),
        |_, _| {},
    );
    swarm
}

fn second(bencher: Bencher, tors: u32, faults: &[&str]) {
    let mut swarm = swarm(tors, faults);
    let rnics = swarm.engine().topology().rnics().len();
    bencher
        .counter(ItemsCount::new(rnics * 150))
        .bench_local(|| {
            let until = swarm.engine().now().after(Duration::from_secs(1));
            let mut concluded = 0_u64;
            swarm.run_until(until, |_, result| {
                concluded += u64::from(result.outcome.measurement().is_some());
            });
            concluded
        });
}

#[divan::bench(args = [4, 32], sample_count = 5, sample_size = 1)]
fn healthy(bencher: Bencher, tors: u32) {
    second(bencher, tors, &[]);
}

#[divan::bench(args = [32], sample_count = 5, sample_size = 1)]
fn with_loss_on_every_link(bencher: Bencher, tors: u32) {
    second(bencher, tors, &["link *-* loss=0.01%"]);
}
