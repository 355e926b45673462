use std::net::Ipv4Addr;

use super::super::report::{AgentCounters, Path};
use super::*;
use crate::id::{DeviceName, UdpSourcePort};
use crate::measure::Measurement;
use crate::probe::ProbeKind;
use crate::transport::CompletionClock;

const START: i64 = 1_800_000_000 * 1_000_000_000;

fn at(millis: i64) -> WallTime {
    WallTime::from_nanos(START + millis * 1_000_000)
}

fn end(number: u8, qpn: u32) -> End {
    End {
        gid: Ipv4Addr::new(10, 0, 0, number).into(),
        qpn: Qpn::from_lower_bits(qpn),
        host: HostName::new(format!("host{number}")),
        tor: TorId::new("tor0"),
        device: DeviceName::new("rnic0"),
    }
}

fn report(source: End, target: End, responder_delay: i64) -> PathReport {
    let path = Path {
        source: Arc::new(source),
        target: Arc::new(target),
        kind: ProbeKind::TorMesh,
        source_port: Some(UdpSourcePort(50_000)),
        service: None,
        class: None,
        fidelity: None,
    };
    let mut report = PathReport::empty(path, CompletionClock::Software);
    report.samples.push(Measurement {
        network_rtt: Nanos(2_400),
        prober_delay: Nanos(1_000),
        responder_delay: Nanos(responder_delay),
    });
    report
}

fn ingest(host_filter: &mut HostFilter, host: u8, until: i64, paths: Vec<PathReport>) {
    ingest_late(host_filter, host, (until, until), paths);
}

/// A batch of the second until `until` that comes at `received`, in milliseconds.
fn ingest_late(
    host_filter: &mut HostFilter,
    host: u8,
    (until, received): (i64, i64),
    paths: Vec<PathReport>,
) {
    let batch = Batch {
        sequence: 1,
        interval: at(until - 1_000)..at(until),
        paths,
        traces: Vec::new(),
        hardware: Vec::new(),
        counters: AgentCounters::default(),
    };
    host_filter.ingest(&HostName::new(format!("host{host}")), &batch, at(received));
}

#[test]
fn a_queue_pair_that_was_replaced_sets_results_of_that_time_aside() {
    let mut host_filter = HostFilter::default();
    let slot = |millis| Slot::of(at(millis));
    ingest(
        &mut host_filter,
        1,
        1_000,
        vec![report(end(1, 5), end(2, 6), 900)],
    );
    ingest(
        &mut host_filter,
        2,
        1_000,
        vec![report(end(2, 6), end(1, 5), 900)],
    );
    assert_eq!(host_filter.reason(&end(1, 5), &end(2, 6), slot(500)), None);
    // Host 2 restarts at 21 s; host 1 goes on with the old queue pair until it learns at 40 s.
    ingest(
        &mut host_filter,
        2,
        22_000,
        vec![report(end(2, 7), end(1, 5), 900)],
    );
    ingest(
        &mut host_filter,
        2,
        32_000,
        vec![report(end(2, 7), end(1, 5), 900)],
    );
    ingest(
        &mut host_filter,
        1,
        32_000,
        vec![report(end(1, 5), end(2, 6), 900)],
    );
    let reason = |millis| host_filter.reason(&end(1, 5), &end(2, 7), slot(millis));
    assert_eq!(reason(21_500), Some(Reason::QpnChanged));
    assert_eq!(reason(31_500), Some(Reason::QpnChanged));
    assert_eq!(reason(11_500), None);
    assert_eq!(
        host_filter.reason(&end(2, 7), &end(1, 5), slot(21_500)),
        None,
        "the other way round nothing has changed"
    );
}

#[test]
fn several_queue_pairs_from_the_start_are_no_change() {
    let mut host_filter = HostFilter::default();
    for second in 1..60 {
        let qpn = 5 + u32::try_from(second % 3).expect("small");
        let paths = vec![report(end(1, qpn), end(2, 6), 900)];
        ingest(&mut host_filter, 1, second * 1_000, paths);
    }
    assert_eq!(host_filter.flapping(at(60_000), 1).count(), 0);
}

