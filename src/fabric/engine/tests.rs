use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::fabric::topology::Shape;
use crate::fabric::truth::LinkTruth;
use crate::id::FlowLabel;
use crate::transport::{Class, EndpointEvent};

/// A fabric with an endpoint on every RNIC.
struct Bench {
    engine: Engine,
    addresses: Vec<Address>,
    out: Vec<Delivery>,
}

const MILLI: i64 = 1_000_000;

fn at(nanos: i64) -> HostTime {
    HostTime::from_nanos(nanos)
}

impl Bench {
    fn new(shape: Shape, faults: &[&str]) -> Self {
        let topology = Topology::new(shape, 5).expect("possible shape");
        let mut engine = Engine::new(Arc::new(topology), Profile::default(), 5, at(0));
        for fault in faults {
            let fault = fault.parse().expect("a fault");
            engine.inject(&fault).expect("a known target");
        }
        let addresses = engine
            .topology()
            .rnic_ids()
            .map(|rnic| engine.open(rnic))
            .collect();
        Self {
            engine,
            addresses,
            out: Vec::new(),
        }
    }

    fn small(faults: &[&str]) -> Self {
        let shape = Shape {
            spines: 2,
            tors: 2,
            hosts: 2,
            rnics: 1,
            ..Shape::default()
        };
        Self::new(shape, faults)
    }

    fn request(&self, to: u32, port: u16, token: u64) -> SendRequest {
        SendRequest {
            token: SendToken(token),
            to: self.addresses[to as usize],
            flow_label: FlowLabel::new(u32::from(port & 0x3fff).max(1)).expect("in range"),
            class: Class::default(),
            payload: Payload::new(&token.to_be_bytes()).expect("short"),
        }
    }

    fn send(&mut self, now: i64, from: u32, to: u32, port: u16, token: u64) {
        let request = self.request(to, port, token);
        let qpn = self.addresses[from as usize].qpn;
        self.engine.send(at(now), RnicId(from), qpn, &request);
    }

    fn advance(&mut self, now: i64) {
        self.engine.advance(at(now), &mut self.out);
    }

    fn received(&self) -> Vec<&Delivery> {
        self.out
            .iter()
            .filter(|delivery| matches!(delivery.completion, Completion::Received(_)))
            .collect()
    }

    /// Sends `count` packets a microsecond apart and lets all of them arrive.
    fn stream(&mut self, start: i64, count: u64, from: u32, to: u32) {
        for number in 0..count {
            let now = start + i64::try_from(number).expect("few") * 1_000;
            self.advance(now);
            let port = u16::try_from(number % 0x3000).expect("in range") + 1;
            self.send(now, from, to, port, number);
        }
        self.advance(self.engine.now().nanos() + 1_000 * MILLI);
    }

    fn link(&self, name: &str) -> LinkTruth {
        let topology = self.engine.topology();
        let link = topology
            .links()
            .find(|link| topology.link_name(*link) == name)
            .expect("a link of that name");
        self.engine.link_truth(link)
    }
}

#[test]
fn a_packet_arrives_after_all_its_links() {
    let mut bench = Bench::small(&[]);
    bench.send(0, 0, 3, 77, 9);
    bench.advance(MILLI);
    // Posting 0.3 µs, two host links of 0.6 µs, two fabric links of 1 µs, and 98 bytes at 100 and 400 Gbit/s.
    let (host_link, fabric_link) = (98 * 80 / 1_000, 98 * 20 / 1_000);
    let one_way = 300 + 2 * (600 + host_link) + 2 * (1_000 + fabric_link);
    let state = &bench.engine.rnics[3];
    let expected = state.clock.read(one_way);
    let received = bench.received();
    let [delivery] = received[..] else {
        panic!("{:?}", bench.out)
    };
    assert_eq!(delivery.rnic, RnicId(3));
    let Completion::Received(received) = delivery.completion else {
        panic!("not a datagram")
    };
    assert_eq!(received.at, expected);
    assert_eq!(received.source_gid, bench.addresses[0].gid);
    assert_eq!(received.source_port, Some(UdpSourcePort(0xc000 + 77)));
    assert!(delivery.at.nanos() >= one_way + 1_000);
    assert!(bench.out.iter().any(
        |delivery| matches!(delivery.completion, Completion::Sent { token, .. } if token == SendToken(9))
    ));
}

