use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::id::{FlowLabel, Gid};
use crate::measure::{Invalid, Outcome};
use crate::probe::steering::LabelEffect;
use crate::probe::{Config, Group, ProbeKind, ProbePath, Rate, Start};
use crate::time::SystemClock;
use crate::topology::Peer;
use crate::transport::memory::Network;
use crate::transport::{Address, Class, EndpointEvent, MAX_PAYLOAD, SourcePortSteering};
use crate::wire::Keyring;

const PATIENCE: Duration = Duration::from_secs(20);

fn driver(network: &Network, last: u8) -> Driver {
    let endpoint = network.endpoint(Gid::from(std::net::Ipv4Addr::new(10, 0, 0, last)));
    let config = Config {
        start: Start::AtOnce,
        timeout: Duration::from_millis(200),
        max_rate: Rate::MAX,
        ..Config::default()
    };
    let session = Session::new(
        config,
        Arc::new(Keyring::unkeyed()),
        endpoint.address(),
        endpoint.capabilities().clone(),
        last.into(),
    );
    Driver::new(Box::new(endpoint), session, Arc::new(SystemClock))
}

fn probing(to: Address) -> Vec<Group> {
    vec![Group {
        kind: ProbeKind::TorMesh,
        rate: Rate::per_second(500.0).expect("rate"),
        paths: vec![Arc::new(ProbePath {
            target: Arc::new(Peer {
                address: to,
                tor: "t".into(),
                host: "h".into(),
                device: "d".into(),
            }),
            flow_label: FlowLabel::new(77).expect("label"),
            service: None,
            traffic_class: None,
            fidelity: None,
        })],
    }]
}

/// Turns both until the first has `count` results.
async fn results_of(prober: &mut Driver, responder: &mut Driver, count: usize) -> Vec<ProbeResult> {
    let (mut results, mut others) = (Vec::new(), Vec::new());
    tokio::time::timeout(PATIENCE, async {
        prober.advance(&mut results).expect("alive");
        while results.len() < count {
            tokio::select! {
                turn = prober.turn(&mut results) => { turn.expect("alive"); }
                turn = responder.turn(&mut others) => { turn.expect("alive"); }
            }
        }
    })
    .await
    .expect("results in time");
    results
}

#[tokio::test]
async fn two_drivers_measure_each_other() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    let now = SystemClock.host();
    let to_b = probing(b.session().address());
    a.session_mut().set_groups(to_b, now);
    let results = results_of(&mut a, &mut b, 20).await;
    for result in &results {
        assert!(matches!(result.outcome, Outcome::Complete(_)), "{result:?}");
        assert_eq!(result.seen_port, result.source_port, "{result:?}");
    }
    assert!(b.session().counters().probes_answered >= 20);
    assert_eq!(a.learned().flow_label(), LabelEffect::Steers);
    assert_eq!(a.capabilities().steering, SourcePortSteering::FlowLabel);
    assert!(a.counters().source_ports_as_meant >= 20);
    assert_eq!(a.counters().source_ports_otherwise, 0);
}

#[tokio::test]
async fn the_ways_of_acks_are_those_that_they_leave_by() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    let mut to_b = probing(b.session().address());
    to_b[0].kind = ProbeKind::InterTor;
    a.session_mut().set_groups(to_b, SystemClock.host());
    let results = results_of(&mut a, &mut b, 5).await;
    let outcomes = b.reverse_paths();
    let outcome = outcomes.first().expect("one");
    let tuple = Tuple {
        source: b.session().address().gid,
        target: a.session().address().gid,
        port: results[0].source_port.expect("known"),
    };
    assert_eq!(
        (outcomes.len(), outcome.tuple, outcome.direction),
        (1, tuple, Direction::Reverse)
    );
    assert!(outcome.complete >= 5 && outcome.lost == 0, "{outcome:?}");
    assert_eq!(a.reverse_paths(), [], "it has answered nobody");
}

/// An endpoint whose driver ignores labels, whatever the transport believes.
struct Stubborn(Box<dyn Endpoint>);

impl Endpoint for Stubborn {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        let fixed = FlowLabel::new(4242).expect("label");
        let batch: Vec<_> = batch
            .iter()
            .map(|request| SendRequest {
                flow_label: fixed,
                ..*request
            })
            .collect();
        self.0.post(&batch)
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        self.0.poll_completions(cx, out)
    }
}

#[tokio::test]
async fn a_driver_that_ignores_labels_is_found_out() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    a.endpoint = Box::new(Stubborn(a.endpoint));
    let to_b = probing(b.session().address());
    a.session_mut().set_groups(to_b, SystemClock.host());
    let results = results_of(&mut a, &mut b, 20).await;
    let fixed = FlowLabel::new(4242).expect("label").source_port();
    assert!(results.iter().all(|result| result.seen_port == Some(fixed)));
    assert_eq!(a.learned().flow_label(), LabelEffect::Ignored);
    assert_eq!(a.capabilities().steering, SourcePortSteering::Driver);
    assert!(a.counters().source_ports_otherwise >= 20);
    let last = results.last().expect("results");
    assert_eq!(last.source_port, None, "the claimed port is no longer told");
}

