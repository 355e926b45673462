use std::net::Ipv4Addr;

use super::super::report::{AgentCounters, Path};
use super::*;
use crate::id::{DeviceName, UdpSourcePort};
use crate::measure::Measurement;
use crate::probe::Kind;
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
        kind: Kind::TorMesh,
        source_port: Some(UdpSourcePort(50_000)),
        service: None,
    };
    let mut report = PathReport::empty(path, CompletionClock::Software);
    report.samples.push(Measurement {
        network_rtt: Nanos(2_400),
        prober_delay: Nanos(1_000),
        responder_delay: Nanos(responder_delay),
    });
    report
}

fn hear(ledger: &mut Ledger, host: u8, until: i64, paths: Vec<PathReport>) {
    let batch = Batch {
        sequence: 1,
        interval: at(until - 1_000)..at(until),
        paths,
        traces: Vec::new(),
        hardware: Vec::new(),
        counters: AgentCounters::default(),
    };
    ledger.hear(&HostName::new(format!("host{host}")), &batch, at(until));
}

#[test]
fn a_queue_pair_that_was_replaced_sets_results_of_that_time_aside() {
    let mut ledger = Ledger::default();
    let slot = |millis| Slot::of(at(millis));
    hear(
        &mut ledger,
        1,
        1_000,
        vec![report(end(1, 5), end(2, 6), 900)],
    );
    hear(
        &mut ledger,
        2,
        1_000,
        vec![report(end(2, 6), end(1, 5), 900)],
    );
    assert_eq!(ledger.reason(&end(1, 5), &end(2, 6), slot(500)), None);
    // Host 2 restarts at 21 s; host 1 goes on with the old queue pair until it learns at 40 s.
    hear(
        &mut ledger,
        2,
        22_000,
        vec![report(end(2, 7), end(1, 5), 900)],
    );
    hear(
        &mut ledger,
        2,
        32_000,
        vec![report(end(2, 7), end(1, 5), 900)],
    );
    hear(
        &mut ledger,
        1,
        32_000,
        vec![report(end(1, 5), end(2, 6), 900)],
    );
    let reason = |millis| ledger.reason(&end(1, 5), &end(2, 7), slot(millis));
    assert_eq!(reason(21_500), Some(Reason::QpnChanged));
    assert_eq!(reason(31_500), Some(Reason::QpnChanged));
    assert_eq!(reason(11_500), None);
    assert_eq!(
        ledger.reason(&end(2, 7), &end(1, 5), slot(21_500)),
        None,
        "the other way round nothing has changed"
    );
}

#[test]
fn several_queue_pairs_from_the_start_are_no_change() {
    let mut ledger = Ledger::default();
    for second in 1..60 {
        let qpn = 5 + u32::try_from(second % 3).expect("small");
        let paths = vec![report(end(1, qpn), end(2, 6), 900)];
        hear(&mut ledger, 1, second * 1_000, paths);
    }
    assert_eq!(ledger.flapping(at(60_000), 1).count(), 0);
}

#[test]
fn hosts_that_answer_late_are_starved_for_a_while() {
    let mut ledger = Ledger::default();
    hear(&mut ledger, 2, 1_000, vec![]);
    hear(
        &mut ledger,
        1,
        11_000,
        vec![report(end(1, 5), end(2, 6), 60_000_000)],
    );
    let reason = |millis| ledger.reason(&end(1, 5), &end(2, 6), Slot::of(at(millis)));
    assert_eq!(reason(10_500), Some(Reason::ResponderStarved));
    assert_eq!(
        reason(15_500),
        Some(Reason::ResponderStarved),
        "the slot beside it"
    );
    assert_eq!(reason(25_500), None);
    assert_eq!(ledger.starved_hosts(at(12_000), 1).count(), 1);
    assert_eq!(ledger.starved_hosts(at(12_000), 2).count(), 0);
}

#[test]
fn silence_begins_where_the_last_interval_ended_and_ends_soon_after_the_next() {
    let mut ledger = Ledger::default();
    let host = HostName::new("host1");
    for second in 1..=12 {
        hear(&mut ledger, 1, second * 1_000, vec![]);
    }
    let silent = |ledger: &Ledger, slot: i64, now: i64| {
        ledger.is_silent(&host, Slot::of(at(slot * 1_000)), at(now * 1_000))
    };
    assert_eq!(ledger.voice(&host, at(12_500)), Some(Voice::Heard));
    assert_eq!(ledger.voice(&host, at(14_500)), Some(Voice::Overdue));
    let Some(Voice::Silent(since)) = ledger.voice(&host, at(16_000)) else {
        panic!("four intervals without an upload are silence");
    };
    assert_eq!(since, Duration::from_secs(4));
    assert!(silent(&ledger, 12, 16) && silent(&ledger, 16, 16) && !silent(&ledger, 9, 16));
    hear(&mut ledger, 1, 31_000, vec![]);
    assert!(silent(&ledger, 20, 31) && !silent(&ledger, 36, 31) && !silent(&ledger, 9, 31));
}

#[test]
fn losses_from_before_a_hosts_return_do_not_count_against_it() {
    let slot_of_return_is_silent = |until: i64| {
        let mut ledger = Ledger::default();
        hear(&mut ledger, 1, 1_000, vec![]);
        hear(&mut ledger, 1, until, vec![]);
        let host = HostName::new("host1");
        let silent = |slot: i64| ledger.is_silent(&host, Slot::of(at(slot * 1_000)), at(until));
        assert!(!silent(40), "by then it is as good as any");
        (silent(30), silent(35))
    };
    // What it missed in the last moments of 25 to 30 s is reported after 30 s.
    assert_eq!(slot_of_return_is_silent(30_000), (true, false));
    assert_eq!(slot_of_return_is_silent(34_000), (true, true));
}

#[test]
fn what_others_say_about_an_rnic_does_not_count_against_its_own_agent() {
    let mut ledger = Ledger::default();
    hear(
        &mut ledger,
        2,
        1_000,
        vec![report(end(2, 6), end(1, 5), 900)],
    );
    let mut elsewhere = end(2, 6);
    elsewhere.tor = TorId::new("tor9");
    hear(
        &mut ledger,
        1,
        2_000,
        vec![report(end(1, 5), elsewhere, 900)],
    );
    assert_eq!(ledger.contradictions(), 1);
    let named: Vec<_> = ledger.contradicted(at(2_000)).collect();
    assert_eq!(named, [&end(2, 6)]);
    assert_eq!(ledger.tors().len(), 1);
}
