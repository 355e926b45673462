//! What happens to files while the programs that own them are dead: copies, older copies, missing ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rpingmesh::analysis::report::PathReport;
use rpingmesh::rpc::results::{Ends, Received};
use rpingmesh::rpc::v1;
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::store::spool::Spool;
use rpingmesh::time::WallTime;

use super::account::Probes;

/// Larger than any spool here.
const LIMIT: u64 = 1 << 30;
/// Header of a spool's file, in bytes: what is cut off lies behind it.
const HEADER: u64 = 28;

/// Copies a folder in place of what was there.
pub(super) fn copy(from: &Path, to: &Path) {
    remove(to);
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // A running program may remove a file meanwhile.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

/// Removes a folder or a file, if it is there.
pub(super) fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
}

/// Cuts the end off the newest file of a spool that is longer.
pub(super) fn cut_off(folder: &Path, bytes: u64) {
    let mut logs: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|name| name == "log"))
        .collect();
    logs.sort();
    let Some(newest) = logs.pop() else { return };
    let length = fs::metadata(&newest).expect("a file").len();
    if length > HEADER + bytes {
        let file = fs::File::options().write(true).open(&newest);
        file.expect("a file")
            .set_len(length - bytes)
            .expect("shorter");
    }
}

/// The batches of a spool that nobody uses, by the ends of their intervals.
pub(super) async fn spooled(folder: &Path) -> BTreeSet<i64> {
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("spool");
    copy(folder, &file);
    let spool = Spool::open(&Location::File(file), LIMIT)
        .await
        .expect("a spool");
    let mut ends = BTreeSet::new();
    loop {
        spool.begin().await.expect("a spool");
        let batches = spool.read(0, usize::MAX).await.expect("a spool");
        let Some(last) = batches.last().map(|last| last.sequence) else {
            return ends;
        };
        ends.extend(batches.iter().map(|batch| {
            let batch = v1::ResultBatch::decode(&*batch.payload).expect("a batch");
            batch.end_unix_ns
        }));
        spool.acknowledge(last).await.expect("a spool");
    }
}

/// The batches that an analyzer's database has: agent, end of the interval, probes. As often as they are there.
pub(super) async fn stored(folder: &Path) -> Vec<(String, i64, Probes)> {
    let place = tempfile::tempdir().expect("a folder");
    copy(folder, place.path());
    let file = place.path().join(super::site::DATABASE);
    let stores = Stores::open(&Location::File(file)).await.expect("stores");
    let records = stores
        .journal
        .read(WallTime::from_nanos(0), 0, u32::MAX, usize::MAX)
        .await
        .expect("readable");
    let mut found = Vec::new();
    for stored in records {
        let received = Received::read(&stored.record.payload, &Ends::default());
        let Received { batch, refused } = received.expect("a batch");
        assert!(refused.is_empty(), "{refused:?}");
        let mut probes = Probes::default();
        for path in &batch.paths {
            probes.sent += PathReport::sent(path);
            probes.complete += path.samples.len() as u64;
        }
        let agent = stored.record.sender.agent.to_string();
        found.push((agent, batch.interval.end.nanos(), probes));
    }
    found
}

/// By agent; an error names a batch that is there twice.
pub(super) fn by_agent(
    found: Vec<(String, i64, Probes)>,
) -> Result<BTreeMap<String, BTreeMap<i64, Probes>>, String> {
    let mut all: BTreeMap<String, BTreeMap<i64, Probes>> = BTreeMap::new();
    for (agent, end, probes) in found {
        let agent_name = agent.clone();
        if all.entry(agent).or_default().insert(end, probes).is_some() {
            return Err(format!("a batch of {agent_name} is stored twice: {end}"));
        }
    }
    Ok(all)
}
