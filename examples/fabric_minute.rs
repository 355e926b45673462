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
            across_planes: false,
        },
        1,
    );
    let (mut concluded, mut measured) = (0_u64, 0_u64);
    let (begin, processor) = (Instant::now(), processor_time());
    let until = HostTime::from_nanos(0).after(Duration::from_mins(1));
    swarm.run_until(until, |_, result| {
        concluded += 1;
        measured += u64::from(result.outcome.measurement().is_some());
    });
    let (took, used) = (begin.elapsed(), processor_time().saturating_sub(processor));
    let packets = swarm.engine().totals().sent;
    println!("{concluded} probes, {measured} measured, {packets} packets");
    println!("a minute took {took:.1?}, {used:.1?} of processor time (goal: 60 s)");
}

/// Of this process, which has one thread: what it takes on a core of its own.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}
