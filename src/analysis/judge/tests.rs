//! Categories that no fault of the emulated fabric brings about, and contradictions; the others are told in
//! `tests/it/explained.rs`.

mod focusing;
mod following;
mod second_acks;
mod silent;
mod uncertain;

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::analysis::filter::HostFilter;
use crate::analysis::incident::{Change, Tracker};
use crate::analysis::report::{AgentCounters, Batch, End, Path, PathReport};
use crate::analysis::windows::{Limits, Windows};
use crate::id::{DeviceName, HostName, Qpn, TorId, UdpSourcePort};
use crate::measure::{Invalid, Measurement};
use crate::probe::ProbeKind;
use crate::transport::CompletionClock;

const START: i64 = 1_800_000_000 * 1_000_000_000;
/// Probes of one path in one second.
const PROBES: u64 = 20;

/// Hosts with one RNIC each, so many under each ToR, that all probe each other once a second; everything else is real.
struct TestFabric {
    tors: u8,
    under: u8,
    seconds: i64,
    windows: Windows,
    host_filter: HostFilter,
    judge: Judge,
    snapshot: Snapshot,
    tracker: Tracker,
    lines: Vec<String>,
}

/// What becomes of the probes of one path in one second.
#[derive(Clone, Copy)]
enum Fate {
    /// So many are lost.
    Lost(u64),
    /// So many are lost, and of so many the first ACK comes alone.
    Half(u64, u64),
    /// None can be sent.
    Unsendable,
    /// They come back, with this round trip.
    Rtt(i64),
    /// The agent uploads nothing.
    Silent,
}

fn now(seconds: i64) -> WallTime {
    WallTime::from_nanos(START + seconds * 1_000_000_000)
}

impl TestFabric {
    fn new(tors: u8, under: u8) -> Self {
        Self {
            tors,
            under,
            seconds: 0,
            windows: Windows::new(Limits {
                lateness: Duration::from_mins(1),
                clock_tolerance: Duration::from_secs(5),
                paths: 1_000,
                bytes: usize::MAX,
            }),
            host_filter: HostFilter::default(),
            judge: Judge::new(Routes::default(), 0.0),
            snapshot: Snapshot::empty(),
            tracker: Tracker::new(Vec::new(), 1, now(0)),
            lines: Vec::new(),
        }
    }

    fn end(&self, number: u8) -> End {
        End {
            gid: Ipv4Addr::new(10, 0, 0, number).into(),
            qpn: Qpn::from_lower_bits(u32::from(number)),
            host: HostName::new(format!("h{number}")),
            tor: TorId::new(format!("tor{}", number / self.under)),
            device: DeviceName::new("mlx5_0"),
        }
    }

    fn report(&self, source: u8, target: u8, fate: Fate) -> PathReport {
        let (source, target) = (self.end(source), self.end(target));
        let path = Path {
            kind: if source.tor == target.tor {
                ProbeKind::TorMesh
            } else {
                ProbeKind::InterTor
            },
            source: Arc::new(source),
            target: Arc::new(target),
            source_port: Some(UdpSourcePort(50_000)),
            service: None,
            class: None,
            fidelity: None,
        };
        let mut report = PathReport::empty(path, CompletionClock::Software);
        let mut rtt = 5_000;
        match fate {
            Fate::Lost(lost) => report.lost = lost,
            Fate::Half(lost, half) => {
                report.lost = lost;
                report.add_invalid(Invalid::SecondAckMissing, half);
            }
            Fate::Unsendable => report.invalid.push((Invalid::SendFailed, PROBES)),
            Fate::Rtt(nanos) => rtt = nanos,
            Fate::Silent => {}
        }
        let complete = PROBES - report.lost - report.invalid_total();
        for _ in 0..complete {
            report.samples.push(Measurement {
                network_rtt: Nanos(rtt),
                prober_delay: Nanos(1_000),
                responder_delay: Nanos(1_000),
            });
        }
        report
    }

