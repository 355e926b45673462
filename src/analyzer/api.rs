//! The JSON of `/api/v1`, documented in `docs/api.md`. Field names are stable; durations are integer nanoseconds.

pub(super) mod incidents;
pub(super) mod matrix;
pub(super) mod topology;
mod traces;

use std::collections::BTreeMap;

use serde::Serialize;

use super::agents::Agent;
use super::metrics::{kind_name, reason_name};
use super::state::State;
use crate::analysis::report::End;
use crate::analysis::sketch::Sketch;
use crate::analysis::windows::{PathView, Span, Summary};
use crate::id::AgentId;
use crate::measure::Invalid;
use crate::probe::Kind;
use crate::time::WallTime;

pub(super) use traces::{TraceQuery, traces};

/// Paths in one answer unless asked otherwise.
pub(super) const DEFAULT_LIMIT: usize = 1000;
/// The most paths in one answer.
pub(super) const MAX_LIMIT: usize = 10_000;

/// What `GET /api/v1/paths` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathQuery {
    pub(super) window: Span,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
    pub(super) kind: Option<Kind>,
    pub(super) service: Option<String>,
    pub(super) limit: usize,
    pub(super) offset: usize,
}

impl PathQuery {
    /// From the pairs of a query string; the error says which is wrong.
    pub(super) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut query = Self {
            window: Span::Middle,
            source: None,
            target: None,
            kind: None,
            service: None,
            limit: DEFAULT_LIMIT,
            offset: 0,
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(format!("`{key}` is given twice"));
            }
            match key.as_str() {
                "window" => query.window = window(value)?,
                "source" => query.source = Some(value.clone()),
                "target" => query.target = Some(value.clone()),
                "kind" => query.kind = Some(kind(value)?),
                "service" => query.service = Some(value.clone()),
                "limit" => query.limit = number(key, value, 1..=MAX_LIMIT)?,
                "offset" => query.offset = number(key, value, 0..=usize::MAX)?,
                _ => {
                    return Err(format!(
                        "`{key}` is unknown: expected window, source, target, kind, service, limit or offset"
                    ));
                }
            }
        }
        Ok(query)
    }

    fn wants(&self, path: PathView<'_>) -> bool {
        self.kind.is_none_or(|kind| kind == path.kind())
            && self
                .source
                .as_ref()
                .is_none_or(|wanted| is_end(path.source(), wanted))
            && self
                .target
                .as_ref()
                .is_none_or(|wanted| is_end(path.target(), wanted))
            && self
                .service
                .as_ref()
                .is_none_or(|wanted| path.service().is_some_and(|name| name.as_str() == wanted))
    }
}

fn window(text: &str) -> Result<Span, String> {
    Span::ALL
        .into_iter()
        .find(|span| window_name(*span) == text)
        .ok_or_else(|| format!("`window` must be 5s, 20s or 120s, not `{text}`"))
}

const fn window_name(span: Span) -> &'static str {
    match span {
        Span::Short => "5s",
        Span::Middle => "20s",
        Span::Long => "120s",
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    [Kind::TorMesh, Kind::InterTor, Kind::ServiceTracing]
        .into_iter()
        .find(|kind| kind_name(*kind) == text)
        .ok_or_else(|| {
            format!("`kind` must be tor_mesh, inter_tor or service_tracing, not `{text}`")
        })
}

fn number(key: &str, text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            format!(
                "`{key}` must be a number from {} to {}, not `{text}`",
                range.start(),
                range.end()
            )
        })
}

/// Whether `wanted` is the end's GID, host or ToR.
fn is_end(end: &End, wanted: &str) -> bool {
    end.host.as_str() == wanted
        || end.tor.as_str() == wanted
        || wanted
            .parse()
            .is_ok_and(|gid: crate::id::Gid| gid == end.gid)
}

#[derive(Debug, Serialize)]
pub(super) struct PathsAnswer {
    window: &'static str,
    start_unix_ns: i64,
    end_unix_ns: i64,
    total: usize,
    offset: usize,
    next_offset: Option<usize>,
    paths: Vec<PathJson>,
}

#[derive(Debug, Serialize)]
struct PathJson {
    source: EndJson,
    target: EndJson,
    kind: &'static str,
    source_port: Option<u16>,
    service: Option<String>,
    sent: u64,
    lost: u64,
    invalid: BTreeMap<&'static str, u64>,
    network_rtt: Option<SpreadJson>,
    prober_delay: Option<SpreadJson>,
    responder_delay: Option<SpreadJson>,
}

#[derive(Debug, Serialize)]
struct EndJson {
    gid: String,
    qpn: u32,
    host: String,
    tor: String,
    device: String,
}

#[derive(Debug, Serialize)]
struct SpreadJson {
    count: u64,
    min_ns: i64,
    p50_ns: i64,
    p90_ns: i64,
    p99_ns: i64,
    max_ns: i64,
}

