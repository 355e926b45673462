//! Hosts that are silent.

use super::*;
use crate::analysis::filter::ANNOUNCED;

#[test]
fn an_agent_that_is_silent_while_its_rnics_answer_is_no_host_that_is_down() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(20, |source, _| match source {
        1 => Fate::Silent,
        _ => Fate::Lost(0),
    });
    assert_eq!(
        fabric.lines,
        ["opened [agent_silent] the agent of host h1 is silent"]
    );
}

#[test]
fn a_host_that_is_silent_and_does_not_answer_is_down() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(10, |source, target| match (source, target) {
        (1, _) => Fate::Silent,
        (_, 1) => Fate::Lost(PROBES),
        _ => Fate::Lost(0),
    });
    assert_eq!(fabric.lines, ["opened [host_down] host h1 is down"]);
}

/// A host whose agent has announced its stop is not reported as silent for some minutes.
#[test]
fn a_host_that_says_that_it_stops_is_not_down_for_a_time() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(20, |_, _| Fate::Lost(0));
    let gone = |source, target| match (source, target) {
        (1, _) => Fate::Silent,
        (_, 1) => Fate::Lost(PROBES),
        _ => Fate::Lost(0),
    };
    fabric.host_filter.stops(&"h1".into(), now(20));
    // The word is about that host alone, and about one that is known.
    fabric.host_filter.stops(&"h9".into(), now(20));
    let announced = i64::try_from(ANNOUNCED.as_secs()).expect("small");
    fabric.run(announced - 5, gone);
    assert_eq!(fabric.lines, [""; 0]);
    fabric.run(15, gone);
    assert_eq!(fabric.lines, ["opened [host_down] host h1 is down"]);
}

/// It comes back, and falls silent without a word.
#[test]
fn a_host_that_has_come_back_is_down_like_any_other() {
    let mut fabric = TestFabric::new(2, 3);
    let gone = |source, target| match (source, target) {
        (1, _) => Fate::Silent,
        (_, 1) => Fate::Lost(PROBES),
        _ => Fate::Lost(0),
    };
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.host_filter.stops(&"h1".into(), now(20));
    fabric.run(10, gone);
    fabric.run(20, |_, _| Fate::Lost(0));
    assert_eq!(fabric.lines, [""; 0]);
    fabric.run(10, gone);
    assert_eq!(fabric.lines, ["opened [host_down] host h1 is down"]);
}

/// An upload comes late, and the host's RNIC was dead before: the host is not called down.
#[test]
fn a_host_whose_rnic_was_dead_before_is_not_down_for_one_late_upload() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(20, |_, _| Fate::Lost(0));
    let dead = |source, target| match (source, target) {
        (1, _) | (_, 1) => Fate::Lost(PROBES),
        _ => Fate::Lost(0),
    };
    fabric.run(20, dead);
    fabric.run(3, |source, target| match source {
        1 => Fate::Silent,
        _ => dead(source, target),
    });
    fabric.run(20, dead);
    assert_eq!(fabric.lines, ["opened [rnic_down] RNIC h1/mlx5_0 is down"]);
}
