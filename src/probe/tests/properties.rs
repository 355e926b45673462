//! What holds whatever the network, the endpoint and the driver do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::harness::*;
use crate::probe::{Config, Counters, Group, ProbeKind, Rate, Session, Start};
use crate::time::{HostTime, NicTime};
use crate::transport::{
    Completion, EndpointEvent, Payload, Received, SendRequest, SendStatus, SendToken,
};
use crate::wire::Keyring;

fn any_fate() -> impl Strategy<Value = Fate> {
    let delay = || prop_oneof![Just(MICROSECOND), (0_u64..900).prop_map(millis)];
    (
        prop::option::weighted(0.9, delay()),
        prop::bool::weighted(0.9),
        prop::collection::vec(delay(), 0..3),
    )
        .prop_map(|(completion, sent, arrivals)| Fate {
            completion,
            status: if sent {
                SendStatus::Sent
            } else {
                SendStatus::Failed(1)
            },
            arrivals,
        })
}

fn settled(counters: &Counters) -> u64 {
    counters.probes_completed + counters.probes_lost + counters.probes_invalid
}

/// Something that a broken endpoint or a hostile peer could report, or that a driver could do.
#[derive(Debug, Clone)]
enum Act {
    Poll,
    Sent(u64, i64, bool),
    Echo(usize, usize, usize, u8),
    Noise(Vec<u8>),
    Event(u8),
    Reset(usize),
    Replace(usize),
    Groups(Vec<(u8, u16, Vec<u8>)>),
    Cap(u16),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Poll),
        3 => (prop_oneof![0_u64..64, any::<u64>()], any::<i64>(), any::<bool>()).prop_map(|(t, at, ok)| Act::Sent(t, at, ok)),
        3 => (any::<usize>(), 0_usize..4, 0_usize..LENGTH, any::<u8>()).prop_map(|(w, f, i, v)| Act::Echo(w, f, i, v)),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Act::Noise),
        1 => any::<u8>().prop_map(Act::Event),
        1 => (0_usize..4).prop_map(Act::Reset),
        1 => (0_usize..4).prop_map(Act::Replace),
        2 => prop::collection::vec((0_u8..3, 1_u16..2_000, prop::collection::vec(0_u8..4, 0..5)), 0..4).prop_map(Act::Groups),
        1 => (1_u16..2_000).prop_map(Act::Cap),
    ]
}

const LENGTH: usize = crate::wire::LENGTH;

fn rate(number: u16) -> Rate {
    Rate::per_second(f64::from(number)).expect("above zero")
}

fn groups(specs: &[(u8, u16, Vec<u8>)]) -> Vec<Group> {
    specs
        .iter()
        .map(|(kind, per_second, paths)| Group {
            kind: ProbeKind::ALL[usize::from(*kind)],
            rate: rate(*per_second),
            paths: paths
                .iter()
                .map(|node| path_to(address(usize::from(*node)), 1 + u32::from(*node)))
                .collect(),
        })
        .collect()
}

/// A session with everything that it ever asked to send.
struct Subject {
    session: Session,
    sent: Vec<SendRequest>,
    results: HashSet<u64>,
    result_count: u64,
    max_rate: Rate,
}

impl Subject {
    fn poll(&mut self, now: HostTime) {
        self.session.poll(now, &mut self.sent);
        let mut results = Vec::new();
        self.session.drain_results(&mut results);
        self.result_count += results.len() as u64;
        self.results
            .extend(results.iter().map(|result| result.sequence.0));
    }

    fn act(&mut self, act: &Act, now: HostTime) {
        let completion = match act {
            Act::Poll => return self.poll(now),
            Act::Sent(token, at, ok) => Completion::Sent {
                token: SendToken(*token),
                at: NicTime::from_nanos(*at),
                status: if *ok {
                    SendStatus::Sent
                } else {
                    SendStatus::Failed(9)
                },
            },
            Act::Echo(which, from, index, value) => {
                let Some(request) = self.sent.get(which % self.sent.len().max(1)) else {
                    return;
                };
                let mut bytes = request.payload.as_slice().to_vec();
                bytes[*index] = *value;
                from_node(*from, &bytes)
            }
            Act::Noise(bytes) => from_node(1, bytes),
            Act::Event(code) => Completion::Event(match code % 5 {
                0 => EndpointEvent::PortActive,
                1 => EndpointEvent::PortDown,
                2 => EndpointEvent::AddressChanged,
                3 => EndpointEvent::ReceiveOverflow(1),
                _ => EndpointEvent::Unknown(1),
            }),
            Act::Reset(node) => return self.session.reset(address(*node), capabilities(), now),
            Act::Replace(node) => {
                return self
                    .session
                    .replace_address(address(*node).gid, address(*node));
            }
            Act::Groups(specs) => return self.session.set_groups(groups(specs), now),
            Act::Cap(cap) => {
                self.max_rate = rate(*cap);
                let config = Config {
                    max_rate: self.max_rate,
                    ..config()
                };
                return self.session.set_config(config, now);
            }
        };
        self.session.on_completions(&[completion], now);
    }
}