/// Answers `GET /api/v1/paths`.
pub(super) fn paths(state: &State, query: &PathQuery, now: WallTime) -> PathsAnswer {
    let slots = state.windows.slots(query.window, now);
    let mut found: Vec<_> = state
        .windows
        .paths()
        .filter(|path| query.wants(*path) && path.has_results(&slots))
        .collect();
    found.sort_by_key(|path| {
        (
            path.source().gid,
            path.target().gid,
            path.kind(),
            path.source_port(),
            path.service(),
        )
    });
    let total = found.len();
    let page = found.into_iter().skip(query.offset).take(query.limit);
    let paths: Vec<_> = page
        .filter_map(|path| path.summary(&slots))
        .map(PathJson::from)
        .collect();
    let next = query.offset.saturating_add(paths.len());
    PathsAnswer {
        window: window_name(query.window),
        start_unix_ns: slots.start.start().nanos(),
        end_unix_ns: slots.end.start().nanos(),
        total,
        offset: query.offset,
        next_offset: (next < total).then_some(next),
        paths,
    }
}

impl From<Summary> for PathJson {
    fn from(summary: Summary) -> Self {
        Self {
            kind: kind_name(summary.kind),
            source_port: summary.source_port.map(|port| port.0),
            sent: summary.sent,
            lost: summary.lost,
            invalid: Invalid::ALL
                .into_iter()
                .map(|reason| (reason_name(reason), summary.invalid_for(reason)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            network_rtt: spread(&summary.network_rtt),
            prober_delay: spread(&summary.prober_delay),
            responder_delay: spread(&summary.responder_delay),
            source: EndJson::from(&*summary.source),
            target: EndJson::from(&*summary.target),
            service: summary.service.map(|name| name.as_str().to_owned()),
        }
    }
}

impl From<&End> for EndJson {
    fn from(end: &End) -> Self {
        Self {
            gid: end.gid.to_string(),
            qpn: end.qpn.get(),
            host: end.host.as_str().to_owned(),
            tor: end.tor.as_str().to_owned(),
            device: end.device.as_str().to_owned(),
        }
    }
}

fn spread(sketch: &Sketch) -> Option<SpreadJson> {
    Some(SpreadJson {
        count: sketch.count(),
        min_ns: sketch.min()?.0,
        p50_ns: sketch.quantile(0.5)?.0,
        p90_ns: sketch.quantile(0.9)?.0,
        p99_ns: sketch.quantile(0.99)?.0,
        max_ns: sketch.max()?.0,
    })
}

#[derive(Debug, Serialize)]
pub(super) struct AgentsAnswer {
    now_unix_ns: i64,
    agents: Vec<AgentJson>,
}

#[derive(Debug, Serialize)]
struct AgentJson {
    agent: String,
    host: String,
    version: Option<String>,
    spool: String,
    sequence: u64,
    last_upload_unix_ns: i64,
    last_interval_end_unix_ns: i64,
    lateness_ns: i64,
    batches: u64,
    duplicate_batches: u64,
    lost_batches: u64,
    late_batches: u64,
    late_results: u64,
    future_batches: u64,
    future_results: u64,
    refused_reports: u64,
    last_refusal: Option<String>,
    counters: CountersJson,
}

#[derive(Debug, Serialize)]
struct CountersJson {
    results_dropped: u64,
    batches_dropped: u64,
    malformed_packets: u64,
    unmatched_acks: u64,
    probes_answered: u64,
    source_ports_as_meant: u64,
    source_ports_otherwise: u64,
}

/// Answers `GET /api/v1/agents`.
pub(super) fn agents(state: &State, now: WallTime) -> AgentsAnswer {
    AgentsAnswer {
        now_unix_ns: now.nanos(),
        agents: state
            .agents
            .iter()
            .map(|(id, agent)| AgentJson::new(id, agent))
            .collect(),
    }
}

impl AgentJson {
    fn new(id: &AgentId, agent: &Agent) -> Self {
        Self {
            agent: id.as_str().to_owned(),
            host: agent.host.as_str().to_owned(),
            version: agent
                .version
                .as_ref()
                .map(|version| version.as_str().to_owned()),
            spool: format!("{:016x}", agent.spool.0),
            sequence: agent.sequence,
            last_upload_unix_ns: agent.last_upload.nanos(),
            last_interval_end_unix_ns: agent.last_interval_end.nanos(),
            lateness_ns: agent.lateness.0,
            batches: agent.batches,
            duplicate_batches: agent.duplicates,
            lost_batches: agent.lost_batches,
            late_batches: agent.late_batches,
            late_results: agent.late_results,
            future_batches: agent.future_batches,
            future_results: agent.future_results,
            refused_reports: agent.refused_reports,
            last_refusal: agent.last_refusal.clone(),
            counters: CountersJson {
                results_dropped: agent.counters.results_dropped,
                batches_dropped: agent.counters.batches_dropped,
                malformed_packets: agent.counters.malformed_packets,
                unmatched_acks: agent.counters.unmatched_acks,
                probes_answered: agent.counters.probes_answered,
                source_ports_as_meant: agent.counters.source_ports_as_meant,
                source_ports_otherwise: agent.counters.source_ports_otherwise,
            },
        }
    }
}

#[cfg(test)]
mod tests;
