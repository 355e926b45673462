use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use super::*;
use crate::id::FlowLabel;
use crate::time::{HostTime, WallTime};
use crate::transport::{Class, Payload, SendToken};

#[derive(Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn host(&self) -> HostTime {
        HostTime::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_nanos(0)
    }
}

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn gid(last: u8) -> Gid {
    Gid::from(std::net::Ipv4Addr::new(10, 0, 0, last))
}

fn request(to: Address, token: u64) -> SendRequest {
    SendRequest {
        token: SendToken(token),
        to,
        flow_label: FlowLabel::new(0x12345).expect("valid"),
        class: Class::default(),
        payload: Payload::new(&token.to_be_bytes()).expect("short"),
    }
}

fn poll(endpoint: &mut MemoryEndpoint) -> Poll<Result<Vec<Completion>, TransportError>> {
    let mut out = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    endpoint
        .poll_completions(&mut cx, &mut out)
        .map_ok(|()| out)
}

fn take(endpoint: &mut MemoryEndpoint) -> Vec<Completion> {
    match poll(endpoint) {
        Poll::Ready(Ok(completions)) => completions,
        other => panic!("expected completions, found {other:?}"),
    }
}

fn open(network: &Network, last: u8) -> MemoryEndpoint {
    network.endpoint(gid(last))
}

#[test]
fn a_datagram_and_its_completion_carry_the_clock_and_the_sender() {
    let clock = Arc::new(ManualClock::default());
    let network = Network::with_clock(clock.clone(), CompletionClock::Emulated);
    let (mut a, mut b) = (open(&network, 1), open(&network, 2));
    assert_eq!(a.capabilities().clock, CompletionClock::Emulated);
    clock.0.store(1_234, Ordering::Relaxed);

    assert_eq!(a.post(&[request(b.address(), 7)]).expect("alive"), 1);

    let [Completion::Sent { token, at, status }] = take(&mut a)[..] else {
        panic!("one send completion");
    };
    assert_eq!(
        (token, at, status),
        (SendToken(7), NicTime::from_nanos(1_234), SendStatus::Sent)
    );
    let [Completion::Received(received)] = take(&mut b)[..] else {
        panic!("one datagram");
    };
    assert_eq!(received.at, NicTime::from_nanos(1_234));
    assert_eq!(received.source_gid, gid(1));
    assert_eq!(received.source_qpn, a.address().qpn);
    assert_eq!(
        received.source_port,
        a.capabilities()
            .steering
            .source_port(FlowLabel::new(0x12345).expect("valid"))
    );
    assert_eq!(received.payload.as_slice(), 7_u64.to_be_bytes());
    assert!(poll(&mut a).is_pending());
    assert!(poll(&mut b).is_pending());
}

#[test]
fn unknown_destinations_and_wrong_keys_vanish() {
    let network = Network::new();
    let (mut a, mut b) = (open(&network, 1), open(&network, 2));
    let mut wrong_key = b.address();
    wrong_key.q_key = QKey(1);
    let mut nobody = b.address();
    nobody.gid = gid(9);

    let batch = [request(wrong_key, 1), request(nobody, 2)];
    assert_eq!(a.post(&batch).expect("alive"), 2);

    assert_eq!(take(&mut a).len(), 2, "both count as sent");
    assert!(poll(&mut b).is_pending());
    assert_eq!(network.undelivered(), 2);
}

#[test]
fn a_full_queue_drops_and_says_how_many() {
    let network = Network::new();
    let mut a = open(&network, 1);
    let address = Address {
        gid: gid(2),
        qpn: Qpn::from_lower_bits(0x500),
        q_key: QKey(5),
    };
    let mut b = network.endpoint_at(address, 3).expect("free");
    let batch: Vec<_> = (0..8).map(|token| request(address, token)).collect();
    a.post(&batch).expect("alive");

    let completions = take(&mut b);
    assert_eq!(completions.len(), 4);
    assert!(matches!(
        completions[3],
        Completion::Event(EndpointEvent::ReceiveOverflow(5))
    ));
    assert!(poll(&mut b).is_pending(), "told once");
}

