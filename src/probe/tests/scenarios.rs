//! What a session does, told as tables of results and counters.

use std::fmt::Write;

use super::harness::*;
use crate::id::UdpSourcePort;
use crate::probe::{Answered, Config, ProbeKind, Rate, ResponderConfig};
use crate::time::HostTime;
use crate::transport::{Capabilities, Completion, EndpointEvent, SendStatus, SourcePortSteering};

/// Node 0 probes node 1 on one path, ten times a second.
fn pair<F: FnMut(Hop) -> Fate>(config: Config, fate: F) -> Net<F> {
    let mut net = Net::new(2, config, fate);
    let now = net.now;
    net.nodes[0].session.set_groups(
        vec![group(
            ProbeKind::TorMesh,
            10.0,
            vec![path_to(address(1), 1)],
        )],
        now,
    );
    net
}

fn story<F: FnMut(Hop) -> Fate>(net: &Net<F>) -> String {
    let mut story = table(&net.results);
    for (index, node) in net.nodes.iter().enumerate() {
        let _ = write!(story, "\n\nnode{index}:\n{}", counts(&node.session));
    }
    story
}

#[test]
fn a_quiet_network() {
    let mut net = pair(config(), |_| Fate::arrives());
    net.run_for(millis(350));
    insta::assert_snapshot!(story(&net));
}

#[test]
fn what_is_lost_decides_the_outcome() {
    let mut net = pair(config(), |hop| match (hop.nth, hop.message) {
        (1, Message::Probe) | (2, Message::FirstAck) | (3, Message::SecondAck) => Fate::lost(),
        (4, Message::Probe) | (5, Message::FirstAck) => Fate {
            completion: None,
            ..Fate::arrives()
        },
        (5, Message::Probe) => Fate {
            completion: None,
            ..Fate::lost()
        },
        (6, Message::Probe) => Fate {
            status: SendStatus::Failed(12),
            ..Fate::lost()
        },
        (6, Message::FirstAck) => Fate {
            status: SendStatus::Failed(5),
            ..Fate::lost()
        },
        _ => Fate::arrives(),
    });
    net.run_for(millis(990));
    let now = net.now;
    net.nodes[0].session.set_groups(Vec::new(), now);
    net.run_for(millis(2000));
    net.results.sort_by_key(|(_, result)| result.sent_at());
    insta::assert_snapshot!(story(&net));
}

#[test]
fn a_responder_is_told_how_its_acks_fare() {
    let asked = |kind| {
        let mut net = Net::new(2, config(), |hop| match (hop.message, hop.nth) {
            (Message::FirstAck, 3..6) => Fate::lost(),
            _ => Fate::arrives(),
        });
        let now = net.now;
        net.nodes[0]
            .session
            .set_groups(vec![group(kind, 1.0, vec![path_to(address(1), 77)])], now);
        net.run_for(millis(9_500));
        let mut answered = Vec::new();
        net.nodes[1].session.drain_answered(&mut answered);
        let first = answered.clone();
        net.nodes[1].session.drain_answered(&mut answered);
        assert_eq!(answered, first, "each is told once");
        answered
    };
    // Of ten probes those after the three whose ACKs were lost.
    let expected = Answered {
        to: address(0).gid,
        label: label(77),
        healthy: 7,
        failing: 3,
    };
    assert_eq!(asked(ProbeKind::InterTor), [expected]);
    assert_eq!(asked(ProbeKind::ServiceTracing), [expected]);
    assert_eq!(asked(ProbeKind::TorMesh), [], "there is no way to speak of");
}

#[test]
fn acks_and_completions_in_any_order() {
    let late_completion = Fate {
        completion: Some(millis(3)),
        ..Fate::arrives()
    };
    let mut net = pair(config(), |hop| match (hop.nth, hop.message) {
        (1 | 3, Message::FirstAck) => Fate::arrives_after(millis(1)),
        (2 | 3, Message::Probe) => late_completion.clone(),
        _ => Fate::arrives(),
    });
    net.run_for(millis(350));
    insta::assert_snapshot!(story(&net));
}

