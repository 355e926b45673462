use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::report::{AgentCounters, Path};
use super::*;
use crate::id::{DeviceName, Gid, HostName, Qpn, TorId};
use crate::measure::{Invalid, Measurement};
use crate::transport::CompletionClock;

/// The beginning of a slot.
const START: i64 = 1_800_000_000 * 1_000_000_000;

fn at(seconds: f64) -> WallTime {
    let span = Duration::from_secs_f64(seconds.abs());
    let span = i64::try_from(span.as_nanos()).unwrap();
    WallTime::from_nanos(START + if seconds < 0.0 { -span } else { span })
}

fn limits() -> Limits {
    Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1000,
        bytes: usize::MAX,
    }
}

fn end(number: u8) -> End {
    End {
        gid: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, number)),
        qpn: Qpn::from_lower_bits(u32::from(number)),
        host: HostName::new(format!("host{number}")),
        tor: TorId::new(format!("tor{}", number / 2)),
        device: DeviceName::new("rxe0"),
    }
}

fn report(source: u8, target: u8, lost: u64, rtts: &[i64]) -> PathReport {
    let path = Path {
        source: Arc::new(end(source)),
        target: Arc::new(end(target)),
        kind: ProbeKind::TorMesh,
        source_port: Some(UdpSourcePort(50_000)),
        service: None,
        class: None,
        fidelity: None,
    };
    let mut report = PathReport::empty(path, CompletionClock::Software);
    report.lost = lost;
    report.samples = rtts
        .iter()
        .map(|rtt| Measurement {
            network_rtt: Nanos(*rtt),
            prober_delay: Nanos(2 * rtt),
            responder_delay: Nanos(3 * rtt),
        })
        .collect();
    report
}

fn batch(start: f64, end: f64, paths: Vec<PathReport>) -> Batch {
    Batch {
        sequence: 1,
        interval: at(start)..at(end),
        paths,
        traces: Vec::new(),
        hardware: Vec::new(),
        counters: AgentCounters::default(),
    }
}

fn summaries(windows: &Windows, span: WindowLength, now: WallTime) -> Vec<Summary> {
    let slots = windows.slots(span, now);
    windows
        .paths()
        .filter_map(|path| path.summary(&slots))
        .collect()
}

fn table(windows: &Windows, now: WallTime) -> String {
    let mut lines = Vec::new();
    for span in WindowLength::ALL {
        for found in summaries(windows, span, now) {
            lines.push(format!(
                "{:>3}s {} -> {} sent {} lost {} invalid {} rtt {}",
                span.duration().as_secs(),
                found.source.host,
                found.target.host,
                found.sent,
                found.lost,
                found.invalid_total(),
                found
                    .network_rtt
                    .quantile(0.5)
                    .map_or_else(|| "-".to_owned(), |rtt| rtt.to_string()),
            ));
        }
    }
    lines.sort();
    lines.join("\n")
}

