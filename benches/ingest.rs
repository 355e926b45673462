//! Path summaries (one path in one interval) that one core takes: `cargo xtask bench ingest`.
//!
//! Agents with two RNICs upload once a second, 150 probes/s and RNIC over 100 or 20 5-tuples. Steps as the analyzer takes
//! them: decoding a batch from its bytes as agents encode it with all checks, the watermark, the host filter, the windows, freeing
//! the batch; the network and the journal are not measured. CPU time of one thread. `SLOTS` is for how many slots of 5 s [default: 6].

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rpingmesh::analysis::admission::{Admission, Watermark};
use rpingmesh::analysis::filter::HostFilter;
use rpingmesh::analysis::report::{AgentCounters, Batch, End, Path, PathReport, Sender, SpoolId};
use rpingmesh::analysis::windows::{Limits, Placement, Windows};
use rpingmesh::id::{AgentId, DeviceName, HostName, Qpn, TorId, UdpSourcePort};
use rpingmesh::measure::Measurement;
use rpingmesh::probe::ProbeKind;
use rpingmesh::rpc::results::{Ends, Received};
use rpingmesh::rpc::v1;
use rpingmesh::time::{Nanos, WallTime};
use rpingmesh::transport::CompletionClock;
use rustix::time::{ClockId, clock_gettime};

const START: i64 = 1_800_000_000 * 1_000_000_000;
const HOSTS: u32 = 256;
const RNICS: u32 = 2;
const PROBES: u32 = 150;

fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .expect("CPU time is never negative")
}

/// CPU time of the steps, and what they took in.
#[derive(Default)]
struct Spent {
    decode: Duration,
    host_filter: Duration,
    windows: Duration,
    free: Duration,
    summaries: u64,
    samples: u64,
}

fn end(rnic: u32) -> End {
    let host = rnic / RNICS;
    let [_, _, high, low] = rnic.to_be_bytes();
    End {
        gid: Ipv4Addr::new(10, 1, high, low).into(),
        qpn: Qpn::from_lower_bits(rnic + 17),
        host: HostName::new(format!("host{host}.rack{}.example.net", host / 16)),
        tor: TorId::new(format!("tor{}", host / 16)),
        device: DeviceName::new(format!("mlx5_{}", rnic % RNICS)),
    }
}

/// What one agent uploads for one second.
fn batch(ends: &[Arc<End>], host: u32, second: u32, tuples: u32) -> Batch {
    let rnics = HOSTS * RNICS;
    let mut paths = Vec::new();
    for rnic in host * RNICS..(host + 1) * RNICS {
        for tuple in 0..tuples {
            let target = (rnic + 1 + tuple * 7) % rnics;
            let (source, target) = (&ends[rnic as usize], &ends[target as usize]);
            let port = u16::try_from(49_152 + tuple).expect("a port");
            let path = Path {
                source: Arc::clone(source),
                target: Arc::clone(target),
                kind: if source.tor == target.tor {
                    ProbeKind::TorMesh
                } else {
                    ProbeKind::InterTor
                },
                source_port: Some(UdpSourcePort(port)),
                service: None,
                class: None,
                fidelity: None,
            };
            let mut report = PathReport::empty(path, CompletionClock::HardwareRaw);
            let share = PROBES / tuples + u32::from((tuple + second) % tuples < PROBES % tuples);
            for number in 0..share {
                let noise = i64::from((number * 37 + tuple * 11 + second * 5) % 700);
                report.samples.push(Measurement {
                    network_rtt: Nanos(4_000 + noise),
                    prober_delay: Nanos(1_500 + 2 * noise),
                    responder_delay: Nanos(900 + noise),
                });
            }
            if (tuple + second).is_multiple_of(997) {
                report.lost = 1;
            }
            paths.push(report);
        }
    }
    let at = |second: u32| WallTime::from_nanos(START + i64::from(second) * 1_000_000_000);
    Batch {
        sequence: u64::from(second) + 1,
        interval: at(second)..at(second + 1),
        paths,
        traces: Vec::new(),
        counters: AgentCounters::default(),
        hardware: Vec::new(),
    }
}

fn run(tuples: u32, seconds: u32) -> Spent {
    let ends: Vec<_> = (0..HOSTS * RNICS).map(|rnic| Arc::new(end(rnic))).collect();
    let mut windows = Windows::new(Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1 << 22,
        bytes: usize::MAX,
    });
    let mut host_filter = HostFilter::default();
    let mut marks: Vec<Watermark> = (0..HOSTS)
        .map(|host| {
            let name = format!("host{host}");
            let sender = Sender {
                agent: AgentId::new(name.as_str()),
                spool: SpoolId(u64::from(host)),
            };
            let host = ends[(host * RNICS) as usize].host.clone();
            Watermark::new(sender, host, WallTime::from_nanos(START))
        })
        .collect();
    let known = Ends::default();
    let mut spent = Spent::default();
    for second in 0..seconds {
        for host in 0..HOSTS {
            let bytes = v1::ResultBatch::from(batch(&ends, host, second, tuples)).encode_to_vec();
            let begin = cpu_time();
            let received = Received::read(&bytes, &known).expect("what was encoded");
            let mark = &mut marks[host as usize];
            let received = received.of_host(&mark.host);
            let decoded = cpu_time();
            assert!(received.refused.is_empty());
            let batch = &received.batch;
            let now = batch.interval.end;
            assert_eq!(
                mark.admit(batch.sequence, now),
                Admission::New { skipped: 0 }
            );
            host_filter.ingest(&mark.host, batch, now);
            let ingested = cpu_time();
            assert_eq!(windows.ingest(batch, now), Placement::Counted);
            let counted = cpu_time();
            spent.decode += decoded.saturating_sub(begin);
            spent.host_filter += ingested.saturating_sub(decoded);
            spent.windows += counted.saturating_sub(ingested);
            spent.summaries += batch.paths.len() as u64;
            let samples = batch.paths.iter().map(|path| path.samples.len() as u64);
            spent.samples += samples.sum::<u64>();
            let begin = cpu_time();
            drop(received);
            spent.free += cpu_time().saturating_sub(begin);
        }
    }
    let memory = windows.memory();
    println!(
        "{tuples:>4} 5-tuples/RNIC: {} paths, {:.1} probes in a summary, {:.0} bytes of windows per path",
        memory.paths,
        spent.samples as f64 / spent.summaries as f64,
        memory.bytes as f64 / memory.paths as f64
    );
    spent
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let slots: u32 = std::env::var("SLOTS").map_or(6, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("SLOTS={text} is no number"))
    });
    println!("{HOSTS} hosts with {RNICS} RNICs, {PROBES} probes/s and RNIC, one upload a second");
    for tuples in [100, 20] {
        let spent = run(tuples, slots * 5);
        let rate = |time: Duration| spent.summaries as f64 / time.as_secs_f64() / 1e6;
        println!(
            "     million summaries/s and core: decoded {:.2}, host filter {:.2}, windows {:.2}, freed {:.2}; host filter and windows {:.2}, all steps {:.2}",
            rate(spent.decode),
            rate(spent.host_filter),
            rate(spent.windows),
            rate(spent.free),
            rate(spent.host_filter + spent.windows),
            rate(spent.decode + spent.host_filter + spent.windows + spent.free)
        );
    }
}
