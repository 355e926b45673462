use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::Answer;
use super::*;
use crate::id::UdpSourcePort;
use crate::time::WallTime;

fn per_second(number: f64) -> Rate {
    Rate::per_second(number).expect("in range")
}

fn tuple(number: u16) -> Tuple {
    Tuple {
        source: Ipv4Addr::new(10, 0, 0, 1).into(),
        target: Ipv4Addr::new(10, 0, 1, 1).into(),
        port: UdpSourcePort(49_152 + number),
    }
}

fn at(millis: i64) -> HostTime {
    HostTime::from_nanos(millis * 1_000_000)
}

fn trace(tuple: Tuple, hops: &[&str], end: End) -> Trace {
    Trace {
        tuple,
        at: WallTime::from_nanos(0),
        reason: Reason::New,
        end,
        hops: hops
            .iter()
            .map(|name| {
                Some(Answer {
                    node: (*name).into(),
                    rtt: Nanos(1),
                })
            })
            .collect(),
    }
}

fn config() -> Config {
    Config {
        rate: per_second(1000.0),
        burst: 1000,
        switch_rate: per_second(1000.0),
        switch_burst: 1000,
        ..Config::default()
    }
}

/// Runs from `from` to `to` in steps of 100 ms, probing `paths` once a second, and tells what was ordered when.
fn run(
    schedule: &mut Schedule,
    paths: &[u16],
    lossy: &[u16],
    millis: std::ops::Range<i64>,
) -> Vec<(i64, u16, Reason)> {
    let mut orders = Vec::new();
    for now in millis.step_by(100) {
        if now % 1000 == 0 {
            for number in paths {
                let lost = u64::from(lossy.contains(number));
                schedule.seen(
                    (tuple(*number), Direction::Forward),
                    lost,
                    2 - lost,
                    at(now),
                );
            }
        }
        while let Some(order) = schedule.next(at(now)) {
            orders.push((now, order.tuple.port.0 - 49_152, order.reason));
            schedule.done(
                &trace(order.tuple, &["tor0", "spine0"], End::Inferred),
                at(now),
            );
        }
    }
    orders
}

#[test]
fn a_path_is_traced_when_it_is_new_fails_recovers_and_in_turn() {
    let mut schedule = Schedule::new(config());
    assert_eq!(schedule.next_wakeup(at(0)), None);
    let fresh = run(&mut schedule, &[1, 2], &[], 0..10_000);
    assert_eq!(fresh, [(0, 1, Reason::New), (0, 2, Reason::New)]);
    // At once when it begins to fail, once.
    let failing = run(&mut schedule, &[1, 2], &[2], 10_000..20_000);
    assert_eq!(failing, [(10_000, 2, Reason::Failing)]);
    // Five probes in a row have to come through: with the third second.
    let recovered = run(&mut schedule, &[1, 2], &[], 20_000..30_000);
    assert_eq!(recovered, [(22_000, 2, Reason::Recovered)]);
    let scheduled = run(&mut schedule, &[1, 2], &[], 30_000..400_000);
    assert!(scheduled.len() >= 2, "{scheduled:?}");
    for (now, _, reason) in scheduled {
        assert_eq!(reason, Reason::Scheduled);
        assert!(now >= 225_000, "not before three quarters of the interval");
    }
}

#[test]
fn a_path_that_flaps_is_not_traced_more_often_than_its_gap_allows() {
    let mut schedule = Schedule::new(config());
    let mut times = Vec::new();
    for second in 0..60 {
        let lossy: &[u16] = if second % 4 == 0 { &[1] } else { &[] };
        let now = second * 1000;
        times.extend(run(&mut schedule, &[1], lossy, now..now + 1000));
    }
    assert!(times.len() > 5, "{times:?}");
    for pair in times.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 5_000, "{times:?}");
    }
}

#[test]
fn a_trace_that_ends_in_silence_is_repeated_less_and_less_often_until_its_end_is_known() {
    let mut schedule = Schedule::new(config());
    let mut times = Vec::new();
    for second in 0..1200 {
        schedule.seen((tuple(1), Direction::Forward), 1, 0, at(second * 1000));
        while let Some(order) = schedule.next(at(second * 1000)) {
            assert_eq!(order.reason, Reason::Failing);
            times.push(second);
            let silent = trace(order.tuple, &["tor0"], End::Silent);
            schedule.done(&silent, at(second * 1000));
        }
    }
    assert_eq!(times[..7], [0, 5, 15, 35, 75, 155, 315]);
    // From here on in turn, an interval more or less a quarter.
    for pair in times[6..].windows(2) {
        assert!((225..=376).contains(&(pair[1] - pair[0])), "{times:?}");
    }
    // Nor is one that no switch answers asked for again soon.
    let mut schedule = Schedule::new(config());
    schedule.seen((tuple(1), Direction::Forward), 1, 0, at(0));
    assert!(schedule.next(at(0)).is_some());
    schedule.done(&trace(tuple(1), &[], End::Silent), at(0));
    assert_eq!(schedule.next(at(200_000)), None);
    // One that ends is not repeated.
    let mut schedule = Schedule::new(config());
    schedule.seen((tuple(1), Direction::Forward), 1, 0, at(0));
    assert!(schedule.next(at(0)).is_some());
    schedule.done(&trace(tuple(1), &["tor0"], End::Silent), at(0));
    schedule.seen((tuple(1), Direction::Forward), 1, 1, at(1000));
    assert!(schedule.next(at(5000)).expect("again").healthy);
    let whole = trace(tuple(1), &["tor0", "spine0", "tor1"], End::Inferred);
    schedule.done(&whole, at(5000));
    assert_eq!(schedule.next(at(200_000)), None);
}

