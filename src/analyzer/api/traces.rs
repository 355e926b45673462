//! `GET /api/v1/traces`.

use std::collections::HashMap;

use super::is_end;
use crate::analysis::paths::{Change, Known};
use crate::analysis::report::End;
use crate::analyzer::state::State;
use crate::api;
use crate::api::query::{Number, PageSize};
use crate::api::traces::{
    DEFAULT_LIMIT, Hop, PathChange, TraceEndpoint, TracedPath, Traces, TracesQuery,
};
use crate::id::Gid;
use crate::probe::trace::{Route, Trace, Tuple};
use crate::time::WallTime;

/// Whether a path is asked for.
fn wants(query: &TracesQuery, tuple: &Tuple, known: &Known, ends: &Ends<'_>) -> bool {
    let is = |wanted: &Option<String>, gid: Gid| {
        wanted.as_ref().is_none_or(|wanted| ends.is(gid, wanted))
    };
    query
        .source_port
        .is_none_or(|port| port.get() == u64::from(tuple.port.0))
        && query
            .changed
            .is_none_or(|changed| changed.0 == (known.changed() > 0))
        && query.node.as_ref().is_none_or(|node| passes(known, node))
        && is(&query.source, tuple.source)
        && is(&query.target, tuple.target)
}

/// Whether a path has this switch.
fn passes(known: &Known, node: &str) -> bool {
    let newest = known.newest().hops.iter().flatten();
    known
        .route()
        .into_iter()
        .flat_map(Route::nodes)
        .chain(newest.map(|answer| &answer.node))
        .any(|hop| hop.as_str() == node)
}

/// What the reports of the windows say about RNICs.
struct Ends<'a>(HashMap<Gid, &'a End>);

impl<'a> Ends<'a> {
    fn of(state: &'a State) -> Self {
        let mut ends = HashMap::new();
        for path in state.windows.paths() {
            ends.insert(path.source().gid, path.source());
            ends.entry(path.target().gid).or_insert(path.target());
        }
        Self(ends)
    }

    fn is(&self, gid: Gid, wanted: &str) -> bool {
        match self.0.get(&gid) {
            Some(end) => is_end(end, wanted),
            None => wanted.parse().is_ok_and(|wanted: Gid| wanted == gid),
        }
    }

    fn json(&self, gid: Gid) -> TraceEndpoint {
        let end = self.0.get(&gid);
        TraceEndpoint {
            gid: gid.to_string(),
            host: end.map(|end| end.host.as_str().to_owned()),
            tor: end.map(|end| end.tor.as_str().to_owned()),
            device: end.map(|end| end.device.as_str().to_owned()),
        }
    }
}

/// Answers `GET /api/v1/traces`.
pub(in crate::analyzer) fn traces(state: &State, query: &TracesQuery, now: WallTime) -> Traces {
    let limit = query.limit.map_or(DEFAULT_LIMIT, PageSize::as_usize);
    let offset = query.offset.map_or(0, Number::as_usize);
    let ends = Ends::of(state);
    let mut found: Vec<_> = state
        .paths
        .iter()
        .filter(|(tuple, known)| wants(query, tuple, known, &ends))
        .collect();
    found.sort_by_key(|(tuple, _)| **tuple);
    let total = found.len();
    let traces: Vec<_> = found
        .into_iter()
        .skip(offset)
        .take(limit)
        .map(|(tuple, known)| path(tuple, known, &ends, now))
        .collect();
    let next = offset.saturating_add(traces.len());
    Traces {
        now_unix_ns: now.nanos(),
        total,
        offset,
        next_offset: (next < total).then_some(next),
        traces,
    }
}

fn path(tuple: &Tuple, known: &Known, ends: &Ends<'_>, now: WallTime) -> TracedPath {
    TracedPath {
        source: ends.json(tuple.source),
        target: ends.json(tuple.target),
        source_port: tuple.port.0,
        route: known.route().map(names),
        confirmed_unix_ns: known.confirmed().map(WallTime::nanos),
        age_ns: known.confirmed().map(|at| (now - at).0.max(0)),
        newest: api::traces::Trace::from(known.newest()),
        changed: known.changed(),
        changes: known.changes().map(PathChange::from).collect(),
    }
}

fn names(route: &Route) -> Vec<Option<String>> {
    route
        .hops()
        .iter()
        .map(|hop| hop.as_ref().map(|node| node.as_str().to_owned()))
        .collect()
}

impl From<&Trace> for api::traces::Trace {
    fn from(trace: &Trace) -> Self {
        Self {
            at_unix_ns: trace.at.nanos(),
            reason: trace.reason.into(),
            end: trace.end.into(),
            hops: trace
                .hops
                .iter()
                .map(|hop| Hop {
                    node: hop.as_ref().map(|answer| answer.node.as_str().to_owned()),
                    rtt_ns: hop.as_ref().map(|answer| answer.rtt.0),
                })
                .collect(),
        }
    }
}

impl From<&Change> for PathChange {
    fn from(change: &Change) -> Self {
        Self {
            at_unix_ns: change.at.nanos(),
            from: names(&change.from),
            to: names(&change.to),
        }
    }
}
