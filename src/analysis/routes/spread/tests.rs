use std::net::Ipv4Addr;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::id::UdpSourcePort;
use crate::time::WallTime;
use crate::topology::wiring::file::{File, HostEntry};
use crate::topology::wiring::{Link, Wiring};

const NOW: WallTime = WallTime::from_nanos(0);

/// Two pods of two ToRs and two aggregation switches, each of these with two spines of its own.
fn pods() -> Wiring {
    let mut links = Vec::new();
    let mut link = |a: &str, b: String| {
        links.push(Link::new(a, b));
    };
    for pod in 0..2 {
        for agg in 0..2 {
            for tor in 0..2 {
                link(&format!("t{pod}-{tor}"), format!("a{pod}-{agg}"));
            }
            for spine in 0..2 {
                link(&format!("a{pod}-{agg}"), format!("s{}", 2 * agg + spine));
            }
        }
    }
    let hosts = (0..2).flat_map(|pod| {
        (0..2).map(move |tor| HostEntry::new(format!("h{pod}-{tor}"), format!("t{pod}-{tor}")))
    });
    File {
        hosts: hosts.collect(),
        links,
        ..File::default()
    }
    .check()
    .expect("a topology")
}

/// Traces `count` 5-tuples from pod 0 to pod 1; `turn` chooses the spine of an aggregation switch.
fn trace(
    routes: &mut Routes,
    count: u16,
    seed: u64,
    turn: impl Fn(&mut ChaCha8Rng, usize) -> usize,
) -> Vec<Tuple> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|number| {
            let tuple = Tuple {
                source: Ipv4Addr::new(10, 0, 0, 1).into(),
                target: Ipv4Addr::new(10, 1, 0, 1).into(),
                port: UdpSourcePort(49_152 + number),
            };
            let (from, to) = (random.random_range(0..2), random.random_range(0..2));
            let agg = random.random_range(0..2);
            let spine = 2 * agg + turn(&mut random, agg);
            let path = [
                format!("t0-{from}"),
                format!("a0-{agg}"),
                format!("s{spine}"),
                format!("a1-{agg}"),
                format!("t1-{to}"),
            ];
            assert!(routes.learn(tuple, path.to_vec(), NOW));
            tuple
        })
        .collect()
}

fn text(found: &[Uneven]) -> Vec<String> {
    found
        .iter()
        .map(|uneven| {
            let next: Vec<_> = uneven
                .next
                .iter()
                .map(|next| format!("{} {}/{:.0}", next.name, next.taken, next.expected))
                .collect();
            format!("{}: {}", uneven.switch, next.join(", "))
        })
        .collect()
}

#[test]
fn polarised_hashes_are_named_at_the_switches_that_suffer() {
    let mut routes = Routes::new(Some(&pods()));
    // Both tiers look at the same bit: each aggregation switch uses one of its two spines.
    let tuples = trace(&mut routes, 200, 1, |_, agg| agg);
    let found = routes.uneven(tuples.clone());
    assert_eq!(
        text(&found),
        ["a0-0: s0 107/54, s1 0/54", "a0-1: s2 0/46, s3 93/46"]
    );
    assert!(
        routes.uneven(tuples.into_iter().take(20)).is_empty(),
        "ten 5-tuples each are too few to say"
    );
}

#[test]
fn a_next_hop_that_is_not_in_the_table_is_missed() {
    let mut routes = Routes::new(Some(&pods()));
    let tuples = trace(&mut routes, 300, 2, |random, agg| match agg {
        0 => random.random_range(0..2),
        _ => 0,
    });
    let found = routes.uneven(tuples);
    let [uneven] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(uneven.switch, "a0-1");
    let unused = uneven.next.iter().find(|next| next.name == "s3");
    assert!(unused.is_some_and(|next| next.taken == 0 && next.expected > 50.0));
}

#[test]
fn without_the_wiring_what_traces_have_shown_is_even_or_not() {
    let mut routes = Routes::new(None);
    let tuples = trace(&mut routes, 400, 3, |random, _| {
        usize::from(random.random_bool(0.1))
    });
    let found = routes.uneven(tuples);
    let switches: Vec<_> = found.iter().map(|uneven| uneven.switch.as_str()).collect();
    assert_eq!(switches, ["a0-0", "a0-1"]);
}

/// Even hashing of two hundred fabrics with few and many 5-tuples is never called uneven.
#[test]
fn chance_is_not_called_uneven() {
    for seed in 0..200 {
        let mut routes = Routes::new(Some(&pods()));
        let count = [8, 30, 100, 400][usize::try_from(seed % 4).unwrap()];
        let tuples = trace(&mut routes, count, seed, |random, _| {
            random.random_range(0..2)
        });
        let found = routes.uneven(tuples);
        assert!(found.is_empty(), "seed {seed}: {found:?}");
    }
}