fn from_node(node: usize, bytes: &[u8]) -> Completion {
    Completion::Received(Received {
        at: NicTime::from_nanos(i64::MIN),
        source_gid: address(node).gid,
        source_qpn: address(node).qpn,
        source_port: None,
        payload: Payload::new(bytes).expect("short"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_probe_yields_exactly_one_result(fates in prop::collection::vec(any_fate(), 1..60)) {
        let mut fates = fates.into_iter().cycle();
        let mut net = Net::new(2, config(), move |_| fates.next().expect("endless"));
        for (node, peer) in [(0, 1), (1, 0)] {
            let paths = vec![path_to(address(peer), 1), path_to(address(peer), 2)];
            net.nodes[node].session.set_groups(vec![group(ProbeKind::InterTor, 50.0, paths)], HostTime::from_nanos(0));
        }
        net.run_for(millis(1_000));
        for node in 0..2 {
            let now = net.now;
            net.nodes[node].session.set_groups(Vec::new(), now);
        }
        net.run_for(millis(3_000));
        for node in 0..2 {
            let counters = net.nodes[node].session.counters();
            let sequences: HashSet<_> =
                net.results.iter().filter(|(owner, _)| *owner == node).map(|(_, result)| result.sequence).collect();
            let results = net.results.iter().filter(|(owner, _)| *owner == node).count();
            prop_assert_eq!(counters.probes_sent, results as u64);
            prop_assert_eq!(sequences.len(), results);
            prop_assert_eq!(counters.probes_sent, settled(&counters));
            prop_assert!(counters.probes_sent + counters.slots_missed >= 50);
        }
    }

    #[test]
    fn nothing_that_happens_panics_or_loses_count(
        acts in prop::collection::vec((any_act(), 0_u64..50_000_000), 1..120),
    ) {
        let mut subject = Subject {
            session: Session::new(config(), Arc::new(Keyring::unkeyed()), address(0), capabilities(), 1),
            sent: Vec::new(),
            results: HashSet::new(),
            result_count: 0,
            max_rate: config().max_rate,
        };
        let mut now = HostTime::from_nanos(0);
        for (act, pause) in &acts {
            now = now.after(Duration::from_nanos(*pause));
            subject.act(act, now);
        }
        subject.session.set_groups(Vec::new(), now);
        subject.poll(now.after(Duration::from_secs(10)));
        let counters = subject.session.counters();
        prop_assert_eq!(counters.probes_sent, subject.result_count);
        prop_assert_eq!(counters.probes_sent, settled(&counters));
        prop_assert_eq!(subject.results.len() as u64, subject.result_count);
        prop_assert_eq!(subject.session.next_wakeup(), None);
    }

    /// However late and irregular the polls, and however many groups are due together.
    #[test]
    fn no_burst_exceeds_the_cap(
        specs in prop::collection::vec((0_u8..3, 1_u16..2_000, prop::collection::vec(0_u8..4, 1..5)), 1..12),
        pauses in prop::collection::vec(prop_oneof![0_u64..2_000_000, 0_u64..2_000_000_000], 1..200),
        seed: u64,
    ) {
        let config = Config { start: Start::RandomPhase, ..Config::default() };
        let mut session = Session::new(config, Arc::new(Keyring::unkeyed()), address(9), capabilities(), seed);
        let mut now = HostTime::from_nanos(0);
        session.set_groups(groups(&specs), now);
        let mut times = Vec::new();
        for pause in pauses {
            now = now.after(Duration::from_nanos(pause));
            let mut sent = Vec::new();
            session.poll(now, &mut sent);
            prop_assert!(sent.len() <= 4);
            times.extend(sent.iter().map(|_| now));
        }
        // Four at once, then at most twice the cap.
        for (index, start) in times.iter().enumerate() {
            for (count, end) in (1_u32..).zip(&times[index..]) {
                let seconds = (*end - *start).0 as f64 / 1e9;
                prop_assert!(f64::from(count) <= 4.0 + seconds * 2.0 * config.max_rate.get() + 1.0);
            }
        }
        let elapsed = (now - HostTime::from_nanos(0)).0 as f64 / 1e9;
        prop_assert!(times.len() as f64 <= elapsed * config.max_rate.get() + specs.len() as f64);
    }

    #[test]
    fn sessions_start_out_of_step(seed: u64) {
        let paths: Vec<_> = (1..=4).map(|label| path_to(address(1), label)).collect();
        let first = |seed| {
            let config = Config { start: Start::RandomPhase, ..Config::default() };
            let mut session = Session::new(config, Arc::new(Keyring::unkeyed()), address(0), capabilities(), seed);
            session.set_groups(vec![group(ProbeKind::TorMesh, 10.0, paths.clone())], HostTime::from_nanos(0));
            session.next_wakeup().expect("a probe is planned")
        };
        let wakeup = first(seed);
        prop_assert!((0..100_000_000).contains(&wakeup.nanos()));
        prop_assert_eq!(wakeup, first(seed));
        prop_assert_ne!(wakeup, first(seed.wrapping_add(1)));
    }
}
