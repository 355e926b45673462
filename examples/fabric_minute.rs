//! A minute of the paper's probing load on 1 024 emulated RNICs, in virtual time on one core: how long it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpingmesh::fabric::scenario::Probing;
use rpingmesh::fabric::swarm::Swarm;
use rpingmesh::fabric::{Engine, Profile, Shape, Topology};
use rpingmesh::probe::Config;
use rpingmesh::time::HostTime;

fn main() {
    let shape = Shape {
        spines: 8,
        tors: 32,
        hosts: 8,
        rnics: 4,
        ..Shape::default()
    };
    let topology = Arc::new(Topology::new(shape, 1).expect("a shape that can be built"));
    let engine = Engine::new(topology, Profile::default(), 1, HostTime::from_nanos(0));
    let mut swarm = Swarm::new(engine, Config::default(), 1);
    swarm.probe(
        &Probing {
            tor_mesh: 10.0,
            inter_tor: 140.0,
            targets: 64,
        },
        1,
    );
    let (mut concluded, mut measured) = (0_u64, 0_u64);
    let begin = Instant::now();
    let until = HostTime::from_nanos(0).after(Duration::from_mins(1));
    swarm.run_until(until, |_, result| {
        concluded += 1;
        measured += u64::from(result.outcome.measurement().is_some());
    });
    let took = begin.elapsed();
    let packets = swarm.engine().totals().sent;
    println!("{concluded} probes, {measured} measured, {packets} packets in {took:.1?}");
}