#[test]
fn loss_is_where_the_fault_is_and_nowhere_else() {
    let mut bench = Bench::small(&["link spine1->tor1 loss=5%"]);
    bench.stream(0, 20_000, 0, 3);
    let hit = bench.link("spine1->tor1");
    assert!((8_000..12_000).contains(&hit.sent), "{hit:?}");
    // Binomial: 500 expected of 10 000, standard deviation 22.
    assert!((390..610).contains(&hit.loss), "{hit:?}");
    assert_eq!(hit.lost(), hit.loss);
    assert_eq!(bench.engine.totals().lost, hit.loss);
    assert_eq!(bench.received().len() as u64, 20_000 - hit.loss);
    let (_, truth) = bench.engine.fault_truth().next().expect("one fault");
    assert_eq!((truth.exposed, truth.lost), (hit.sent, hit.loss));
    let lost: u64 = bench.engine.path_truth().iter().map(|path| path.lost).sum();
    assert_eq!(lost, hit.loss);
}

#[test]
fn a_fault_acts_only_in_its_time() {
    let mut bench = Bench::small(&["switch tor1 down at=2ms for=3ms"]);
    bench.stream(0, 10_000, 0, 3);
    // One packet a microsecond comes to the links that lead to tor1; one more was behind them when tor1 went down.
    assert_eq!(
        bench.link("spine0->tor1").down + bench.link("spine1->tor1").down,
        3_000
    );
    assert_eq!(bench.link("tor1->host3/0").down, 1);
    assert_eq!(bench.engine.totals().lost, 3_001);
}

#[test]
fn corruption_is_counted_by_the_receiver() {
    let mut bench = Bench::small(&["link tor0-spine0 corrupt=100%"]);
    bench.stream(0, 1_000, 0, 3);
    let hit = bench.link("tor0->spine0");
    assert!(hit.sent > 300);
    assert_eq!(hit.corruption, hit.sent);
    assert_eq!(bench.engine.rnic_counters(RnicId(3)).icrc_errors, hit.sent);
    assert_eq!(bench.engine.totals().icrc_errors, hit.sent);
    assert_eq!(bench.received().len() as u64, 1_000 - hit.sent);
}

#[test]
fn a_black_hole_swallows_always_the_same_flows() {
    let mut bench = Bench::small(&["switch spine0 blackhole=30%"]);
    bench.stream(0, 5_000, 0, 3);
    bench.stream(bench.engine.now().nanos(), 5_000, 0, 3);
    let paths = bench.engine.path_truth();
    assert_eq!(paths.len(), 5_000);
    assert!(
        paths
            .iter()
            .all(|path| path.lost == 0 || path.lost == path.sent)
    );
    let swallowed = paths.iter().filter(|path| path.lost > 0).count();
    // 30 % of about half of the flows.
    assert!((650..850).contains(&swallowed), "{swallowed}");
}

#[test]
fn a_pause_storm_delays_and_loses_nothing() {
    let mut bench = Bench::small(&["link tor1->host3/0 pause=5ms every=20ms"]);
    bench.send(MILLI, 0, 3, 1, 1);
    bench.advance(40 * MILLI);
    bench.send(50 * MILLI, 0, 3, 1, 2);
    bench.advance(100 * MILLI);
    let times: Vec<_> = bench
        .received()
        .iter()
        .map(|delivery| delivery.at.nanos() / MILLI)
        .collect();
    assert_eq!(times, [5, 50]);
    assert_eq!(bench.engine.totals().lost, 0);
}

#[test]
fn a_full_queue_drops_its_tail() {
    // 98 bytes every microsecond are 784 Mbit/s; the queue holds five packets.
    let mut bench = Bench::small(&["link tor1->host3/0 rate=392Mbit queue=500"]);
    bench.stream(0, 1_000, 0, 3);
    let hit = bench.link("tor1->host3/0");
    assert_eq!(hit.sent, 1_000);
    assert!((490..=505).contains(&hit.overflow), "{hit:?}");
}

