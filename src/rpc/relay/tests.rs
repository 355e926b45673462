use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::analysis::report::{AgentCounters, Batch, End, Path, PathReport, SpoolId};
use crate::analysis::shards::ShardId;
use crate::analysis::sketch::Bin;
use crate::analysis::windows::{Limits, Slot, Summary, Windows};
use crate::error::describe;
use crate::id::{AgentId, DeviceName, Gid, Qpn, TorId, UdpSourcePort};
use crate::measure::Measurement;
use crate::probe::ProbeKind;
use crate::rpc::results::tests::any_batch;
use crate::rpc::results::{Ends, Refusals};
use crate::rpc::v1;
use crate::time::{Nanos, WallTime};
use crate::transport::CompletionClock;

fn shard() -> ShardEpoch {
    ShardEpoch {
        shard: ShardId::new(5).expect("there"),
        epoch: 2,
    }
}

fn received(batch: Batch) -> Received {
    Received {
        batch,
        refused: Refusals::default(),
    }
}

fn sender() -> Sender {
    Sender {
        agent: AgentId::new("a"),
        spool: SpoolId(7),
    }
}

/// The frame of some batches for a stream that has described `told`.
fn framed(book: &PathBook, told: &mut Told, batches: &[Condensed]) -> v1::RelayFrame {
    let mut paths = Vec::new();
    for batch in batches {
        batch.untold(book, told, &mut paths);
    }
    let (sender, host) = (sender(), HostName::new(""));
    let items = batches.iter().map(|batch| Outgoing {
        sender: &sender,
        host: &host,
        version: None,
        again: false,
        late: true,
        content: Said::Batch(
            batch,
            Standing {
                newest: 3,
                taken: 2,
                lost: 1,
            },
        ),
    });
    frame(1, [(shard(), items.collect())], &paths, true).expect("memory")
}

/// The batches of a frame, which must all be readable.
fn batches(frame: Frame) -> Vec<Received> {
    let items = frame.shards.into_iter().flat_map(|shard| shard.items);
    let batch = |item: Result<Item, ItemError>| match item.expect("readable").content {
        Content::Batch { received, standing } => {
            assert_eq!((standing.newest, standing.taken, standing.lost), (3, 2, 1));
            *received
        }
        Content::State(state) => panic!("{state:?}"),
    };
    items.map(batch).collect()
}

/// As it is passed on: short spans as the middles of their bins.
fn as_relayed(mut batch: Batch) -> Batch {
    let relayed = |span: &mut Nanos| {
        if *span < batch::EXACT {
            *span = Bin::of(*span).middle();
        }
    };
    for report in &mut batch.paths {
        for sample in &mut report.samples {
            relayed(&mut sample.network_rtt);
            relayed(&mut sample.prober_delay);
            relayed(&mut sample.responder_delay);
        }
    }
    batch
}

/// In an order that does not depend on numbers of paths.
fn in_order(mut batch: Batch) -> Batch {
    batch
        .paths
        .sort_by_cached_key(|report| format!("{report:?}"));
    batch
}

/// What the windows hold of a batch.
fn counted(batch: &Batch) -> Vec<Summary> {
    let mut windows = Windows::new(Limits {
        lateness: Duration::from_mins(1),
        clock_tolerance: Duration::from_secs(5),
        paths: 1_000,
        bytes: 1 << 28,
    });
    windows.ingest(batch, batch.interval.end);
    let slot = Slot::of_interval(&batch.interval);
    let slots = slot..slot.next();
    let mut all: Vec<_> = windows
        .paths()
        .filter_map(|path| path.summary(&slots))
        .collect();
    all.sort_by_cached_key(|summary| format!("{summary:?}"));
    all
}

/// Batches whose spans are of all sizes.
fn any_batches() -> impl Strategy<Value = Vec<Batch>> {
    let batch = (any_batch(), 1i64..3).prop_map(|(mut batch, size)| {
        for sample in batch
            .paths
            .iter_mut()
            .flat_map(|report| &mut report.samples)
        {
            for span in [&mut sample.network_rtt, &mut sample.prober_delay] {
                span.0 %= 10_i64.pow(4 * u32::try_from(size).unwrap_or(1));
            }
        }
        batch
    });
    prop::collection::vec(batch, 0..5)
}

