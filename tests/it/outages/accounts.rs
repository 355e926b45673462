//! What is counted, and by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use rpingmesh::analysis::report::PathReport;
use rpingmesh::fabric::scenario::Server;
use rpingmesh::rpc::results::{Ends, Received};
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::time::WallTime;

/// What happened between two changes of the servers.
#[derive(Default)]
pub(super) struct Phase {
    pub(super) from: u64,
    pub(super) away: BTreeSet<Server>,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) batches: u64,
    /// The newest batch of each agent when it began.
    pub(super) before: Vec<u64>,
    /// Of its batches, those in the spools when it ended, where the analyzer was away: otherwise it has them each second.
    pub(super) spooled: Option<usize>,
    /// Agents that registered when it began.
    pub(super) registered: Option<usize>,
}

pub(super) fn phase_rows(phases: &[Phase], end: u64) -> String {
    let mut table = format!(
        "{:<12} {:<22} {:>10} {:>6} {:>5} {:>7} {:>8}\n",
        "", "away", "registered", "probes", "lost", "batches", "spooled"
    );
    let ends = phases.iter().skip(1).map(|phase| phase.from).chain([end]);
    for (phase, until) in phases.iter().zip(ends) {
        let away: Vec<_> = phase
            .away
            .iter()
            .map(|server| format!("{server:?}").to_lowercase())
            .collect();
        let registered = phase
            .registered
            .map_or_else(|| "-".to_owned(), |agents| agents.to_string());
        let spooled = phase
            .spooled
            .map_or_else(|| "-".to_owned(), |batches| batches.to_string());
        let _ = writeln!(
            table,
            "{:<12} {:<22} {registered:>10} {:>6} {:>5} {:>7} {spooled:>8}",
            format!("{}–{until} s", phase.from),
            away.join(", "),
            phase.sent,
            phase.lost,
            phase.batches,
        );
    }
    table
}

/// Batches, probes and complete probes of the analyzer's store; every batch of an agent once, from the first on.
pub(super) async fn journal(folder: &Path) -> (u64, u64, u64) {
    let file = folder.join("analyzer.sqlite");
    let stores = Stores::open(&Location::File(file))
        .await
        .expect("the analyzer's stores");
    let stored = stores
        .journal
        .read(WallTime::from_nanos(0), 0, 100_000, usize::MAX)
        .await
        .expect("readable");
    let mut sequences: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let (mut sent, mut complete) = (0, 0);
    for stored in &stored {
        let record = &stored.record;
        sequences
            .entry(record.sender.agent.to_string())
            .or_default()
            .push(record.sequence);
        let received = Received::read(&record.payload, &Ends::default());
        let Received { batch, refused } = received.expect("a batch");
        assert!(refused.is_empty(), "{refused:?}");
        sent += batch.paths.iter().map(PathReport::sent).sum::<u64>();
        let samples = batch.paths.iter().map(|path| path.samples.len() as u64);
        complete += samples.sum::<u64>();
    }
    for (agent, sequences) in sequences {
        let whole: Vec<_> = (1..=sequences.len() as u64).collect();
        assert_eq!(sequences, whole, "batches of {agent}");
    }
    (stored.len() as u64, sent, complete)
}
