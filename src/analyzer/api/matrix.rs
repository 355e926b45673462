//! The answer of `/api/v1/matrix`: loss and latency between ToRs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::state::State;
use super::answer::answer;
use crate::analysis::sketch::Sketch;
use crate::analysis::windows::Span;
use crate::id::TorId;
use crate::time::WallTime;

/// The most pairs of ToRs in one answer; those with most losses go first.
const MOST_PAIRS: usize = 10_000;

/// What `GET /api/v1/matrix` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analyzer) struct MatrixQuery {
    window: Span,
}

impl MatrixQuery {
    /// From the pairs of a query string; the error says which is wrong.
    pub(in crate::analyzer) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        match pairs {
            [] => Ok(Self {
                window: Span::Middle,
            }),
            [(key, value)] if key == "window" => Ok(Self {
                window: super::window(value)?,
            }),
            [(key, _)] => Err(format!("`{key}` is unknown: expected window")),
            _ => Err("only `window` can be given, once".to_owned()),
        }
    }
}

answer! {
    #[derive(Debug, Serialize)]
    pub(in crate::analyzer) struct MatrixAnswer {
        /// the window asked for
        window: &'static str,
        /// where it begins
        start_unix_ns: i64,
        /// where it ends
        end_unix_ns: i64,
        /// the ToRs that have results
        tors: Vec<String>,
        /// pairs of ToRs that have results
        total_pairs: usize,
        /// the pairs
        pairs: Vec<PairJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct PairJson {
        /// ToR of the probing RNICs
        source_tor: String,
        /// ToR of the answering RNICs
        target_tor: String,
        /// probes
        sent: u64,
        /// probes without an ACK in time
        lost: u64,
        /// measurements that say nothing about the network
        invalid: u64,
        /// median network RTT, null without any
        rtt_p50_ns: Option<i64>,
        /// 99 % are not above it
        rtt_p99_ns: Option<i64>,
    }
}

#[derive(Default)]
struct Sums {
    sent: u64,
    lost: u64,
    invalid: u64,
    rtt: Sketch,
}

/// Answers `GET /api/v1/matrix`.
pub(in crate::analyzer) fn matrix(
    state: &State,
    query: MatrixQuery,
    now: WallTime,
) -> MatrixAnswer {
    let slots = state.windows.slots(query.window, now);
    let mut pairs: BTreeMap<(&TorId, &TorId), Sums> = BTreeMap::new();
    for path in state.windows.paths() {
        if !path.has_results(&slots) {
            continue;
        }
        let sums = pairs
            .entry((&path.source().tor, &path.target().tor))
            .or_default();
        for slot in path.counts(&slots) {
            sums.sent = sums.sent.saturating_add(slot.sent);
            sums.lost = sums.lost.saturating_add(slot.lost);
            sums.invalid = sums.invalid.saturating_add(slot.invalid);
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
    MatrixAnswer {
        window: super::window_name(query.window),
        start_unix_ns: slots.start.start().nanos(),
        end_unix_ns: slots.end.start().nanos(),
        tors,
        total_pairs,
        pairs: rows
            .into_iter()
            .map(|((source, target), sums)| PairJson {
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