#[test]
fn a_stalled_host_handles_completions_late_but_stamps_them_in_time() {
    let mut bench = Bench::small(&["host host3 stall=200ms at=10ms"]);
    bench.advance(20 * MILLI);
    assert_eq!(
        bench.engine.host_stalled_until(3, at(20 * MILLI)),
        Some(at(210 * MILLI))
    );
    bench.send(20 * MILLI, 0, 3, 1, 1);
    bench.advance(300 * MILLI);
    let received = bench.received();
    assert_eq!(received[0].at, at(210 * MILLI));
    let Completion::Received(datagram) = received[0].completion else {
        panic!("not a datagram")
    };
    let stamp = bench.engine.rnics[3].clock.read(20 * MILLI);
    assert!((datagram.at - stamp).0 < 10_000);
}

#[test]
fn flapping_ports_report_it() {
    let mut bench = Bench::small(&["rnic host1/0 flap=1ms every=5ms at=2ms for=10ms"]);
    bench.advance(30 * MILLI);
    let events: Vec<_> = bench
        .out
        .iter()
        .map(|delivery| match delivery.completion {
            Completion::Event(event) => (delivery.at.nanos() / MILLI, delivery.rnic.0, event),
            _ => panic!("{delivery:?}"),
        })
        .collect();
    assert_eq!(
        events,
        [
            (2, 1, EndpointEvent::PortDown),
            (3, 1, EndpointEvent::PortActive),
            (7, 1, EndpointEvent::PortDown),
            (8, 1, EndpointEvent::PortActive),
            (12, 1, EndpointEvent::PortActive),
        ]
    );
}

#[test]
fn a_clock_step_moves_the_stamps() {
    let mut bench = Bench::small(&["rnic host1/0 clock-step=-5ms at=2ms"]);
    let before = bench.engine.rnics[1].clock.read(0);
    bench.advance(3 * MILLI);
    let after = bench.engine.rnics[1].clock.read(0);
    assert_eq!(after - before, Nanos(-5 * MILLI));
}

#[test]
fn expiring_packets_reveal_the_path_of_their_port() {
    let shape = Shape {
        pods: 2,
        ..Shape::default()
    };
    for port in [0xc001, 0xc123, 0xffff].map(UdpSourcePort) {
        let mut bench = Bench::new(shape, &[]);
        let to = bench.addresses[127].gid;
        for limit in 1..=6 {
            let token = u64::from(limit);
            bench
                .engine
                .send_ttl_probe(at(0), RnicId(0), to, port, limit, token);
        }
        bench.advance(MILLI);
        let mut answers = Vec::new();
        bench.engine.drain_hop_answers(&mut answers);
        answers.sort_by_key(|answer| answer.token);
        let topology = bench.engine.topology();
        let seen: Vec<_> = answers
            .iter()
            .map(|answer| topology.node_name(answer.switch).to_owned())
            .collect();
        let flow = Flow {
            source: RnicId(0),
            target: RnicId(127),
            port,
        };
        let path = topology.describe(&topology.path(flow));
        assert_eq!(seen, path[1..path.len() - 1]);
        assert!(answers.windows(2).all(|pair| pair[0].at < pair[1].at));
    }
}

#[test]
fn switches_limit_their_answers_and_silent_ones_give_none() {
    let mut bench = Bench::small(&["switch tor1 down"]);
    let to = bench.addresses[3].gid;
    let port = UdpSourcePort(50_000);
    for token in 0..100 {
        bench
            .engine
            .send_ttl_probe(at(0), RnicId(0), to, port, 1, token);
    }
    bench
        .engine
        .send_ttl_probe(at(0), RnicId(0), to, port, 3, 1_000);
    bench.advance(MILLI);
    let mut answers = Vec::new();
    bench.engine.drain_hop_answers(&mut answers);
    assert_eq!(answers.len(), 64);
    assert!(answers.iter().all(|answer| answer.token < 100));
}

