//! `GET /api/v1/agents`: what is known of each agent as a sender of results.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::list::{Column, Listed, Value};
use super::name::ClockName;

/// Takes no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentsQuery {}

impl Request for AgentsQuery {
    const PATH: &'static str = "/api/v1/agents";
    const SUMMARY: &'static str = "What is known of each agent as a sender of results";
    type Answer = Agents;
}

/// What is known of each agent as a sender of results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agents {
    /// the analyzer's wall clock
    pub now_unix_ns: i64,
    /// the agents of the last 24 hours
    pub agents: Vec<Agent>,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// name
    pub agent: String,
    /// where it runs
    pub host: String,
    /// version of its program; null until it has uploaded since the analyzer's start, and where it does not tell
    pub version: Option<String>,
    /// the last batch taken, numbered from 1 in each spool of the agent
    pub sequence: u64,
    /// when it was taken, by the analyzer's clock
    pub last_upload_unix_ns: i64,
    /// end of its interval, by the agent's clock
    pub last_interval_end_unix_ns: i64,
    /// how long after that end it was taken; negative when the agent's clock is ahead
    pub lateness_ns: i64,
    /// by how much its clock is ahead, by estimate; negative when it is behind, 0 when it is right. Results are moved by this
    /// up to 12 h
    #[serde(default)]
    pub clock_ahead_ns: i64,
    /// batches taken
    pub batches: u64,
    /// batches that came again and were not counted again
    pub duplicate_batches: u64,
    /// batches that the agent skipped since its spool was first seen: its spool overflowed
    pub lost_batches: u64,
    /// the oldest batch that the judge has taken, of this spool; null unless several analyzers share the fleet
    #[serde(default)]
    pub oldest_sequence: Option<u64>,
    /// batches between that one and the newest that the judge has not taken: under way to it, or lost; null unless several
    /// analyzers share the fleet
    #[serde(default)]
    pub missing_batches: Option<u64>,
    /// batches older than what is kept: stored nowhere, counted in no window
    pub late_batches: u64,
    /// probes in them
    pub late_results: u64,
    /// batches further in the future than `clock_tolerance`: the agent's clock is wrong
    pub future_batches: u64,
    /// probes in them
    pub future_results: u64,
    /// reports that contradict themselves
    pub refused_reports: u64,
    /// one of the last batch that had any, and why; null without any
    pub last_refusal: Option<String>,
    /// the agent's own counts since its start
    pub counters: Counters,
    /// what is off in the agent and why, in its own words; empty while nothing is
    #[serde(default)]
    pub degraded: Vec<String>,
    /// 5-tuples of its pinglist; null where it does not tell
    #[serde(default)]
    pub tuples: Option<u64>,
    /// the RNICs that it has, or had since its start; empty where it does not tell
    #[serde(default)]
    pub rnics: Vec<AgentRnic>,
}

impl Listed for Agent {
    const COLUMNS: &'static [Column] = &[
        Column::text("agent", "Agent"),
        Column::text("host", "Host"),
        Column::text("version", "Version"),
        Column::text("off", "Off"),
        Column::text("rnic", "RNICs"),
        Column::count("rnics", "Number of RNICs"),
        Column::count("closed", "Closed RNICs"),
        Column::count("tuples", "5-tuples"),
        Column::time("lateness", "Lateness"),
        Column::time("clock", "Clock ahead"),
        Column::count("batches", "Batches"),
        Column::count("lost", "Lost"),
        Column::count("dropped", "Dropped"),
        Column::count("refused", "Refused"),
        Column::count("malformed", "Malformed"),
        Column::count("answered", "Answered"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        let counters = &self.counters;
        match column {
            "agent" => Value::text(&self.agent),
            "host" => Value::text(&self.host),
            "version" => self.version.as_ref().map_or(Value::Missing, Value::text),
            "off" => Value::Texts(self.degraded.iter().map(Into::into).collect()),
            "rnic" => {
                let devices = self.rnics.iter().map(|rnic| rnic.device.as_str());
                Value::Texts(devices.map(Into::into).collect())
            }
            "rnics" => Value::count(self.rnics.len() as u64),
            "closed" => {
                let closed = self.rnics.iter().filter(|rnic| rnic.closed.is_some());
                Value::count(closed.count() as u64)
            }
            "tuples" => self.tuples.map_or(Value::Missing, Value::count),
            "lateness" => Value::nanos(Some(self.lateness_ns)),
            "clock" => Value::nanos(Some(self.clock_ahead_ns)),
            "batches" => Value::count(self.batches),
            "lost" => Value::count(self.lost_batches),
            "dropped" => Value::count(
                counters
                    .results_dropped
                    .saturating_add(counters.batches_dropped),
            ),
            "refused" => Value::count(self.refused_reports),
            "malformed" => Value::count(counters.malformed_packets),
            "answered" => Value::count(counters.probes_answered),
            _ => Value::Missing,
        }
    }
}

/// An RNIC of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentRnic {
    /// its name on the host
    pub device: String,
    /// why it cannot be used; null while it can
    pub closed: Option<String>,
    /// what stamps its completions; null while it cannot be used, and where the agent does not tell
    #[serde(default)]
    pub clock: Option<ClockName>,
}

/// An agent's own counts since its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// results that found no place
    pub results_dropped: u64,
    /// batches that its spool dropped
    pub batches_dropped: u64,
    /// packets that were no probe or ACK
    pub malformed_packets: u64,
    /// ACKs that belong to no outstanding probe
    pub unmatched_acks: u64,
    /// probes of others that it answered
    pub probes_answered: u64,
    /// probes that arrived from the UDP source port that was meant, told by responders that see ports
    pub source_ports_as_meant: u64,
    /// probes that arrived from another one: a driver does not steer as it is believed to
    pub source_ports_otherwise: u64,
}