#[test]
fn post_takes_no_more_than_the_completions_that_fit() {
    let network = Network::new();
    let mut a = open(&network, 1);
    let batch = vec![request(a.address(), 0); SEND_DEPTH + 10];
    assert_eq!(a.post(&batch).expect("alive"), SEND_DEPTH);
    assert_eq!(a.post(&batch).expect("alive"), 0);
    take(&mut a);
    assert_eq!(a.post(&batch[..10]).expect("alive"), 10);
}

#[test]
fn a_waiting_owner_is_woken_by_arrivals_and_by_its_own_post() {
    let network = Network::new();
    let (mut a, mut b) = (open(&network, 1), open(&network, 2));
    let (wakes_a, wakes_b) = (
        Arc::new(CountingWaker::default()),
        Arc::new(CountingWaker::default()),
    );
    for (endpoint, wakes) in [(&mut a, &wakes_a), (&mut b, &wakes_b)] {
        let waker = Waker::from(wakes.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(
            endpoint
                .poll_completions(&mut cx, &mut Vec::new())
                .is_pending()
        );
    }
    a.post(&[request(b.address(), 1)]).expect("alive");
    assert_eq!(wakes_a.0.load(Ordering::Relaxed), 1);
    assert_eq!(wakes_b.0.load(Ordering::Relaxed), 1);
}

#[test]
fn addresses_are_unique_and_freed_on_drop() {
    let network = Network::new();
    let first = open(&network, 1);
    let address = first.address();
    assert_ne!(open(&network, 1).address(), address);
    assert_eq!(
        network.endpoint_at(address, 1).map(|_| ()),
        Err(AddressInUse(address))
    );
    drop(first);
    network.endpoint_at(address, 1).expect("free again");
}

#[test]
fn a_killed_endpoint_says_why_and_its_address_can_be_reopened() {
    let network = Network::new();
    let (mut a, mut b) = (open(&network, 1), open(&network, 2));
    // The sender has looked the old endpoint up.
    a.post(&[request(b.address(), 1)]).expect("alive");
    take(&mut b);

    assert!(network.kill(b.address(), "device removed"));
    assert!(!network.kill(b.address(), "again"));
    let Poll::Ready(Err(error)) = poll(&mut b) else {
        panic!("lost");
    };
    assert_eq!(
        error.to_string(),
        format!("endpoint {} is lost: device removed", b.address())
    );
    assert!(b.post(&[request(a.address(), 2)]).is_err());

    let mut again = network.endpoint_at(b.address(), 4).expect("free");
    drop(b);
    a.post(&[request(again.address(), 3)]).expect("alive");
    assert_eq!(take(&mut again).len(), 1, "the new owner gets the datagram");
}

#[test]
fn raised_events_arrive() {
    let network = Network::new();
    let mut a = open(&network, 1);
    assert!(network.raise(a.address(), EndpointEvent::PortDown));
    assert!(matches!(
        take(&mut a)[..],
        [Completion::Event(EndpointEvent::PortDown)]
    ));
    let address = a.address();
    drop(a);
    assert!(!network.raise(address, EndpointEvent::PortActive));
}

#[tokio::test]
async fn endpoints_of_a_provider_talk_across_tasks() {
    let network = Network::new();
    let name = |port| RnicName {
        device: "mem0".into(),
        port,
    };
    let provider = MemoryProvider::new(network, [(name(1), gid(1)), (name(2), gid(2))]);
    let ports = provider.discover().expect("two ports");
    assert_eq!(ports.len(), 2);
    assert!(provider.open(&name(3)).is_err());
    let mut a = provider.open(&ports[0].name).expect("opens");
    let mut b = provider.open(&ports[1].name).expect("opens");
    let (to_a, to_b) = (a.address(), b.address());

    let echo = tokio::spawn(async move {
        let mut out = Vec::new();
        poll_fn(|cx| b.poll_completions(cx, &mut out))
            .await
            .expect("alive");
        b.post(&[request(to_a, 99)]).expect("alive");
        b
    });
    a.post(&[request(to_b, 1)]).expect("alive");
    let mut out = Vec::new();
    while !out.iter().any(|c| matches!(c, Completion::Received(_))) {
        poll_fn(|cx| a.poll_completions(cx, &mut out))
            .await
            .expect("alive");
    }
    echo.await.expect("finishes");
}
