use super::*;
use crate::fabric::topology::{RnicId, Shape};
use crate::fault::Fault;
use crate::id::UdpSourcePort;

fn flow(source: u32, target: u32, port: u16) -> Flow {
    Flow {
        source: RnicId(source),
        target: RnicId(target),
        port: UdpSourcePort(port),
    }
}

fn observed(faults: &[&str]) -> Observed {
    let topology = Arc::new(Topology::new(Shape::default(), 1).expect("default shape"));
    let faults: Vec<_> = faults
        .iter()
        .map(|text| {
            let fault: Fault = text.parse().expect("a fault");
            fault.resolve(&topology).expect("a known target")
        })
        .collect();
    Observed::new(topology, &faults)
}

#[test]
fn results_are_summed_where_they_belong() {
    let mut observed = observed(&["rnic host0/0 loss=1%", "switch spine* loss=1%"]);
    let rtts = [Nanos(7_000), Nanos(8_000), Nanos(9_000)];
    let counts = Counts {
        sent: 5,
        lost: 1,
        invalid: 1,
    };
    for flow in [
        flow(0, 2, 50_000),   // under one ToR, from the faulty RNIC
        flow(2, 4, 50_000),   // under one ToR
        flow(2, 100, 50_000), // over a spine
        flow(2, 100, 50_000),
    ] {
        observed.add(PathSample {
            flow,
            counts,
            rtts: &rtts,
        });
    }
    assert_eq!(observed.crossing(0).counts.sent, 5);
    assert_eq!(observed.crossing(1).counts.sent, 10);
    assert_eq!(observed.elsewhere().counts.sent, 5);
    assert_eq!(observed.total().lost, 4);
    assert_eq!(observed.flows().count(), 3);
    let meeting = observed.flows().filter(|(_, _, met)| met.contains(&1));
    assert_eq!(meeting.count(), 1);
    let interval = observed.take_interval();
    assert_eq!(
        interval.keys().copied().collect::<Vec<_>>(),
        [(0, 0), (0, 6)]
    );
    assert_eq!(
        interval[&(0, 0)].counts,
        Counts {
            sent: 10,
            lost: 2,
            invalid: 2
        }
    );
    assert!(observed.take_interval().is_empty());
    let p50 = observed.elsewhere().rtts.quantile(0.5).expect("some").0;
    assert!((7_900..8_100).contains(&p50), "{p50}");
}

#[test]
fn answers_that_meet_a_fault_count_too() {
    let mut observed = observed(&["link tor0->host0/0 down"]);
    observed.add(PathSample {
        flow: flow(0, 100, 50_000),
        counts: Counts {
            sent: 1,
            lost: 1,
            invalid: 0,
        },
        rtts: &[],
    });
    assert_eq!(observed.crossing(0).counts.lost, 1);
}