    /// Runs for some seconds; `fate` says what becomes of the probes from one host to another.
    fn run(&mut self, seconds: i64, fate: impl Fn(u8, u8) -> Fate) {
        let hosts = self.tors * self.under;
        for _ in 0..seconds {
            self.seconds += 1;
            let at = now(self.seconds);
            for source in 0..hosts {
                let others = (0..hosts).filter(|target| *target != source);
                let paths: Vec<_> = others
                    .filter(|target| !matches!(fate(source, *target), Fate::Silent))
                    .map(|target| self.report(source, target, fate(source, target)))
                    .collect();
                if paths.is_empty() {
                    continue;
                }
                let batch = Batch {
                    sequence: self.seconds.unsigned_abs(),
                    interval: now(self.seconds - 1)..at,
                    paths,
                    traces: Vec::new(),
                    counters: AgentCounters::default(),
                    hardware: Vec::new(),
                };
                self.host_filter
                    .ingest(&HostName::new(format!("h{source}")), &batch, at);
                self.windows.ingest(&batch, at);
            }
            self.judge_now(at);
        }
    }

    fn judge_now(&mut self, at: WallTime) {
        let limits = self.judge.limits();
        self.snapshot
            .update(&self.windows, &self.host_filter, &limits, at);
        following::assert_same(
            &self.snapshot,
            &Snapshot::take(&self.windows, &self.host_filter, &limits, at),
        );
        let judgement = self.judge.judge(&self.snapshot).expect("possible counts");
        for change in self.tracker.step(&judgement, at) {
            let (what, incident) = match &change {
                Change::Opened(incident) => ("opened", incident),
                Change::Updated(incident) => ("updated", incident),
                Change::Closed(incident) => ("closed", incident),
                // Newer figures alone are no line.
                Change::Refined(_) => continue,
            };
            self.lines.push(format!(
                "{what} [{}] {}",
                incident.category.name(),
                incident.title()
            ));
        }
    }
}

#[test]
fn an_rnic_that_cannot_send_has_no_route() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(20, |source, _| match source {
        4 => Fate::Unsendable,
        _ => Fate::Lost(0),
    });
    assert_eq!(
        fabric.lines,
        ["opened [missing_route] RNIC h4/mlx5_0 cannot send"]
    );
    fabric.run(60, |_, _| Fate::Lost(0));
    assert_eq!(
        fabric.lines[1..],
        ["closed [missing_route] RNIC h4/mlx5_0 cannot send"]
    );
}

/// Its port is down. Its agent takes it out of the pinglists after a while, so that nobody probes it.
#[test]
fn an_rnic_that_answers_nothing_has_no_missing_route() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(10, |source, target| match (source, target) {
        (4, _) => Fate::Unsendable,
        (_, 4) => Fate::Lost(PROBES),
        _ => Fate::Lost(0),
    });
    fabric.run(100, |source, target| match (source, target) {
        (4, _) => Fate::Unsendable,
        (_, 4) => Fate::Silent,
        _ => Fate::Lost(0),
    });
    assert_eq!(fabric.lines, ["opened [rnic_down] RNIC h4/mlx5_0 is down"]);
}

/// Whatever loses everywhere at once is one incident about the fabric.
#[test]
fn an_event_of_the_whole_fabric_is_one_incident() {
    let mut fabric = TestFabric::new(5, 2);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(5, |source, target| {
        let is_inter_tor = source / 2 != target / 2;
        Fate::Lost(2 * u64::from(is_inter_tor && (source * 7 + target) % 3 == 0))
    });
    let [line] = fabric.lines.as_slice() else {
        panic!("{:?}", fabric.lines);
    };
    assert!(
        line.starts_with("opened [switch_loss] the fabric as a whole loses"),
        "{line}"
    );
}

/// A run that has no time judges less, and says what it left out.
#[test]
fn a_run_out_of_budget_says_what_it_left_out() {
    let mut fabric = TestFabric::new(3, 3);
    fabric.run(5, |_, target| Fate::Lost(u64::from(target == 1) * 2));
    fabric.judge.budget = 10;
    let limits = fabric.judge.limits();
    let snapshot = Snapshot::take(&fabric.windows, &fabric.host_filter, &limits, now(5));
    let judgement = fabric.judge.judge(&snapshot).expect("possible counts");
    assert!(judgement.unfinished.contains(&"RNICs"), "{judgement:?}");
    assert!(judgement.unfinished.contains(&"5 s"), "{judgement:?}");
    fabric.judge.budget = u64::MAX;
    let judgement = fabric.judge.judge(&snapshot).expect("possible counts");
    assert_eq!(judgement.unfinished, [""; 0]);
}

