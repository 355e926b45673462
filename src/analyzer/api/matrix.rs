//! `GET /api/v1/matrix`.

use std::collections::BTreeMap;

use crate::analysis::sketch::Sketch;
use crate::analysis::windows::WindowLength;
use crate::analyzer::state::State;
use crate::api::matrix::{Matrix, MatrixQuery, Pair};
use crate::id::TorId;
use crate::time::WallTime;

/// The most pairs of ToRs in one answer; those with most losses go first.
const MOST_PAIRS: usize = 10_000;

#[derive(Default)]
struct Sums {
    sent: u64,
    lost: u64,
    invalid: u64,
    rtt: Sketch,
}

/// Answers `GET /api/v1/matrix`.
pub(in crate::analyzer) fn matrix(state: &State, query: &MatrixQuery, now: WallTime) -> Matrix {
    let window = query.window.map_or(WindowLength::Middle, |window| window.0);
    let slots = state.windows.slots(window, now);
    let mut pairs: BTreeMap<(&TorId, &TorId), Sums> = BTreeMap::new();
    for path in state.windows.paths() {
        if !path.has_results(&slots) {
            continue;
        }
        let sums = pairs
            .entry((&path.source().tor, &path.target().tor))
            .or_default();
        for slot in path.counts(&slots) {
            let focused = slot.focused;
            sums.sent = sums
                .sent
                .saturating_add(slot.sent.saturating_sub(focused.sent));
            sums.lost = sums
                .lost
                .saturating_add(slot.lost.saturating_sub(focused.lost));
            let invalid = slot.invalid.saturating_sub(focused.invalid);
            sums.invalid = sums.invalid.saturating_add(invalid);
        }
        sums.rtt.merge(&path.network_rtt(&slots));
    }
    let mut tors: Vec<String> = pairs
        .keys()
        .flat_map(|(source, target)| [source.to_string(), target.to_string()])
        .collect();
    tors.sort();
    tors.dedup();
    let total_pairs = pairs.len();
    let mut rows: Vec<_> = pairs.into_iter().collect();
    if total_pairs > MOST_PAIRS {
        rows.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.lost));
        rows.truncate(MOST_PAIRS);
        rows.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Matrix {
        window: window.into(),
        start_unix_ns: slots.start.start().nanos(),
        end_unix_ns: slots.end.start().nanos(),
        tors,
        total_pairs,
        pairs: rows
            .into_iter()
            .map(|((source, target), sums)| Pair {
                source_tor: source.to_string(),
                target_tor: target.to_string(),
                sent: sums.sent,
                lost: sums.lost,
                invalid: sums.invalid,
                rtt_p50_ns: sums.rtt.quantile(0.5).map(|rtt| rtt.0),
                rtt_p99_ns: sums.rtt.quantile(0.99).map(|rtt| rtt.0),
            })
            .collect(),
    }
}
