//! ToRs from which nothing ever comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::harness::*;
use crate::probe::unanswered::{AFTER, EVERY};
use crate::probe::{Group, ProbeKind, ProbePath};
use crate::topology::Peer;

/// A node that the network does not know.
const NOWHERE: usize = 9;

fn path_under(tor: &str, node: usize, number: u32) -> Arc<ProbePath> {
    let path = path_to(address(node), number);
    Arc::new(ProbePath {
        target: Arc::new(Peer {
            tor: tor.into(),
            ..Peer::clone(&path.target)
        }),
        ..ProbePath::clone(&path)
    })
}

/// Two 5-tuples to a ToR that answers, two to one that does not; each once a second.
fn both() -> Vec<Group> {
    vec![group(
        ProbeKind::InterTor,
        4.0,
        vec![
            path_under("near", 1, 1),
            path_under("far", NOWHERE, 1),
            path_under("near", 1, 2),
            path_under("far", NOWHERE, 2),
        ],
    )]
}

fn sent_to<F: FnMut(Hop) -> Fate>(net: &Net<F>, tor: &str) -> usize {
    let is_to =
        |result: &&(usize, crate::probe::ProbeResult)| *result.1.path.target.tor.as_str() == *tor;
    net.results.iter().filter(is_to).count()
}

fn start<F: FnMut(Hop) -> Fate>(fate: F, groups: Vec<Group>) -> Net<F> {
    let mut net = Net::new(2, config(), fate);
    let now = net.now;
    net.nodes[0].session.set_groups(groups, now);
    net
}

#[test]
fn a_tor_that_never_answers_is_probed_rarely() {
    let mut net = start(|_| Fate::arrives(), both());
    // The first loss is known a timeout after the first probe.
    net.run_for(AFTER + Duration::from_secs(5));
    net.results.clear();
    let before = net.nodes[0].session.counters();
    let seconds = 20 * EVERY;
    net.run_for(Duration::from_secs(u64::from(seconds)));
    let after = net.nodes[0].session.counters();
    let turns = 4 * u64::from(seconds);
    let left_out = after.slots_unanswered - before.slots_unanswered;
    assert_eq!(
        left_out,
        turns / 2 / u64::from(EVERY) * u64::from(EVERY - 1)
    );
    assert_eq!(after.probes_sent - before.probes_sent + left_out, turns);
    // Both 5-tuples have their turns.
    let labels = net
        .results
        .iter()
        .filter(|(_, result)| result.path.target.tor.as_str() == "far");
    let labels: BTreeSet<_> = labels.map(|(_, result)| result.path.flow_label).collect();
    assert_eq!(labels.len(), 2);
}

#[test]
fn the_first_answer_brings_all_turns_back_for_good() {
    let mut groups = both();
    let mut net = start(|_| Fate::arrives(), groups.clone());
    net.run_for(AFTER + Duration::from_mins(1));
    // The same ToR, now with an RNIC that is there: as after a repair.
    for path in &mut groups[0].paths {
        if path.target.tor.as_str() == "far" {
            *path = path_under("far", 1, path.flow_label.get());
        }
    }
    let now = net.now;
    net.nodes[0].session.set_groups(groups, now);
    net.run_for(Duration::from_secs(u64::from(EVERY)));
    net.results.clear();
    let now = net.now;
    net.nodes[0].session.set_groups(both(), now);
    // It answered once: what falls silent later is a fault, and is probed as before.
    net.run_for(3 * AFTER);
    let seconds = usize::try_from(3 * AFTER.as_secs()).expect("small");
    assert!(sent_to(&net, "far").abs_diff(2 * seconds) <= 2);
}

#[test]
fn a_prober_that_hears_nothing_at_all_goes_on() {
    let mut net = start(|_| Fate::lost(), both());
    net.run_for(2 * AFTER);
    assert_eq!(net.nodes[0].session.counters().slots_unanswered, 0);
    net.results.clear();
    net.run_for(Duration::from_mins(1));
    assert_eq!(sent_to(&net, "far"), 120);
}

#[test]
fn silence_counts_from_the_first_answer_of_any_tor() {
    // For fifteen minutes the own RNIC loses everything.
    let dead = 15 * 60 * 4;
    let mut net = start(
        move |hop| match (hop.message, hop.nth) {
            (Message::Probe, nth) if nth < dead => Fate::lost(),
            _ => Fate::arrives(),
        },
        both(),
    );
    net.run_for(Duration::from_mins(24));
    assert_eq!(net.nodes[0].session.counters().slots_unanswered, 0);
    net.run_for(Duration::from_mins(2));
    assert!(net.nodes[0].session.counters().slots_unanswered > 0);
}

#[test]
fn probes_under_the_own_tor_are_never_left_out() {
    let mut groups = both();
    groups.push(group(
        ProbeKind::TorMesh,
        1.0,
        vec![path_under("far", NOWHERE, 3)],
    ));
    let mut net = start(|_| Fate::arrives(), groups);
    net.run_for(AFTER + Duration::from_mins(1));
    net.results.clear();
    net.run_for(Duration::from_mins(1));
    let mesh = |result: &&(usize, crate::probe::ProbeResult)| result.1.kind == ProbeKind::TorMesh;
    assert_eq!(net.results.iter().filter(mesh).count(), 60);
}

#[test]
fn an_ack_is_an_answer_whatever_its_times_are_worth() {
    // No second ACK ever comes: no probe is complete.
    let mut net = start(
        |hop| match (hop.message, hop.nth) {
            (Message::SecondAck, _) | (Message::Probe, 0..4) => Fate::lost(),
            _ => Fate::arrives(),
        },
        vec![group(
            ProbeKind::InterTor,
            2.0,
            vec![path_under("near", 1, 1), path_under("other", 1, 2)],
        )],
    );
    net.run_for(2 * AFTER);
    assert_eq!(net.nodes[0].session.counters().slots_unanswered, 0);
    assert_eq!(net.nodes[0].session.counters().probes_completed, 0);
}