#[test]
fn hosts_that_answer_late_are_starved_for_a_while() {
    let mut host_filter = HostFilter::default();
    ingest(&mut host_filter, 2, 1_000, vec![]);
    ingest(
        &mut host_filter,
        1,
        11_000,
        vec![report(end(1, 5), end(2, 6), 60_000_000)],
    );
    let reason = |millis| host_filter.reason(&end(1, 5), &end(2, 6), Slot::of(at(millis)));
    assert_eq!(reason(10_500), Some(Reason::ResponderStarved));
    assert_eq!(
        reason(15_500),
        Some(Reason::ResponderStarved),
        "the slot beside it"
    );
    assert_eq!(reason(25_500), None);
    assert_eq!(host_filter.starved_hosts(at(12_000), 1).count(), 1);
    assert_eq!(host_filter.starved_hosts(at(12_000), 2).count(), 0);
}

#[test]
fn silence_begins_where_the_last_interval_ended_and_ends_soon_after_the_next() {
    let mut host_filter = HostFilter::default();
    let host = HostName::new("host1");
    for second in 1..=12 {
        ingest(&mut host_filter, 1, second * 1_000, vec![]);
    }
    let silent = |host_filter: &HostFilter, slot: i64, now: i64| {
        host_filter.is_silent(&host, Slot::of(at(slot * 1_000)), at(now * 1_000))
    };
    assert_eq!(
        host_filter.upload_state(&host, at(12_500)),
        Some(UploadState::Current)
    );
    assert_eq!(
        host_filter.upload_state(&host, at(14_500)),
        Some(UploadState::Overdue)
    );
    let Some(UploadState::Silent(since)) = host_filter.upload_state(&host, at(16_000)) else {
        panic!("four intervals without an upload are silence");
    };
    assert_eq!(since, Duration::from_secs(4));
    assert!(
        silent(&host_filter, 12, 16)
            && silent(&host_filter, 16, 16)
            && !silent(&host_filter, 9, 16)
    );
    ingest(&mut host_filter, 1, 31_000, vec![]);
    assert!(
        silent(&host_filter, 20, 31)
            && !silent(&host_filter, 36, 31)
            && !silent(&host_filter, 9, 31)
    );
}

#[test]
fn old_batches_that_come_again_are_no_sign_of_life() {
    let mut host_filter = HostFilter::default();
    let host = HostName::new("host1");
    for second in 1..=12 {
        ingest(&mut host_filter, 1, second * 1_000, vec![]);
    }
    // Killed at 12 s; back at 16 s with an older copy of its spool.
    for second in 9..=12 {
        ingest_late(&mut host_filter, 1, (second * 1_000, 16_100), vec![]);
    }
    let state = |host_filter: &HostFilter, now| host_filter.upload_state(&host, at(now));
    assert!(matches!(
        state(&host_filter, 16_200),
        Some(UploadState::Silent(_))
    ));
    assert!(host_filter.is_silent(&host, Slot::of(at(14_000)), at(16_200)));
    ingest(&mut host_filter, 1, 17_000, vec![]);
    assert_eq!(state(&host_filter, 17_100), Some(UploadState::Current));
    assert!(host_filter.is_silent(&host, Slot::of(at(14_000)), at(17_100)));
    // A clock that is set back by two seconds.
    ingest_late(&mut host_filter, 1, (16_000, 18_000), vec![]);
    assert_eq!(state(&host_filter, 18_900), Some(UploadState::Current));
}

#[test]
fn losses_from_before_a_hosts_return_do_not_count_against_it() {
    let slot_of_return_is_silent = |until: i64| {
        let mut host_filter = HostFilter::default();
        ingest(&mut host_filter, 1, 1_000, vec![]);
        ingest(&mut host_filter, 1, until, vec![]);
        let host = HostName::new("host1");
        let silent =
            |slot: i64| host_filter.is_silent(&host, Slot::of(at(slot * 1_000)), at(until));
        assert!(!silent(40), "by then it is as good as any");
        (silent(30), silent(35))
    };
    // What it missed in the last moments of 25 to 30 s is reported after 30 s.
    assert_eq!(slot_of_return_is_silent(30_000), (true, false));
    assert_eq!(slot_of_return_is_silent(34_000), (true, true));
}

#[test]
fn what_others_say_about_an_rnic_does_not_count_against_its_own_agent() {
    let mut host_filter = HostFilter::default();
    ingest(
        &mut host_filter,
        2,
        1_000,
        vec![report(end(2, 6), end(1, 5), 900)],
    );
    let mut elsewhere = end(2, 6);
    elsewhere.tor = TorId::new("tor9");
    ingest(
        &mut host_filter,
        1,
        2_000,
        vec![report(end(1, 5), elsewhere, 900)],
    );
    assert_eq!(host_filter.contradictions(), 1);
    let named: Vec<_> = host_filter.contradicted(at(2_000)).collect();
    assert_eq!(named, [&end(2, 6)]);
    assert_eq!(host_filter.tors().len(), 1);
}