#[test]
fn what_came_up_during_a_trace_follows_it() {
    let mut schedule = Schedule::new(config());
    schedule.seen((tuple(1), Direction::Forward), 0, 1, at(0));
    let order = schedule.next(at(0)).expect("new");
    assert_eq!((order.reason, order.healthy), (Reason::New, true));
    schedule.seen((tuple(1), Direction::Forward), 1, 0, at(500));
    assert_eq!(schedule.next(at(500)), None, "it is being traced");
    schedule.failed(tuple(1), at(1000));
    assert_eq!(schedule.counters().failed, 1);
    assert_eq!(schedule.next(at(4_999)), None);
    let again = schedule.next(at(5_000)).expect("failing");
    assert_eq!((again.reason, again.healthy), (Reason::Failing, false));
    assert_eq!(again.route, None, "nothing was learned");
}

#[test]
fn urgent_paths_go_first() {
    let mut schedule = Schedule::new(Config {
        rate: per_second(1.0),
        burst: 1,
        ..config()
    });
    let all: Vec<u16> = (0..5).collect();
    let first = run(&mut schedule, &all, &[], 0..3_000);
    assert_eq!(first.len(), 3);
    let then = run(&mut schedule, &all, &[4], 3_000..6_000);
    assert_eq!(then[0], (3_000, 4, Reason::Failing));
    assert_eq!(then[1].2, Reason::New);
}

/// A host with 8 RNICs of 100 5-tuples each, its own probes and those of its peers: 1 600 paths, one of four of which loses now and then.
/// Each gets its first trace soon, and none is older than ten minutes from then on.
#[test]
fn every_path_of_a_host_with_eight_rnics_is_traced_within_ten_minutes() {
    let mut schedule = Schedule::new(Config::default());
    let paths = 1_600_u16;
    let mut newest = vec![None; usize::from(paths)];
    let (mut all_known, mut oldest) = (None, 0);
    for now in (0..3_600_000_i64).step_by(1_000) {
        // Each path has a probe in ten seconds; lossy ones lose one of seven: they fail and recover all the time.
        for number in (0..paths).filter(|number| i64::from(*number % 10) == now / 1_000 % 10) {
            let lost = u64::from(number % 4 == 0 && (now / 10_000 + i64::from(number)) % 7 == 0);
            let path = (tuple(number), Direction::Forward);
            schedule.seen(path, lost, 1 - lost, at(now));
        }
        while let Some(order) = schedule.next(at(now)) {
            newest[usize::from(order.tuple.port.0 - 49_152)] = Some(now);
            let leaf = format!("leaf{}", order.tuple.port.0 % 8);
            let spine = format!("spine{}", order.tuple.port.0 / 8 % 16);
            schedule.done(
                &trace(order.tuple, &[&leaf, &spine], End::Answered),
                at(now),
            );
        }
        if newest.iter().all(Option::is_some) {
            all_known = all_known.or(Some(now));
            let age = newest.iter().flatten().map(|traced| now - traced).max();
            oldest = oldest.max(age.unwrap_or(0));
        }
    }
    let known = all_known.expect("all are traced");
    assert!(known <= 600_000, "all are known after {known} ms");
    assert!(oldest <= 600_000, "a trace of {oldest} ms");
}

#[test]
fn a_trace_that_shows_another_path_is_repeated_a_few_times() {
    let mut schedule = Schedule::new(config());
    let mut traced = Vec::new();
    for now in (0..200_000_i64).step_by(1_000) {
        schedule.seen((tuple(1), Direction::Forward), 0, 1, at(now));
        // Sprayed from the second trace on, which is due after a loss at 20 s.
        if now == 20_000 {
            schedule.seen((tuple(1), Direction::Forward), 1, 0, at(now));
        }
        if let Some(order) = schedule.next(at(now)) {
            let spine = format!("spine{now}");
            schedule.done(
                &trace(order.tuple, &["tor0", &spine, "tor1"], End::Answered),
                at(now),
            );
            traced.push((now, order.reason));
        }
    }
    let expected = [
        (0, Reason::New),
        (20_000, Reason::Failing),
        (25_000, Reason::Recovered),
        (30_000, Reason::Scheduled),
        (35_000, Reason::Scheduled),
    ];
    assert_eq!(
        traced, expected,
        "four that differ: what is sprayed is recognised"
    );
}