#[test]
fn duplicates_and_late_acks_are_counted_and_change_nothing() {
    let mut net = pair(config(), |hop| match (hop.nth, hop.message) {
        (0, Message::Probe) => Fate {
            arrivals: vec![MICROSECOND, millis(2)],
            ..Fate::arrives()
        },
        (3, Message::FirstAck) => Fate {
            arrivals: vec![MICROSECOND, 2 * MICROSECOND, millis(700)],
            ..Fate::arrives()
        },
        (4, Message::FirstAck) => Fate::arrives_after(millis(600)),
        (4, Message::SecondAck) => Fate::arrives_after(millis(601)),
        _ => Fate::arrives(),
    });
    net.run_for(millis(450));
    let now = net.now;
    net.nodes[0].session.set_groups(Vec::new(), now);
    net.run_for(millis(2000));
    net.results.sort_by_key(|(_, result)| result.sent_at());
    insta::assert_snapshot!(story(&net));
}

#[test]
fn a_port_that_is_down_sends_nothing_and_loses_nothing() {
    let mut net = pair(config(), |_| Fate::arrives());
    let at = |number| HostTime::from_nanos(0).after(millis(number));
    net.schedule(at(150), 0, Completion::Event(EndpointEvent::PortDown));
    net.schedule(at(350), 0, Completion::Event(EndpointEvent::PortActive));
    net.schedule(
        at(360),
        0,
        Completion::Event(EndpointEvent::ReceiveOverflow(7)),
    );
    net.schedule(at(361), 0, Completion::Event(EndpointEvent::Unknown(99)));
    net.run_for(millis(450));
    insta::assert_snapshot!(story(&net));
}

#[test]
fn a_reset_endpoint_concludes_what_is_under_way() {
    let mut net = pair(config(), |hop| match hop.nth {
        2 => Fate::arrives_after(millis(200)),
        _ => Fate::arrives(),
    });
    net.run_for(millis(250));
    let now = net.now;
    let capabilities = Capabilities {
        steering: SourcePortSteering::QueuePair(vec![UdpSourcePort(50_000), UdpSourcePort(50_001)]),
        ..capabilities()
    };
    net.nodes[0].session.reset(address(7), capabilities, now);
    net.run_for(millis(700));
    insta::assert_snapshot!(story(&net));
}

#[test]
fn turns_that_pass_are_not_caught_up() {
    let mut net = Net::new(2, config(), |_| Fate::arrives());
    let paths = (1..=3).map(|label| path_to(address(1), label)).collect();
    let now = net.now;
    net.nodes[0]
        .session
        .set_groups(vec![group(ProbeKind::InterTor, 100.0, paths)], now);
    net.run_for(millis(25));
    // The process is stopped for a second: the next turn is used, 97 are gone, the rhythm and the order go on.
    net.now = net.now.after(millis(980));
    net.run_for(millis(30));
    insta::assert_snapshot!(story(&net));
}

#[test]
fn an_ack_that_waited_for_a_late_process_is_no_loss() {
    let mut net = pair(config(), |_| Fate::arrives());
    // The first ACK arrives at 13 µs and would be handled at 14 µs; the second is on its way.
    net.run_for(14 * MICROSECOND);
    net.now = net.now.after(millis(3_000));
    net.run_for(millis(50));
    insta::assert_snapshot!(story(&net));
}

#[test]
fn service_probes_give_way_first() {
    let mut net = Net::new(2, config(), |_| Fate::arrives());
    let now = net.now;
    let kinds = [
        (ProbeKind::ServiceTracing, 200.0),
        (ProbeKind::InterTor, 60.0),
        (ProbeKind::TorMesh, 10.0),
    ];
    let groups = (1..)
        .zip(kinds)
        .map(|(label, (kind, rate))| group(kind, rate, vec![path_to(address(1), label)]))
        .collect();
    net.nodes[0].session.set_groups(groups, now);
    let mut story = String::new();
    for cap in [150.0, 65.0, 1_000.0] {
        let max_rate = Rate::per_second(cap).expect("a rate");
        let now = net.now;
        net.nodes[0].session.set_config(
            Config {
                max_rate,
                ..config()
            },
            now,
        );
        net.results.clear();
        net.run_for(millis(10_000));
        let _ = writeln!(story, "cap {cap}:");
        for grant in net.nodes[0].session.grants() {
            let sent = net
                .results
                .iter()
                .filter(|(_, result)| result.kind == grant.kind)
                .count();
            let _ = writeln!(story, "  {grant:?}: {sent} in 10 s");
        }
    }
    let _ = write!(story, "{}", counts(&net.nodes[0].session));
    insta::assert_snapshot!(story);
}

