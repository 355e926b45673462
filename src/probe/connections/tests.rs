use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::id::{FlowLabel, QKey, Qpn};
use crate::topology::Peer;

const INTERVAL: Duration = Duration::from_millis(10);
const SECOND: i64 = 1_000_000_000;

fn at(nanos: i64) -> HostTime {
    HostTime::from_nanos(nanos)
}

fn address(node: u8) -> Address {
    Address {
        gid: Gid::from(Ipv4Addr::new(10, 0, 0, node)),
        qpn: Qpn::from_lower_bits(u32::from(node)),
        q_key: QKey(1),
    }
}

/// The label tells which connection a turn was of.
fn path(id: u64) -> Arc<ProbePath> {
    let label = u32::try_from(id).ok().and_then(|id| FlowLabel::new(id + 1));
    Arc::new(ProbePath {
        target: Arc::new(Peer {
            address: address(2),
            tor: "tor1".into(),
            host: "h2".into(),
            device: "rnic0".into(),
        }),
        flow_label: label.expect("20 bits"),
        service: Some("train".into()),
        traffic_class: None,
        fidelity: None,
    })
}

fn id_of(turn: &Turn) -> u64 {
    u64::from(turn.path.flow_label.get()) - 1
}

fn connections(left: f64, count: u64) -> Connections {
    let mut connections = Connections::new(INTERVAL);
    connections.set_left(Rate::per_second(left));
    for id in 0..count {
        connections.set(PathId(id), path(id), at(0));
    }
    connections
}

/// Takes every turn as it comes, until `end`.
fn run(connections: &mut Connections, end: i64) -> Vec<(i64, u64)> {
    let mut turns = Vec::new();
    while let Some(next) = connections.next_turn().filter(|next| *next < at(end)) {
        let now = next.max(at(turns.last().map_or(0, |(time, _)| *time)));
        let turn = connections.take(now).expect("its turn has come");
        assert_eq!(turn.missed, 0);
        turns.push((now.nanos(), id_of(&turn)));
    }
    turns
}

fn counts(turns: &[(i64, u64)]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for (_, id) in turns {
        *counts.entry(*id).or_default() += 1;
    }
    counts
}

#[test]
fn one_connection_is_probed_at_once_and_then_every_interval() {
    let mut connections = connections(150.0, 0);
    assert_eq!(connections.next_turn(), None);
    connections.set(PathId(7), path(7), at(5 * SECOND));
    let turns: Vec<_> = run(&mut connections, 5 * SECOND + 35_000_000)
        .into_iter()
        .collect();
    // The first turn is open since the beginning of time: whoever polls at the time of the call gets it.
    assert!(turns[0].0 <= 5 * SECOND);
    let later: Vec<_> = turns[1..]
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert!(later.iter().all(|span| *span == 10_000_000), "{later:?}");
}

#[test]
fn connections_share_what_is_left_in_turn() {
    let mut connections = connections(50.0, 5_000);
    let turns = run(&mut connections, 300 * SECOND);
    // 50 a second for 300 s, and the first few at once.
    assert!((14_990..=15_004).contains(&turns.len()), "{}", turns.len());
    let counts = counts(&turns);
    let (least, most) = (counts.values().min(), counts.values().max());
    assert_eq!(counts.len(), 5_000);
    assert!(
        most.expect("some") - least.expect("some") <= 1,
        "{least:?} {most:?}"
    );
}

#[test]
fn a_new_connection_does_not_wait_for_thousands() {
    let mut connections = connections(100.0, 5_000);
    run(&mut connections, 60 * SECOND);
    connections.set(PathId(9_999), path(9_999), at(60 * SECOND));
    let turns = run(&mut connections, 60 * SECOND + 25_000_000);
    assert!(
        turns.iter().any(|(_, id)| *id == 9_999),
        "within two turns: {turns:?}"
    );
}

#[test]
fn all_are_probed_once_before_any_is_probed_twice() {
    let mut connections = connections(100.0, 1_000);
    let turns = run(&mut connections, 9_900_000_000);
    let counts = counts(&turns);
    assert!(turns.len() > 985, "{}", turns.len());
    assert_eq!(counts.len(), turns.len());
}

#[test]
fn new_connections_do_not_starve_the_others() {
    let mut connections = connections(100.0, 10);
    run(&mut connections, SECOND);
    let mut turns = Vec::new();
    for step in 0..2_000 {
        let now = SECOND + i64::try_from(step).expect("small") * 10_000_000;
        // Two appear for each probe that the cap allows, and live for 200 ms.
        for id in 1_000 + 2 * step..1_002 + 2 * step {
            connections.set(PathId(id), path(id), at(now));
            connections.remove(PathId(id - 40));
        }
        turns.extend(connections.take(at(now)).map(|turn| (now, id_of(&turn))));
    }
    let counts = counts(&turns);
    assert!(turns.len() >= 1_995, "{}", turns.len());
    // A round over the 50 that are there takes 500 ms.
    for old in 0..10 {
        assert!(counts[&old] >= 20, "{old}: {}", counts[&old]);
    }
    let first_probes = counts.keys().filter(|id| **id >= 1_000).count();
    assert!(first_probes >= 1_000, "{first_probes}");
}

