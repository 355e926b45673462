//! What analyzers that share a fleet of 100 000 RNICs relay to the judge: 12 500 agents with 235 5-tuples each, of which 100 have a probe in
//! a second, of four owners with a frame each every 100 ms. Prints bytes per second, also of the first second, in which all paths are
//! described, the processor time of writing and reading, and the memory of what is kept: `cargo run --release --example relay_bytes
//! [AGENTS]`. `SECONDS` is how long [default: 5].

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rpingmesh::analysis::report::{AgentCounters, Batch, End, Path, PathReport, Sender, SpoolId};
use rpingmesh::analysis::shards::ShardId;
use rpingmesh::id::{AgentId, DeviceName, Gid, HostName, Qpn, TorId, UdpSourcePort};
use rpingmesh::measure::Measurement;
use rpingmesh::probe::ProbeKind;
use rpingmesh::rpc::relay::{Condensed, Outgoing, PathBook, Reader, Said, Standing, Told, frame};
use rpingmesh::rpc::results::{Received, Refusals};
use rpingmesh::rpc::shards::ShardEpoch;
use rpingmesh::rpc::v1;
use rpingmesh::time::{Nanos, WallTime};
use rpingmesh::transport::CompletionClock;

const AGENTS: usize = 12_500;
const RNICS: usize = 8;
const TUPLES: usize = 235;
const REPORTS: u32 = 100;
const OWNERS: usize = 4;
/// Frames of an owner in a second.
const FRAMES: usize = 10;

/// One owner with its stream.
struct Owner {
    book: PathBook,
    told: Told,
    reader: Reader,
    kept: Vec<Condensed>,
}

#[derive(Default)]
struct Spent {
    reports: usize,
    bytes: usize,
    condensing: Duration,
    writing: Duration,
    reading: Duration,
}

fn end(rnic: usize) -> Arc<End> {
    let number = u32::try_from(rnic).expect("few RNICs");
    let [_, a, b, c] = number.to_be_bytes();
    Arc::new(End {
        gid: Gid::from(Ipv4Addr::new(10, a, b, c)),
        qpn: Qpn::from_lower_bits(64 + number * 7),
        host: HostName::new(format!(
            "gpu-{:05}.pod{}.example.net",
            rnic / RNICS,
            rnic / 512
        )),
        tor: TorId::new(format!("leaf{}-r{}", rnic / 512, rnic % RNICS)),
        device: DeviceName::new(format!("mlx5_{}", rnic % RNICS)),
    })
}

fn tuples(agent: usize, ends: &[Arc<End>], random: &mut ChaCha8Rng) -> Vec<Path> {
    let tuple = |number: usize| Path {
        source: Arc::clone(&ends[agent * RNICS + number % RNICS]),
        target: Arc::clone(&ends[random.random_range(0..ends.len())]),
        kind: ProbeKind::InterTor,
        source_port: Some(UdpSourcePort(random.random_range(0xc000..=0xffff))),
        service: None,
        class: None,
        fidelity: None,
    };
    (0..TUPLES).map(tuple).collect()
}

/// Spans of any size within a factor of two: more than those of paths of one length differ.
fn batch(second: i64, tuples: &[Path], random: &mut ChaCha8Rng) -> Batch {
    let start = WallTime::from_nanos((1_800_000_000 + second) * 1_000_000_000);
    let mut paths = Vec::new();
    for path in tuples {
        if random.random_ratio(REPORTS, u32::try_from(TUPLES).expect("few")) {
            let mut nanos = |most: i64| Nanos(random.random_range(most / 2..most));
            let mut report = PathReport::empty(path.clone(), CompletionClock::HardwareWall);
            report.samples.push(Measurement {
                network_rtt: nanos(9_000),
                prober_delay: nanos(4_000),
                responder_delay: nanos(3_000),
            });
            paths.push(report);
        }
    }
    Batch {
        sequence: 1 + second.unsigned_abs(),
        interval: start..start + Nanos(1_000_000_000),
        paths,
        traces: Vec::new(),
        counters: AgentCounters {
            probes_answered: second.unsigned_abs() * 100 + random.random_range(0..20),
            ..AgentCounters::default()
        },
        hardware: Vec::new(),
    }
}