#[test]
fn windows_slide_by_slots() {
    let mut windows = Windows::new(limits());
    for second in 0..100 {
        let start = f64::from(second);
        let lost = u64::from(second >= 90);
        let mut first = report(1, 2, lost, &[1000, 2000]);
        first.add_invalid(Invalid::SendFailed, 1);
        let mut paths = vec![first];
        if second < 80 {
            paths.push(report(2, 1, 0, &[500]));
        }
        let placed = windows.ingest(&batch(start, start + 1.0, paths), at(start + 1.5));
        assert_eq!(placed, Placement::Counted);
    }
    insta::assert_snapshot!(table(&windows, at(101.0)), @r"
      5s host1 -> host2 sent 20 lost 5 invalid 5 rtt 1.00 µs
     20s host1 -> host2 sent 70 lost 10 invalid 20 rtt 1.00 µs
    120s host1 -> host2 sent 310 lost 10 invalid 100 rtt 1.00 µs
    120s host2 -> host1 sent 80 lost 0 invalid 0 rtt 502 ns
    ");
}

#[test]
fn a_late_batch_goes_where_it_belongs_or_is_named_late() {
    let mut windows = Windows::new(limits());
    let now = at(200.0);
    let place = |windows: &mut Windows, start: f64| {
        windows.ingest(&batch(start, start + 1.0, vec![report(1, 2, 1, &[])]), now)
    };
    assert_eq!(place(&mut windows, 199.0), Placement::Counted);
    assert_eq!(place(&mut windows, 90.0), Placement::Counted);
    assert_eq!(place(&mut windows, 15.0), Placement::Counted);
    assert_eq!(
        place(&mut windows, 14.0),
        Placement::Late(Duration::from_secs(185))
    );
    assert_eq!(place(&mut windows, 203.0), Placement::Counted);
    assert_eq!(
        place(&mut windows, 204.5),
        Placement::Future(Duration::from_millis(5500))
    );
    let long = summaries(&windows, WindowLength::Long, now);
    assert_eq!(long[0].sent, 2, "of 199 s and 90 s");
    assert_eq!(windows.memory().buckets, 4);
}

#[test]
fn extreme_intervals_do_no_harm() {
    let mut windows = Windows::new(limits());
    let now = at(0.0);
    for (start, end) in [
        (i64::MIN, i64::MIN),
        (i64::MIN, i64::MAX),
        (i64::MAX, i64::MIN),
    ] {
        let interval = WallTime::from_nanos(start)..WallTime::from_nanos(end);
        assert_ne!(windows.limits.place(&interval, now), Placement::Counted);
    }
    windows.expire(WallTime::from_nanos(i64::MAX));
    assert_eq!(
        windows.slots(WindowLength::Long, WallTime::from_nanos(0)),
        Slot(0)..Slot(0)
    );
}

#[test]
fn the_path_that_was_silent_longest_goes_first() {
    let mut windows = Windows::new(Limits {
        paths: 2,
        ..limits()
    });
    for target in [2, 3, 2, 4] {
        windows.ingest(&batch(0.0, 1.0, vec![report(1, target, 0, &[7])]), at(1.0));
    }
    assert_eq!((windows.memory().paths, windows.memory().evicted), (2, 1));
    insta::assert_snapshot!(table(&windows, at(5.0)), @r"
      5s host1 -> host2 sent 2 lost 0 invalid 0 rtt 7 ns
      5s host1 -> host4 sent 1 lost 0 invalid 0 rtt 7 ns
     20s host1 -> host2 sent 2 lost 0 invalid 0 rtt 7 ns
     20s host1 -> host4 sent 1 lost 0 invalid 0 rtt 7 ns
    120s host1 -> host2 sent 2 lost 0 invalid 0 rtt 7 ns
    120s host1 -> host4 sent 1 lost 0 invalid 0 rtt 7 ns
    ");
}

#[test]
fn bytes_are_bounded_and_given_back() {
    let limit = 40_000;
    let mut windows = Windows::new(Limits {
        bytes: limit,
        ..limits()
    });
    for target in 2..=200 {
        let rtts: Vec<i64> = (1..40).map(|step| step * 1000).collect();
        windows.ingest(&batch(0.0, 1.0, vec![report(1, target, 0, &rtts)]), at(1.0));
        assert!(windows.memory().bytes <= limit);
    }
    assert!(windows.memory().evicted > 100);
    windows.expire(at(1000.0));
    let memory = windows.memory();
    assert_eq!((memory.paths, memory.buckets), (0, 0));
    assert!(memory.expired > 0);
}

#[test]
fn what_is_known_of_an_rnic_follows_its_last_report() {
    let mut windows = Windows::new(limits());
    windows.ingest(&batch(0.0, 1.0, vec![report(1, 2, 0, &[7])]), at(1.0));
    let mut moved = report(1, 2, 0, &[7]);
    Arc::make_mut(&mut moved.path.target).tor = TorId::new("elsewhere");
    windows.ingest(&batch(1.0, 2.0, vec![moved]), at(2.0));
    let found = summaries(&windows, WindowLength::Short, at(5.0));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].target.tor.as_str(), "elsewhere");
    assert_eq!(found[0].sent, 2);
}

