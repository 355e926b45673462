//! What probing costs on one core: complete probes over the in-memory transport, the payload, the schedule.
//!
//! `cargo bench --bench probe`. Figures are reported, never asserted.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use rpingmesh::id::{FlowLabel, Gid, QKey, Qpn};
use rpingmesh::measure::Summary;
use rpingmesh::probe::{
    Config, Group, ProbeKind, ProbePath, ProbeResult, Rate, ResponderConfig, Session, Start,
};
use rpingmesh::time::{Clock, HostTime, Nanos, SystemClock, WallTime};
use rpingmesh::topology::Peer;
use rpingmesh::transport::memory::{MemoryEndpoint, Network};
use rpingmesh::transport::{Address, Completion, CompletionClock, Endpoint, SendRequest};
use rpingmesh::wire::{Body, ClusterKey, Ends, Keyring, Packet, Sequence, SessionId};

const TARGETS: u32 = 1_000;

fn main() {
    divan::main();
    if !std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        report_deviation();
    }
}

/// A clock that stands still until it is told to go on.
#[derive(Default)]
struct ManualClock(AtomicI64);

impl ManualClock {
    fn advance(&self, span: Duration) {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn host(&self) -> HostTime {
        HostTime::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

fn keyring(keyed: bool) -> Arc<Keyring> {
    let key = || ClusterKey::new(&[7; 32]).expect("long enough");
    Arc::new(Keyring::new(keyed.then(key).into_iter().collect()))
}

fn gid(node: u8) -> Gid {
    Gid::from(Ipv4Addr::new(10, 0, 0, node))
}

fn label(number: u32) -> FlowLabel {
    FlowLabel::new(number).expect("20 bits")
}

fn path(address: Address, number: u32) -> Arc<ProbePath> {
    Arc::new(ProbePath {
        target: Arc::new(Peer {
            address,
            tor: "tor0".into(),
            host: "host0".into(),
            device: "rnic0".into(),
        }),
        flow_label: label(number),
        service: None,
        traffic_class: None,
        fidelity: None,
    })
}

fn config(rate: Rate) -> Config {
    Config {
        max_rate: rate,
        start: Start::AtOnce,
        responder: ResponderConfig {
            rate_per_source: Rate::MAX,
            rate_of_new_source: Rate::MAX,
            burst_per_source: 1_000,
            rate_of_new: Rate::MAX,
            burst_of_new: 4_096,
            rate: Rate::MAX,
            burst: 4_096,
            ..ResponderConfig::default()
        },
        ..Config::default()
    }
}

/// A session with its endpoint: what an agent's task does, without the runtime.
struct Node {
    endpoint: MemoryEndpoint,
    session: Session,
    completions: Vec<Completion>,
    requests: Vec<SendRequest>,
}

impl Node {
    fn new(network: &Network, gid: Gid, config: Config, keys: &Arc<Keyring>) -> Self {
        let endpoint = network.endpoint(gid);
        let session = Session::new(
            config,
            Arc::clone(keys),
            endpoint.address(),
            endpoint.capabilities().clone(),
            7,
        );
        Self {
            endpoint,
            session,
            completions: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn turn(&mut self, now: HostTime) {
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(ended) = self
            .endpoint
            .poll_completions(&mut cx, &mut self.completions)
        {
            ended.expect("the endpoint lives");
        }
        self.session.on_completions(&self.completions, now);
        self.completions.clear();
        self.session.poll(now, &mut self.requests);
        let taken = self
            .endpoint
            .post(&self.requests)
            .expect("the endpoint lives");
        self.requests.drain(..taken);
    }
}

/// Probe, both ACKs, measurement, for prober and responder together.
#[divan::bench(args = [false, true], sample_count = 20)]
fn complete_probes(bencher: Bencher, keyed: bool) {
    const PROBES: u64 = 1_000;
    let clock = Arc::new(ManualClock::default());
    let network = Network::with_clock(clock.clone(), CompletionClock::Emulated);
    let keys = keyring(keyed);
    let mut prober = Node::new(&network, gid(1), config(Rate::MAX), &keys);
    let mut responder = Node::new(&network, gid(2), config(Rate::MAX), &keys);
    let group = Group {
        kind: ProbeKind::TorMesh,
        rate: Rate::MAX,
        paths: vec![path(responder.session.address(), 1)],
    };
    prober.session.set_groups(vec![group], clock.host());
    let mut results = Vec::new();
    bencher.counter(ItemsCount::new(PROBES)).bench_local(|| {
        let goal = prober.session.counters().probes_completed + PROBES;
        while prober.session.counters().probes_completed < goal {
            clock.advance(Duration::from_micros(1));
            prober.turn(clock.host());
            responder.turn(clock.host());
            prober.session.drain_results(&mut results);
            results.clear();
        }
    });
    let counters = prober.session.counters();
    assert_eq!((counters.probes_lost, counters.probes_invalid), (0, 0));
}

fn packet() -> (Packet, Ends) {
    let packet = Packet {
        session: SessionId(1),
        sequence: Sequence(2),
        body: Body::SecondAck {
            responder: Qpn::from_lower_bits(3),
            delay: Nanos(4),
        },
    };
    let ends = Ends {
        source: gid(1),
        destination: gid(2),
    };
    (packet, ends)
}

#[divan::bench(args = [false, true])]
fn encode(bencher: Bencher, keyed: bool) {
    let (keys, (packet, ends)) = (keyring(keyed), packet());
    bencher.bench(|| divan::black_box(packet).encode(ends, &keys));
}

#[divan::bench(args = [false, true])]
fn decode(bencher: Bencher, keyed: bool) {
    let (keys, (packet, ends)) = (keyring(keyed), packet());
    let payload = packet.encode(ends, &keys);
    bencher.bench(|| Packet::decode(divan::black_box(payload.as_slice()), ends, &keys));
}

fn dead_address() -> Address {
    Address {
        gid: gid(99),
        qpn: Qpn::from_lower_bits(0xdead),
        q_key: QKey(0x1111_1111),
    }
}

/// 1 000 targets, every second one dead.
fn half_dead(alive: Address) -> Vec<Arc<ProbePath>> {
    (1..=TARGETS)
        .map(|number| match number % 2 {
            0 => path(dead_address(), number),
            _ => path(alive, number),
        })
        .collect()
}

/// One turn of the schedule with time-outs falling due all the time.
#[divan::bench]
fn one_turn_with_half_of_1000_targets_dead(bencher: Bencher) {
    let clock = Arc::new(ManualClock::default());
    let network = Network::with_clock(clock.clone(), CompletionClock::Emulated);
    let keys = keyring(false);
    let rate = Rate::per_second(1_000.0).expect("a rate");
    let mut prober = Node::new(&network, gid(1), config(rate), &keys);
    let mut responder = Node::new(&network, gid(2), config(rate), &keys);
    let group = Group {
        kind: ProbeKind::InterTor,
        rate,
        paths: half_dead(responder.session.address()),
    };
    prober.session.set_groups(vec![group], clock.host());
    let mut results = Vec::new();
    bencher.bench_local(|| {
        clock.advance(Duration::from_millis(1));
        prober.turn(clock.host());
        responder.turn(clock.host());
        prober.session.drain_results(&mut results);
        results.clear();
    });
}

/// In real time: how far from its turn is each probe to a target that lives, with half of 1 000 dead?
fn report_deviation() {
    let clock = SystemClock;
    let network = Network::new();
    let keys = keyring(false);
    let rate = Rate::per_second(1_000.0).expect("a rate");
    let mut prober = Node::new(&network, gid(1), config(rate), &keys);
    let mut responder = Node::new(&network, gid(2), config(rate), &keys);
    let begin = clock.host();
    let alive = responder.session.address();
    let group = Group {
        kind: ProbeKind::InterTor,
        rate,
        paths: half_dead(alive),
    };
    prober.session.set_groups(vec![group], begin);
    let mut results = Vec::new();
    while clock.host().since(begin) < Duration::from_secs(4) {
        prober.turn(clock.host());
        responder.turn(clock.host());
        prober.turn(clock.host());
        prober.session.drain_results(&mut results);
        let pause = prober
            .session
            .next_wakeup()
            .map_or(Duration::ZERO, |at| at.since(clock.host()));
        std::thread::sleep(pause.min(Duration::from_millis(1)));
    }
    let deviations: Vec<Nanos> = results
        .iter()
        .filter(|result| result.path.target.address == alive)
        .map(|result| deviation(result, begin))
        .collect();
    let count = deviations.len();
    let counters = prober.session.counters();
    if let Some(summary) = Summary::of(deviations) {
        println!(
            "1000 probes/s for 4 s in real time, half of 1000 targets dead: {} probes to live targets, behind \
             schedule p50 {} p99 {} max {}; {} lost, {} turns missed",
            count,
            summary.p50,
            summary.p99,
            summary.max,
            counters.probes_lost,
            counters.slots_missed,
        );
    }
}

/// How long after its turn a probe was sent. Turns are a millisecond apart and in the order of the targets; missed ones
/// move all later ones back, so this counts them as lateness too.
fn deviation(result: &ProbeResult, begin: HostTime) -> Nanos {
    let interval = 1_000_000;
    let due = i64::from(result.path.flow_label.get() - 1) * interval;
    let round = i64::from(TARGETS) * interval;
    Nanos(((result.sent_at() - begin).0 - due).rem_euclid(round))
}
