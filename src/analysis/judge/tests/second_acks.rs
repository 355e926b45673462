//! What the judge makes of second ACKs that are missing.

use super::*;
use crate::probe::trace::Tuple;

/// Four ToRs with two hosts each. Two spines, and each 5-tuple crosses the same one there and back: round trips do not tell the directions
/// of a cable apart.
fn fabric() -> TestFabric {
    let mut fabric = TestFabric::new(4, 2);
    for source in 0..8 {
        for target in (0..8).filter(|target| target / 2 != source / 2) {
            let tuple = Tuple {
                source: fabric.end(source).gid,
                target: fabric.end(target).gid,
                port: UdpSourcePort(50_000),
            };
            let nodes = vec![
                fabric.end(source).tor.as_str().to_owned(),
                spine(source, target).to_owned(),
                fabric.end(target).tor.as_str().to_owned(),
            ];
            fabric.judge.routes.learn(tuple, nodes, now(0));
        }
    }
    fabric
}

fn spine(one: u8, other: u8) -> &'static str {
    if (one + other).is_multiple_of(2) {
        "spine0"
    } else {
        "spine1"
    }
}

/// Half of the packets from spine 0 to ToR 0 are lost, or of those to spine 0. Every path over that cable loses half of its probes; where
/// the ACKs cross the direction that loses, half of the second ACKs of the others are missing, too.
fn lossy(source: u8, target: u8, from_spine: bool) -> Fate {
    let (under, over) = (source / 2, target / 2);
    if under == over || (under != 0 && over != 0) || spine(source, target) != "spine0" {
        return Fate::Lost(0);
    }
    let acks_cross = (under == 0) == from_spine;
    Fate::Half(PROBES / 2, if acks_cross { PROBES / 4 } else { 0 })
}

#[test]
fn they_tell_the_directions_of_a_cable_apart() {
    for (from_spine, named) in [(true, "link spine0->tor0"), (false, "link tor0->spine0")] {
        let mut fabric = fabric();
        fabric.run(20, |_, _| Fate::Lost(0));
        fabric.run(20, |source, target| lossy(source, target, from_spine));
        let opened = format!("opened [link_loss] {named} loses 50 %");
        assert_eq!(fabric.lines.len(), 1, "{:#?}", fabric.lines);
        assert!(fabric.lines[0].starts_with(&opened), "{}", fabric.lines[0]);
    }
}

#[test]
fn those_that_a_responder_does_not_send_blame_nothing() {
    let mut fabric = fabric();
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(60, |_, target| match target {
        5 => Fate::Half(0, PROBES),
        6 => Fate::Half(0, 1),
        _ => Fate::Lost(0),
    });
    assert_eq!(fabric.lines, [""; 0]);
}

#[test]
fn those_that_are_missing_everywhere_blame_nothing() {
    let mut fabric = fabric();
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(60, |source, target| {
        let half = u64::from((source + target).is_multiple_of(3));
        Fate::Half(0, half)
    });
    assert_eq!(fabric.lines, [""; 0]);
}