proptest::proptest! {
    /// What hosts do: who uploads when, from which queue pair, with which delay, and whether a clock runs backwards.
    #[test]
    fn nothing_is_said_about_results_between_quiet_ends(
        deeds in proptest::collection::vec((1_u8..5, 1_u8..5, 0_i64..150, 0_u32..40, 0_u8..40), 1..200),
        now in 100_i64..200,
    ) {
        let mut host_filter = HostFilter::default();
        let mut deeds = deeds;
        deeds.sort_by_key(|deed| deed.2);
        for (from, to, second, qpn, what) in deeds {
            // A new queue pair, a late answer and a bad clock are rare.
            let qpn = 5 + u32::from(qpn == 0);
            let delay = if what == 1 { STARVED.0 + 1 } else { 900 };
            let mut report = report(end(from, qpn), end(to, 5), delay);
            if what == 2 {
                report.invalid.push((Invalid::NegativeNetworkRtt, 1));
            }
            ingest(&mut host_filter, from, (second + 1) * 1_000, vec![report]);
        }
        let now = at(now * 1_000);
        let noted = host_filter.noted(24, now);
        for (from, to) in (1..5).flat_map(|from| (1..5).map(move |to| (from, to))) {
            let (source, target) = (end(from, 5), end(to, 5));
            if !noted.is_quiet(&source, &target) {
                continue;
            }
            proptest::prop_assert_ne!(host_filter.upload_state(&target.host, now), Some(UploadState::Overdue));
            for age in 0..=24 {
                let slot = Slot::of(now).before(age);
                proptest::prop_assert_eq!(host_filter.reason(&source, &target, slot), None);
                proptest::prop_assert!(!host_filter.is_silent(&target.host, slot, now));
                proptest::prop_assert!(!host_filter.has_bad_clock(source.gid, slot));
                proptest::prop_assert!(!host_filter.has_bad_clock(target.gid, slot));
            }
        }
    }
}

fn quiet(host_filter: &HostFilter, now: WallTime) -> Vec<(String, bool)> {
    let quiet = host_filter.quiet_hosts(now);
    quiet
        .map(|(host, _, overdue)| (host.to_string(), overdue))
        .collect()
}

#[test]
fn who_uploaded_until_uploads_could_not_arrive_is_waited_for_and_no_other_host() {
    let mut host_filter = HostFilter::default();
    ingest(&mut host_filter, 1, 1_000, Vec::new());
    ingest(&mut host_filter, 2, 20_000, Vec::new());
    let now = at(24_000);
    for host in ["host1", "host2"] {
        host_filter.wait_for(&HostName::new(host), at(20_500), now);
    }
    let mut seen = quiet(&host_filter, now);
    seen.sort();
    assert_eq!(
        seen,
        [("host1".to_owned(), false), ("host2".to_owned(), true)]
    );
}

#[test]
fn who_is_waited_for_in_time_is_never_silent() {
    let mut host_filter = HostFilter::default();
    ingest(&mut host_filter, 1, 1_000, Vec::new());
    let host = HostName::new("host1");
    for look in 0..40 {
        let now = at(2_200 + 250 * look);
        host_filter.wait_for(&host, at(1_500), now);
        // Between two looks.
        let seen = quiet(&host_filter, now + Nanos(249_000_000));
        assert!(seen.iter().all(|(_, is_overdue)| *is_overdue), "{look}");
    }
}

#[test]
fn a_host_that_was_silent_before_the_start_is_silent_until_it_uploads() {
    let mut host_filter = HostFilter::default();
    let (host, now) = (HostName::new("host1"), at(100_000));
    host_filter.found_silent(&host, at(40_000), now);
    assert_eq!(quiet(&host_filter, now), [("host1".to_owned(), false)]);
    assert!(host_filter.is_silent(&host, Slot::of(at(45_000)), now));
    assert!(!host_filter.is_silent(&host, Slot::of(at(34_000)), now));
    ingest(&mut host_filter, 1, 101_000, Vec::new());
    assert!(quiet(&host_filter, at(101_000)).is_empty());
    // One that is known already is not called silent.
    host_filter.found_silent(&host, at(40_000), at(102_000));
    assert!(quiet(&host_filter, at(102_000)).is_empty());
}