#[test]
fn two_rnics_and_nothing_else_cannot_be_told_apart() {
    let mut fabric = TestFabric::new(1, 2);
    fabric.run(10, |_, _| Fate::Lost(0));
    fabric.run(10, |_, _| Fate::Lost(PROBES / 2));
    let [line] = fabric.lines.as_slice() else {
        panic!("{:?}", fabric.lines);
    };
    assert!(line.starts_with("opened [undecided] "), "{line}");
    for candidate in ["h0/mlx5_0", "h1/mlx5_0", "tor0"] {
        assert!(line.contains(candidate), "{line}");
    }
}

/// A host that handles nothing for a second loses the probes to it, and only those. Agents upload at different times, so the
/// losses come in two runs.
#[test]
fn losses_of_a_host_that_stands_still_do_not_blame_the_network() {
    for lost in [1, 3, PROBES / 2] {
        let mut fabric = TestFabric::new(3, 2);
        fabric.run(20, |_, _| Fate::Lost(0));
        fabric.run(2, |_, target| match target {
            1 => Fate::Lost(lost),
            _ => Fate::Lost(0),
        });
        fabric.run(60, |_, _| Fate::Lost(0));
        assert_eq!(fabric.lines, [""; 0], "{lost} of {PROBES}");
    }
}

/// Whatever it is, it is no host that stands still.
#[test]
fn an_rnic_that_goes_on_to_lose_what_is_sent_to_it_is_told() {
    let mut fabric = TestFabric::new(3, 2);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(20, |_, target| match target {
        1 => Fate::Lost(PROBES / 4),
        _ => Fate::Lost(0),
    });
    let [line] = fabric.lines.as_slice() else {
        panic!("{:?}", fabric.lines);
    };
    assert!(
        line.starts_with("opened [rnic_loss] RNIC h1/mlx5_0"),
        "{line}"
    );
}

#[test]
fn a_port_that_is_down_for_two_seconds_is_told() {
    for own in [Fate::Unsendable, Fate::Lost(PROBES)] {
        let mut fabric = TestFabric::new(3, 2);
        fabric.run(20, |_, _| Fate::Lost(0));
        fabric.run(2, |source, target| match (source, target) {
            (1, _) => own,
            (_, 1) => Fate::Lost(PROBES),
            _ => Fate::Lost(0),
        });
        fabric.run(5, |_, _| Fate::Lost(0));
        let first = fabric.lines.first().map_or("", String::as_str);
        assert!(first.starts_with("opened [rnic_"), "{:?}", fabric.lines);
        assert!(first.contains("h1/mlx5_0"), "{first}");
    }
}

/// Queues hold packets up for microseconds, pauses for milliseconds.
#[test]
fn slow_round_trips_are_queues_or_pauses() {
    for (rtt, category) in [(80_000, "congestion"), (8_000_000, "pause_storm")] {
        let mut fabric = TestFabric::new(3, 3);
        fabric.run(20, |_, _| Fate::Lost(0));
        // What crosses the uplinks of ToR 2 is slow.
        fabric.run(20, |source, target| {
            if (source / 3 == 2) == (target / 3 == 2) {
                Fate::Lost(0)
            } else {
                Fate::Rtt(rtt)
            }
        });
        let [line] = fabric.lines.as_slice() else {
            panic!("{rtt}: {:?}", fabric.lines);
        };
        assert!(line.starts_with(&format!("opened [{category}]")), "{line}");
        assert!(line.contains("tor2"), "{line}");
    }
}

#[test]
fn more_lost_than_sent_is_refused_without_a_panic() {
    let fabric = {
        let mut fabric = TestFabric::new(2, 2);
        fabric.run(3, |_, _| Fate::Lost(0));
        fabric
    };
    let limits = fabric.judge.limits();
    let mut snapshot = Snapshot::take(&fabric.windows, &fabric.host_filter, &limits, now(3));
    let impossible = Counts { sent: 3, lost: 4 };
    snapshot.seen[0] = snapshot.seen[0]
        .clone()
        .map(|seen| seen.with_counts(impossible));
    let mut judge = fabric.judge;
    assert_eq!(
        judge.judge(&snapshot).map(|judgement| judgement.findings),
        Err(ProblemError::LostMoreThanSent { lost: 4, sent: 3 })
    );
}

