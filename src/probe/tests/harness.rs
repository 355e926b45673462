//! Sessions in virtual time, connected by a network that does to each packet what a test tells it to.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{FlowLabel, Gid, QKey, Qpn};
use crate::measure::Outcome;
use crate::probe::{
    Config, Group, ProbeKind, ProbePath, ProbeResult, Rate, ResponderConfig, Session, Start,
};
use crate::time::{HostTime, NicTime};
use crate::topology::Peer;
use crate::transport::{
    Address, Capabilities, Completion, CompletionClock, Received, SendRequest, SendStatus,
    SourcePortSteering,
};
use crate::wire::{Body, Ends, Keyring, Packet};

pub(super) const MICROSECOND: Duration = Duration::from_micros(1);

/// What a packet is, for tests that treat some differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Probe,
    FirstAck,
    SecondAck,
}

/// One packet on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    pub(super) message: Message,
    /// How many packets of this message were sent before.
    pub(super) nth: u64,
}

/// What happens to it.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    /// When its send completion comes, after it has left; `None` if never.
    pub(super) completion: Option<Duration>,
    pub(super) status: SendStatus,
    /// When copies of it arrive, after it has left.
    pub(super) arrivals: Vec<Duration>,
}

impl Fate {
    pub(super) fn arrives() -> Self {
        Self {
            completion: Some(MICROSECOND),
            status: SendStatus::Sent,
            arrivals: vec![5 * MICROSECOND],
        }
    }

    pub(super) fn lost() -> Self {
        Self {
            arrivals: Vec::new(),
            ..Self::arrives()
        }
    }

    pub(super) fn arrives_after(delay: Duration) -> Self {
        Self {
            arrivals: vec![delay],
            ..Self::arrives()
        }
    }
}

pub(super) struct Node {
    pub(super) session: Session,
    /// Its RNIC's clock runs apart from all others.
    clock_offset: i64,
}

pub(super) struct Net<F> {
    pub(super) now: HostTime,
    pub(super) nodes: Vec<Node>,
    pub(super) results: Vec<(usize, ProbeResult)>,
    fate: F,
    sent: [u64; 3],
    events: BTreeMap<(HostTime, u64), (usize, Completion)>,
    order: u64,
}

pub(super) fn address(node: usize) -> Address {
    let node = u8::try_from(node).expect("few nodes");
    Address {
        gid: Gid::from(Ipv4Addr::new(10, 0, 0, node)),
        qpn: Qpn::from_lower_bits(0x100 + u32::from(node)),
        q_key: QKey(0x1111_1111),
    }
}

pub(super) fn capabilities() -> Capabilities {
    Capabilities {
        clock: CompletionClock::Emulated,
        steering: SourcePortSteering::FlowLabel,
        sees_source_port: false,
    }
}

pub(super) fn config() -> Config {
    Config {
        start: Start::AtOnce,
        responder: responder(),
        ..Config::default()
    }
}

/// One that gives up early, so that a test sees it.
pub(super) fn responder() -> ResponderConfig {
    ResponderConfig {
        completion_timeout: Duration::from_secs(1),
        ..ResponderConfig::default()
    }
}

pub(super) fn label(number: u32) -> FlowLabel {
    FlowLabel::new(number).expect("in range")
}

pub(super) fn path_to(address: Address, number: u32) -> Arc<ProbePath> {
    Arc::new(ProbePath {
        target: Arc::new(Peer {
            address,
            tor: "tor0".into(),
            host: address.gid.to_string().into(),
            device: "rnic0".into(),
        }),
        flow_label: label(number),
        service: None,
        traffic_class: None,
        fidelity: None,
    })
}

pub(super) fn group(kind: ProbeKind, per_second: f64, paths: Vec<Arc<ProbePath>>) -> Group {
    Group {
        kind,
        rate: Rate::per_second(per_second).expect("a rate"),
        paths,
    }
}

pub(super) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn message_of(request: &SendRequest, source: Gid, keys: &Keyring) -> Message {
    let ends = Ends {
        source,
        destination: request.to.gid,
    };
    match Packet::decode(request.payload.as_slice(), ends, keys)
        .expect("sessions send packets")
        .body
    {
        Body::Probe { .. } => Message::Probe,
        Body::FirstAck { .. } => Message::FirstAck,
        Body::SecondAck { .. } => Message::SecondAck,
    }
}

impl<F: FnMut(Hop) -> Fate> Net<F> {
    /// `count` sessions; the network knows no others.
    pub(super) fn new(count: usize, config: Config, fate: F) -> Self {
        let nodes = (0..count)
            .map(|node| Node {
                session: Session::new(
                    config,
                    Arc::new(Keyring::unkeyed()),
                    address(node),
                    capabilities(),
                    node as u64,
                ),
                clock_offset: i64::try_from(node).expect("few nodes") * 1_000_000_000_007,
            })
            .collect();
        Self {
            now: HostTime::from_nanos(0),
            nodes,
            results: Vec::new(),
            fate,
            sent: [0; 3],
            events: BTreeMap::new(),
            order: 0,
        }
    }

