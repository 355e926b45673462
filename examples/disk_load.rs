//! What agent and analyzer write to their disks, beside what was uploaded: `cargo xtask bench disk-load`.
//!
//! One agent with two RNICs (150 probes/s and RNIC over 100 5-tuples) puts a batch a second into its spool, and each is
//! acknowledged. The analyzer's journal stores the batches of 200 such agents, 30 in a group, and forgets what no window needs. Time
//! does not pass: the bytes are those of two minutes. Linux counts what a process has given to a disk
//! (`/proc/self/io`, `write_bytes`); `FOLDER` must be on one [default: the folder for temporary files].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rpingmesh::analysis::admission::Watermark;
use rpingmesh::analysis::report::{Sender, SpoolId};
use rpingmesh::id::{AgentId, HostName};
use rpingmesh::rpc::v1;
use rpingmesh::store::Location;
use rpingmesh::store::journal::{Journal, Record};
use rpingmesh::store::open::Stores;
use rpingmesh::store::spool::Spool;
use rpingmesh::time::WallTime;

const START: i64 = 1_800_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const SECONDS: u32 = 120;
/// Batches that are kept, in seconds.
const KEPT: i64 = 60;
const AGENTS: u32 = 200;
const GROUP: usize = 30;
const TUPLES: u32 = 100;

fn peer(rnic: u32) -> v1::Peer {
    let mut gid = vec![0; 10];
    gid.extend([0xff, 0xff, 10]);
    gid.extend(&rnic.to_be_bytes()[1..]);
    v1::Peer {
        gid: gid.into(),
        qpn: rnic + 17,
        host: format!("host{}.rack{}.example.net", rnic / 2, rnic / 32),
        tor: format!("tor{}", rnic / 32),
        device: format!("mlx5_{}", rnic % 2),
    }
}

/// What an agent uploads for one second.
fn batch(agent: u32, second: u32) -> Bytes {
    let paths = (0..2 * TUPLES).map(|number| {
        let rnic = 2 * agent + number % 2;
        let samples = 1 + (number + second) % 2;
        let noise = |scale: u32| {
            (0..samples)
                .map(|sample| {
                    let mixed =
                        (rnic * 7_919 + number * 104_729 + second * 1_299_709 + sample * 31)
                            .wrapping_mul(2_654_435_761);
                    i64::from(4_000 + (mixed >> 16) % scale)
                })
                .collect()
        };
        v1::PathReport {
            source: Some(peer(rnic)),
            target: Some(peer((rnic + 1 + number * 7) % (2 * AGENTS))),
            kind: v1::ProbeKind::InterTor.into(),
            source_port: 49_152 + number,
            sent: u64::from(samples),
            network_rtt_ns: noise(700),
            prober_delay_ns: noise(1_400),
            responder_delay_ns: noise(900),
            clock: v1::CompletionClock::HardwareRaw.into(),
            ..v1::PathReport::default()
        }
    });
    let start = START + i64::from(second) * SECOND;
    let message = v1::ResultBatch {
        sequence: u64::from(second) + 1,
        start_unix_ns: start,
        end_unix_ns: start + SECOND,
        paths: paths.collect(),
        ..v1::ResultBatch::default()
    };
    message.encode_to_vec().into()
}

/// Bytes that this process has given to a disk.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).expect("a number")
}

/// As it is uploaded.
fn compressed(batch: &[u8]) -> u64 {
    zstd::bulk::compress(batch, 1).expect("compressed").len() as u64
}

fn show(what: &str, plain: u64, uploaded: u64, written: u64) {
    println!(
        "{what}: {:.2} MB uploaded ({:.2} MB before compression), {:.2} MB written: {:.2} times",
        uploaded as f64 / 1e6,
        plain as f64 / 1e6,
        written as f64 / 1e6,
        written as f64 / uploaded as f64
    );
}

async fn spool(folder: &Path) {
    let location = Location::File(folder.join("spool"));
    let spool = Spool::open(&location, 256 << 20).await.expect("a spool");
    let (before, mut plain, mut uploaded) = (written(), 0, 0);
    for second in 0..SECONDS * 5 {
        let payload = batch(1, second).to_vec();
        plain += payload.len() as u64;
        uploaded += compressed(&payload);
        let appended = spool.append(move |_| payload).await.expect("appended");
        spool
            .acknowledge(appended.sequence)
            .await
            .expect("acknowledged");
    }
    drop(spool);
    show("spool of one agent", plain, uploaded, written() - before);
}

async fn journal(folder: &Path) {
    let location = Location::File(folder.join("analyzer.db"));
    let stores = Stores::open(&location).await.expect("a store");
    let journal: Arc<dyn Journal> = stores.journal.clone();
    let (before, mut plain, mut uploaded) = (written(), 0, 0);
    for second in 0..SECONDS {
        let agents: Vec<_> = (0..AGENTS).collect();
        for group in agents.chunks(GROUP) {
            let (mut records, mut marks) = (Vec::new(), Vec::new());
            for agent in group {
                let sender = Sender {
                    agent: AgentId::new(format!("host{agent}.example.net")),
                    spool: SpoolId(u64::from(*agent) << 40),
                };
                let end = START + (i64::from(second) + 1) * SECOND;
                let payload = batch(*agent, second);
                plain += payload.len() as u64;
                uploaded += compressed(&payload);
                let now = WallTime::from_nanos(end);
                let host = HostName::new(format!("host{agent}.example.net"));
                let mut mark = Watermark::new(sender.clone(), host, now);
                mark.admit(u64::from(second) + 1, now);
                marks.push(mark);
                records.push(Record {
                    sender,
                    sequence: u64::from(second) + 1,
                    end: now,
                    payload,
                });
            }
            journal.append(records, marks).await.expect("stored");
        }
        if second % 30 == 29 {
            let horizon = START + (i64::from(second) - KEPT) * SECOND;
            let pruned = journal.prune(WallTime::from_nanos(horizon), WallTime::from_nanos(0));
            pruned.await.expect("pruned");
        }
    }
    drop((journal, stores));
    show(
        &format!("journal of {AGENTS} agents"),
        plain,
        uploaded,
        written() - before,
    );
}

#[tokio::main]
async fn main() {
    let folder = std::env::var_os("FOLDER").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    spool(folder.path()).await;
    journal(folder.path()).await;
}
