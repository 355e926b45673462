//! What the judge does in a storm: `cargo xtask bench storm`.
//!
//! 100 000 paths over 200 ToRs, no wiring known. From one moment on a third of all paths loses a tenth of its probes. Prints
//! each run's processor time, what it had no time for, and the incidents as they open. `PATHS` is how many paths [default:
//! 100000], `RUNS` how many runs of the judge [default: 12].

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rpingmesh::analysis::filter::HostFilter;
use rpingmesh::analysis::incident::{Change, Tracker};
use rpingmesh::analysis::judge::{Judge, Pace, Snapshot};
use rpingmesh::analysis::report::{AgentCounters, Batch, End, Path, PathReport};
use rpingmesh::analysis::routes::Routes;
use rpingmesh::analysis::windows::{Limits, Windows};
use rpingmesh::id::{DeviceName, HostName, Qpn, TorId, UdpSourcePort};
use rpingmesh::measure::Measurement;
use rpingmesh::probe::ProbeKind;
use rpingmesh::time::{Nanos, WallTime};
use rpingmesh::transport::CompletionClock;
use rustix::time::{ClockId, clock_gettime};

/// Hosts that probe, and the ToRs of those that are probed.
const SOURCES: u32 = 25;
const TORS: u32 = 200;
/// Probes of a path in a second.
const PROBES: u64 = 4;
const INTERVAL: Duration = Duration::from_secs(1);
const EPOCH: i64 = 1_800_000_000 * 1_000_000_000;
/// Seconds before the storm.
const CALM: i64 = 20;

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .expect("CPU time is never negative")
}

fn at(second: i64) -> WallTime {
    WallTime::from_nanos(EPOCH + second * 1_000_000_000)
}

fn end(number: u32, name: String, tor: String) -> Arc<End> {
    Arc::new(End {
        gid: Ipv4Addr::from(0x0A00_0000 + number).into(),
        qpn: Qpn::from_lower_bits(number),
        host: HostName::new(name),
        tor: TorId::new(tor),
        device: DeviceName::new("mlx5_0"),
    })
}

/// The paths of each host that probes.
fn paths(count: u32) -> Vec<Vec<Path>> {
    let targets: Vec<_> = (0..count / SOURCES)
        .map(|number| {
            end(
                1_000_000 + number,
                format!("v{number}"),
                format!("t{}", number % TORS),
            )
        })
        .collect();
    (0..SOURCES)
        .map(|number| {
            let source = end(number, format!("h{number}"), format!("t{}", number * 8));
            let to = |(index, target): (u32, &Arc<End>)| Path {
                source: Arc::clone(&source),
                target: Arc::clone(target),
                kind: ProbeKind::InterTor,
                source_port: u16::try_from(50_000 + number * index % 14_000)
                    .ok()
                    .map(UdpSourcePort),
                service: None,
                class: None,
                fidelity: None,
            };
            (0..).zip(&targets).map(to).collect()
        })
        .collect()
}

/// What a host uploads of a second. In the storm one of twelve probes of every third path is lost, in turns.
fn batch(host: u32, paths: &[Path], second: i64) -> Batch {
    let report = |(index, path): (u32, &Path)| {
        let mut report = PathReport::empty(path.clone(), CompletionClock::Software);
        let hit = second > CALM && (host * 7 + index).is_multiple_of(3);
        // Two of five seconds lose one of four probes: a tenth.
        let unlucky = (i64::from(index) / 3 + second * 2) % 5 < 2;
        report.lost = u64::from(hit && unlucky);
        for _ in 0..PROBES - report.lost {
            report.samples.push(Measurement {
                network_rtt: Nanos(5_000),
                prober_delay: Nanos(1_000),
                responder_delay: Nanos(1_000),
            });
        }
        report
    };
    Batch {
        sequence: second.unsigned_abs(),
        interval: at(second - 1)..at(second),
        paths: (0..).zip(paths).map(report).collect(),
        traces: Vec::new(),
        counters: AgentCounters::default(),
        hardware: Vec::new(),
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let (count, runs) = (number("PATHS", 100_000), number("RUNS", 12));
    let paths = paths(count);
    let mut windows = Windows::new(Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1 << 20,
        bytes: usize::MAX,
    });
    let mut host_filter = HostFilter::default();
    let mut judge = Judge::new(Routes::default(), 0.0);
    let mut snapshot = Snapshot::empty();
    let mut tracker = Tracker::new(Vec::new(), 1, at(0));
    let mut pace = Pace::default();
    println!(
        "{count} paths, a third of them loses a tenth of its probes from second 0 on; no wiring"
    );
    for second in 1..=CALM + i64::from(runs) {
        for (host, paths) in (0..).zip(&paths) {
            let batch = batch(host, paths, second);
            host_filter.ingest(&HostName::new(format!("h{host}")), &batch, at(second));
            windows.ingest(&batch, at(second));
        }
        if second < CALM {
            continue;
        }
        let began = processor_time();
        snapshot.update(&windows, &host_filter, &judge.limits(), at(second));
        let taken = processor_time();
        judge.budget = pace.budget(INTERVAL);
        let judgement = judge.judge(&snapshot).expect("possible counts");
        let judged = processor_time();
        pace.learn(judgement.work, judged.saturating_sub(taken));
        println!(
            "second {:>3}: snapshot {:>4} ms, judge {:>4} ms of processor time; no time for: {}",
            second - CALM,
            taken.saturating_sub(began).as_millis(),
            judged.saturating_sub(taken).as_millis(),
            if judgement.unfinished.is_empty() {
                "nothing".to_owned()
            } else {
                judgement.unfinished.join(", ")
            }
        );
        for change in tracker.step(&judgement, at(second)) {
            if let Change::Opened(incident) = change {
                println!("            opened: {}", incident.title());
            }
        }
    }
}