#[test]
fn closed_queue_pairs_and_wrong_keys_are_dropped_and_counted() {
    let mut bench = Bench::small(&[]);
    let old = bench.addresses[3];
    bench.engine.close(RnicId(3), old.qpn);
    let new = bench.engine.open(RnicId(3));
    assert_ne!(new.qpn, old.qpn);
    bench.send(0, 0, 3, 1, 1);
    bench.addresses[3] = Address {
        q_key: QKey(new.q_key.0 ^ 1),
        ..new
    };
    bench.send(0, 0, 3, 1, 2);
    bench.addresses[3] = new;
    bench.send(0, 0, 3, 1, 3);
    bench.addresses[3].gid = Gid::from(Ipv4Addr::new(10, 99, 0, 1));
    bench.send(0, 0, 3, 1, 4);
    bench.advance(MILLI);
    assert_eq!(bench.received().len(), 1);
    let totals = bench.engine.totals();
    assert_eq!((totals.no_queue_pair, totals.unroutable), (2, 1));
}

#[test]
fn a_restart_destroys_all_queue_pairs_of_the_host() {
    let mut bench = Bench::small(&["host host3 restart at=1ms"]);
    bench.send(0, 0, 3, 1, 1);
    bench.advance(2 * MILLI);
    bench.send(2 * MILLI, 0, 3, 1, 2);
    bench.advance(3 * MILLI);
    assert_eq!(bench.received().len(), 1);
    assert_eq!(bench.engine.totals().no_queue_pair, 1);
    assert!(bench.out.iter().any(|delivery| delivery.rnic == RnicId(3)
        && matches!(
            delivery.completion,
            Completion::Event(EndpointEvent::AddressChanged)
        )));
}

#[test]
fn no_two_rnics_share_a_clock() {
    let bench = Bench::new(Shape::default(), &[]);
    let clocks: BTreeSet<_> = bench
        .engine
        .rnics
        .iter()
        .map(|rnic| rnic.clock.read(0).nanos())
        .collect();
    assert_eq!(clocks.len(), 128);
}

/// Everything that came out, as text.
fn transcript(faults: &[&str], sends: &[(u16, u8, u8, u16)]) -> Vec<String> {
    let mut bench = Bench::small(faults);
    let mut now = 0;
    for (number, (gap, from, to, port)) in (0..).zip(sends) {
        now += i64::from(*gap);
        bench.advance(now);
        bench.send(now, u32::from(from % 4), u32::from(to % 4), *port, number);
    }
    bench.advance(now + 1_000 * MILLI);
    bench
        .out
        .iter()
        .map(|delivery| format!("{delivery:?}"))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_seed_gives_the_same_history(
        sends in proptest::collection::vec((0_u16..3_000, any::<u8>(), any::<u8>(), any::<u16>()), 1..200),
    ) {
        let faults = ["switch spine1 loss=20% jitter=5us", "link *->host3/0 load=80%", "rnic host1/0 corrupt=10%"];
        prop_assert_eq!(transcript(&faults, &sends), transcript(&faults, &sends));
    }

    /// Taking packets to their end at once gives the same times as going from link to link, as long as they do not
    /// contend for a link.
    #[test]
    fn the_short_cut_changes_nothing(
        sends in proptest::collection::vec((200_u16..3_000, any::<u8>(), any::<u8>(), any::<u16>()), 1..200),
    ) {
        let stamps = |faults: &[&str]| {
            let mut bench = Bench::small(faults);
            let mut now = 0;
            for (number, (gap, from, to, port)) in (0..).zip(&sends) {
                now += i64::from(*gap);
                bench.advance(now);
                bench.send(now, u32::from(from % 4), u32::from(to % 4), *port, number);
            }
            bench.advance(now + 1_000 * MILLI);
            let mut stamps: Vec<_> = bench.received().iter().map(|delivery| match delivery.completion {
                Completion::Received(received) => (received.payload.as_slice().to_vec(), received.at.nanos()),
                _ => unreachable!("only datagrams"),
            }).collect();
            stamps.sort();
            stamps
        };
        let (short, long) = (stamps(&[]), stamps(&["link *-* delay=0s"]));
        prop_assert_eq!(short.len(), long.len());
        for (short, long) in short.iter().zip(&long) {
            prop_assert_eq!(&short.0, &long.0);
            // A packet is at most a few packets' time (8 ns each) off where several meet.
            prop_assert!((short.1 - long.1).abs() <= 32, "{:?} {:?}", short, long);
        }
    }
}
