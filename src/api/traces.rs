//! `GET /api/v1/traces`: which switches the packets of a 5-tuple pass.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::name::{TraceEndName, TraceReasonName};
use super::query::{Number, PageSize, Port, YesNo};

/// Paths in one answer unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 1000;

/// Parameters; each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TracesQuery {
    /// GID, host or ToR of the sending RNIC; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// GID, host or ToR of the RNIC that is sent to; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// UDP source port; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<Port>,
    /// a switch that the path passes; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// true: only paths that have changed; false: only others; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<YesNo>,
    /// paths in the answer; 1000 if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<PageSize>,
    /// paths to leave out; 0 if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Number>,
}

impl Request for TracesQuery {
    const PATH: &'static str = "/api/v1/traces";
    const SUMMARY: &'static str =
        "Which switches the packets of a 5-tuple pass, as traces have shown";
    type Answer = Traces;
}

/// Which switches the packets of each 5-tuple pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traces {
    /// the analyzer's wall clock
    pub now_unix_ns: i64,
    /// paths that match, on all pages
    pub total: usize,
    /// as asked
    pub offset: usize,
    /// offset of the next page, null on the last
    pub next_offset: Option<usize>,
    /// the paths
    pub traces: Vec<TracedPath>,
}

/// What traces have shown of one 5-tuple.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TracedPath {
    /// the sending RNIC
    pub source: TraceEndpoint,
    /// the RNIC that is sent to
    pub target: TraceEndpoint,
    /// UDP source port
    pub source_port: u16,
    /// the switches in their order: the address of the interface that answers, or a name where the agent knows it;
    /// null for one that never answered; null altogether while no complete trace is known
    pub route: Option<Vec<Option<String>>>,
    /// when a complete trace last agreed with `route`, by the agent's clock; null while there is none
    pub confirmed_unix_ns: Option<i64>,
    /// how long ago that was
    pub age_ns: Option<i64>,
    /// the newest trace
    pub newest: Trace,
    /// how often the path became another
    pub changed: u64,
    /// the last 8 times, the oldest first
    pub changes: Vec<PathChange>,
}

/// An RNIC at one end of a traced path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TraceEndpoint {
    /// its GID
    pub gid: String,
    /// its host, null while no report of the last minutes names it
    pub host: Option<String>,
    /// its ToR, likewise
    pub tor: Option<String>,
    /// its name on the host, likewise
    pub device: Option<String>,
}

/// One trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// when the newest trace ended
    pub at_unix_ns: i64,
    /// why it was made: new, scheduled, failing (its probes began to fail) or recovered
    pub reason: TraceReasonName,
    /// what is behind its last hop: answered (the target, which answered itself), inferred (the target: nothing
    /// beyond answers, and probes come through or the path was as long before) or silent (not known: no probe comes
    /// through, or the path was longer before)
    pub end: TraceEndName,
    /// its hops
    pub hops: Vec<Hop>,
}

/// One switch of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hop {
    /// the switch; null where none answered
    pub node: Option<String>,
    /// until its answer; a switch's processor answers when it has time
    pub rtt_ns: Option<i64>,
}

/// A path that became another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathChange {
    /// when the trace ended that showed it
    pub at_unix_ns: i64,
    /// the switches before
    pub from: Vec<Option<String>>,
    /// the switches after
    pub to: Vec<Option<String>>,
}
