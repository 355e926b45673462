//! Packets that are not what they claim to be.

use std::sync::Arc;

use super::harness::*;
use crate::id::Gid;
use crate::probe::{Counters, ProbeKind, Session};
use crate::time::{HostTime, Nanos, NicTime};
use crate::transport::{Completion, Payload, Received, SendRequest};
use crate::wire::{Body, ClusterKey, Ends, Keyring, Packet, Sequence, SessionId};

fn at(nanos: i64) -> HostTime {
    HostTime::from_nanos(nanos)
}

fn session(keys: &Arc<Keyring>, node: usize) -> Session {
    Session::new(
        config(),
        Arc::clone(keys),
        address(node),
        capabilities(),
        node as u64,
    )
}

fn received(from: usize, payload: Payload) -> Completion {
    Completion::Received(Received {
        at: NicTime::from_nanos(0),
        source_gid: address(from).gid,
        source_qpn: address(from).qpn,
        source_port: None,
        payload,
    })
}

fn ends(from: usize, to: usize) -> Ends {
    let gid = |node: usize| -> Gid { address(node).gid };
    Ends {
        source: gid(from),
        destination: gid(to),
    }
}

/// A prober that has just sent a probe to node 1, and the probe.
fn probing(keys: &Arc<Keyring>) -> (Session, SendRequest, Packet) {
    let mut prober = session(keys, 0);
    prober.set_groups(
        vec![group(ProbeKind::TorMesh, 1.0, vec![path_to(address(1), 1)])],
        at(0),
    );
    let mut sent = Vec::new();
    prober.poll(at(0), &mut sent);
    let request = sent.pop().expect("one probe is due");
    assert!(sent.is_empty());
    let packet = Packet::decode(request.payload.as_slice(), ends(0, 1), keys).expect("decodes");
    (prober, request, packet)
}

fn first_ack(probe: Packet, node: usize) -> Packet {
    Packet {
        body: Body::FirstAck {
            responder: address(node).qpn,
            seen: None,
        },
        ..probe
    }
}

fn counters_after(session: &mut Session, completion: Completion) -> Counters {
    let before = session.counters();
    session.on_completions(&[completion], at(10));
    assert_ne!(session.counters(), before, "the packet must be counted");
    session.counters()
}

#[test]
fn acks_match_only_by_session_sequence_and_peer() {
    let keys = Arc::new(Keyring::unkeyed());
    let (mut prober, _, probe) = probing(&keys);
    let other_session = Packet {
        session: SessionId(probe.session.0 ^ 1),
        ..first_ack(probe, 1)
    };
    let not_yet_sent = Packet {
        sequence: Sequence(probe.sequence.0.wrapping_add(1)),
        ..first_ack(probe, 1)
    };
    let before_the_first = Packet {
        sequence: Sequence(probe.sequence.0.wrapping_sub(1)),
        ..first_ack(probe, 1)
    };
    let other_qpn = first_ack(probe, 2);
    for (count, forged) in (1..).zip([other_session, not_yet_sent, before_the_first, other_qpn]) {
        let payload = forged.encode(ends(1, 0), &keys);
        let counters = counters_after(&mut prober, received(1, payload));
        assert_eq!(counters.acks_unmatched, count, "{forged:?}");
    }
    let other_gid = first_ack(probe, 1).encode(ends(2, 0), &keys);
    let counters = counters_after(&mut prober, received(2, other_gid));
    assert_eq!(counters.acks_unmatched, 5);

    let second = Packet {
        body: Body::SecondAck {
            responder: address(1).qpn,
            delay: Nanos(1),
        },
        ..probe
    };
    prober.on_completions(
        &[
            received(1, second.encode(ends(1, 0), &keys)),
            received(1, first_ack(probe, 1).encode(ends(1, 0), &keys)),
        ],
        at(20),
    );
    let mut results = Vec::new();
    prober.poll(at(500_000_000), &mut Vec::new());
    prober.drain_results(&mut results);
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].timestamps.responder_delay, Some(Nanos(1)));
    assert_eq!(results[0].timestamps.handled, Some(at(20)));
}

#[test]
fn packets_without_the_cluster_key_are_neither_answered_nor_matched() {
    let key = |byte| ClusterKey::new(&[byte; 32]).expect("long enough");
    let ours = Arc::new(Keyring::new(vec![key(1)]));
    let theirs = Arc::new(Keyring::new(vec![key(2)]));
    let none = Arc::new(Keyring::unkeyed());

    let (mut prober, request, probe) = probing(&ours);
    for (count, keys) in (1..).zip([&theirs, &none]) {
        let forged = first_ack(probe, 1).encode(ends(1, 0), keys);
        let counters = counters_after(&mut prober, received(1, forged));
        assert_eq!(
            (counters.packets_unauthentic, counters.acks_unmatched),
            (count, 0)
        );
    }
    for keys in [&theirs, &none] {
        let mut responder = session(keys, 1);
        let counters = counters_after(&mut responder, received(0, request.payload));
        assert_eq!(
            (counters.packets_unauthentic, counters.probes_answered),
            (1, 0)
        );
        assert_eq!(responder.next_wakeup(), None);
    }
    let mut responder = session(&ours, 1);
    let counters = counters_after(&mut responder, received(0, request.payload));
    assert_eq!(
        (counters.packets_unauthentic, counters.probes_answered),
        (0, 1)
    );
}

#[test]
fn answers_go_back_with_the_label_and_key_that_the_probe_names() {
    let keys = Arc::new(Keyring::unkeyed());
    let (_, request, _) = probing(&keys);
    let mut responder = session(&keys, 1);
    responder.on_completions(&[received(0, request.payload)], at(5));
    let mut answers = Vec::new();
    responder.poll(at(5), &mut answers);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].to, address(0));
    assert_eq!(answers[0].flow_label, request.flow_label);
}
