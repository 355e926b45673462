//! `GET /api/v1/traces`: the paths that traces have shown.

use std::collections::HashMap;

use serde::Serialize;

use super::answer::answer;
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

answer! {
    #[derive(Debug, Serialize)]
    pub(in crate::analyzer) struct TracesAnswer {
        /// the analyzer's wall clock
        now_unix_ns: i64,
        /// paths that match, on all pages
        total: usize,
        /// as asked
        offset: usize,
        /// offset of the next page, null on the last
        next_offset: Option<usize>,
        /// the paths
        traces: Vec<TraceJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct TraceJson {
        /// the sending RNIC
        source: TraceEndJson,
        /// the RNIC that is sent to
        target: TraceEndJson,
        /// UDP source port
        source_port: u16,
        /// the switches in their order: the address of the interface that answers, or a name where the agent knows it;
        /// null for one that never answered; null altogether while no complete trace is known
        route: Option<Vec<Option<String>>>,
        /// when a complete trace last agreed with `route`, by the agent's clock; null while there is none
        confirmed_unix_ns: Option<i64>,
        /// how long ago that was
        age_ns: Option<i64>,
        /// the newest trace
        newest: NewestJson,
        /// how often the path became another
        changed: u64,
        /// the last 8 times, the oldest first
        changes: Vec<ChangeJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct TraceEndJson {
        /// its GID
        gid: String,
        /// its host, null while no report of the last minutes names it
        host: Option<String>,
        /// its ToR, likewise
        tor: Option<String>,
        /// its name on the host, likewise
        device: Option<String>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct NewestJson {
        /// when the newest trace ended
        at_unix_ns: i64,
        /// why it was made: new, scheduled, failing (its probes began to fail) or recovered
        reason: &'static str,
        /// what is behind its last hop: answered (the target, which answered itself), inferred (the target: nothing
        /// beyond answers, and probes come through or the path was as long before) or silent (not known: no probe comes
        /// through, or the path was longer before)
        end: &'static str,
        /// its hops
        hops: Vec<HopJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct HopJson {
        /// the switch; null where none answered
        node: Option<String>,
        /// until its answer; a switch's processor answers when it has time
        rtt_ns: Option<i64>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct ChangeJson {
        /// when the trace ended that showed it
        at_unix_ns: i64,
        /// the switches before
        from: Vec<Option<String>>,
        /// the switches after
        to: Vec<Option<String>>,
    }
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