#[tokio::test]
async fn a_dead_target_is_loss_and_delays_no_other() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    let dead = network
        .endpoint(Gid::from(std::net::Ipv4Addr::new(10, 0, 0, 9)))
        .address();
    let mut groups = probing(b.session().address());
    groups[0].paths.extend(probing(dead).remove(0).paths);
    a.session_mut().set_groups(groups, SystemClock.host());
    let results = results_of(&mut a, &mut b, 300).await;
    let lost = results
        .iter()
        .filter(|result| matches!(result.outcome, Outcome::Lost))
        .count();
    let complete = results
        .iter()
        .filter(|result| result.outcome.measurement().is_some())
        .count();
    assert!(
        lost > 50 && complete > 100 && lost + complete == results.len(),
        "{lost} {complete}"
    );
    assert!(
        results
            .iter()
            .all(|result| result.outcome.measurement().is_none()
                || result.path.target.address != dead)
    );
}

#[tokio::test]
async fn a_port_that_is_down_is_no_loss() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    assert!(network.raise(a.session().address(), EndpointEvent::PortDown));
    tokio::time::timeout(PATIENCE, async {
        while a.counters().port_downs == 0 {
            a.turn(&mut Vec::new()).await.expect("alive");
        }
    })
    .await
    .expect("noticed");
    let to_b = probing(b.session().address());
    a.session_mut().set_groups(to_b, SystemClock.host());
    let results = results_of(&mut a, &mut b, 5).await;
    assert!(
        results
            .iter()
            .all(|result| matches!(result.outcome, Outcome::Invalid(Invalid::SendFailed)))
    );
    assert_eq!(a.counters().port_downs, 1);
}

#[tokio::test]
async fn a_replaced_endpoint_goes_on_and_what_was_under_way_is_invalid() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    let dead = network
        .endpoint(Gid::from(std::net::Ipv4Addr::new(10, 0, 0, 9)))
        .address();
    a.session_mut()
        .set_groups(probing(dead), SystemClock.host());
    let mut results = Vec::new();
    a.advance(&mut results).expect("alive");
    let old = a.session().address();
    assert!(network.kill(old, "pulled out"));
    let error = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = a.turn(&mut results).await {
                return error;
            }
        }
    })
    .await
    .expect("noticed");
    assert!(matches!(error, TransportError::EndpointLost { .. }));
    a.replace(Box::new(network.endpoint(old.gid)));
    assert_ne!(a.session().address(), old);
    let to_b = probing(b.session().address());
    a.session_mut().set_groups(to_b, SystemClock.host());
    let results = results_of(&mut a, &mut b, 5).await;
    assert!(
        results
            .iter()
            .any(|result| matches!(result.outcome, Outcome::Invalid(Invalid::EndpointReset)))
    );
    assert!(
        results
            .iter()
            .any(|result| result.outcome.measurement().is_some())
    );
}

/// Tells when it is gone.
struct Watched {
    inner: Box<dyn Endpoint>,
    _alive: Arc<()>,
}

impl Endpoint for Watched {
    fn address(&self) -> Address {
        self.inner.address()
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        self.inner.post(batch)
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        self.inner.poll_completions(cx, out)
    }
}

#[tokio::test]
async fn a_released_endpoint_is_gone_before_there_is_another() {
    let network = Network::new();
    let (mut a, mut b) = (driver(&network, 1), driver(&network, 2));
    let old = a.session().address();
    let alive = Arc::new(());
    a.endpoint = Box::new(Watched {
        inner: Box::new(network.endpoint(old.gid)),
        _alive: Arc::clone(&alive),
    });
    a.release();
    assert_eq!(Arc::strong_count(&alive), 1, "nothing holds the device");
    let mut results = Vec::new();
    let error = a.turn(&mut results).await.expect_err("there is none");
    assert!(matches!(error, TransportError::EndpointLost { .. }));
    a.replace(Box::new(network.endpoint(old.gid)));
    let to_b = probing(b.session().address());
    a.session_mut().set_groups(to_b, SystemClock.host());
    let results = results_of(&mut a, &mut b, 5).await;
    assert!(
        results
            .iter()
            .any(|result| result.outcome.measurement().is_some())
    );
}

/// Takes nothing at all.
struct Full(Address, Capabilities);

impl Endpoint for Full {
    fn address(&self) -> Address {
        self.0
    }

    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    fn post(&mut self, _: &[SendRequest]) -> Result<usize, TransportError> {
        Ok(0)
    }

    fn poll_completions(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_full_endpoint_keeps_a_bounded_queue_and_fails_the_rest() {
    let network = Network::new();
    let mut a = driver(&network, 1);
    let address = a.session().address();
    let capabilities = network.endpoint(address.gid).capabilities().clone();
    a.endpoint = Box::new(Full(address, capabilities));
    let request = SendRequest {
        token: crate::transport::SendToken(0),
        to: address,
        flow_label: FlowLabel::new(1).expect("label"),
        class: Class::default(),
        payload: crate::transport::Payload::new(&[0; MAX_PAYLOAD]).expect("payload"),
    };
    a.requests = vec![request; PENDING_DEPTH + 3];
    a.post().expect("alive");
    assert_eq!(a.pending.len(), PENDING_DEPTH);
    assert_eq!(a.counters().requests_dropped, 3);
    assert_eq!(a.session().counters().completions_unmatched, 3);
}
