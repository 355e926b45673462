use std::net::Ipv4Addr;

use super::*;
use crate::analysis::localize::DOUBT;
use crate::id::UdpSourcePort;

fn tuple(port: u16) -> Tuple {
    Tuple {
        source: Ipv4Addr::new(10, 0, 0, 1).into(),
        target: Ipv4Addr::new(10, 1, 0, 1).into(),
        port: UdpSourcePort(port),
    }
}

fn over(spine: &str) -> Vec<String> {
    ["t0", spine, "t1"].map(str::to_owned).to_vec()
}

fn minutes(number: i64) -> WallTime {
    WallTime::from_nanos(number * 60 * 1_000_000_000)
}

/// In multiples of the doubt of a new trace.
fn doubt(legs: &TracedLegs, port: u16) -> f64 {
    (legs.get(&tuple(port)).expect("known").doubt / DOUBT).round()
}

fn spines(legs: &TracedLegs) -> Vec<(&str, u32)> {
    let shown = legs.shown().values().flatten();
    shown
        .map(|(path, count)| (path[1].as_str(), *count))
        .collect()
}

#[test]
fn a_trace_that_nobody_repeats_is_doubted_more_and_more() {
    let mut legs = TracedLegs::default();
    legs.learn(tuple(1), over("s0"), minutes(0));
    legs.learn(tuple(2), over("s0"), minutes(0));
    let mut seen = Vec::new();
    for minute in [0, 29, 31, 61, 12 * 60, 24 * 60] {
        if minute == 31 {
            assert_eq!(
                legs.learn(tuple(2), over("s0"), minutes(30)),
                Learned::Confirmed
            );
        }
        legs.age(minutes(minute));
        seen.push((doubt(&legs, 1), doubt(&legs, 2)));
    }
    let expected = [
        (1.0, 1.0),
        (1.0, 1.0),
        (2.0, 1.0),
        (3.0, 2.0),
        (25.0, 24.0),
        (25.0, 25.0),
    ];
    assert_eq!(seen, expected);
    // Traced again, it is as good as new.
    legs.learn(tuple(1), over("s0"), minutes(24 * 60 + 1));
    legs.age(minutes(24 * 60 + 2));
    assert!((doubt(&legs, 1) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_path_that_changes_is_doubted_for_good() {
    let mut legs = TracedLegs::default();
    for (minute, spine) in [(0, "s0"), (1, "s1"), (2, "s0")] {
        legs.learn(tuple(1), over(spine), minutes(minute));
    }
    assert!((doubt(&legs, 1) - 3.0).abs() < f64::EPSILON);
    assert_eq!(spines(&legs), [("s0", 1)], "it takes one path at a time");
}

/// Whether the 5-tuple is sprayed after each of the traces, which follow each other by a minute.
fn sprayed_after(traces: &[&str]) -> Vec<bool> {
    let mut legs = TracedLegs::default();
    (0..)
        .zip(traces)
        .map(|(minute, spine)| {
            legs.learn(tuple(1), over(spine), minutes(minute));
            assert_eq!(legs.get(&tuple(1)).is_none(), legs.sprayed() == 1);
            legs.sprayed() == 1
        })
        .collect()
}

#[test]
fn a_5_tuple_whose_traces_contradict_each_other_again_and_again_is_sprayed() {
    let sprayed = sprayed_after(&["s0", "s1", "s2", "s0", "s0", "s3", "s3", "s3", "s3", "s3"]);
    let expected = [
        false, false, false, true, true, true, true, true, true, false,
    ];
    assert_eq!(sprayed, expected);
    // A link that fails and comes back.
    let rerouted = sprayed_after(&["s0", "s1", "s1", "s0", "s0", "s1"]);
    assert!(!rerouted.contains(&true), "{rerouted:?}");
}

#[test]
fn what_is_forgotten_leaves_nothing_behind() {
    let mut legs = TracedLegs::default();
    for port in 0..100 {
        let spine = if port % 2 == 0 { "s0" } else { "s1" };
        legs.learn(tuple(port), over(spine), minutes(0));
    }
    assert_eq!(spines(&legs), [("s0", 50), ("s1", 50)]);
    assert_eq!(legs.legs.len(), 2, "5-tuples on one path share a leg");
    let told: Vec<_> = (0..100)
        .filter(|port| legs.forget(&tuple(*port)).is_some())
        .collect();
    assert_eq!(told, [98, 99], "the last of each path");
    assert_eq!(legs.forget(&tuple(1)), None, "not known any more");
    legs.age(minutes(1));
    assert_eq!((legs.len(), legs.legs.len(), legs.shown.len()), (0, 0, 0));
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_older() {
    let mut legs = TracedLegs::default();
    legs.learn(tuple(1), over("s0"), minutes(600));
    legs.age(minutes(0));
    assert!((doubt(&legs, 1) - 1.0).abs() < f64::EPSILON);
    legs.age(minutes(640));
    assert!((doubt(&legs, 1) - 2.0).abs() < f64::EPSILON);
}