#[test]
fn a_count_larger_than_a_cell_is_kept_whole() {
    let mut windows = Windows::new(limits());
    let mut large = report(1, 2, 0, &[]);
    large.add_invalid(Invalid::EndpointReset, 1_000_000);
    large.add_invalid(Invalid::SendFailed, 3);
    windows.ingest(&batch(0.0, 1.0, vec![large.clone(), large]), at(1.0));
    let found = summaries(&windows, WindowLength::Short, at(5.0));
    assert_eq!(found[0].invalid_for(Invalid::EndpointReset), 2_000_000);
    assert_eq!(found[0].invalid_for(Invalid::SendFailed), 6);
    assert_eq!(found[0].sent, 2_000_006);
}

/// The same probes as focus sends them.
fn focused(mut report: PathReport) -> PathReport {
    report.path.kind = ProbeKind::Focus;
    report
}

fn inter_tor(mut report: PathReport) -> PathReport {
    report.path.kind = ProbeKind::InterTor;
    report
}

#[test]
fn probes_of_focus_are_evidence_of_their_path_and_no_part_of_its_figures() {
    let mut windows = Windows::new(limits());
    let mut more = focused(report(1, 2, 5, &[9_000, 9_000, 9_000]));
    more.add_invalid(Invalid::SendFailed, 2);
    more.add_invalid(Invalid::EndpointReset, 1);
    more.add_invalid(Invalid::SecondAckMissing, 4);
    let scheduled = inter_tor(report(1, 2, 1, &[1_000, 2_000]));
    windows.ingest(&batch(0.0, 1.0, vec![scheduled, more]), at(1.0));
    assert_eq!(windows.memory().paths, 1);
    let slots = windows.slots(WindowLength::Short, at(5.0));
    let path = windows.paths().next().expect("one path");
    assert_eq!(path.kind(), ProbeKind::InterTor);
    let counts = path.counts(&slots).next().expect("one slot");
    let all = (counts.sent, counts.lost, counts.invalid, counts.unsent);
    assert_eq!(all, (18, 6, 7, 2));
    // Those whose first ACK came alone were answered.
    assert_eq!((counts.told(), counts.half_answered), (15, 4));
    let expected = Focused {
        sent: 15,
        lost: 5,
        invalid: 7,
        unsent: 2,
        unknown: 3,
        half_answered: 4,
    };
    assert_eq!(counts.focused, expected);
    // All of them say whether the path is slow.
    assert_eq!(path.slower_than(&slots, Nanos(5_000)), (5, 3));
    let summary = path.summary(&slots).expect("results");
    assert_eq!(
        (summary.sent, summary.lost, summary.invalid_total()),
        (3, 1, 0)
    );
    assert_eq!(
        (summary.network_rtt.count(), summary.prober_delay.count()),
        (2, 2)
    );
    assert_eq!(summary.focused, expected);
}

/// Two paths of a pair of ToRs, one good, one that loses and is slow. Once all probes but the scheduled ones go to the bad one, the
/// figures of the pair are what they were.
#[test]
fn figures_of_a_pair_stay_when_its_bad_path_is_probed_more() {
    let pair = |with_focus: bool| {
        let mut windows = Windows::new(limits());
        let good = inter_tor(report(2, 4, 0, &[1_000; 10]));
        let bad = || inter_tor(report(3, 5, 2, &[50_000; 8]));
        let mut reports = vec![good, bad()];
        if with_focus {
            reports.extend([focused(bad()), focused(bad()), focused(bad())]);
        }
        windows.ingest(&batch(0.0, 1.0, reports), at(1.0));
        let slots = windows.slots(WindowLength::Short, at(5.0));
        let mut sums = Sums::default();
        for path in windows.paths() {
            path.add_to(&slots, &mut sums);
        }
        let focused = sums.focused.sent;
        (
            focused,
            sums.sent,
            sums.lost,
            sums.network_rtt.quantile(0.5),
        )
    };
    let (before, after) = (pair(false), pair(true));
    assert_eq!((before.0, after.0), (0, 30));
    assert_eq!((before.1, before.2, before.3), (after.1, after.2, after.3));
    assert_eq!((after.1, after.2), (20, 2));
}

