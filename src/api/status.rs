//! `GET /api/v1/status`: the analyzer in a few numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::name::ClockName;

/// Takes no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusQuery {}

impl Request for StatusQuery {
    const PATH: &'static str = "/api/v1/status";
    const SUMMARY: &'static str =
        "The analyzer in a few numbers: what is open, judged, set aside, known of paths";
    type Answer = Status;
}

/// The analyzer in a few numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// the analyzer's wall clock
    pub now_unix_ns: i64,
    /// agents listed
    pub agents: usize,
    /// what an agent must prove to upload as a host
    #[serde(default)]
    pub agent_identity: AgentIdentity,
    /// how they sign their probes, the most common first
    #[serde(default)]
    pub cluster_keys: Vec<ClusterKey>,
    /// which versions they run, the most common first, at most 20
    pub agent_versions: Vec<AgentVersion>,
    /// hosts whose agents were heard of in the last ten minutes
    pub hosts: usize,
    /// RNICs that they reported from
    pub rnics: usize,
    /// ToRs of these
    pub tors: usize,
    /// what stamps the completions of the RNICs in use, as far as their agents tell, the most common first
    #[serde(default)]
    pub clocks: Vec<Clocks>,
    /// agents that say that something is off
    #[serde(default)]
    pub degraded_agents: usize,
    /// what some of them say, at most 20 agents; `GET /api/v1/agents` has all
    #[serde(default)]
    pub degraded: Vec<Degraded>,
    /// hosts and RNICs that were there, are missing and were not acknowledged
    #[serde(default)]
    pub withdrawn: usize,
    /// how much of the fabric is judged right now
    pub coverage: Coverage,
    /// what is open
    pub incidents: OpenIncidents,
    /// probes of the last 20 s
    pub probes: Probes,
    /// the paths that are judged, by what is known of their way
    pub paths: KnownPaths,
    /// what judges
    pub judge: Judge,
    /// where those who know the fabric contradict each other
    pub topology: Contradictions,
    /// who is told of incidents
    pub alerts: Alerts,
}

/// What an agent must prove to upload as a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentIdentity {
    /// its certificate names the host
    San,
    /// it has a certificate of the CA: each of them speaks for every host
    Any,
    /// nothing: there is no TLS
    #[default]
    None,
}

/// Agents that sign their probes alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterKey {
    /// where the key comes from
    pub source: KeySource,
    /// how far the newest key of the controller has come into force; null where there is none
    pub phase: Option<KeyPhase>,
    /// fingerprint of the key that signs; null while nothing is signed
    pub fingerprint: Option<String>,
    /// agents
    pub agents: usize,
}

/// Where the key comes from that an agent signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// no key: the agent reaches its controller without TLS
    NoTls,
    /// no key: the controller has handed out none
    NotGiven,
    /// the agent's own configuration
    Own,
    /// the controller
    Controller,
    /// the agent does not tell: it is of an older version, or has not told since the analyzer's start
    Unknown,
}

/// How far a key has come into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyPhase {
    /// agents verify with it
    Offered,
    /// they sign with it, too
    Signing,
    /// they refuse all others
    Steady,
}

/// How much of the fabric is judged right now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// RNICs with probes of the last 20 s from or to them that are judged
    pub judged_rnics: usize,
    /// RNICs that reported in the last ten minutes
    pub known_rnics: usize,
    /// RNICs (or hosts, where the file lists no RNICs) of the topology file that did not
    pub missing: usize,
}

impl Coverage {
    /// Of the RNICs that there should be those that are judged, 0 to 1; `None` while none is known: no data.
    pub fn share(&self) -> Option<f64> {
        let all = self.known_rnics + self.missing;
        (all > 0).then(|| self.judged_rnics.min(all) as f64 / all as f64)
    }
}

/// RNICs whose completions are stamped alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Clocks {
    /// what stamps
    pub clock: ClockName,
    /// RNICs
    pub rnics: usize,
}

/// How many agents run a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentVersion {
    /// the version; null where it is not known
    pub version: Option<String>,
    /// agents that run it
    pub agents: usize,
}

/// What an agent says of what is off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Degraded {
    /// the agent
    pub agent: String,
    /// where it runs
    pub host: String,
    /// what is off and why
    pub reasons: Vec<String>,
}

/// Who is told of incidents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alerts {
    /// Alertmanagers and webhooks that are told of incidents
    pub receivers: usize,
    /// what they have not acknowledged yet: incidents, counted for each receiver
    pub waiting: usize,
}

/// Open incidents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenIncidents {
    /// open incidents
    pub open: usize,
    /// those with severity P0
    pub p0: usize,
    /// P1
    pub p1: usize,
    /// P2
    pub p2: usize,
    /// changes that could not be stored yet; they are tried again
    pub waiting_for_store: usize,
}

/// Probes of the last 20 s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Probes {
    /// probes of the last 20 s that are judged
    pub judged: u64,
    /// those of them that were lost
    pub lost: u64,
    /// by reason, probes of the last 20 s that are not judged because a host caused their results: `host_down`,
    /// `agent_silent`, `qpn_changed`, `responder_starved`, `prober_starved`, `clock_invalid` (RTT only); each with
    /// `sent` and `lost`
    pub set_aside: BTreeMap<String, ProbeCounts>,
}

/// Probes that are not judged, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeCounts {
    /// probes
    pub sent: u64,
    /// those of them that were lost
    pub lost: u64,
}

/// What is known of the paths that are judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownPaths {
    /// judged paths whose forward path is known from a trace, and those under one ToR; reverse paths are not counted
    pub traced: usize,
    /// paths of which only what ECMP may choose is known
    pub candidates: usize,
    /// paths of which nothing is known between the ToRs
    pub unknown: usize,
    /// 5-tuples that are known by a trace
    pub known_traces: usize,
}

/// The runs that judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Judge {
    /// runs since the start
    pub runs: u64,
    /// when the last one looked, null before the first
    pub last_run_unix_ns: Option<i64>,
    /// how long it took
    pub took_ns: u64,
}

/// Where those who know the fabric contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contradictions {
    /// where the topology file and the reports differ
    pub differences: Vec<String>,
    /// reports that named another host or ToR for an RNIC than its own agent does
    pub contradictions: u64,
    /// the RNICs of which that was said in the last two minutes
    pub contradicted_rnics: Vec<String>,
}