#[test]
fn groups_change_without_losing_their_rhythm() {
    let mut net = Net::new(4, config(), |_| Fate::arrives_after(millis(30)));
    let ten = |nodes: &[usize]| {
        vec![group(
            ProbeKind::TorMesh,
            10.0,
            nodes
                .iter()
                .map(|node| path_to(address(*node), 1))
                .collect(),
        )]
    };
    let now = net.now;
    net.nodes[0].session.set_groups(ten(&[1, 2]), now);
    net.run_for(millis(310));
    let now = net.now;
    net.nodes[0].session.set_groups(ten(&[3, 2, 1, 2]), now);
    net.run_for(millis(400));
    let now = net.now;
    net.nodes[0].session.set_groups(ten(&[3]), now);
    net.run_for(millis(240));
    insta::assert_snapshot!(table(&net.results));
}

#[test]
fn a_restarted_responder_is_followed_and_old_results_keep_the_old_address() {
    let mut net = pair(config(), |_| Fate::arrives());
    net.run_for(millis(150));
    let mut restarted = address(1);
    restarted.qpn = crate::id::Qpn::from_lower_bits(0x999);
    let now = net.now;
    net.nodes[1].session.reset(restarted, capabilities(), now);
    net.run_for(millis(200));
    net.nodes[0]
        .session
        .replace_address(restarted.gid, restarted);
    net.run_for(millis(700));
    net.results.sort_by_key(|(_, result)| result.sent_at());
    insta::assert_snapshot!(story(&net));
}

#[test]
fn a_responder_bounds_what_it_does_for_one_source() {
    let responder = ResponderConfig {
        rate_per_source: Rate::per_second(10.0).expect("a rate"),
        burst_per_source: 2,
        ..ResponderConfig::default()
    };
    let mut net = Net::new(
        3,
        Config {
            responder,
            ..config()
        },
        |_| Fate::arrives(),
    );
    let now = net.now;
    for (node, rate) in [(0, 100.0), (2, 5.0)] {
        net.nodes[node].session.set_groups(
            vec![group(
                ProbeKind::TorMesh,
                rate,
                vec![path_to(address(1), 1)],
            )],
            now,
        );
    }
    net.run_for(millis(1_000));
    net.results.clear();
    insta::assert_snapshot!(story(&net));
}

#[test]
fn a_responder_whose_completions_never_come_stays_bounded() {
    let responder = ResponderConfig {
        max_outstanding: 5,
        ..responder()
    };
    let mut net = pair(
        Config {
            responder,
            ..config()
        },
        |hop| match hop.message {
            Message::FirstAck => Fate {
                completion: None,
                ..Fate::arrives()
            },
            _ => Fate::arrives(),
        },
    );
    net.run_for(millis(2_050));
    insta::assert_snapshot!(counts(&net.nodes[1].session));
}

#[test]
fn a_full_window_skips_turns() {
    let mut net = pair(
        Config {
            max_outstanding: 3,
            ..config()
        },
        |_| Fate::lost(),
    );
    net.run_for(millis(990));
    insta::assert_snapshot!(story(&net));
}

/// The figure: half of 1 000 targets are dead, the others are probed within 10 ms of schedule.
#[test]
fn dead_targets_delay_nobody() {
    const TARGETS: u32 = 1_000;
    let rate = Rate::per_second(2_000.0).expect("a rate");
    let mut net = Net::new(
        2,
        Config {
            max_rate: rate,
            ..config()
        },
        |_| Fate::arrives(),
    );
    let mut dead = address(1);
    dead.qpn = crate::id::Qpn::from_lower_bits(0xdead);
    let paths = (1..=TARGETS)
        .map(|label| path_to(if label % 2 == 0 { address(1) } else { dead }, label))
        .collect();
    let now = net.now;
    net.nodes[0]
        .session
        .set_groups(vec![group(ProbeKind::InterTor, 1_000.0, paths)], now);
    net.run_for(millis(5_000));

    let worst = net
        .results
        .iter()
        .filter(|(_, result)| result.outcome.measurement().is_some())
        .map(|(_, result)| {
            let turn = (result.sent_at() - now).0;
            let (path, interval) = (i64::from(result.path.flow_label.get()) - 1, 1_000_000);
            let due = path * interval;
            let round = i64::from(TARGETS) * interval;
            (turn - due).rem_euclid(round)
        })
        .max()
        .expect("probes complete");
    assert!(worst <= 10_000_000, "{worst} ns behind schedule");
    let counters = net.nodes[0].session.counters();
    assert_eq!(
        (counters.probes_completed, counters.slots_missed),
        (2_500, 0)
    );
    assert_eq!(counters.probes_lost, 2_250);
}