fn any_report() -> impl Strategy<Value = PathReport> {
    (
        1u8..5,
        1u8..5,
        0u64..5,
        prop::collection::vec(0i64..100_000_000, 0..8),
        prop::collection::vec((0usize..7, 1u64..300_000), 0..3),
        any::<bool>(),
    )
        .prop_map(|(source, target, lost, rtts, invalid, is_of_focus)| {
            let mut report = inter_tor(report(source, target, lost, &rtts));
            if is_of_focus {
                report = focused(report);
            }
            for (reason, count) in invalid {
                report.add_invalid(Invalid::ALL[reason], count);
            }
            report
        })
}

proptest! {
    /// Nothing is gone and nothing counted twice: every window equals the sum over the batches whose middle lies in it.
    #[test]
    fn windows_equal_the_sum_of_their_batches(
        batches in prop::collection::vec((0u32..180, 1u32..5, prop::collection::vec(any_report(), 0..5)), 0..25),
    ) {
        let mut windows = Windows::new(limits());
        let now = at(180.0);
        for (start, length, paths) in &batches {
            let start = f64::from(*start);
            let placed = windows.ingest(&batch(start, start + f64::from(*length), paths.clone()), now);
            prop_assert_eq!(placed, Placement::Counted);
        }
        for span in WindowLength::ALL {
            let from = 180.0 - span.duration().as_secs_f64();
            let mut expected: BTreeMap<(Gid, Gid), (u64, u64, u64, Sketch)> = BTreeMap::new();
            for (start, length, paths) in &batches {
                let middle = f64::from(*start) + f64::from(*length) / 2.0;
                if middle < from || middle >= 180.0 {
                    continue;
                }
                for report in paths.iter().filter(|report| report.path.kind != ProbeKind::Focus) {
                    let sum = expected
                        .entry((report.path.source.gid, report.path.target.gid))
                        .or_default();
                    sum.0 += report.sent();
                    sum.1 += report.lost;
                    sum.2 += report.invalid_total();
                    for sample in &report.samples {
                        // Not over a responder that took longer than clocks run true.
                        if sample.responder_delay <= Nanos(10_000_000) {
                            sum.3.add(sample.network_rtt);
                        }
                    }
                }
            }
            // A path that focus alone has probed has no figures.
            let found: BTreeMap<_, _> = summaries(&windows, span, now)
                .into_iter()
                .filter(|found| found.sent > 0 || expected.contains_key(&(found.source.gid, found.target.gid)))
                .map(|found| {
                    prop_assert!(found.network_rtt.count() <= found.prober_delay.count());
                    prop_assert_eq!(found.responder_delay.count(), found.prober_delay.count());
                    let invalid = found.invalid_total();
                    Ok(((found.source.gid, found.target.gid), (found.sent, found.lost, invalid, found.network_rtt)))
                })
                .collect::<Result<_, TestCaseError>>()?;
            prop_assert_eq!(found, expected);
        }
    }

    /// The incremental account of memory is that of a full count, whatever comes.
    #[test]
    fn memory_is_accounted_exactly(
        batches in prop::collection::vec((0u32..400, prop::collection::vec(any_report(), 0..5)), 0..40),
        paths in 1usize..6,
    ) {
        let mut windows = Windows::new(Limits { paths, ..limits() });
        let mut batches = batches;
        batches.sort_by_key(|(start, _)| *start);
        for (start, reports) in batches {
            let start = f64::from(start);
            windows.ingest(&batch(start, start + 1.0, reports), at(start + 1.0));
            windows.expire(at(start + 1.0));
            prop_assert!(windows.memory().paths <= paths);
            windows.table.check();
        }
    }
}