proptest! {
    #[test]
    fn what_is_passed_on_is_read_and_counted_alike(first in any_batches(), second in any_batches()) {
        let (mut book, mut told) = (PathBook::default(), Told::default());
        let mut reader = Reader::new(Arc::default());
        // The paths of the first frame come again in the second one, beside others.
        for sent in [first.clone(), [first, second].concat()] {
            let condensed: Vec<_> = sent
                .iter()
                .map(|batch| Condensed::of(received(batch.clone()), &mut book))
                .collect();
            let frame = framed(&book, &mut told, &condensed);
            let frame = v1::RelayFrame::decode(&*frame.encode_to_vec()).expect("a frame");
            let read = batches(reader.read(frame).expect("a frame"));
            prop_assert_eq!(read.len(), sent.len());
            for (sent, read) in sent.into_iter().zip(read) {
                prop_assert_eq!(read.refused.len(), 0);
                prop_assert_eq!(counted(&sent), counted(&read.batch));
                prop_assert_eq!(in_order(as_relayed(sent)), in_order(read.batch));
            }
            for batch in &condensed {
                batch.release(&mut book);
            }
        }
        prop_assert!(book.is_empty(), "no batch is kept");
    }
}

/// A batch of two paths: one with a probe that was lost and one that took long, one with an even probe.
fn batch() -> v1::ResultBatch {
    let peer = |last: u8| v1::Peer {
        gid: Gid::from(std::net::Ipv4Addr::new(10, 0, 0, last))
            .bytes()
            .to_vec()
            .into(),
        qpn: 17,
        host: format!("h{last}"),
        tor: "t0".to_owned(),
        device: "mlx5_0".to_owned(),
    };
    let report = |last: u8| v1::PathReport {
        source: Some(peer(1)),
        target: Some(peer(last)),
        kind: v1::ProbeKind::TorMesh.into(),
        source_port: 50_000,
        sent: 1,
        network_rtt_ns: vec![4_000],
        prober_delay_ns: vec![2_000],
        responder_delay_ns: vec![1_000],
        clock: v1::CompletionClock::Software.into(),
        ..v1::PathReport::default()
    };
    v1::ResultBatch {
        sequence: 1,
        start_unix_ns: 1_800_000_000_000_000_000,
        end_unix_ns: 1_800_000_001_000_000_000,
        paths: vec![
            v1::PathReport {
                sent: 3,
                lost: 1,
                invalid: vec![v1::InvalidCount {
                    reason: v1::InvalidReason::SecondAckMissing.into(),
                    count: 1,
                }],
                responder_delay_ns: vec![60_000_000],
                ..report(2)
            },
            report(3),
            // It contradicts itself.
            v1::PathReport {
                sent: 9,
                ..report(4)
            },
        ],
        ..v1::ResultBatch::default()
    }
}

fn read(message: &v1::ResultBatch) -> Received {
    Received::read(&message.encode_to_vec(), &Ends::default()).expect("a batch")
}

#[test]
fn refused_reports_are_counted_and_one_is_named() {
    let mut book = PathBook::default();
    let condensed = Condensed::of(read(&batch()), &mut book);
    let frame = framed(&book, &mut Told::default(), &[condensed]);
    let read = batches(Reader::new(Arc::default()).read(frame).expect("a frame"));
    assert_eq!(read[0].refused.len(), 1);
    insta::assert_snapshot!(
        read[0].refused.kept()[0],
        @"report of path 10.0.0.1 -> 10.0.0.4 port 50000: 9 sent, but 0 lost, 0 invalid and 1 complete"
    );
}

#[test]
fn a_number_that_another_path_had_is_described_again() {
    let (mut book, mut told) = (PathBook::default(), Told::default());
    let mut reader = Reader::new(Arc::default());
    let mut all = batch();
    all.paths.truncate(1);
    let first = Condensed::of(read(&all), &mut book);
    let sent = framed(&book, &mut told, std::slice::from_ref(&first));
    assert_eq!(sent.paths.as_ref().map(|paths| paths.paths.len()), Some(1));
    batches(reader.read(sent).expect("a frame"));
    let again = framed(&book, &mut told, std::slice::from_ref(&first));
    assert_eq!(again.paths, None, "it is described");
    first.release(&mut book);
    all.paths[0].source_port = 50_001;
    let second = Condensed::of(read(&all), &mut book);
    assert_eq!(book.len(), 1);
    let sent = framed(&book, &mut told, std::slice::from_ref(&second));
    let numbers: Vec<u32> = sent
        .paths
        .iter()
        .flat_map(|paths| &paths.paths)
        .map(|path| path.number)
        .collect();
    assert_eq!(numbers, [0], "the number of the one before");
    let read = batches(reader.read(sent).expect("a frame"));
    let port = read[0].batch.paths[0].path.source_port;
    assert_eq!(port.map(|port| port.0), Some(50_001));
}