impl Owner {
    /// Relays what some agents uploaded.
    fn relay(&mut self, batches: Vec<(Sender, HostName, Batch)>, spent: &mut Spent) {
        let begun = Instant::now();
        let mut definitions = Vec::new();
        let mut items = Vec::new();
        for (sender, host, batch) in batches {
            spent.reports += batch.paths.len();
            let refused = Refusals::default();
            let batch = Condensed::of(Received { batch, refused }, &mut self.book);
            items.push((sender, host, batch));
        }
        let condensed = Instant::now();
        for (.., batch) in &items {
            batch.untold(&self.book, &mut self.told, &mut definitions);
        }
        let outgoing = items.iter().map(|(sender, host, batch)| Outgoing {
            sender,
            host,
            version: None,
            again: false,
            late: false,
            content: Said::Batch(batch, Standing::default()),
        });
        let shard = ShardEpoch {
            shard: ShardId::of_tors([]),
            epoch: 1,
        };
        let frame = frame(1, [(shard, outgoing.collect())], &definitions, false);
        let frame = frame.expect("memory").encode_to_vec();
        let packed = zstd::bulk::compress(&frame, 1).expect("memory");
        let written = Instant::now();
        let unpacked = zstd::bulk::decompress(&packed, frame.len()).expect("whole");
        let read = v1::RelayFrame::decode(&*unpacked).expect("a frame");
        let read = self.reader.read(read).expect("a frame");
        spent.reading += written.elapsed();
        assert_eq!(read.shards[0].items.len(), items.len());
        spent.bytes += packed.len();
        spent.condensing += condensed - begun;
        spent.writing += written - condensed;
        self.kept.extend(items.into_iter().map(|(.., batch)| batch));
    }
}

fn main() {
    let argument = std::env::args().nth(1);
    let agents = argument.map_or(AGENTS, |text| text.parse().expect("a number of agents"));
    let seconds = std::env::var("SECONDS").map_or(5, |text| text.parse().expect("a number"));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let ends: Vec<_> = (0..agents * RNICS).map(end).collect();
    let paths: Vec<Vec<Path>> = (0..agents)
        .map(|agent| tuples(agent, &ends, &mut random))
        .collect();
    let shared = Arc::default();
    let mut owners: Vec<Owner> = (0..OWNERS)
        .map(|_| Owner {
            book: PathBook::default(),
            told: Told::default(),
            reader: Reader::new(Arc::clone(&shared)),
            kept: Vec::new(),
        })
        .collect();
    println!("{agents} agents with {RNICS} RNICs and {TUPLES} 5-tuples, {OWNERS} owners");
    for second in 0..seconds {
        let mut spent = Spent::default();
        for slice in 0..FRAMES {
            let mut of: Vec<Vec<_>> = (0..OWNERS).map(|_| Vec::new()).collect();
            for agent in (slice..agents).step_by(FRAMES) {
                let sender = Sender {
                    agent: AgentId::new(format!("gpu-{agent:05}.pod{}.example.net", agent / 64)),
                    spool: SpoolId(agent as u64 * 0x9e37_79b9_7f4a_7c15),
                };
                let host = ends[agent * RNICS].host.clone();
                let batch = batch(second, &paths[agent], &mut random);
                of[agent / 64 % OWNERS].push((sender, host, batch));
            }
            for (owner, batches) in owners.iter_mut().zip(of) {
                owner.relay(batches, &mut spent);
            }
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / spent.reports as f64;
        println!(
            "second {second}: {} reports, {:.2} MB, {:.2} bytes each; µs each: condensed {:.3}, written {:.3}, read {:.3}",
            spent.reports,
            spent.bytes as f64 / 1e6,
            spent.bytes as f64 / spent.reports as f64,
            each(spent.condensing),
            each(spent.writing),
            each(spent.reading)
        );
    }
    let kept = owners.iter().flat_map(|owner| &owner.kept);
    let kept: usize = kept.map(Condensed::bytes).sum();
    let numbered: usize = owners.iter().map(|owner| owner.book.len()).sum();
    println!(
        "kept: {:.1} MB for each second; {numbered} paths have numbers",
        kept as f64 / 1e6 / f64::from(i32::try_from(seconds).expect("few"))
    );
}
