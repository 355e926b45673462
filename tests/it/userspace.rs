//! Probes over the user-space transport on loopback: two real endpoints, two real sessions, real time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::agent::drive::Driver;
use rpingmesh::id::FlowLabel;
use rpingmesh::measure::Ratio;
use rpingmesh::probe::{Config, Group, ProbeKind, ProbePath, ProbeResult, Rate, Session, Start};
use rpingmesh::time::{Clock, SystemClock};
use rpingmesh::topology::Peer;
use rpingmesh::transport::fault::{Faults, FaultyEndpoint};
use rpingmesh::transport::userspace::{self, UserspaceProvider};
use rpingmesh::transport::{Address, Endpoint, Provider};
use rpingmesh::wire::Keyring;

fn provider(address: IpAddr) -> UserspaceProvider {
    UserspaceProvider::new(userspace::Config {
        addresses: vec![address],
        // Peers of one provider share a port that the system chose: tests run side by side.
        udp_port: 0,
        ..userspace::Config::default()
    })
}

fn open(provider: &UserspaceProvider) -> Box<dyn Endpoint> {
    let ports = provider.discover().expect("loopback is up");
    provider.open(&ports[0].name).expect("opens")
}

fn driver(endpoint: Box<dyn Endpoint>, seed: u64) -> Driver {
    let config = Config {
        max_rate: Rate::per_second(500.0).expect("valid"),
        start: Start::AtOnce,
        ..Config::default()
    };
    let session = Session::new(
        config,
        Arc::new(Keyring::unkeyed()),
        endpoint.address(),
        endpoint.capabilities().clone(),
        seed,
    );
    Driver::new(endpoint, session, Arc::new(SystemClock))
}

fn group(to: Address, labels: &[u32]) -> Group {
    let paths = labels.iter().map(|label| {
        Arc::new(ProbePath {
            target: Arc::new(Peer {
                address: to,
                tor: "tor0".into(),
                host: "host0".into(),
                device: "lo".into(),
            }),
            flow_label: FlowLabel::new(*label).expect("valid"),
            service: None,
            traffic_class: None,
            fidelity: None,
        })
    });
    Group {
        kind: ProbeKind::TorMesh,
        rate: Rate::per_second(500.0).expect("valid"),
        paths: paths.collect(),
    }
}

/// Probes from one endpoint to the other until there are `count` results.
async fn probe(
    prober: Box<dyn Endpoint>,
    responder: Box<dyn Endpoint>,
    count: usize,
) -> Vec<ProbeResult> {
    let to = responder.address();
    let mut responder = driver(responder, 1);
    let mut prober = driver(prober, 2);
    let now = SystemClock.host();
    prober
        .session_mut()
        .set_groups(vec![group(to, &[0x11, 0x2222, 0x4_3333])], now);
    let mut results = Vec::new();
    prober.advance(&mut results).expect("alive");
    let answering = async {
        let mut none = Vec::new();
        loop {
            responder.turn(&mut none).await.expect("alive");
        }
    };
    let probing = async {
        while results.len() < count {
            prober.turn(&mut results).await.expect("alive");
        }
    };
    tokio::select! {
        () = answering => {}
        done = tokio::time::timeout(Duration::from_secs(20), probing) => {
            done.expect("results come in");
        }
    }
    results
}

fn check_complete(results: &[ProbeResult]) {
    for result in results {
        let measured = result.outcome.measurement();
        let measured = measured.unwrap_or_else(|| panic!("not complete: {result:?}"));
        assert!(!measured.network_rtt.is_negative(), "{result:?}");
        assert!(!measured.responder_delay.is_negative(), "{result:?}");
        assert!(result.source_port.is_some(), "{result:?}");
    }
}

async fn loopback(address: IpAddr) {
    let provider = provider(address);
    let (prober, responder) = (open(&provider), open(&provider));
    let results = probe(prober, responder, 50).await;
    check_complete(&results);
    assert_eq!(
        provider.rejected(address),
        None,
        "closed with its endpoints"
    );
}

#[tokio::test]
async fn probes_complete_over_ipv4() {
    loopback(Ipv4Addr::LOCALHOST.into()).await;
}

#[tokio::test]
async fn probes_complete_over_ipv6() {
    loopback(Ipv6Addr::LOCALHOST.into()).await;
}

#[tokio::test]
async fn damaged_datagrams_become_losses_and_nothing_worse() {
    let provider = provider(Ipv4Addr::LOCALHOST.into());
    let (prober, responder) = (open(&provider), open(&provider));
    let faults = Faults {
        drop: Ratio::of(1, 10),
        corrupt: Ratio::of(1, 10),
        duplicate: Ratio::of(1, 5),
        reorder: Ratio::of(1, 5),
        ..Faults::default()
    };
    let prober = FaultyEndpoint::new(prober, faults, faults, 3);
    // Enough that the first losses have timed out.
    let results = probe(Box::new(prober), responder, 400).await;
    let complete = results
        .iter()
        .filter(|result| result.outcome.measurement().is_some())
        .count();
    assert!(
        complete > 0 && complete < results.len(),
        "{complete} of {} are complete",
        results.len()
    );
}
