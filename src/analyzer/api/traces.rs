//! `GET /api/v1/traces`: the paths that traces have shown.

use std::collections::HashMap;

use serde::Serialize;

use super::{DEFAULT_LIMIT, MAX_LIMIT, is_end, number};
use crate::analysis::paths::{Change, Known};
use crate::analysis::report::End;
use crate::analyzer::state::State;
use crate::id::Gid;
use crate::probe::trace::{Route, Trace, Tuple};
use crate::time::WallTime;

/// What `GET /api/v1/traces` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::analyzer) struct TraceQuery {
    source: Option<String>,
    target: Option<String>,
    port: Option<u16>,
    node: Option<String>,
    changed: Option<bool>,
    limit: usize,
    offset: usize,
}

impl TraceQuery {
    /// From the pairs of a query string; the error says which is wrong.
    pub(in crate::analyzer) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut query = Self {
            source: None,
            target: None,
            port: None,
            node: None,
            changed: None,
            limit: DEFAULT_LIMIT,
            offset: 0,
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(format!("`{key}` is given twice"));
            }
            match key.as_str() {
                "source" => query.source = Some(value.clone()),
                "target" => query.target = Some(value.clone()),
                "source_port" => {
                    let port = number(key, value, 1..=usize::from(u16::MAX))?;
                    query.port = u16::try_from(port).ok();
                }
                "node" => query.node = Some(value.clone()),
                "changed" => {
                    query.changed =
                        Some(value.parse().map_err(|_| {
                            format!("`changed` must be true or false, not `{value}`")
                        })?);
                }
                "limit" => query.limit = number(key, value, 1..=MAX_LIMIT)?,
                "offset" => query.offset = number(key, value, 0..=usize::MAX)?,
                _ => {
                    return Err(format!(
                        "`{key}` is unknown: expected source, target, source_port, node, changed, limit or offset"
                    ));
                }
            }
        }
        Ok(query)
    }

    fn wants(&self, tuple: &Tuple, known: &Known, ends: &Ends<'_>) -> bool {
        self.port.is_none_or(|port| port == tuple.port.0)
            && self
                .changed
                .is_none_or(|changed| changed == (known.changed() > 0))
            && self.node.as_ref().is_none_or(|node| passes(known, node))
            && self
                .source
                .as_ref()
                .is_none_or(|wanted| ends.is(tuple.source, wanted))
            && self
                .target
                .as_ref()
                .is_none_or(|wanted| ends.is(tuple.target, wanted))
    }
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

    fn json(&self, gid: Gid) -> TraceEndJson {
        let end = self.0.get(&gid);
        TraceEndJson {
            gid: gid.to_string(),
            host: end.map(|end| end.host.as_str().to_owned()),
            tor: end.map(|end| end.tor.as_str().to_owned()),
            device: end.map(|end| end.device.as_str().to_owned()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(in crate::analyzer) struct TracesAnswer {
    now_unix_ns: i64,
    total: usize,
    offset: usize,
    next_offset: Option<usize>,
    traces: Vec<TraceJson>,
}

#[derive(Debug, Serialize)]
struct TraceJson {
    source: TraceEndJson,
    target: TraceEndJson,
    source_port: u16,
    route: Option<Vec<Option<String>>>,
    confirmed_unix_ns: Option<i64>,
    age_ns: Option<i64>,
    newest: NewestJson,
    changed: u64,
    changes: Vec<ChangeJson>,
}

#[derive(Debug, Serialize)]
struct TraceEndJson {
    gid: String,
    host: Option<String>,
    tor: Option<String>,
    device: Option<String>,
}

#[derive(Debug, Serialize)]
struct NewestJson {
    at_unix_ns: i64,
    reason: &'static str,
    end: &'static str,
    hops: Vec<HopJson>,
}

#[derive(Debug, Serialize)]
struct HopJson {
    node: Option<String>,
    rtt_ns: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ChangeJson {
    at_unix_ns: i64,
    from: Vec<Option<String>>,
    to: Vec<Option<String>>,
}

/// Answers `GET /api/v1/traces`.
pub(in crate::analyzer) fn traces(
    state: &State,
    query: &TraceQuery,
    now: WallTime,
) -> TracesAnswer {
    let ends = Ends::of(state);
    let mut found: Vec<_> = state
        .paths
        .iter()
        .filter(|(tuple, known)| query.wants(tuple, known, &ends))
        .collect();
    found.sort_by_key(|(tuple, _)| **tuple);
    let total = found.len();
    let traces: Vec<_> = found
        .into_iter()
        .skip(query.offset)
        .take(query.limit)
        .map(|(tuple, known)| TraceJson::new(tuple, known, &ends, now))
        .collect();
    let next = query.offset.saturating_add(traces.len());
    TracesAnswer {
        now_unix_ns: now.nanos(),
        total,
        offset: query.offset,
        next_offset: (next < total).then_some(next),
        traces,
    }
}

impl TraceJson {
    fn new(tuple: &Tuple, known: &Known, ends: &Ends<'_>, now: WallTime) -> Self {
        Self {
            source: ends.json(tuple.source),
            target: ends.json(tuple.target),
            source_port: tuple.port.0,
            route: known.route().map(names),
            confirmed_unix_ns: known.confirmed().map(WallTime::nanos),
            age_ns: known.confirmed().map(|at| (now - at).0.max(0)),
            newest: NewestJson::from(known.newest()),
            changed: known.changed(),
            changes: known.changes().map(ChangeJson::from).collect(),
        }
    }
}

fn names(route: &Route) -> Vec<Option<String>> {
    route
        .hops()
        .iter()
        .map(|hop| hop.as_ref().map(|node| node.as_str().to_owned()))
        .collect()
}

impl From<&Trace> for NewestJson {
    fn from(trace: &Trace) -> Self {
        Self {
            at_unix_ns: trace.at.nanos(),
            reason: trace.reason.name(),
            end: trace.end.name(),
            hops: trace
                .hops
                .iter()
                .map(|hop| HopJson {
                    node: hop.as_ref().map(|answer| answer.node.as_str().to_owned()),
                    rtt_ns: hop.as_ref().map(|answer| answer.rtt.0),
                })
                .collect(),
        }
    }
}

impl From<&Change> for ChangeJson {
    fn from(change: &Change) -> Self {
        Self {
            at_unix_ns: change.at.nanos(),
            from: names(&change.from),
            to: names(&change.to),
        }
    }
}

#[cfg(test)]
mod tests;