/// Counts at the end of what can be counted are judged, not added up to nonsense.
#[test]
fn counts_that_would_overflow_saturate() {
    let mut fabric = TestFabric::new(2, 3);
    fabric.run(5, |_, _| Fate::Lost(0));
    let limits = fabric.judge.limits();
    let mut snapshot = Snapshot::take(&fabric.windows, &fabric.host_filter, &limits, now(5));
    let huge = Counts {
        sent: u64::MAX,
        lost: u64::MAX / 2,
    };
    for seen in snapshot.seen.iter_mut().flatten() {
        if *seen.source_name == RnicName::new("h1", "mlx5_0") {
            *seen = seen.clone().with_counts(huge);
        }
    }
    let judgement = fabric.judge.judge(&snapshot).expect("possible counts");
    for finding in &judgement.findings {
        assert!(finding.probes.lost <= finding.probes.sent, "{finding:?}");
        assert!((0.0..=1.0).contains(&finding.share), "{finding:?}");
        assert!((0.0..=1.0).contains(&finding.confidence), "{finding:?}");
    }
}

/// What one host alone says of others opens nothing about them, whatever it makes up; the fabrics are too small for its lie to be
/// outweighed by what others see.
#[test]
fn one_hosts_word_blames_no_other_host_and_no_part_of_the_network() {
    type Lie = fn(u8) -> bool;
    let lies: [(&str, Lie); 5] = [
        ("of everybody", |_| true),
        ("of one host", |target| target == 3),
        ("of one host under its own ToR", |target| target == 1),
        ("of those under other ToRs", |target| target > 1),
        ("of all under one ToR", |target| target / 2 == 1),
    ];
    for (tors, under) in [(2, 1), (2, 2), (3, 2)] {
        for (what, lie) in lies {
            for lost in [PROBES / 4, PROBES] {
                let mut fabric = TestFabric::new(tors, under);
                fabric.run(10, |_, _| Fate::Lost(0));
                fabric.run(30, |source, target| match source {
                    0 if lie(target) => Fate::Lost(lost),
                    _ => Fate::Lost(0),
                });
                for line in &fabric.lines {
                    let is_about_itself = line.contains("h0") && !line.contains("tor");
                    let others = (1..tors * under).any(|host| line.contains(&format!("h{host}/")));
                    assert!(
                        is_about_itself && !others,
                        "{tors} ToRs of {under}, {lost} lost {what}: {:?}",
                        fabric.lines
                    );
                }
            }
        }
    }
}

#[test]
fn one_host_slows_down_nobody_by_its_word() {
    let mut fabric = TestFabric::new(3, 2);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(40, |source, target| match (source, target) {
        (0, 4 | 5) => Fate::Rtt(400_000),
        _ => Fate::Lost(0),
    });
    assert_eq!(fabric.lines, [""; 0]);
}

/// Two hosts see what is between them from both sides, since the ACKs of one cross what the probes of the other do.
#[test]
fn two_hosts_suffice_for_a_fault_that_both_see() {
    let mut fabric = TestFabric::new(2, 1);
    fabric.run(20, |_, _| Fate::Lost(0));
    fabric.run(20, |_, _| Fate::Lost(PROBES / 2));
    assert!(!fabric.lines.is_empty());
}

/// Nobody else is there to be blamed or to confirm it.
#[test]
fn the_only_host_that_reports_is_believed() {
    let mut fabric = TestFabric::new(2, 2);
    let only = |fate: fn(u8) -> Fate| {
        move |source, target| match source {
            0 => fate(target),
            _ => Fate::Silent,
        }
    };
    fabric.run(20, only(|_| Fate::Lost(0)));
    fabric.run(
        20,
        only(|target| Fate::Lost(PROBES * u64::from(target == 3))),
    );
    assert!(!fabric.lines.is_empty());
}
