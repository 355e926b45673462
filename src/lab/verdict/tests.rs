use std::sync::Arc;

use super::*;
use crate::fabric::engine::{Delivery, Profile};
use crate::fabric::topology::{Shape, Topology};
use crate::id::FlowLabel;
use crate::lab::observed::PathSample;
use crate::time::HostTime;
use crate::transport::{Address, Class, Completion, Payload, SendRequest, SendToken};

struct Exchange {
    engine: Engine,
    addresses: Vec<Address>,
    observed: Observed,
}

impl Exchange {
    fn new(faults: &[&str]) -> Self {
        let shape = Shape {
            spines: 2,
            tors: 2,
            hosts: 2,
            rnics: 1,
            ..Shape::default()
        };
        let topology = Arc::new(Topology::new(shape, 2).expect("possible shape"));
        let origin = HostTime::from_nanos(0);
        let mut engine = Engine::new(Arc::clone(&topology), Profile::default(), 2, origin);
        for fault in faults {
            engine
                .inject(&fault.parse().expect("a fault"))
                .expect("a known target");
        }
        let addresses = topology.rnic_ids().map(|rnic| engine.open(rnic)).collect();
        let resolved: Vec<_> = engine
            .fault_truth()
            .map(|(resolved, _)| resolved.clone())
            .collect();
        Self {
            observed: Observed::new(topology, &resolved),
            engine,
            addresses,
        }
    }

    fn send(&mut self, from: u32, to: u32, label: FlowLabel) -> bool {
        let request = SendRequest {
            token: SendToken(0),
            to: self.addresses[to as usize],
            flow_label: label,
            class: Class::default(),
            payload: Payload::new(b"x").expect("short"),
        };
        let now = self.engine.now();
        let qpn = self.addresses[from as usize].qpn;
        self.engine.send(now, RnicId(from), qpn, &request);
        let mut out: Vec<Delivery> = Vec::new();
        let later = HostTime::from_nanos(now.nanos() + 1_000_000);
        self.engine.advance(later, &mut out);
        out.iter()
            .any(|delivery| matches!(delivery.completion, Completion::Received(_)))
    }

    /// A hundred probes on each of a hundred ports, as an agent would count them.
    fn probe(&mut self, from: u32, to: u32) {
        for port in 1..=100 {
            let label = FlowLabel::new(port).expect("in range");
            let mut counts = Counts::default();
            for _ in 0..100 {
                counts.sent += 1;
                if !(self.send(from, to, label) && self.send(to, from, label)) {
                    counts.lost += 1;
                }
            }
            self.observed.add(PathSample {
                flow: Flow {
                    source: RnicId(from),
                    target: RnicId(to),
                    port: label.source_port(),
                },
                counts,
                rtts: &[],
            });
        }
    }
}

#[test]
fn what_is_measured_rightly_agrees() {
    let mut exchange = Exchange::new(&["link spine1->tor1 loss=5%", "rnic host1/0 loss=50%"]);
    exchange.probe(0, 3);
    let found = verdicts(&exchange.engine, &exchange.observed);
    let first = &found[0];
    assert_eq!(first.agrees, Check::Right, "{first:?}");
    assert!(first.truth.lost > 150, "{first:?}");
    assert_eq!(first.links.len(), 1);
    assert_eq!(first.links[0].truth.loss, first.truth.lost);
    // Nothing crosses the other fault: there is nothing to compare.
    assert_eq!(found[1].agrees, Check::NotComparable);
    let overall = overall(&exchange.engine, &exchange.observed);
    assert!(overall.agrees);
    assert_eq!(overall.lost, first.truth.lost);
}

#[test]
fn loss_that_was_not_there_or_not_seen_disagrees() {
    let mut exchange = Exchange::new(&["link spine1->tor1 loss=5%"]);
    exchange.probe(0, 3);
    let (flow, _, _) = exchange
        .observed
        .flows()
        .find(|(_, _, met)| met.contains(&0))
        .expect("a path over the link");
    let add = |exchange: &mut Exchange, sent, lost| {
        exchange.observed.add(PathSample {
            flow,
            counts: Counts {
                sent,
                lost,
                invalid: 0,
            },
            rtts: &[],
        });
    };
    add(&mut exchange, 200, 200);
    assert_eq!(
        verdicts(&exchange.engine, &exchange.observed)[0].agrees,
        Check::Wrong
    );
    assert!(!overall(&exchange.engine, &exchange.observed).agrees);
    let mut exchange = Exchange::new(&["link spine1->tor1 loss=50%"]);
    exchange.probe(0, 3);
    add(&mut exchange, 4_000, 0);
    assert_eq!(
        verdicts(&exchange.engine, &exchange.observed)[0].agrees,
        Check::Wrong
    );
}

#[test]
fn stalls_are_not_judged_by_loss() {
    let mut exchange = Exchange::new(&["host host3 stall=500ms every=1s"]);
    exchange.probe(0, 3);
    assert_eq!(
        verdicts(&exchange.engine, &exchange.observed)[0].agrees,
        Check::NotComparable
    );
    assert!(overall(&exchange.engine, &exchange.observed).agrees);
}