    pub(super) fn nic_time(&self, node: usize, at: HostTime) -> NicTime {
        NicTime::from_nanos(at.nanos() + self.nodes[node].clock_offset)
    }

    pub(super) fn schedule(&mut self, at: HostTime, node: usize, completion: Completion) {
        self.order += 1;
        self.events.insert((at, self.order), (node, completion));
    }

    /// Polls a node and carries what it sends. A packet leaves one microsecond after it is posted.
    pub(super) fn poll(&mut self, node: usize) {
        let mut requests = Vec::new();
        self.nodes[node].session.poll(self.now, &mut requests);
        for request in requests {
            self.carry(node, &request);
        }
        let mut results = Vec::new();
        self.nodes[node].session.drain_results(&mut results);
        self.results
            .extend(results.into_iter().map(|result| (node, result)));
    }

    fn carry(&mut self, from: usize, request: &SendRequest) {
        let source = self.nodes[from].session.address();
        let message = message_of(request, source.gid, &Keyring::unkeyed());
        let to = self
            .nodes
            .iter()
            .position(|node| node.session.address().name() == request.to.name());
        let nth = self.sent[message as usize];
        self.sent[message as usize] += 1;
        let fate = (self.fate)(Hop { message, nth });
        let left = self.now.after(MICROSECOND);
        if let Some(delay) = fate.completion {
            let completion = Completion::Sent {
                token: request.token,
                at: self.nic_time(from, left),
                status: fate.status,
            };
            self.schedule(left.after(delay), from, completion);
        }
        for delay in fate.arrivals {
            let Some(to) = to else { continue };
            let at = left.after(delay);
            let completion = Completion::Received(Received {
                at: self.nic_time(to, at),
                source_gid: source.gid,
                source_qpn: source.qpn,
                source_port: None,
                payload: request.payload,
            });
            self.schedule(at, to, completion);
        }
    }

    /// Runs until nothing more happens before `end`. A process handles a completion one microsecond after it is there.
    pub(super) fn run_until(&mut self, end: HostTime) {
        loop {
            let wakeup = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(node, state)| Some((state.session.next_wakeup()?, node)))
                .min();
            let event = self
                .events
                .keys()
                .next()
                .map(|(at, _)| at.after(MICROSECOND));
            let next = wakeup.map(|(at, _)| at).into_iter().chain(event).min();
            let Some(next) = next.filter(|at| *at < end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                self.deliver();
            } else if let Some((_, node)) = wakeup {
                self.poll(node);
            }
        }
    }

    /// Hands the node that the next event is for everything that waits for it.
    fn deliver(&mut self) {
        let Some(node) = self.events.values().next().map(|(node, _)| *node) else {
            return;
        };
        let due: Vec<_> = self
            .events
            .iter()
            .filter(|((at, _), (owner, _))| *owner == node && at.after(MICROSECOND) <= self.now)
            .map(|(key, _)| *key)
            .collect();
        let completions: Vec<_> = due
            .iter()
            .filter_map(|key| self.events.remove(key))
            .map(|(_, completion)| completion)
            .collect();
        self.nodes[node]
            .session
            .on_completions(&completions, self.now);
        self.poll(node);
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        self.run_until(self.now.after(span));
    }
}

/// One line per result: who, when, which target, what came of it.
pub(super) fn table(results: &[(usize, ProbeResult)]) -> String {
    let lines: Vec<_> = results
        .iter()
        .map(|(node, result)| line(*node, result))
        .collect();
    lines.join("\n")
}

fn line(node: usize, result: &ProbeResult) -> String {
    let sent = (result.sent_at() - HostTime::from_nanos(0)).to_string();
    let port = result
        .source_port
        .map_or_else(|| "-".to_owned(), |port| port.to_string());
    let outcome = match result.outcome {
        Outcome::Complete(m) => format!(
            "network {} prober {} responder {}",
            m.network_rtt, m.prober_delay, m.responder_delay
        ),
        other => format!("{other:?}"),
    };
    let (target, kind) = (result.path.target.address, result.kind);
    format!("{sent:>10} node{node} -> {target} {kind:?} port {port}: {outcome}")
}

/// The counters that are not zero.
pub(super) fn counts(session: &Session) -> String {
    let lines: Vec<_> = session
        .counters()
        .iter()
        .filter(|(_, _, value)| *value != 0)
        .map(|(name, _, value)| format!("{name} {value}"))
        .collect();
    lines.join("\n")
}