#[test]
fn nothing_left_means_no_turns_until_there_is() {
    let mut connections = connections(100.0, 3);
    connections.set_left(None);
    assert_eq!(connections.next_turn(), None);
    assert!(connections.take(at(SECOND)).is_none());
    connections.set_left(Rate::per_second(10.0));
    assert!(connections.take(at(SECOND)).is_some());
}

#[test]
fn late_turns_are_counted_and_not_caught_up() {
    let mut connections = connections(1_000.0, 1);
    assert!(connections.take(at(0)).is_some());
    let turn = connections
        .take(at(105_000_000))
        .expect("ten turns have come");
    assert_eq!(turn.missed, 9);
    assert!(connections.take(at(105_000_000)).is_none());
    assert_eq!(connections.next_turn(), Some(at(110_000_000)));
}

#[test]
fn a_replaced_path_keeps_its_turn() {
    let mut connections = connections(100.0, 2);
    run(&mut connections, SECOND);
    let next = connections.next_turn();
    let mut moved = ProbePath::clone(&path(0));
    Arc::make_mut(&mut moved.target).address = address(3);
    connections.set(PathId(0), Arc::new(moved), at(SECOND));
    assert_eq!(connections.next_turn(), next);
    connections.replace_address(address(3).gid, address(4));
    let targets: Vec<_> = (0..2)
        .filter_map(|_| {
            let turn = connections.take(connections.next_turn()?)?;
            Some((id_of(&turn), turn.path.target.address))
        })
        .collect();
    assert!(targets.contains(&(0, address(4))) && targets.contains(&(1, address(2))));
}

proptest! {
    /// Whatever comes and goes: only what is there is probed, at most as fast as is left, in bounded memory, and whoever
    /// stays is probed.
    #[test]
    fn turns_are_bounded_and_of_what_is_there(
        left in 1.0..2_000.0_f64,
        steps in proptest::collection::vec((0_u8..6, 0_usize..40, 0_i64..30_000_000), 1..300),
    ) {
        let mut connections = Connections::new(INTERVAL);
        connections.set_left(Rate::per_second(left));
        let mut alive = std::collections::BTreeSet::new();
        let mut now = 0;
        let mut taken = 0_u64;
        let mut next_id = 0;
        for (what, which, span) in steps {
            now += span;
            let known = alive.iter().copied().nth(which);
            match (what, known) {
                (0 | 1, _) => {
                    connections.set(PathId(next_id), path(next_id), at(now));
                    alive.insert(next_id);
                    next_id += 1;
                }
                (2, Some(id)) => {
                    connections.remove(PathId(id));
                    alive.remove(&id);
                }
                (3, Some(id)) => connections.set(PathId(id), path(id), at(now)),
                _ => {
                    while let Some(turn) = connections.take(at(now)) {
                        prop_assert!(alive.contains(&id_of(&turn)));
                        taken += 1;
                    }
                    prop_assert!(connections.next_turn().is_none_or(|next| next > at(now)));
                }
            }
            let queued = connections.ring.len() + connections.fresh.len();
            prop_assert!(queued <= 4 * alive.len() + 2, "{queued} names of {}", alive.len());
            prop_assert_eq!(connections.next_turn().is_some(), !alive.is_empty());
            let bound = now as f64 / 1e9 * left + f64::from(BURST) + 1.0;
            prop_assert!(taken as f64 <= bound, "{taken} turns, at most {bound}");
        }
        // From here on everyone is probed within the next two rounds.
        let count = alive.len();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2 * count {
            let Some(next) = connections.next_turn() else { break };
            now = now.max(next.nanos());
            let turn = connections.take(at(now));
            seen.extend(turn.map(|turn| id_of(&turn)));
        }
        prop_assert_eq!(seen, alive);
    }

    /// Once nothing changes, the connections' numbers of turns differ by one at most in every stretch of time.
    #[test]
    fn turns_are_fair(left in 1.0..5_000.0_f64, count in 1_u64..50, from in 0_usize..200, length in 1_usize..200) {
        let mut connections = connections(left, count);
        let from = from + usize::try_from(count).expect("small");
        let mut turns = Vec::new();
        let mut now = at(0);
        while turns.len() < from + length {
            now = now.max(connections.next_turn().expect("there are some"));
            turns.extend(connections.take(now).map(|turn| (now.nanos(), id_of(&turn))));
        }
        let stretch = counts(&turns[from..]);
        let most = stretch.values().copied().max().unwrap_or(0);
        let least = if stretch.len() < usize::try_from(count).expect("small") {
            0
        } else {
            stretch.values().copied().min().unwrap_or(0)
        };
        prop_assert!(most - least <= 1, "{stretch:?}");
    }
}
