use std::net::Ipv4Addr;

use super::*;
use crate::id::{NodeName, UdpSourcePort};
use crate::probe::trace::{Answer, End, Reason};

const SECOND: i64 = 1_000_000_000;

fn tuple(number: u8) -> Tuple {
    Tuple {
        source: Ipv4Addr::new(10, 0, 0, number).into(),
        target: Ipv4Addr::new(10, 0, 1, 1).into(),
        port: UdpSourcePort(50_000),
    }
}

fn at(second: i64) -> WallTime {
    WallTime::from_nanos(second * SECOND)
}

fn trace(number: u8, second: i64, hops: &str, end: End) -> Trace {
    let hop = |name: &str| {
        (name != "?").then(|| Answer {
            node: NodeName::from(name),
            rtt: Nanos(1),
        })
    };
    Trace {
        tuple: tuple(number),
        at: at(second),
        reason: Reason::Scheduled,
        end,
        hops: hops.split_whitespace().map(hop).collect(),
    }
}

#[test]
fn a_path_is_learned_confirmed_and_changed() {
    let mut paths = KnownPaths::new(10);
    let steps = [
        (1, "t0", End::Silent),
        (2, "t0 ? t2", End::Inferred),
        (3, "t0 s1 t2", End::Inferred),
        (4, "? ? t2", End::Inferred),
        (5, "t0 s1", End::Inferred),
        (5, "t0 s9 t2", End::Inferred),
        (4, "t0 s9 t2", End::Inferred),
        (6, "t0", End::Silent),
        (7, "t0 s0 t2", End::Inferred),
        (8, "t0 s0 t2", End::Answered),
    ];
    let lines: Vec<_> = steps
        .into_iter()
        .map(|(second, hops, end)| {
            let learned = paths.learn(&trace(1, second, hops, end));
            let known = paths.get(&tuple(1)).expect("known");
            let route = known.route().map_or("-".to_owned(), ToString::to_string);
            let age = known.confirmed().map_or(-1, |then| {
                i64::try_from(at(8).since(then).as_secs()).unwrap()
            });
            let changes: Vec<_> = known
                .changes()
                .map(|change| format!("{} -> {}", change.from, change.to))
                .collect();
            format!(
                "{second} s: `{hops}` {}: {learned:?}; now `{route}`, age {age}, changes [{}]",
                end.name(),
                changes.join(", ")
            )
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn memory_is_bounded_and_old_paths_go() {
    let mut paths = KnownPaths::new(3);
    for number in 0..5 {
        paths.learn(&trace(number, i64::from(number), "t0", End::Inferred));
    }
    // Traced again, so it outlives the next.
    paths.learn(&trace(2, 10, "t0", End::Inferred));
    paths.learn(&trace(6, 11, "t0", End::Inferred));
    let mut left: Vec<_> = paths.iter().map(|(tuple, _)| *tuple).collect();
    left.sort();
    assert_eq!(left, [tuple(2), tuple(4), tuple(6)]);
    assert_eq!(paths.evicted(), 3);
    assert_eq!(paths.take_gone(), [tuple(0), tuple(1), tuple(3)]);
    paths.expire(at(20), Duration::from_secs(10));
    assert_eq!(paths.len(), 2, "the one of second 4 is gone");
    assert!(paths.get(&tuple(4)).is_none());
    assert_eq!(paths.take_gone(), [tuple(4)]);
    assert_eq!(paths.take_gone(), [], "each is told once");

    let mut flapping = KnownPaths::new(1);
    for second in 0..20 {
        let hops = if second % 2 == 0 { "t0 s0" } else { "t0 s1" };
        flapping.learn(&trace(1, second, hops, End::Inferred));
    }
    let known = flapping.get(&tuple(1)).expect("known");
    assert_eq!((known.changed(), known.changes().len()), (19, MAX_CHANGES));
    assert_eq!(known.changes().last().expect("one").at, at(19));
}
