//! In which class probes and their ACKs travel.

use std::sync::Arc;

use super::harness::{address, capabilities, config, millis, path_to};
use crate::probe::{Config, PathId, ProbeKind, ProbePath, Session};
use crate::time::{HostTime, NicTime};
use crate::transport::{Class, Completion, Received, SendRequest, SendStatus};
use crate::wire::Keyring;

const PROBERS: Class = class(8, 1);
const RESPONDERS: Class = class(16, 2);

const fn class(traffic_class: u8, service_level: u8) -> Class {
    Class {
        traffic_class,
        service_level,
    }
}

fn session(node: usize, class: Class) -> Session {
    let config = Config { class, ..config() };
    let keys = Arc::new(Keyring::unkeyed());
    Session::new(config, keys, address(node), capabilities(), 7)
}

/// What a session sends now.
fn sent(session: &mut Session, now: HostTime) -> Vec<SendRequest> {
    let mut requests = Vec::new();
    session.poll(now, &mut requests);
    requests
}

/// A request has left `from` and arrives.
fn carry(from: usize, request: &SendRequest, sender: &mut Session, receiver: &mut Session) {
    let (at, now) = (NicTime::from_nanos(1), HostTime::from_nanos(1));
    let left = Completion::Sent {
        token: request.token,
        at,
        status: SendStatus::Sent,
    };
    sender.on_completions(&[left], now);
    let arrived = Completion::Received(Received {
        at,
        source_gid: address(from).gid,
        source_qpn: address(from).qpn,
        source_port: None,
        payload: request.payload,
    });
    receiver.on_completions(&[arrived], now);
}

/// The classes of the probe and of both ACKs, and what the result says.
fn classes(traffic_class: Option<u8>) -> ([Class; 3], Class) {
    let (mut prober, mut responder) = (session(0, PROBERS), session(1, RESPONDERS));
    let now = HostTime::from_nanos(0);
    let path = ProbePath {
        service: Some("train".into()),
        traffic_class,
        ..ProbePath::clone(&path_to(address(1), 77))
    };
    prober.set_connection(PathId(1), Arc::new(path), now);
    let probe = sent(&mut prober, now)[0];
    carry(0, &probe, &mut prober, &mut responder);
    let first = sent(&mut responder, now)[0];
    carry(1, &first, &mut responder, &mut prober);
    let second = sent(&mut responder, now)[0];
    carry(1, &second, &mut responder, &mut prober);
    sent(&mut prober, now.after(millis(1)));
    let mut results = Vec::new();
    prober.drain_results(&mut results);
    assert_eq!(results[0].kind, ProbeKind::ServiceTracing);
    ([probe.class, first.class, second.class], results[0].class)
}

#[test]
fn a_services_probes_and_their_acks_have_the_class_of_its_connection() {
    let own = class(0x6a, PROBERS.service_level);
    assert_eq!(classes(Some(0x6a)), ([own; 3], own));
    let best_effort = class(0, PROBERS.service_level);
    assert_eq!(classes(Some(0)), ([best_effort; 3], best_effort));
}

#[test]
fn without_a_class_of_its_own_each_end_takes_its_own() {
    assert_eq!(classes(None), ([PROBERS, RESPONDERS, RESPONDERS], PROBERS));
}