#[test]
fn frames_that_cannot_be_read_say_why() {
    let mut book = PathBook::default();
    let condensed = Condensed::of(read(&batch()), &mut book);
    let good = framed(&book, &mut Told::default(), &[condensed]);
    let bad = |change: &dyn Fn(&mut v1::RelayFrame)| {
        let mut frame = good.clone();
        change(&mut frame);
        let error = Reader::new(Arc::default()).read(frame).expect_err("bad");
        describe(&error)
    };
    let packed = |content: &[u8]| zstd::bulk::compress(content, 1).expect("memory").into();
    let column = |change: &dyn Fn(&mut v1::RelayedReports)| {
        bad(&|frame| change(frame.reports.as_mut().expect("columns")))
    };
    let path = |change: &dyn Fn(&mut v1::RelayedPath)| {
        bad(&|frame| change(&mut frame.paths.as_mut().expect("paths").paths[1]))
    };
    insta::assert_snapshot!(
        [
            bad(&|frame| frame.paths = None),
            bad(&|frame| frame.reports = None),
            bad(&|frame| frame.shards[0].items[0].reports = 3),
            bad(&|frame| frame.shards[0].items[0].reports = u32::MAX),
            bad(&|frame| frame.shards[0].items[0].reports = 1),
            bad(&|frame| frame.shards[0].items[0].first_path = 1),
            bad(&|frame| frame.paths.as_mut().expect("paths").ends[0] = vec![1].into()),
            path(&|path| path.number = 1 << 23),
            path(&|path| path.target = 9),
            path(&|path| path.kind = 77),
            path(&|path| path.source_port = 70_000),
            column(&|columns| columns.paths = vec![1, 2, 3].into()),
            column(&|columns| columns.paths = packed(&vec![0; 7 << 20])),
            column(&|columns| columns.complete = packed(&[1, 200])),
            column(&|columns| columns.complete = packed(&[1, 9])),
            column(&|columns| columns.network_rtt_high = packed(&[1, 15])),
            column(&|columns| columns.network_rtt_low = packed(&[1, 1, 1])),
            column(&|columns| columns.exact = packed(&[])),
            column(&|columns| columns.odd = packed(&[0, 1, 1, 99, 1])),
            column(&|columns| columns.odd = packed(&[0, 1, 9])),
            column(&|columns| columns.odd = packed(&[0, 1, 2, 5, 1, 5, 1])),
        ]
        .join("\n"),
        @r"
    path 0 is not described
    column `paths` has fewer entries than the frame has reports
    column `paths` has fewer entries than the frame has reports
    more than 524288 reports in one frame
    column `paths` has more entries than the frame has reports
    path 2 is not described
    an end of a path: failed to decode Protobuf message: invalid tag value: 0
    path 8388608: numbers are below 8388608
    path 1: the target is missing
    path 1: probe kind 77 is unknown
    path 1: source port 70000 has more than 16 bits
    column `paths`: the compressed batch is no zstd frame that names the size of its content
    column `paths` has 7340032 bytes: at most 6291456 are taken
    column `complete` has fewer entries than the frame has reports
    column `network_rtt_low` has fewer entries than the frame has reports
    column `network_rtt_high` has 4029
    column `network_rtt_low` has more entries than the frame has reports
    column `exact` has fewer entries than the frame has reports
    column `odd`: invalid reason 99 is unknown
    column `odd` has 9
    column `odd` has 5
    ");
}

/// Bent frames give errors or other results, never a panic.
#[test]
fn bent_frames_do_no_harm() {
    let mut book = PathBook::default();
    let condensed = Condensed::of(read(&batch()), &mut book);
    let good = framed(&book, &mut Told::default(), &[condensed]).encode_to_vec();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..5_000 {
        let mut bent = good.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bent.len());
            bent[at] = random.random();
        }
        let Ok(frame) = v1::RelayFrame::decode(&*bent) else {
            continue;
        };
        match Reader::new(Arc::default()).read(frame) {
            Ok(_) => whole += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(whole > 100 && refused > 100, "{whole}, {refused}");
}

/// A second of agents as in a fleet of 100 000 RNICs: 8 RNICs, 100 reports of one probe each.
#[test]
fn a_report_of_one_probe_takes_at_most_four_bytes() {
    const AGENTS: u32 = 40;
    let (mut book, mut told) = (PathBook::default(), Told::default());
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut sizes = Vec::new();
    let (sender, host) = (sender(), HostName::new("gpu-00012.pod3.example.net"));
    let paths: Vec<Vec<Path>> = (0..AGENTS).map(paths_of).collect();
    for second in 0..20_i64 {
        let start = WallTime::from_nanos((1_800_000_000 + second) * 1_000_000_000);
        let mut kept = Vec::new();
        let mut definitions = Vec::new();
        for paths in &paths {
            let mut reports = Vec::new();
            for path in paths {
                if random.random_ratio(100, 235) {
                    reports.push(one_probe(path, &mut random));
                }
            }
            let batch = Batch {
                sequence: 1 + second.unsigned_abs(),
                interval: start..start + Nanos(1_000_000_000),
                paths: reports,
                traces: Vec::new(),
                counters: AgentCounters::default(),
                hardware: Vec::new(),
            };
            let batch = Condensed::of(received(batch), &mut book);
            batch.untold(&book, &mut told, &mut definitions);
            kept.push(batch);
        }
        let items = kept.iter().map(|batch| Outgoing {
            sender: &sender,
            host: &host,
            version: None,
            again: false,
            late: false,
            content: Said::Batch(batch, Standing::default()),
        });
        let reports: usize = kept.iter().map(|batch| batch.reports.len()).sum();
        let sent = frame(1, [(shard(), items.collect())], &definitions, true).expect("memory");
        let bytes = zstd::bulk::compress(&sent.encode_to_vec(), 1)
            .expect("memory")
            .len();
        sizes.push(bytes as f64 / reports as f64);
        // The log keeps what was told: no path is forgotten.
        std::mem::forget(kept);
    }
    let last = sizes[15..].iter().sum::<f64>() / 5.0;
    println!(
        "with descriptions {:.1} bytes for a report, later {last:.2}",
        sizes[0]
    );
    assert!(last <= 4.0, "{sizes:?}");
}

/// The 5-tuples of an agent of a large fabric.
fn paths_of(agent: u32) -> Vec<Path> {
    let end = |rnic: u32| {
        let [_, a, b, c] = rnic.to_be_bytes();
        Arc::new(End {
            gid: Gid::from(std::net::Ipv4Addr::new(10, a, b, c)),
            qpn: Qpn::from_lower_bits(rnic * 7 + 64),
            host: HostName::new(format!("gpu-{:05}.example.net", rnic / 8)),
            tor: TorId::new(format!("leaf{}-r{}", rnic / 512, rnic % 8)),
            device: DeviceName::new(format!("mlx5_{}", rnic % 8)),
        })
    };
    let mut random = ChaCha8Rng::seed_from_u64(agent.into());
    let mut path = |number: u32| Path {
        source: end(agent * 8 + number % 8),
        target: end(random.random_range(0..100_000)),
        kind: ProbeKind::InterTor,
        source_port: Some(UdpSourcePort(random.random_range(0xc000..=0xffff))),
        service: None,
        class: None,
        fidelity: None,
    };
    (0..235).map(&mut path).collect()
}

/// Spans of any size within a factor of two: more than those of paths of one length differ.
fn one_probe(path: &Path, random: &mut ChaCha8Rng) -> PathReport {
    let mut nanos = |most: i64| Nanos(random.random_range(most / 2..most));
    let mut report = PathReport::empty(path.clone(), CompletionClock::HardwareWall);
    report.samples.push(Measurement {
        network_rtt: nanos(9_000),
        prober_delay: nanos(4_000),
        responder_delay: nanos(3_000),
    });
    report
}
