use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fabric::engine::{Engine, Profile};
use crate::fabric::topology::{Flow, RnicId, Shape, Topology};
use crate::id::UdpSourcePort;
use crate::path_trace;
use crate::probe::trace::schedule::Order;
use crate::probe::trace::{End, Reason, Route, Trace};
use crate::time::{Clock, SystemClock};

const ROUND: Round = Round {
    max_hops: 8,
    timeout: Duration::from_millis(100),
    traffic_class: 0,
};

fn start(shape: Shape, faults: &[&str]) -> (Fabric, CancellationToken) {
    let topology = Arc::new(Topology::new(shape, 3).expect("possible shape"));
    let clock = Arc::new(SystemClock);
    let mut engine = Engine::new(topology, Profile::default(), 3, clock.host());
    for fault in faults {
        engine
            .inject(&fault.parse().expect("a fault"))
            .expect("a known target");
    }
    let stop = CancellationToken::new();
    let (fabric, _) = Fabric::start(engine, clock, stop.clone());
    (fabric, stop)
}

const FLAT: Shape = Shape {
    spines: 4,
    tors: 4,
    hosts: 2,
    rnics: 2,
    ..Shape::DEFAULT
};

const PODS: Shape = Shape {
    spines: 4,
    tors: 4,
    hosts: 2,
    rnics: 1,
    pods: 2,
    aggs: 2,
    ..Shape::DEFAULT
};

fn tuple(topology: &Topology, source: u32, target: u32, port: u16) -> Tuple {
    Tuple {
        source: topology.rnic(RnicId(source)).gid,
        target: topology.rnic(RnicId(target)).gid,
        port: UdpSourcePort(port),
    }
}

/// The switches of the true path.
fn truth(topology: &Topology, source: u32, target: u32, port: u16) -> String {
    let flow = Flow {
        source: RnicId(source),
        target: RnicId(target),
        port: UdpSourcePort(port),
    };
    let names: Vec<_> = topology
        .path(flow)
        .links()
        .iter()
        .map(|link| topology.head(*link))
        .filter(|node| topology.is_switch(*node))
        .map(|node| topology.node_name(node).to_owned())
        .collect();
    names.join(" ")
}

async fn trace(fabric: &Fabric, tuple: Tuple, route: Option<Route>, healthy: bool) -> Trace {
    let order = Order {
        tuple,
        reason: Reason::New,
        route,
        healthy,
    };
    path_trace::trace(&fabric.tracer(), &order, ROUND, &SystemClock)
        .await
        .expect("a trace")
}

#[tokio::test]
async fn traces_are_the_paths_that_packets_take() {
    for shape in [FLAT, PODS] {
        let (fabric, stop) = start(shape, &[]);
        let topology = fabric.topology().clone();
        let rnics = u32::try_from(topology.rnics().len()).expect("few");
        let mut traces = tokio::task::JoinSet::new();
        for port in (49_152..=u16::MAX).step_by(409) {
            let source = u32::from(port) % rnics;
            let target = (source + 1 + u32::from(port) / 7 % (rnics - 1)) % rnics;
            let expected = truth(&topology, source, target, port);
            let (fabric, tuple) = (fabric.clone(), tuple(&topology, source, target, port));
            traces.spawn(async move { (trace(&fabric, tuple, None, true).await, expected) });
            // Fewer at once than a switch answers.
            if traces.len() >= 6 {
                check(traces.join_next().await);
            }
        }
        while let Some(ended) = traces.join_next().await {
            check(Some(ended));
        }
        stop.cancel();
    }
}

fn check(ended: Option<Result<(Trace, String), tokio::task::JoinError>>) {
    let (trace, expected) = ended.expect("one").expect("no panic");
    assert_eq!(trace.route().to_string(), expected, "{}", trace.tuple);
    assert_eq!(trace.end, End::Inferred);
    assert!(trace.hops.iter().flatten().all(|answer| answer.rtt.0 > 0));
}

/// A port whose path from RNIC 0 to the last one passes this spine.
fn port_over(topology: &Topology, spine: &str) -> (u32, u16, String) {
    let last = u32::try_from(topology.rnics().len()).expect("few") - 1;
    (49_152..u16::MAX)
        .map(|port| (last, port, truth(topology, 0, last, port)))
        .find(|(_, _, path)| path.split(' ').any(|switch| switch == spine))
        .expect("a path over the spine")
}

#[tokio::test]
async fn a_trace_stops_where_packets_stop_and_what_was_known_stays_known() {
    let (fabric, stop) = start(FLAT, &[]);
    let topology = fabric.topology().clone();
    let (target, port, path) = port_over(&topology, "spine1");
    let tuple = tuple(&topology, 0, target, port);
    let before = trace(&fabric, tuple, None, true).await;
    assert_eq!(before.route().to_string(), path);

    let tor = path.split(' ').next_back().expect("a ToR").to_owned();
    let fault = format!("link spine1->{tor} down").parse().expect("a fault");
    fabric
        .with(move |engine| engine.inject(&fault).expect("known"))
        .await
        .expect("running");
    let after = trace(&fabric, tuple, Some(before.route()), false).await;
    assert_eq!(after.end, End::Silent);
    assert_eq!(
        format!("{} {tor}", after.route()),
        path,
        "up to the switch before the link"
    );
    stop.cancel();
}

#[tokio::test]
async fn an_unknown_rnic_is_an_error() {
    let (fabric, stop) = start(FLAT, &[]);
    let unknown = Tuple {
        source: "192.0.2.1".parse().expect("a GID"),
        ..tuple(fabric.topology(), 0, 1, 50_000)
    };
    let error = fabric.tracer().round(unknown, ROUND).await.unwrap_err();
    assert!(error.to_string().contains("192.0.2.1"), "{error}");
    stop.cancel();
    let tracer = fabric.tracer();
    let known = tuple(fabric.topology(), 0, 1, 50_000);
    let stopped = loop {
        match tracer.round(known, ROUND).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert!(stopped.to_string().contains("stopped"), "{stopped}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Switches that keep silent are gaps, and everything else is the true path.
    #[test]
    fn answers_that_get_lost_are_gaps(ports in prop::collection::vec(49_152u16.., 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let (fabric, stop) = start(FLAT, &["link tor0->spine* loss=50%"]);
            let topology = fabric.topology().clone();
            let target = u32::try_from(topology.rnics().len()).expect("few") - 1;
            for port in ports {
                let path = truth(&topology, 0, target, port);
                let trace = trace(&fabric, tuple(&topology, 0, target, port), None, true).await;
                let names: Vec<_> = path.split(' ').collect();
                assert!(trace.hops.len() <= names.len());
                for (answer, name) in trace.hops.iter().zip(names) {
                    assert!(answer.as_ref().is_none_or(|answer| answer.node.as_str() == name));
                }
            }
            stop.cancel();
        });
    }
}