#[test]
fn paths_that_are_no_longer_probed_are_forgotten() {
    let mut schedule = Schedule::new(Config {
        max_paths: 3,
        ..config()
    });
    run(&mut schedule, &[1, 2, 3, 4], &[], 0..1_000);
    assert_eq!((schedule.len(), schedule.counters().paths_dropped), (3, 1));
    run(&mut schedule, &[1], &[], 1_000..200_000);
    assert_eq!(schedule.len(), 1);
    assert!(schedule.later.len() + schedule.ready.len() <= 1);
    run(&mut schedule, &[], &[], 200_000..400_000);
    assert!(schedule.is_empty() && schedule.next_wakeup(at(400_000)).is_none());
}

#[test]
fn ways_back_get_half_of_the_places() {
    let mut schedule = Schedule::new(Config {
        max_paths: 4,
        ..config()
    });
    for number in 0..3 {
        schedule.seen((tuple(number), Direction::Reverse), 0, 1, at(0));
    }
    assert_eq!((schedule.len(), schedule.counters().paths_dropped), (2, 1));
    for number in 10..13 {
        schedule.seen((tuple(number), Direction::Forward), 0, 1, at(0));
    }
    assert_eq!((schedule.len(), schedule.counters().paths_dropped), (4, 2));
    // Their places come free with them.
    while let Some(order) = schedule.next(at(1_000)) {
        schedule.failed(order.tuple, at(1_000));
    }
    assert_eq!(schedule.next(at(400_000)), None, "all are forgotten");
    schedule.seen((tuple(3), Direction::Reverse), 0, 1, at(400_000));
    assert_eq!(schedule.len(), 1);
}

#[test]
fn a_route_that_stops_in_silence_does_not_replace_what_is_known() {
    let mut schedule = Schedule::new(config());
    schedule.seen((tuple(1), Direction::Forward), 0, 1, at(0));
    let order = schedule.next(at(0)).expect("new");
    schedule.done(
        &trace(order.tuple, &["tor0", "spine1", "tor2"], End::Inferred),
        at(100),
    );
    schedule.seen((tuple(1), Direction::Forward), 1, 0, at(10_000));
    let order = schedule.next(at(10_000)).expect("failing");
    let known = order.route.clone().expect("known");
    assert_eq!(known.to_string(), "tor0 spine1 tor2");
    schedule.done(&trace(order.tuple, &["tor0"], End::Silent), at(10_100));
    for millis in (11_000..20_000).step_by(1000) {
        schedule.seen((tuple(1), Direction::Forward), 0, 5, at(millis));
    }
    let order = schedule.next(at(20_000)).expect("recovered");
    assert_eq!(
        (order.reason, order.route),
        (Reason::Recovered, Some(known))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Over any stretch of time: no more traces than rate and burst allow, and no switch is asked for more answers.
    #[test]
    fn bounds_hold(
        rate in 1u32..20, burst in 1u32..5, switch_rate in 1u32..20, switch_burst in 1u32..5,
        paths in 1u16..40, lossy in prop::collection::vec(0u16..40, 0..10),
    ) {
        let mut schedule = Schedule::new(Config {
            rate: per_second(f64::from(rate)),
            burst,
            switch_rate: per_second(f64::from(switch_rate)),
            switch_burst,
            interval: Duration::from_secs(1),
            gap: Duration::from_millis(100),
            ..Config::default()
        });
        let all: Vec<u16> = (0..paths).collect();
        // Until all paths are known: switches that are not known cannot be spared.
        run(&mut schedule, &all, &lossy, 0..60_000);
        let orders = run(&mut schedule, &all, &lossy, 60_000..80_000);
        prop_assert!(!orders.is_empty());
        let least = rate.min(switch_rate);
        for (index, (from, ..)) in orders.iter().enumerate() {
            for (count, (to, ..)) in (1u32..).zip(&orders[index..]) {
                let seconds = (to - from) as f64 / 1000.0;
                let allowed = seconds * f64::from(rate) + f64::from(burst);
                prop_assert!(f64::from(count) <= allowed + 0.001, "{count} in {seconds} s");
                let answers = seconds * f64::from(switch_rate) + f64::from(switch_burst);
                prop_assert!(f64::from(count) <= answers + 0.001, "{count} answers in {seconds} s");
            }
        }
        // And the bounds are used, as far as there are paths that are due.
        let wanted = f64::from(least).min(f64::from(paths) / 1.5) * 20.0;
        prop_assert!(orders.len() as f64 >= wanted * 0.5, "{} of {wanted}", orders.len());
    }
}
