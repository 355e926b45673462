//! The JSON of `/api/v1`, documented in `docs/api.md`. Field names are stable; durations are integer nanoseconds.

pub(super) mod answer;
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
use answer::answer;

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

answer! {
    #[derive(Debug, Serialize)]
    pub(super) struct PathsAnswer {
        /// the window asked for
        window: &'static str,
        /// where it begins
        start_unix_ns: i64,
        /// where it ends
        end_unix_ns: i64,
        /// paths that match, on all pages
        total: usize,
        /// as asked
        offset: usize,
        /// offset of the next page, null on the last
        next_offset: Option<usize>,
        /// the paths
        paths: Vec<PathJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct PathJson {
        /// the probing RNIC
        source: EndJson,
        /// the answering RNIC
        target: EndJson,
        /// `tor_mesh`, `inter_tor` or `service_tracing`
        kind: &'static str,
        /// UDP source port of the probes, null where the driver hides it
        source_port: Option<u16>,
        /// service that uses the path, null unless kind is `service_tracing`
        service: Option<String>,
        /// all probes: lost + all of invalid + complete
        sent: u64,
        /// probes without an ACK in time
        lost: u64,
        /// counts by reason of measurements that say nothing about the network; reasons without any are left out
        invalid: BTreeMap<&'static str, u64>,
        /// time on the network, both ways; null without a complete probe
        network_rtt: Option<SpreadJson>,
        /// time that the prober's host added; null without a complete probe
        prober_delay: Option<SpreadJson>,
        /// time that the responder's host added; null without a complete probe
        responder_delay: Option<SpreadJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct EndJson {
        /// GID of the RNIC
        gid: String,
        /// its queue pair
        qpn: u32,
        /// its host
        host: String,
        /// its ToR
        tor: String,
        /// its name on the host
        device: String,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct SpreadJson {
        /// complete probes; of `network_rtt` those whose responder took at most 10 ms: beyond, clocks that run apart
        /// falsify the RTT
        count: u64,
        /// smallest, to 0.8 % like the others
        min_ns: i64,
        /// median
        p50_ns: i64,
        /// 90 % are not above it
        p90_ns: i64,
        /// 99 % are not above it
        p99_ns: i64,
        /// largest
        max_ns: i64,
    }
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

answer! {
    #[derive(Debug, Serialize)]
    pub(super) struct AgentsAnswer {
        /// the analyzer's wall clock
        now_unix_ns: i64,
        /// the agents of the last 24 hours
        agents: Vec<AgentJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct AgentJson {
        /// name
        agent: String,
        /// where it runs
        host: String,
        /// version of its program; null until it has uploaded since the analyzer's start, and where it does not tell
        version: Option<String>,
        /// its spool: sequence numbers are those of one spool
        spool: String,
        /// the last batch taken
        sequence: u64,
        /// when it was taken, by the analyzer's clock
        last_upload_unix_ns: i64,
        /// end of its interval, by the agent's clock
        last_interval_end_unix_ns: i64,
        /// how long after that end it was taken; negative when the agent's clock is ahead
        lateness_ns: i64,
        /// batches taken
        batches: u64,
        /// batches that came again and were not counted again
        duplicate_batches: u64,
        /// batches that the agent skipped since its spool was first seen: its spool overflowed
        lost_batches: u64,
        /// batches older than what is kept: stored nowhere, counted in no window
        late_batches: u64,
        /// probes in them
        late_results: u64,
        /// batches further in the future than `clock_tolerance`: the agent's clock is wrong
        future_batches: u64,
        /// probes in them
        future_results: u64,
        /// reports that contradict themselves
        refused_reports: u64,
        /// one of the last batch that had any, and why; null without any
        last_refusal: Option<String>,
        /// the agent's own counts since its start
        counters: CountersJson,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct CountersJson {
        /// results that found no place
        results_dropped: u64,
        /// batches that its spool dropped
        batches_dropped: u64,
        /// packets that were no probe or ACK
        malformed_packets: u64,
        /// ACKs that belong to no outstanding probe
        unmatched_acks: u64,
        /// probes of others that it answered
        probes_answered: u64,
        /// probes that arrived from the UDP source port that was meant, told by responders that see ports
        source_ports_as_meant: u64,
        /// probes that arrived from another one: a driver does not steer as it is believed to
        source_ports_otherwise: u64,
    }
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
