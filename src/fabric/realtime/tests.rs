use std::future::poll_fn;

use super::*;
use crate::fabric::engine::Profile;
use crate::fabric::topology::Shape;
use crate::id::FlowLabel;
use crate::time::SystemClock;
use crate::transport::{Class, Payload, SendToken};

fn start(faults: &[&str]) -> (Fabric, JoinHandle<Engine>, CancellationToken) {
    let shape = Shape {
        spines: 2,
        tors: 2,
        hosts: 2,
        rnics: 2,
        ..Shape::default()
    };
    let topology = Arc::new(Topology::new(shape, 3).expect("possible shape"));
    let clock = Arc::new(SystemClock);
    let mut engine = Engine::new(topology, Profile::default(), 3, clock.host());
    for fault in faults {
        engine
            .inject(&fault.parse().expect("a fault"))
            .expect("a known target");
    }
    let stop = CancellationToken::new();
    let (fabric, task) = Fabric::start(engine, clock, stop.clone());
    (fabric, task, stop)
}

fn open(fabric: &Fabric, host: u32) -> Box<dyn Endpoint> {
    let provider = fabric.provider(host);
    let ports = provider.discover().expect("RNICs");
    provider.open(&ports[0].name).expect("an endpoint")
}

fn request(to: Address, token: u64) -> SendRequest {
    SendRequest {
        token: SendToken(token),
        to,
        flow_label: FlowLabel::new(1 + u32::try_from(token).expect("small")).expect("in range"),
        class: Class::default(),
        payload: Payload::new(b"probe").expect("short"),
    }
}

/// Takes completions until there are `count`.
async fn take(endpoint: &mut dyn Endpoint, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        poll_fn(|cx| endpoint.poll_completions(cx, &mut out))
            .await
            .expect("a living endpoint");
    }
    out
}

#[tokio::test]
async fn datagrams_and_send_completions_arrive() {
    let (fabric, task, stop) = start(&[]);
    let (mut from, mut to) = (open(&fabric, 0), open(&fabric, 3));
    let batch: Vec<_> = (0..50).map(|token| request(to.address(), token)).collect();
    assert_eq!(from.post(&batch).expect("posted"), 50);
    let received = take(&mut *to, 50).await;
    assert!(received.iter().all(
        |completion| matches!(completion, Completion::Received(datagram)
            if datagram.source_gid == from.address().gid && datagram.payload.as_slice() == b"probe")
    ));
    let sent = take(&mut *from, 50).await;
    assert!(
        sent.iter()
            .all(|completion| matches!(completion, Completion::Sent { .. }))
    );
    let totals = fabric
        .with(|engine| engine.totals())
        .await
        .expect("running");
    assert_eq!((totals.sent, totals.delivered), (50, 50));
    stop.cancel();
    let engine = task.await.expect("no panic");
    assert_eq!(engine.totals().delivered, 50);
}

#[tokio::test]
async fn an_endpoint_takes_no_more_than_its_send_queue_holds() {
    let (fabric, _task, _stop) = start(&[]);
    let (mut from, to) = (open(&fabric, 0), open(&fabric, 3));
    let batch: Vec<_> = (0..600).map(|token| request(to.address(), token)).collect();
    assert_eq!(from.post(&batch).expect("posted"), SEND_DEPTH);
    take(&mut *from, SEND_DEPTH).await;
    assert_eq!(
        from.post(&batch[SEND_DEPTH..]).expect("posted"),
        600 - SEND_DEPTH
    );
}

#[tokio::test]
async fn a_receiver_that_does_not_take_loses_datagrams_and_is_told() {
    let (fabric, _task, _stop) = start(&[]);
    let (mut from, mut to) = (open(&fabric, 0), open(&fabric, 3));
    let total = RECEIVE_DEPTH + 100;
    for first in (0..total).step_by(100) {
        let batch: Vec<_> = (first..(first + 100).min(total))
            .map(|token| request(to.address(), token as u64))
            .collect();
        assert_eq!(from.post(&batch).expect("posted"), batch.len());
        take(&mut *from, batch.len()).await;
    }
    while fabric
        .with(|engine| engine.totals().delivered)
        .await
        .expect("running")
        < total as u64
    {}
    take(&mut *to, RECEIVE_DEPTH).await;
    from.post(&[request(to.address(), 1)]).expect("posted");
    let after = take(&mut *to, 2).await;
    assert!(matches!(
        after[0],
        Completion::Event(EndpointEvent::ReceiveOverflow(100))
    ));
}

#[tokio::test]
async fn a_reopened_rnic_has_another_address_and_the_old_one_is_dead() {
    let (fabric, _task, _stop) = start(&[]);
    let (mut from, to) = (open(&fabric, 0), open(&fabric, 3));
    let old = to.address();
    drop(to);
    let mut to = open(&fabric, 3);
    assert_ne!(to.address().qpn, old.qpn);
    from.post(&[request(old, 1), request(to.address(), 2)])
        .expect("posted");
    assert_eq!(take(&mut *to, 1).await.len(), 1);
    let totals = fabric
        .with(|engine| engine.totals())
        .await
        .expect("running");
    assert_eq!((totals.delivered, totals.no_queue_pair), (1, 1));
}

#[tokio::test]
async fn events_reach_the_endpoints_of_the_rnic() {
    let (fabric, _task, _stop) = start(&[]);
    let mut endpoint = open(&fabric, 1);
    let fault = "rnic host1/0 down".parse().expect("a fault");
    fabric
        .with(move |engine| engine.inject(&fault))
        .await
        .expect("running")
        .expect("a known target");
    let events = take(&mut *endpoint, 1).await;
    assert!(matches!(
        events[0],
        Completion::Event(EndpointEvent::PortDown)
    ));
}

#[tokio::test]
async fn unknown_rnics_and_a_stopped_fabric_are_errors() {
    let (fabric, task, stop) = start(&[]);
    let error = fabric.provider(4).discover().expect_err("no such host");
    assert_eq!(
        error.to_string(),
        "no usable RNIC: the emulated fabric has no host4"
    );
    let name = RnicName {
        device: "rnic7".into(),
        port: 1,
    };
    let error = fabric.provider(0).open(&name).err().expect("no such RNIC");
    assert_eq!(
        error.to_string(),
        "RNIC rnic7/1: the emulated host has no such RNIC"
    );
    let mut endpoint = open(&fabric, 0);
    stop.cancel();
    task.await.expect("no panic");
    let mut out = Vec::new();
    let lost = poll_fn(|cx| endpoint.poll_completions(cx, &mut out)).await;
    assert!(matches!(lost, Err(TransportError::EndpointLost { .. })));
    assert_eq!(fabric.with(|engine| engine.now()).await, Err(Stopped));
}
