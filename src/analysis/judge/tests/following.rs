//! A snapshot that follows the windows is the one that is taken anew.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Compares all that the judge reads.
pub(super) fn assert_same(followed: &Snapshot, taken: &Snapshot) {
    assert_eq!(followed.now, taken.now);
    assert_eq!(followed.seen.len(), taken.seen.len());
    for (followed, taken) in followed.seen.iter().zip(&taken.seen) {
        let (followed, taken) = (followed.as_ref(), taken.as_ref());
        assert_eq!(followed.map(PathCounts::all), taken.map(PathCounts::all));
        if let (Some(followed), Some(taken)) = (followed, taken) {
            assert!(Arc::ptr_eq(&followed.source, &taken.source));
            assert!(Arc::ptr_eq(&followed.target, &taken.target));
        }
    }
    assert_eq!(followed.set_aside, taken.set_aside);
    assert_eq!(followed.judged, taken.judged);
    assert_eq!(followed.judged_rnics, taken.judged_rnics);
    assert_eq!(followed.coverage, taken.coverage);
    assert_eq!(followed.blind, taken.blind);
    assert_eq!(followed.silent, taken.silent);
    assert_eq!(followed.overdue, taken.overdue);
    assert_eq!(followed.usual, taken.usual);
}

/// What happens in one second.
#[derive(Debug, Clone)]
struct Second {
    /// By path, in the order of source and target: what becomes of its probes; `None` where it is not probed.
    fates: Vec<Option<u8>>,
    /// Old slots are forgotten.
    expires: bool,
    /// An agent says that it stops.
    stops: Option<u8>,
    /// An RNIC registers another queue pair.
    registers: Option<u8>,
    /// Round trips that take longer are slow, in ns.
    limit: Option<i64>,
}

const HOSTS: u8 = 4;

fn any_second() -> impl Strategy<Value = Second> {
    let fates = prop::collection::vec(
        prop_oneof![3 => Just(None), 5 => (0_u8..6).prop_map(Some)],
        usize::from(HOSTS * HOSTS),
    );
    let host = || prop::option::weighted(0.05, 0..HOSTS);
    let limit = prop_oneof![
        Just(None),
        prop::sample::select(vec![4_000, 6_000, 20_000]).prop_map(Some)
    ];
    (fates, prop::bool::weighted(0.2), host(), host(), limit).prop_map(
        |(fates, expires, stops, registers, limit)| Second {
            fates,
            expires,
            stops,
            registers,
            limit,
        },
    )
}

fn fate(number: u8) -> Fate {
    match number {
        0 => Fate::Lost(3),
        1 => Fate::Unsendable,
        2 => Fate::Rtt(5_000_000),
        3 => Fate::Rtt(12_000),
        _ => Fate::Lost(0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes: results, silence, queue pairs that change, slots that pass, paths that leave because of a bound, limits that
    /// change.
    #[test]
    fn following_equals_taking_anew(
        seconds in prop::collection::vec((1_i64..9, any_second()), 1..40),
        paths in 3_usize..14,
    ) {
        let mut fabric = TestFabric::new(2, 2);
        fabric.windows = Windows::new(Limits {
            lateness: Duration::from_secs(10),
            clock_tolerance: Duration::from_secs(5),
            paths,
            bytes: usize::MAX,
        });
        let mut followed = Snapshot::empty();
        let mut qpns = HashMap::new();
        for (step, second) in seconds {
            fabric.seconds += step;
            let at = now(fabric.seconds);
            if let Some(host) = second.registers {
                *qpns.entry(host).or_insert(0_u32) += 100;
            }
            for source in 0..HOSTS {
                let reports: Vec<_> = (0..HOSTS)
                    .filter(|target| *target != source)
                    .filter_map(|target| {
                        let number = second.fates[usize::from(source * HOSTS + target)]?;
                        let mut report = fabric.report(source, target, fate(number));
                        for end in [&mut report.path.source, &mut report.path.target] {
                            let host: u8 = end.host.as_str()[1..].parse().expect("a number");
                            let moved = qpns.get(&host).copied().unwrap_or(0);
                            let mut other = End::clone(end);
                            other.qpn = Qpn::from_lower_bits(u32::from(host) + moved);
                            *end = Arc::new(other);
                        }
                        Some(report)
                    })
                    .collect();
                if reports.is_empty() {
                    continue;
                }
                let batch = Batch {
                    sequence: fabric.seconds.unsigned_abs(),
                    interval: now(fabric.seconds - 1)..at,
                    paths: reports,
                    traces: Vec::new(),
                    counters: AgentCounters::default(),
                    hardware: Vec::new(),
                };
                let host = HostName::new(format!("h{source}"));
                fabric.host_filter.ingest(&host, &batch, at);
                fabric.windows.ingest(&batch, at);
            }
            if let Some(host) = second.stops {
                fabric.host_filter.stops(&format!("h{host}").into(), at);
            }
            if second.expires {
                fabric.windows.expire(at);
            }
            let limits = second.limit.map(|limit| [(4, Nanos(limit)), (8, Nanos(limit))]);
            let limits = limits.into_iter().flatten().collect();
            followed.update(&fabric.windows, &fabric.host_filter, &limits, at);
            let taken = Snapshot::take(&fabric.windows, &fabric.host_filter, &limits, at);
            assert_same(&followed, &taken);
        }
    }
}
